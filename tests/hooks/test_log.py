"""Rows: at the right updates, with the right values, in the store and in TensorBoard."""

import json
import math
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import danlu
from danlu import hooks
from danlu.data import Arrays, Data
from danlu.train import Training, prepare, run


def points(n: int = 44, kinds: int = 4) -> Data:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n + 10, 5)).astype(np.float32)
    y = np.arange(n + 10) % kinds
    return Data(Arrays(x[:n], y[:n]), {"valid": Arrays(x[n:], y[n:])}, test=Arrays(x[:5], y[:5]))


class Losses(danlu.Hook):
    """Sum of the loss over samples, and the samples, of every update."""

    def __init__(self) -> None:
        self.sums: list[tuple[float, int]] = []

    def on_step_end(self, training: Training, result: Any) -> None:
        self.sums.append((float(result.loss) * result.samples, result.samples))


def trained(recipe: danlu.Recipe, data: Data | None = None) -> tuple[Training, Losses]:
    torch.manual_seed(0)
    training, losses = prepare(nn.Linear(5, 4), data or points(), recipe), Losses()
    for _ in run(training, [hooks.Log(recipe.log_every), losses]):
        pass
    return training, losses


@pytest.mark.parametrize("every", [1, 4, 5])
@pytest.mark.parametrize("validate", [("epoch", 1), ("update", 3), ("update", 1)])
def test_the_running_loss_is_the_mean_over_its_interval_whatever_is_evaluated_in_between(
    every: int, validate: tuple[str, int]
):
    recipe = danlu.Recipe(epochs=3, batch_size=8, log_every=every, validate_per=validate[0], validate_every=validate[1])
    training, losses = trained(recipe)  # 6 updates an epoch, the last of them with 4 samples
    rows = [(step, value) for step, name, value in training.store.rows() if name == "running/loss"]
    assert [step for step, _ in rows] == list(range(every, 19, every))
    for step, value in rows:
        part = losses.sums[step - every : step]
        assert value == pytest.approx(sum(s for s, _ in part) / sum(n for _, n in part), rel=1e-6)


def test_rows_stand_at_their_updates():
    training, losses = trained(danlu.Recipe(epochs=2, batch_size=8, log_every=4, metrics=["accuracy"]))
    at: dict[str, list[int]] = {}
    for step, name, _ in training.store.rows():
        at.setdefault(name, []).append(step)
    assert at == {
        "running/loss": [4, 8, 12],
        "lr": [4, 6, 8, 12],
        "train/loss": [6, 12],
        "train/accuracy": [6, 12],
        "valid/loss": [6, 12],
        "valid/accuracy": [6, 12],
        "epoch": [6, 12],
        "test/loss": [12],
        "test/accuracy": [12],
    }
    first, second = (losses.sums[:6], losses.sums[6:])
    means = [sum(s for s, _ in part) / 44 for part in (first, second)]
    found = [value for _, name, value in training.store.rows() if name == "train/loss"]
    assert found == pytest.approx(means, rel=1e-6)
    assert [step for step, name, _ in training.store.timings() if name == "seconds"] == [6, 12, 12]


def test_nan_is_recorded_as_nan_and_is_never_the_best():
    def turning(output: Tensor, target: Tensor) -> Tensor:
        loss = F.cross_entropy(output, target)
        return loss * float("nan") if output.requires_grad and done and done[0].updates_done == 8 else loss

    torch.manual_seed(0)
    done: list[danlu.train.TrainState] = []  # type: ignore[name-defined]
    recipe = danlu.Recipe(loss=turning, epochs=3, batch_size=8, log_every=1, on_nan="record")
    training = prepare(nn.Linear(5, 4), points(), recipe)
    done.append(training.state)
    for _ in run(training, [hooks.Log(1), hooks.StopEarly(2)]):
        pass
    rows = {name: [value for _, own, value in training.store.rows() if own == name] for name in training.store.names()}
    assert [math.isnan(value) for value in rows["running/loss"]] == [False] * 8 + [True] * 10
    assert [math.isnan(value) for value in rows["train/loss"]] == [False, True, True]
    assert [math.isnan(value) for value in rows["valid/loss"]] == [False, True, True]
    assert training.state.best == {"step": 6, "metric": "valid/loss", "value": rows["valid/loss"][0]}
    assert training.state.evaluations_since_best == 2
    assert training.stop is not None
    assert "no better than" in training.stop.reason


def test_a_nan_spoils_only_its_own_interval_once_an_evaluation_has_passed():
    def blind(output: Tensor, target: Tensor) -> Tensor:
        loss = F.cross_entropy(output, target)
        return loss + (float("nan") if done and done[0].updates_done == 5 else 0.0)  # a constant has no gradient

    done: list[danlu.train.TrainState] = []  # type: ignore[name-defined]
    recipe = danlu.Recipe(loss=blind, epochs=2, batch_size=8, log_every=4, on_nan="record")
    torch.manual_seed(0)
    training = prepare(nn.Linear(5, 4), points(), recipe)
    done.append(training.state)
    for _ in run(training, [hooks.Log(4)]):
        pass
    rows = [value for _, name, value in training.store.rows() if name == "running/loss"]
    assert [math.isnan(value) for value in rows] == [False, True, False]


def test_a_matrix_is_a_document_and_no_row():
    training, _ = trained(danlu.Recipe(epochs=2, batch_size=8, metrics=["confusion_matrix", "accuracy"]))
    documents = training.store.documents()
    assert [(step, name) for step, name, _ in documents] == [
        (6, "train/confusion_matrix"),
        (6, "valid/confusion_matrix"),
        (12, "train/confusion_matrix"),
        (12, "valid/confusion_matrix"),
        (12, "test/confusion_matrix"),
    ]
    assert [np.sum(matrix) for _, _, matrix in documents] == [44, 10, 44, 10, 5]
    last = np.array(documents[-2][2])
    assert np.trace(last) / 10 == dict((name, value) for _, name, value in training.store.rows())["valid/accuracy"]
    assert not any("matrix" in name for name in training.store.names())


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = {}
    for sub_run in sorted(folder.iterdir()):
        events = EventAccumulator(str(sub_run), size_guidance={"images": 0})
        events.Reload()
        tags = events.Tags()
        found.update(
            {f"{sub_run.name}/{tag}": [(e.step, e.value) for e in events.Scalars(tag)] for tag in tags["scalars"]}
        )
        found.update({f"{sub_run.name}/{tag}": [(e.step, 0.0) for e in events.Images(tag)] for tag in tags["images"]})
    return found


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_holds_the_rows_of_the_store_and_the_pictures(tmp_path: Path):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 255, (20, 1, 4, 4)).astype(np.uint8), np.arange(20) % 3
    data = danlu.data.arrays(images, labels, valid=(images, labels))
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    recipe = danlu.Recipe(epochs=2, batch_size=5, log_every=3, metrics=["accuracy", "confusion_matrix"])
    made = danlu.fit(model, data, recipe, out=tmp_path / "run", quiet=True)
    shown = scalars(tmp_path / "run" / "tensorboard")
    assert made.folder is not None
    with danlu.track.store.MetricStore.open(made.folder / "metrics.sqlite") as store:
        for name in set(store.names()) - {"epoch"}:
            rows = [(step, np.float32(value)) for step, own, value in store.rows() if own == name]
            assert shown[name if "/" in name else f"run/{name}"] == rows
    assert [step for step, _ in shown["media/inputs with predictions"]] == [0, 8]
    assert (tmp_path / "run" / "tensorboard" / "graph").is_dir()
    assert not [text for _, kind, text in made.events if kind == "notice"]


class Two(nn.Module):
    """Takes pictures, returns a tuple: no plain prediction."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        return self.net(inputs), inputs


LABELS: dict[str, tuple[Any, Any, nn.Module]] = {
    "many labels": ((np.arange(60).reshape(20, 3) % 2).astype(np.float32), "bce_with_logits", nn.Linear(16, 3)),
    "numbers": (np.zeros((20, 3), np.float32), "mse", nn.Linear(16, 3)),
    "no labels": (None, lambda output, target: output.square().mean(), nn.Linear(16, 3)),
    "two outputs": (np.arange(20) % 3, lambda output, target: F.cross_entropy(output[0], target), Two()),
}


@pytest.mark.parametrize("name", LABELS)
def test_pictures_with_other_targets_or_outputs_do_not_disturb_the_run(name: str, tmp_path: Path):
    target, loss, last = LABELS[name]
    images = np.zeros((20, 1, 4, 4), np.uint8)
    model = last if isinstance(last, Two) else nn.Sequential(nn.Flatten(), last)
    recipe = danlu.Recipe(loss=loss, epochs=1, batch_size=5)
    made = danlu.fit(model, danlu.data.arrays(images, target), recipe, out=tmp_path / "run", quiet=True)
    assert made.summary["status"] == "finished"
    assert list((tmp_path / "run" / "tensorboard" / "media").iterdir())


def test_an_own_step_that_calls_the_model_its_own_way_still_gets_its_pictures(tmp_path: Path):
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Linear(16, 3)

        def forward(self, inputs: Tensor, scale: float) -> Tensor:
            return self.net(inputs.flatten(1)) * scale

    data = danlu.data.arrays(np.zeros((20, 1, 4, 4), np.uint8), np.arange(20) % 3)
    made = danlu.fit(
        Scaled(),
        data,
        danlu.Recipe(epochs=1, batch_size=5),
        step=lambda model, batch: F.cross_entropy(model(batch[0], 2.0), batch[1]),
        out=tmp_path / "run",
        quiet=True,
    )
    assert made.summary["status"] == "finished"
    told = [text.partition(":")[0] for _, kind, text in made.events if kind == "notice"]
    assert told == ["no graph", "pictures without predictions", "pictures without predictions"]


def test_pixels_are_shown_as_they_are_and_normalised_ones_are_spread():
    training = prepare(nn.Linear(5, 4), points(), danlu.Recipe())
    plain = torch.tensor([0.0, 0.5, 1.0, 0.25]).reshape(1, 1, 2, 2)
    shown = hooks.log.pictures(training, (plain, None))
    assert shown is not None
    assert shown.reshape(-1).tolist() == [0, 128, 255, 64]
    shown = hooks.log.pictures(training, (torch.tensor([-1.0, 0.0, 1.0, 3.0]).reshape(1, 1, 2, 2), None))
    assert shown is not None
    assert shown.reshape(-1).tolist() == [0, 64, 128, 255]
    assert hooks.log.pictures(training, (torch.zeros(2, 5, 4, 4), None)) is None
    assert hooks.log.pictures(training, ((plain, plain), None)) is None


def test_its_memory_survives_json():
    log = hooks.Log(3)
    kept = {"read": [1.5, 3.0], "rows": {"metrics": 7}}
    log.load(json.loads(json.dumps(kept)))
    assert log.state() == kept


@pytest.mark.parametrize("how", ["BEGIN IMMEDIATE", "BEGIN"])
def test_a_store_that_another_program_holds_is_told_of_once_and_loses_nothing(
    how: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    class Other(danlu.Hook):
        def on_step_end(self, training: Training, result: Any) -> None:
            if training.state.updates_done in (3, 11):
                assert training.store.path is not None
                self.other = sqlite3.connect(training.store.path, isolation_level=None)
                self.other.execute(how)
                self.other.execute("SELECT COUNT(*) FROM metrics").fetchone()
            if training.state.updates_done in (7, 14):
                self.other.close()

    part = danlu.recipe.Checkpoints(every=1, per="update")
    recipe = danlu.Recipe(epochs=3, batch_size=8, log_every=1, checkpoints=part, tensorboard=False)
    run = danlu.fit(nn.Linear(5, 4), points(), recipe, out=tmp_path / "run", quiet=True, hooks=[Other()])
    told = capsys.readouterr().err
    assert told.count("metrics.sqlite: another program holds it") == told.count("\n") == 2
    assert [step for step, _ in run.metrics("running/loss").rows()] == list(range(1, 19))
