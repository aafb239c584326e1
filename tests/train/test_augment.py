"""Augmentation and normalisation in a run: exact, for training alone, the same numbers wherever the run is used."""

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from train.killing import Kill, Killed, last_state, rows, summary

import danlu
from danlu import Augment
from danlu.data import Arrays, Data, Samples, class_total, normalised, statistics
from danlu.errors import DataError, RecipeError
from danlu.models.twin import twin
from danlu.recipe import Normalise
from danlu.train import prepare

pytestmark = pytest.mark.usefixtures("quick")

CHANGES = [
    Augment("random_crop", padding=1),
    "horizontal_flip",
    Augment("noise", std=0.1),
    Augment("mixup", alpha=0.4),
    Augment("rotation", degrees=10),
]
PIXELS = np.random.default_rng(0).integers(0, 256, (60, 1, 6, 6), dtype=np.uint8)
CLASSES = np.arange(60) % 4


class Pictures(Dataset[tuple[Tensor, int]]):
    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.from_numpy(PIXELS[index]) * (1 / 255), int(CLASSES[index])


def pictures(train: Any = None) -> Data:
    return Data(
        train or Arrays(PIXELS[:40], CLASSES[:40]),
        {"valid": Arrays(PIXELS[40:], CLASSES[40:])},
        Arrays(PIXELS, CLASSES),
    )


def network(engine: str = "torch", width: int = 36) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = nn.Sequential(nn.Flatten(), nn.Linear(width, 12), nn.ReLU(), nn.Dropout(0.2), nn.Linear(12, 4))
    return twin(model) if engine == "zero" else model


def recipe(**given: Any) -> danlu.Recipe:
    part = danlu.recipe.Checkpoints(every=2, per="update", keep=2)
    plain: dict[str, Any] = {
        "epochs": 2,
        "batch_size": 16,
        "seed": 5,
        "metrics": ["accuracy", "f1"],
        "tensorboard": False,
    }
    return danlu.Recipe(**{**plain, "checkpoints": part, "augment": CHANGES, "log_every": 2, **given})


def record(folder: Path) -> dict[str, Any]:
    """Return all that is promised to be equal."""
    step, arrays, _ = last_state(folder)
    final, text = summary(folder)["final"], (folder / "recipe.toml").read_text()
    return {"step": step, "arrays": arrays, "rows": rows(folder), "final": final, "recipe": text}


@pytest.mark.parametrize(
    ("engine", "given"),
    [
        ("torch", {}),
        ("torch", {"accumulate": 2, "batch_size": 8, "data": danlu.Data(normalise=True)}),
        ("zero", {"data": danlu.Data(normalise=True)}),
    ],
)
def test_killed_and_resumed_equals_never_killed(engine: str, given: dict[str, Any], tmp_path: Path) -> None:
    danlu.fit(network(engine), pictures(), recipe(**given), out=tmp_path / "whole", quiet=True)
    out = tmp_path / "killed"
    for update in (2, 5):  # in the middle of an epoch, and of another one when it goes on
        hooks = [Kill(update)]
        with pytest.raises(Killed):
            danlu.fit(network(engine), pictures(), recipe(**given), out=out, quiet=True, hooks=hooks, resume=update > 2)
    danlu.fit(network(engine), pictures(), recipe(**given), out=out, quiet=True, resume=True)
    assert record(out) == record(tmp_path / "whole")


def test_with_workers_a_dataset_trains_as_arrays_do() -> None:
    found = []
    for source, workers in ((None, 0), (Samples(Pictures()), 0), (Samples(Pictures()), 2)):
        model = network()
        run = danlu.fit(model, pictures(source), recipe(data=danlu.Data(workers=workers)), quiet=True)
        found.append((run.summary["final"], {name: tensor.tolist() for name, tensor in model.state_dict().items()}))
    assert found[0] == found[1] == found[2]


def test_evaluation_is_never_augmented() -> None:
    training = prepare(network(), pictures(), recipe())
    plain = torch.from_numpy(PIXELS) * (1 / 255)
    for name, batches, part in (("valid", training.valid["valid"], plain[40:]), ("test", training.test, plain)):
        assert torch.equal(torch.cat([inputs for inputs, _ in batches.iterate(0)]), part), name
    assert not torch.equal(training.train.batch(0, 0)[0], plain[training.train.ids(0, 0)])
    assert training.train.batch(0, 0)[1].shape == (16, 4)


def test_evaluate_and_predict_see_plain_pictures() -> None:
    model = network()
    with_it = danlu.evaluate(model, pictures(), recipe(), on="train"), danlu.predict(model, PIXELS, recipe())
    without = (
        danlu.evaluate(model, pictures(), recipe(augment=[]), on="train"),
        danlu.predict(model, PIXELS, recipe(augment=[])),
    )
    assert with_it[0] == without[0]
    assert np.array_equal(with_it[1], without[1])


@pytest.mark.parametrize("engine", ["torch", "zero"])
def test_metrics_under_mixup_compare_with_the_likelier_class(engine: str) -> None:
    seen = []

    class See(danlu.Hook):
        def on_step_end(self, training: Any, result: Any) -> None:
            target = training.train.batch(0, training.state.updates_done - 1)[1]
            output = torch.from_numpy(training.learner.array(result.outputs))
            loss = nn.functional.cross_entropy(output, target)
            np.testing.assert_allclose(training.learner.array(result.loss), loss.numpy(), rtol=1e-5)
            seen.append((output.argmax(1) == target.argmax(1)).float())

    given = recipe(
        augment=[Augment("mixup", alpha=1.0)], epochs=1, metrics=["accuracy", "top2_accuracy", "f1", "confusion_matrix"]
    )
    for last in danlu.steps(network(engine), pictures(), given, hooks=[hook := See()]):
        assert last.samples in (16, 8)
    training = prepare(network(engine), pictures(), given)
    assert len(seen) == 3
    assert hook is not None
    history = danlu.fit(network(engine), pictures(), given, quiet=True).summary["final"]
    assert history["train/accuracy"] == pytest.approx(torch.cat(seen).mean().item())
    assert 0 <= history["train/f1"] <= 1
    training.close()


def test_a_callable_loss_keeps_its_metrics_under_mixup() -> None:
    def loss(output: Tensor, target: Tensor) -> Tensor:
        return nn.functional.cross_entropy(output, target)

    run = danlu.fit(network(), pictures(), recipe(loss=loss, epochs=1), quiet=True)
    assert 0 <= run.summary["final"]["train/accuracy"] <= 1


def test_other_losses_take_mixed_floats() -> None:
    target = CLASSES.astype(np.float32) / 4
    data = Data(Arrays(PIXELS[:40], target[:40, None]), {"valid": Arrays(PIXELS[40:], target[40:, None])})
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 1))
    run = danlu.fit(model, data, recipe(loss="mse", metrics=["mae"], epochs=1), quiet=True)
    assert run.summary["final"]["train/mae"] > 0
    with pytest.raises(DataError, match="the target of nll: got"):
        danlu.fit(network(), pictures(), recipe(loss="nll"), quiet=True)
    with pytest.raises(DataError, match=r"give the model 7 outputs, or the targets 4 columns \(classes of mixup\)"):
        danlu.fit(network(), pictures(), recipe(augment=[Augment("mixup", classes=7)]), quiet=True)


def test_the_one_batch_to_overfit_is_not_augmented() -> None:
    training = prepare(network(), pictures(), recipe(overfit_one_batch=True))
    assert torch.equal(training.train.batch(0, 0)[0], training.valid["valid"].batch(0, 0)[0])
    assert "overfit_one_batch: the one batch is not augmented" in training.notices


def test_a_ready_loader_is_one_line() -> None:
    with pytest.raises(DataError, match=r"augment: got a ready DataLoader.*loader\.dataset"):
        danlu.fit(network(), DataLoader(Pictures(), batch_size=8), recipe(), quiet=True)


def test_a_wrong_augmentation_leaves_no_folder(tmp_path: Path) -> None:
    for augment, kind in ((["flip"], RecipeError), (["random_crop"], RecipeError)):
        with pytest.raises(kind, match=r"augment\[0\]"):
            danlu.fit(network(), pictures(), recipe(augment=augment), out=tmp_path / "run", quiet=True)
    flat = PIXELS.reshape(60, 36).astype(np.float32)
    with pytest.raises(DataError, match="want pictures"):
        danlu.fit(network(), (flat, CLASSES), recipe(augment=["horizontal_flip"]), out=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_another_augmentation_is_another_recipe(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(Killed):
        danlu.fit(network(), pictures(), recipe(), out=out, quiet=True, hooks=[Kill(4)])
    with pytest.raises(RecipeError, match="augment: "):
        danlu.fit(network(), pictures(), recipe(augment=[]), out=out, quiet=True, resume=True)


# normalising


def test_the_numbers_are_computed_once_and_kept_in_the_run(tmp_path: Path) -> None:
    out, given = tmp_path / "run", recipe(data=danlu.Data(normalise=True), augment=[])
    danlu.fit(network(), pictures(), given, out=out, quiet=True)
    assert given.data.normalise is True  # the caller's recipe stays as it was
    kept = tomllib.loads((out / "recipe.toml").read_text())["data"]["normalise"]
    train = PIXELS[:40] / 255
    np.testing.assert_allclose([kept["mean"], kept["std"]], [[train.mean()], [train.std()]], rtol=1e-6)
    stored = danlu.load_recipe(out)
    model = danlu.load_model(out, at="last", model=network())
    final = danlu.Run(out).summary["final"]
    found = danlu.evaluate(model, pictures(), stored, on="valid")
    assert found == {name: final[f"valid/{name}"] for name in found}
    assert found == danlu.evaluate(model, pictures(), given, on="valid")  # computed anew from the same training set
    by_hand = (PIXELS / 255 - kept["mean"][0]) / kept["std"][0]
    wanted = danlu.predict(model, by_hand.astype(np.float32))
    np.testing.assert_allclose(danlu.predict(model, PIXELS, stored), wanted, atol=1e-6)
    with pytest.raises(DataError, match=r"data.normalise: got true; .*load_recipe"):
        danlu.predict(model, PIXELS, given)


def test_a_resumed_run_keeps_its_numbers_whatever_the_data_say(tmp_path: Path) -> None:
    out, given = tmp_path / "run", recipe(data=danlu.Data(normalise=True), augment=[])
    given.checkpoints = "off"
    with pytest.raises(Killed):
        danlu.fit(network(), pictures(), given, out=out, quiet=True, hooks=[Kill(4)])
    before = (out / "recipe.toml").read_text()
    other = Data(Arrays(PIXELS[:40] // 2, CLASSES[:40]), pictures().valid, pictures().test)
    danlu.fit(network(), other, given, out=out, quiet=True, resume=True)
    assert (out / "recipe.toml").read_text() == before
    with pytest.raises(RecipeError, match=r"data.normalise"):
        danlu.fit(network(), pictures(), recipe(augment=[], checkpoints="off"), out=out, quiet=True, resume=True)


@pytest.mark.parametrize("kind", ["arrays", "dataset", "loader"])
def test_every_set_is_normalised_by_the_same_numbers(kind: str) -> None:
    sources: dict[str, Any] = {
        "arrays": None,
        "dataset": Samples(Pictures()),
        "loader": danlu.data.Loader(DataLoader(Pictures(), batch_size=10)),
    }
    given = recipe(data=danlu.Data(normalise={"mean": 0.25, "std": 0.5}), augment=[], batch_size=10)
    training = prepare(network(), pictures(sources[kind]), given)
    plain = torch.from_numpy(PIXELS) / 255
    served = torch.cat([inputs for inputs, _ in training.train.iterate(0)])
    assert served.mean().item() == pytest.approx(((plain[:40] - 0.25) / 0.5).mean().item(), abs=1e-5)
    for batches, part in ((training.valid["valid"], plain[40:]), (training.test, plain)):
        wanted = (part - 0.25) / 0.5
        torch.testing.assert_close(torch.cat([inputs for inputs, _ in batches.iterate(0)]), wanted)
    training.close()


@pytest.mark.parametrize("shape", [(50,), (50, 3), (50, 4, 3), (50, 3, 5, 4)])
@pytest.mark.parametrize("kind", ["float32", "float64", "uint8", "int64"])
def test_statistics_are_numpys(shape: tuple[int, ...], kind: str) -> None:
    values = (np.random.default_rng(0).normal(100, 20, shape)).clip(0, 255).astype(kind)
    source = Arrays(values).take(np.arange(0, 50, 2))
    found = statistics(source)
    own = values[::2].astype(np.float64) / (255 if kind == "uint8" and len(shape) >= 3 else 1)
    axes = tuple(axis for axis in range(len(shape)) if axis != 1) if len(shape) in (2, 4) else None
    np.testing.assert_allclose(found.mean, np.atleast_1d(own.mean(axis=axes)), rtol=1e-6)
    np.testing.assert_allclose(found.std, np.atleast_1d(own.std(axis=axes)), rtol=1e-6)


def test_statistics_do_not_lose_digits_far_from_zero_and_leave_constants() -> None:
    values = np.stack([1e4 + np.arange(3000) % 2, np.full(3000, 0.1)], axis=1)
    found = statistics(Arrays(values))
    np.testing.assert_allclose(found.mean, [1e4 + 0.5, 0.1], rtol=1e-7)
    np.testing.assert_allclose(found.std, [0.5, 1.0], rtol=1e-6)


def test_inputs_that_cannot_be_normalised() -> None:
    given = recipe(data=danlu.Data(normalise=True), augment=[])
    own = Arrays(PIXELS, CLASSES, mean=0.5)
    with pytest.raises(DataError, match=r"data.normalise: got a data set that is normalised already"):
        prepare(network(), Data(own), given)
    two = Arrays((PIXELS, PIXELS), CLASSES)
    with pytest.raises(DataError, match=r"data.normalise: got 2 input"):
        prepare(network(), Data(two), given)
    wrong = recipe(data=danlu.Data(normalise={"mean": [1.0, 2.0]}), augment=[])
    with pytest.raises(DataError, match="mean: got 2 numbers"):
        prepare(network(), pictures(), wrong)
    batches = danlu.data.batches(normalised(Samples(Pictures()), Normalise([1.0, 2.0])), 4)
    with pytest.raises(DataError, match=r"data.normalise: got 2 numbers for inputs"):
        batches.batch(0, 0)


def test_classes_are_counted_in_all_sets() -> None:
    data = Data(Arrays(PIXELS, CLASSES), {"valid": Arrays(PIXELS, CLASSES + 2)})
    assert class_total(data) == 6
    assert class_total(Data(Samples(Pictures()))) == 0
    assert class_total(Data(Samples(Pictures()), classes=("a", "b"))) == 2
    assert class_total(Data(Arrays(PIXELS, CLASSES / 2))) == 0
