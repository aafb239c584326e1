"""The second engine: danlu.zero under the same trainer does what PyTorch does, to the last digits that float32 has."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import danlu
from danlu import zero
from danlu.data import Arrays, Data
from danlu.errors import DataError, ModelError, RecipeError
from danlu.models.twin import twin
from danlu.train import prepare, run


def points(n: int = 70) -> Data:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n + 30, 6)).astype(np.float32)
    y = (x[:, 0] > 0) + 2 * (x[:, 1] > 0)
    return Data(Arrays(x[:n], y[:n]), {"valid": Arrays(x[n:], y[n:])}, test=Arrays(x[:9], y[:9]))


def network(dropout: float = 0.0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        first, last = nn.Linear(6, 16), nn.Linear(16, 4)
    return nn.Sequential(first, nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(dropout), last)


def recipe(**given: Any) -> danlu.Recipe:
    return danlu.Recipe(**{"epochs": 4, "batch_size": 16, "seed": 5, "metrics": ["accuracy", "f1"], **given})


def arrays(model: Any) -> dict[str, np.ndarray]:
    return {name: tensor.detach().numpy() for name, tensor in model.state_dict().items()}


def assert_close(ours: Any, theirs: Any, tolerance: float = 2e-5) -> None:
    left, right = arrays(ours), arrays(theirs)
    assert left.keys() == right.keys()
    for name in left:
        np.testing.assert_allclose(left[name], right[name], rtol=tolerance, atol=tolerance, err_msg=name)


RECIPES: dict[str, dict[str, Any]] = {
    "plain": {},
    "momentum and a schedule": {
        "optim": danlu.Optim("sgd", lr=0.1, momentum=0.9, nesterov=True),
        "schedule": danlu.Schedule("cosine", per="update", warmup=3),
    },
    "adamw in groups": {
        # the gradient of a bias before batch norm is rounding noise, which Adam's usual eps would blow up to steps
        "optim": danlu.Optim("adamw", lr=0.01, weight_decay=0.1, eps=1e-4, no_decay=["bias", "norm"]),
        "schedule": danlu.Schedule("step", step_size=2),
    },
    "clipped, accumulated, averaged": {
        "optim": danlu.Optim("sgd", lr=0.2, clip_norm=0.5, clip_value=0.2),
        "accumulate": 3,
        "ema": 0.8,
    },
    "weighted, ignoring": {
        "loss": danlu.Loss("cross_entropy", weight=[0.5, 1.0, 2.0, 3.0], ignore_index=2, label_smoothing=0.1),
        "accumulate": 2,
    },
    "initialised and frozen": {"init": [danlu.Init("xavier_uniform", layers=["Linear"])], "freeze": ["1.*"]},
    "plateau": {"schedule": danlu.Schedule("plateau", patience=0, factor=0.5, monitor="valid/loss")},
    "best put back": {"early_stop": {"patience": 1}, "optim": danlu.Optim("sgd", lr=1.5), "epochs": 12},
}


@pytest.mark.parametrize("name", RECIPES)
def test_both_engines_train_alike(name: str):
    given = dict(RECIPES[name])
    if "early_stop" in given:
        given["early_stop"] = danlu.EarlyStop(**given["early_stop"])
    theirs = network()
    ours = twin(theirs)
    first = danlu.fit(theirs, points(), recipe(**given), quiet=True)
    second = danlu.fit(ours, points(), recipe(**given), quiet=True)
    assert_close(ours, theirs)
    left, right = first.summary["final"], second.summary["final"]
    assert left.keys() == right.keys()
    assert {"train/loss", "train/accuracy", "valid/f1", "test/accuracy"} <= left.keys()
    for figure in left:
        assert right[figure] == pytest.approx(left[figure], rel=1e-4, abs=1e-5), figure
    assert first.summary["updates"] == second.summary["updates"]


def test_same_seed_same_bits_and_watching_changes_nothing(tmp_path: Path):
    def bits(**given: Any) -> bytes:
        model = twin(network(dropout=0.4))
        danlu.fit(model, points(), recipe(), quiet=True, **given)
        return b"".join(array.tobytes() for array in arrays(model).values())

    assert bits() == bits(out=tmp_path / "run")
    events = {path.parent.name for path in (tmp_path / "run" / "tensorboard").rglob("events*")}
    assert {"train", "valid"} <= events
    assert "zero" in (tmp_path / "run" / "recipe.toml").read_text()
    assert '"engine": "zero"' in (tmp_path / "run" / "plan.json").read_text()


def test_the_callers_generators_come_back():
    zero.manual_seed(3)
    before = zero.rand(4).numpy().tolist()
    zero.manual_seed(3)
    danlu.fit(twin(network(dropout=0.4)), points(), recipe(epochs=1), quiet=True)
    assert zero.rand(4).numpy().tolist() == before


def test_a_state_goes_on_as_if_nothing_had_happened():
    given = recipe(optim=danlu.Optim("adam", lr=0.01), ema=0.9, schedule=danlu.Schedule("cosine", per="update"))
    whole = twin(network(dropout=0.3))
    training = prepare(whole, points(), given)
    saved: Any = None
    for number, _ in enumerate(run(training, []), start=1):
        if number == 7:
            tensors, values = training.state.state_dict()
            saved = {file: {k: v.copy() for k, v in named.items()} for file, named in tensors.items()}, values
    again = twin(network(dropout=0.3))
    other = prepare(again, points(), given)
    other.state.load_state_dict(*saved)
    for _ in run(other, []):
        pass
    for name, array in arrays(whole).items():
        assert array.tobytes() == arrays(again)[name].tobytes(), name


def test_a_checkpoint_loads_into_either_framework(tmp_path: Path):
    part = danlu.Model("mlp", inputs=6, outputs=4, hidden=[8])
    ours = twin(danlu.train.build_model(part, 0))  # type: ignore[attr-defined]
    danlu.fit(ours, points(), recipe(model=part, epochs=2), out=tmp_path / "run", quiet=True)
    loaded = danlu.load_model(tmp_path / "run", at="last")
    assert isinstance(loaded, zero.nn.Module)
    assert_close(loaded, ours, 0.0)
    theirs = danlu.train.build_model(part, 1)  # type: ignore[attr-defined]
    danlu.load_model(tmp_path / "run", at="last", model=theirs)
    assert_close(theirs, ours, 0.0)
    inputs = points().valid["valid"]
    np.testing.assert_allclose(danlu.predict(loaded, inputs), danlu.predict(theirs, inputs), rtol=1e-5, atol=1e-6)
    left, right = (danlu.evaluate(model, points(), recipe(), on="valid") for model in (loaded, theirs))
    assert left == pytest.approx(right, rel=1e-5)


def test_own_steps_losses_and_optimizers():
    def named(model: Any, batch: Any) -> dict[str, Any]:
        output = model(batch[0])
        return {"fit": zero.nn.functional.cross_entropy(output, batch[1]), "size": 0.001 * (output * output).mean()}

    model = twin(network())
    done = danlu.fit(model, points(), recipe(), step=named, quiet=True)
    assert {"train/fit", "train/size", "valid/fit", "valid/loss"} <= done.summary["final"].keys()
    given: list[dict[str, Any]] = [
        {"loss": zero.nn.CrossEntropyLoss(weight=zero.tensor([1.0, 2.0, 1.0, 1.0]))},
        {"loss": danlu.Loss("cross_entropy", weight=[1.0, 2.0, 1.0, 1.0])},
    ]
    models = [twin(network()) for _ in given]
    for model, part in zip(models, given, strict=True):
        danlu.fit(model, points(), recipe(**part, optim=lambda p: zero.optim.SGD(p, lr=0.1), accumulate=2), quiet=True)
    assert_close(models[0], models[1], 0.0)
    opaque = recipe(loss=lambda output, target: zero.nn.functional.cross_entropy(output, target))
    danlu.fit(models[0], points(), opaque, quiet=True)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"device": "cuda"}, RecipeError, "device: got cuda; want cpu"),
        ({"precision": "bf16"}, RecipeError, "precision"),
        ({"optim": danlu.Optim("sgdd")}, RecipeError, "did you mean sgd"),
        ({"optim": danlu.Optim("asgd")}, RecipeError, "an optimizer that danlu.zero has: sgd, adagrad, rmsprop, adam"),
        ({"optim": danlu.Optim("sgd", momentumm=0.9)}, RecipeError, "did you mean momentum"),
        ({"optim": lambda p: torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)}, RecipeError, "Optimizer"),
        ({"loss": "bce"}, (ModelError, DataError), ""),
        ({"loss": lambda output, target: output}, ModelError, "0-d danlu.zero tensor"),
    ],
)
def test_what_does_not_fit_is_one_line(given: dict[str, Any], error: Any, words: str):
    model = twin(network())
    before = {name: array.copy() for name, array in arrays(model).items()}
    with pytest.raises(error) as caught:
        danlu.fit(model, points(), recipe(**given), quiet=True)
    assert words in str(caught.value)
    for name, array in arrays(model).items():
        assert (array == before[name]).all()


def test_a_model_of_the_wrong_framework_or_shape():
    with pytest.raises(RecipeError, match=r"danlu\.zero\.nn\.Module"):
        danlu.fit(network(), points(), recipe(engine="zero"), quiet=True)
    with pytest.raises(ModelError, match="a model that takes the train inputs"):
        danlu.fit(zero.nn.Linear(7, 4), points(), recipe(), quiet=True)
    with pytest.raises(DataError, match="at least 2 samples"):
        danlu.fit(twin(network()), points(n=33), recipe(), quiet=True)
    with pytest.raises(ModelError, match="a layer that danlu"):
        twin(nn.Sequential(nn.Flatten(), nn.Sequential(nn.LPPool2d(2, 2))))


def test_hooks_see_the_same_events():
    class Note(danlu.Hook):
        def __init__(self) -> None:
            self.seen: list[str] = []

        def on_grads_ready(self, training: Any) -> None:
            norms = [float((p.grad**2).sum()) for p in training.learner.parts.model.parameters()]
            self.seen.append(f"grads {sum(norms) > 0}")

        def on_step_end(self, training: Any, result: Any) -> None:
            self.seen.append(f"step {result.samples} {float(result.loss) > 0} {tuple(result.outputs.shape)}")

    notes = [Note(), Note()]
    theirs = network()
    for model, note in zip((twin(theirs), theirs), notes, strict=True):
        danlu.fit(model, points(), recipe(epochs=1), hooks=[note], quiet=True)
    assert notes[0].seen == notes[1].seen
    assert len(notes[0].seen) == 10


def test_the_graph_names_parameters_and_operations(tmp_path: Path):
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
    from tensorboard.compat.proto.graph_pb2 import GraphDef

    danlu.fit(twin(network()), points(), recipe(epochs=1), out=tmp_path / "run", quiet=True)
    (file,) = (tmp_path / "run" / "tensorboard" / "graph").iterdir()
    (event,) = [event for event in LegacyEventFileLoader(str(file)).Load() if event.HasField("graph_def")]
    nodes = {node.name: list(node.input) for node in GraphDef.FromString(event.graph_def).node}
    assert {"0.weight", "0.bias", "1.weight", "1.bias", "4.weight", "4.bias"} <= nodes.keys()
    (last,) = nodes.keys() - {name for inputs in nodes.values() for name in inputs}
    assert last.startswith("LinearBackward0")
    assert {"4.weight", "4.bias"} <= set(nodes[last])
