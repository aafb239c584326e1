"""What a caller calls."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import danlu
from danlu import save
from danlu.data import Arrays, Data


def small() -> Data:
    x = np.random.default_rng(0).standard_normal((40, 4)).astype(np.float32)
    y = (x[:, 0] > 0) + (x[:, 1] > 0)
    every = Arrays(x, y)
    return Data(every, {"valid": every}, test=every)


def model(seed: int = 0) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(4, 3)


RECIPE = danlu.Recipe(epochs=4, batch_size=10, metrics=["accuracy"], model=danlu.Model("mlp", inputs=4, outputs=3))


def weights(of: nn.Module) -> dict[str, Any]:
    return {name: tensor.tolist() for name, tensor in of.state_dict().items()}


def test_fit_learns_and_says_what_happened():
    torch.manual_seed(0)
    run = danlu.fit(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), danlu.data.load("digits"), quiet=True)
    assert run.best is not None
    assert run.best["value"] < 0.5
    assert run.history["valid/loss"].to_list()[-1] == run.summary["final"]["valid/loss"]
    assert run.summary["epochs"] == 10  # the default recipe's


def test_steps_is_the_same_loop_in_the_callers_hands():
    ours, theirs, losses = model(), model(), []
    for result in danlu.steps(ours, small(), RECIPE):
        losses.append(result.loss)
        assert result.outputs.shape == (10, 3)
    danlu.fit(theirs, small(), RECIPE, quiet=True)
    assert weights(ours) == weights(theirs)
    assert len(losses) == 16
    assert not any(loss.requires_grad for loss in losses)
    assert losses[-1] < losses[0]


def test_every_checkpoint_can_be_loaded(tmp_path: Path):
    part = danlu.Model("mlp", inputs=4, outputs=3, hidden=[8], dropout=0.1)
    recipe = danlu.Recipe(epochs=4, batch_size=10, model=part, optim=danlu.Optim("sgd", lr=3.0), seed=2)
    net = danlu.train.build_model(part, 2)  # type: ignore[attr-defined]
    run = danlu.fit(net, small(), recipe, out=tmp_path / "run", quiet=True)
    assert run.best is not None
    best, last = run.best["step"], run.summary["updates"]
    assert best != last
    assert save.steps(tmp_path / "run") == [best, last]
    for at, step in (("best", best), ("last", last), (best, best), (str(last), last)):
        loaded = danlu.load_model(tmp_path / "run", at=at)
        tensors, _ = save.read(save.folder(tmp_path / "run", step))
        state = loaded.state_dict()
        assert all(np.array_equal(state[name].numpy(), array) for name, array in tensors["model"].items())
    assert weights(danlu.load_model(tmp_path / "run", at="last")) == weights(net)
    assert danlu.evaluate(danlu.load_model(tmp_path / "run"), small(), recipe, on="valid")["loss"] == run.best["value"]
    with pytest.raises(danlu.RunError, match="no checkpoint 3"):
        danlu.load_model(tmp_path / "run", at=3)
    with pytest.raises(danlu.ModelError, match="missing"):
        danlu.load_model(tmp_path / "run", model=nn.Conv2d(1, 1, 1))


def test_a_model_that_no_recipe_names_is_given_back_to_load(tmp_path: Path):
    net = model()
    danlu.fit(net, small(), danlu.Recipe(epochs=1, batch_size=10), out=tmp_path / "run", quiet=True)
    with pytest.raises(danlu.RecipeError, match="a model: a name"):
        danlu.load_model(tmp_path / "run")
    assert weights(danlu.load_model(tmp_path / "run", model=model(5))) == weights(net)


def test_a_missing_or_damaged_checkpoint_is_named(tmp_path: Path):
    danlu.fit(model(), small(), danlu.Recipe(epochs=1, batch_size=10), out=tmp_path / "run", quiet=True)
    file = save.folder(tmp_path / "run", 4) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(danlu.RunError, match=r"model\.safetensors"):
        danlu.load_model(tmp_path / "run", model=model())
    danlu.fit(model(), small(), danlu.Recipe(epochs="off", minutes=1e-9), out=tmp_path / "none", quiet=True)
    assert save.steps(tmp_path / "none") == [0]
    for _ in danlu.steps(model(), small(), RECIPE, out=tmp_path / "bare"):
        pass
    with pytest.raises(danlu.RecipeError, match=r"recipe\.toml"):
        danlu.load_model(tmp_path / "bare", model=model())


def test_the_average_is_what_a_run_with_one_loads(tmp_path: Path):
    net = model()
    recipe = danlu.Recipe(epochs=2, batch_size=10, ema=0.9)
    run = danlu.fit(net, small(), recipe, out=tmp_path / "run", quiet=True)
    loaded = danlu.load_model(tmp_path / "run", at="last", model=model())
    assert weights(loaded) != weights(net)
    assert danlu.evaluate(loaded, small(), recipe)["loss"] == run.summary["final"]["test/loss"]


@pytest.mark.parametrize("lying", ["run", "files", "file"])
def test_a_taken_folder_is_refused_before_anything_is_touched(lying: str, tmp_path: Path):
    out = tmp_path / "run"
    if lying == "run":
        danlu.fit(model(), small(), danlu.Recipe(epochs=1, batch_size=10), out=out, quiet=True)
    elif lying == "files":
        out.mkdir()
        (out / "thesis.tex").write_text("years of work")
    else:
        out.write_text("a file")
    before = {path: path.read_bytes() for path in [out, *out.rglob("*")] if path.is_file()}
    net = model()
    net.eval()
    kept = weights(net)
    recipe = danlu.Recipe(init=[danlu.Init("zeros")], freeze=["bias"], batch_size=10)
    for call in (danlu.fit, danlu.steps):
        with pytest.raises(danlu.RunError, match=str(out)):
            call(net, small(), recipe, out=out)
    assert weights(net) == kept
    assert net.bias.requires_grad
    assert not net.training
    assert {path: path.read_bytes() for path in [out, *out.rglob("*")] if path.is_file()} == before


def test_an_empty_folder_may_be_used(tmp_path: Path):
    run = danlu.fit(model(), small(), danlu.Recipe(epochs=1, batch_size=10), out=tmp_path, quiet=True)
    assert danlu.Run(tmp_path).summary == run.summary


def test_a_failing_check_leaves_no_folder(tmp_path: Path):
    for out in (tmp_path / "new", tmp_path / "deep" / "new"):
        with pytest.raises(danlu.ModelError):
            danlu.fit(nn.Linear(5, 3), small(), RECIPE, out=out)
    assert not list(tmp_path.iterdir())


def test_evaluate_names_sets_and_takes_whatever_holds_samples():
    net, data = model(), small()
    whole = danlu.evaluate(net, data, RECIPE)
    assert whole.keys() == {"loss", "accuracy"}
    assert danlu.evaluate(net, data, RECIPE, on="train") == whole
    assert danlu.evaluate(net, data.train, RECIPE) == whole
    with pytest.raises(danlu.DataError, match="one of train, valid, test"):
        danlu.evaluate(net, data, RECIPE, on="tests")


def test_predict_takes_tuples_and_dicts():
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Linear(4, 3)

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return self.net(a - b)

    net, a, b = Both(), np.ones((5, 4), np.float32), np.zeros((5, 4), np.float32)
    by_order = danlu.predict(net, (a, b), danlu.Recipe(batch_size=2))
    assert np.array_equal(by_order, danlu.predict(net, {"b": b, "a": a}, danlu.Recipe(batch_size=2)))
    assert by_order.shape == (5, 3)


def test_real_objects_stand_where_names_do(tmp_path: Path):
    recipe = danlu.Recipe(
        loss=nn.CrossEntropyLoss(),
        optim=lambda parameters: torch.optim.SGD(parameters, lr=0.1),
        schedule=lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5),
        epochs=2,
        batch_size=10,
    )
    named = danlu.Recipe(
        optim=danlu.Optim("sgd", lr=0.1),
        schedule=danlu.Schedule("step", step_size=1, gamma=0.5),
        epochs=2,
        batch_size=10,
    )
    ours, theirs = model(), model()
    run = danlu.fit(ours, small(), recipe, out=tmp_path / "run", quiet=True)
    danlu.fit(theirs, small(), named, quiet=True)
    assert weights(ours) == weights(theirs)
    assert "torch.nn.modules.loss:CrossEntropyLoss" in run.recipe
