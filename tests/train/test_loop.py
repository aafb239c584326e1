"""When things happen: the same bits again, what watching leaves alone, when evaluations fall, and every way to stop."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset, WeightedRandomSampler

import danlu
from danlu import hooks
from danlu.data import Arrays, Data, Loader, Samples
from danlu.train import Training, prepare, run


def points(n: int = 40, seed: int = 0) -> Data:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n + 10, 5)).astype(np.float32)
    y = (x[:, 0] > 0) + 2 * (x[:, 1] > 0)
    return Data(Arrays(x[:n], y[:n]), {"valid": Arrays(x[n:], y[n:])}, test=Arrays(x[:7], y[:7]))


def network(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        first, last = nn.Linear(5, 12), nn.Linear(12, 4)
    return nn.Sequential(first, nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.4), last)


RECIPE: dict[str, Any] = {"epochs": 3, "batch_size": 8, "seed": 5, "metrics": ["accuracy"]}


def recipe(**given: object) -> danlu.Recipe:
    return danlu.Recipe(**{**RECIPE, **given})


def bits(model: nn.Module) -> bytes:
    return b"".join(tensor.numpy().tobytes() for tensor in model.state_dict().values())


def fitted(data: object = None, **given: object) -> bytes:
    model = network()
    run_given = {key: given.pop(key) for key in ("hooks", "out", "quiet") if key in given}
    danlu.fit(model, points() if data is None else data, recipe(**given), **{"quiet": True, **run_given})
    return bits(model)


class Note(danlu.Hook):
    """Which updates were evaluated, and how often each event came."""

    def __init__(self) -> None:
        self.evaluated: list[int] = []
        self.figures: list[dict[str, Any]] = []
        self.ended: list[BaseException | None] = []
        self.reason = ""

    def on_eval_end(self, training: Training, figures: dict[str, Any]) -> None:
        self.evaluated.append(training.state.updates_done)
        self.figures.append(figures)

    def on_fit_end(self, training: Training, error: BaseException | None) -> None:
        self.ended.append(error)
        self.reason = "" if training.stop is None else training.stop.reason


# The same bits -----------------------------------------------------------------------------------------------------


class Noisy(Dataset[tuple[Tensor, int]]):
    """Samples with augmentation drawn from all three generators."""

    def __len__(self) -> int:
        return 24

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        base = torch.full((5,), index / 10)
        noise = torch.rand(5) + float(np.random.rand()) + random.random()
        return base + noise, index % 4


def test_same_seed_same_bits_and_another_seed_differs():
    assert fitted() == fitted()
    assert fitted() != fitted(seed=6)


@pytest.mark.parametrize("workers", [1, 2])
def test_augmentation_is_the_same_for_any_number_of_workers(workers: int):
    expected = fitted(Samples(Noisy()), epochs=2)
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    assert fitted(Samples(Noisy()), epochs=2) == expected
    assert fitted(Samples(Noisy(), workers=workers), epochs=2) == expected
    assert fitted(Samples(Noisy()), epochs=2, seed=9) != expected


class Meddler(danlu.Hook):
    """A hook that draws from every generator it can reach, everywhere."""

    def _draw(self) -> None:
        torch.rand(3)

    def on_fit_start(self, training: Training) -> None:
        self._draw()

    def on_step_end(self, training: Training, result: danlu.train.Result) -> None:  # type: ignore[name-defined]
        self._draw()
        result.loss.item()
        training.learner.train_sums()
        training.learner.parameters()
        training.state.state_dict()

    def on_eval_end(self, training: Training, figures: dict[str, Any]) -> None:
        self._draw()

    def on_checkpoint(self, training: Training) -> None:
        self._draw()


def test_watching_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    model = network()
    for _ in danlu.steps(model, points(), recipe()):
        pass
    expected = bits(model)
    seen = {
        "in memory": fitted(),
        "in a folder": fitted(out=tmp_path / "a"),
        "without TensorBoard": fitted(out=tmp_path / "b", tensorboard=False),
        "a row per update": fitted(out=tmp_path / "c", log_every=1),
        "plain progress": fitted(hooks=[hooks.PlainProgress()]),
        "live progress": fitted(hooks=[hooks.LiveProgress()]),
        "a hook that draws": fitted(hooks=[Meddler()]),
        "default progress": fitted(quiet=False),
    }
    assert [name for name, found in seen.items() if found != expected] == []
    assert "epoch 3/3" in capsys.readouterr().out


class Drawn(Dataset[tuple[Tensor, int]]):
    def __len__(self) -> int:
        return 16

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        shift = torch.rand(1, 1, 1) + random.random() + float(np.random.rand())
        return torch.full((1, 2, 2), index / 16) + shift, index % 4


def test_a_loader_that_draws_from_the_global_generators_is_not_disturbed_by_pictures(tmp_path: Path):
    found = []
    for out in (None, tmp_path / "a"):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(4, 4))
        danlu.fit(model, DataLoader(Drawn(), batch_size=4, shuffle=True), recipe(), out=out, quiet=True)
        found.append(bits(model))
    assert found[0] == found[1]


def test_evaluating_more_often_changes_no_weight():
    every_epoch = fitted()
    assert fitted(validate_per="update") == every_epoch
    assert fitted(validate_every=2, validate_per="update") == every_epoch
    assert fitted(validate_every=3) == every_epoch
    assert fitted(eval_batch_size=3) == every_epoch
    without = Data(points().train)
    assert fitted(without) == every_epoch


# What is the caller's stays the caller's ---------------------------------------------------------------------------


def world() -> tuple[object, ...]:
    state = np.random.get_state(legacy=False)["state"]  # type: ignore[call-overload]
    return (
        random.getstate(),
        state["key"].tobytes(),
        state["pos"],
        torch.get_rng_state().numpy().tobytes(),
        torch.are_deterministic_algorithms_enabled(),
        torch.get_num_threads(),
        torch.is_grad_enabled(),
        torch.utils.deterministic.fill_uninitialized_memory,
    )


def finish(model: nn.Module) -> None:
    danlu.fit(model, points(), recipe(threads=2), quiet=True)


def fail(model: nn.Module) -> None:
    with pytest.raises(ZeroDivisionError):
        danlu.fit(model, points(), recipe(threads=2), hooks=[Failing("on_step_end")], quiet=True)


def leave(model: nn.Module) -> None:
    for _ in danlu.steps(model, points(), recipe(threads=2)):
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.get_num_threads() == 2
        break


def leave_by_error(model: nn.Module) -> None:
    def body() -> None:
        for _ in danlu.steps(model, points(), recipe(threads=2)):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        body()


def with_a_loader(model: nn.Module) -> None:
    samples = TensorDataset(torch.zeros(20, 5), torch.arange(20) % 4)
    danlu.fit(model, DataLoader(samples, batch_size=5, shuffle=True), recipe(threads=2), quiet=True)


def refuse(model: nn.Module) -> None:
    loader = DataLoader(TensorDataset(torch.zeros(8, 5), torch.zeros(8)), shuffle=True, batch_size=2)
    with pytest.raises(danlu.DataError):
        danlu.steps(model, loader, recipe(threads=2))


@pytest.mark.parametrize("act", [finish, fail, leave, leave_by_error, with_a_loader, refuse])
def test_generators_and_settings_come_back(act: Callable[[nn.Module], None]):
    torch.set_num_threads(1)
    model, before = network(), world()
    act(model)
    assert world() == before


def test_pictures_in_the_record_leave_the_generators_alone(tmp_path: Path):
    images = DataLoader(Drawn(), batch_size=4, shuffle=True)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 4))
    before = world()
    danlu.fit(model, images, recipe(), out=tmp_path / "run", quiet=True)
    assert world() == before


# When evaluations fall ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, [5, 10, 15]),
        ({"validate_every": 2}, [10, 15]),  # and at the end
        ({"validate_every": 4, "validate_per": "update"}, [4, 8, 12, 15]),
        ({"updates": 7}, [5, 7]),
        ({"updates": 10}, [5, 10]),
        ({"limit_batches": 2}, [2, 4, 6]),
        ({"accumulate": 2}, [3, 6, 9]),
        ({"overfit_one_batch": True}, [1, 2, 3]),
    ],
)
def test_cadence(given: dict[str, object], expected: list[int]):
    note = Note()
    danlu.fit(network(), points(), recipe(**given), hooks=[note], quiet=True)
    tested = [] if "overfit_one_batch" in given else [expected[-1]]  # that one has no test set
    assert note.evaluated == expected + tested
    assert all({"train/loss", "valid/accuracy"} <= figures.keys() for figures in note.figures[: len(expected)])
    assert [list(figures) for figures in note.figures[len(expected) :]] == [["test/loss", "test/accuracy"]] * len(
        tested
    )


def test_every_validation_set_has_its_own_rows():
    x, y = np.zeros((8, 5), np.float32), np.zeros(8, np.int64)
    data = Data(points().train, {"clean": Arrays(x, y), "noisy": Arrays(x + 1, y + 3)})
    run_ = danlu.fit(network(), data, recipe(), quiet=True)
    assert {"clean/loss", "noisy/loss", "clean/accuracy", "noisy/accuracy"} <= run_.summary["final"].keys()
    assert run_.best is not None
    assert run_.best["metric"] == "clean/accuracy"
    named = danlu.fit(network(), data, recipe(monitor="noisy/loss"), quiet=True)
    assert named.best is not None
    assert named.best["metric"] == "noisy/loss"


def test_limit_batches_limits_every_set():
    data = points()
    final = danlu.fit(network(), data, recipe(limit_batches=1, epochs=1, eval_batch_size=4), quiet=True).summary
    assert final["samples_seen"] == 8
    model = network()
    danlu.fit(model, data, recipe(limit_batches=1, epochs=1), quiet=True)
    part = Data(data.train, test=data.valid["valid"].take(range(4)))
    assert final["final"]["valid/loss"] == danlu.evaluate(model, part, recipe())["loss"]


@pytest.mark.parametrize("names", [["valid"], ["noisy"], []])
def test_one_batch_is_learnt_by_heart(names: list[str]):
    data = Data(points(seed=3).train, dict.fromkeys(names, points().valid["valid"]))
    model = nn.Sequential(nn.Linear(5, 64), nn.ReLU(), nn.Linear(64, 4))
    given = recipe(overfit_one_batch=True, epochs=150, optim=danlu.Optim("adam", lr=0.02), validate_every=150)
    run_ = danlu.fit(model, data, given, quiet=True)
    assert run_.summary["samples_seen"] == 150 * 8
    assert run_.summary["final"]["train/loss"] < 0.1
    assert run_.summary["final"][f"{(names or ['valid'])[0]}/accuracy"] == 1.0
    assert run_.best is not None


def test_a_balanced_sampler_draws_each_class_alike():
    y = np.array([0] * 90 + [1] * 10)
    data = Data(Arrays(np.eye(2, dtype=np.float32)[y], y))
    counts = np.zeros(2)
    seen = danlu.recipe.Data("", sampler="balanced")

    def step(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        counts[:] += np.bincount(batch[1].numpy(), minlength=2)
        return model(batch[0]).square().mean()

    for _ in danlu.steps(nn.Linear(2, 1), data, recipe(data=seen, metrics=[], epochs=10, batch_size=20), step=step):
        pass
    assert 0.45 < counts[1] / counts.sum() < 0.55


def test_a_ready_loader_with_a_weighted_sampler_and_own_collation():
    pairs = TensorDataset(torch.arange(30.0).reshape(30, 1), torch.arange(30) % 2)
    weights = torch.tensor([1.0, 0.0] * 15, dtype=torch.float64)
    sampler = WeightedRandomSampler(weights, 12, generator=torch.Generator())  # type: ignore[arg-type]
    seen: list[int] = []

    def collate(samples: list[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
        return {"input": torch.stack([s[0] for s in samples]), "label": torch.stack([s[1] for s in samples])}

    def step(model: nn.Module, batch: tuple[dict[str, Tensor], Tensor]) -> Tensor:
        if model.training:
            seen.extend(batch[1].tolist())
        return model(**batch[0]).square().mean()

    loader = DataLoader(pairs, batch_size=5, sampler=sampler, collate_fn=collate)
    given = recipe(metrics=[], epochs=2)
    for result in danlu.steps(nn.Linear(1, 1), Data(Loader(loader), {"valid": Loader(loader)}), given, step=step):
        assert result.samples in (5, 2)
    assert seen == [0] * 24


def test_a_dataset_with_its_own_collation():
    data = Samples(
        TensorDataset(torch.rand(20, 5), torch.arange(20) % 4),  # type: ignore[arg-type]
        collate_fn=lambda s: (torch.stack([x for x, _ in s]) * 2, torch.stack([y for _, y in s])),
    )
    summary = danlu.fit(network(), data, recipe(epochs=2), quiet=True).summary
    assert summary["samples_seen"] == 40


class Short(DataLoader[Any]):
    """A loader that says it has more batches than it gives."""

    def __len__(self) -> int:
        return super().__len__() + 1


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_loader_that_ends_early_ends_the_run_with_a_reason(accumulate: int):
    loader = Short(TensorDataset(torch.rand(20, 5), torch.arange(20) % 4), batch_size=5)
    with pytest.raises(danlu.DataError, match="5 batches, as many as the data says"):
        danlu.fit(network(), loader, recipe(accumulate=accumulate), quiet=True)


# Every way to stop -------------------------------------------------------------------------------------------------


def test_epochs_updates_and_minutes():
    done = {
        "epochs": danlu.fit(network(), points(), recipe(), quiet=True).summary,
        "updates": danlu.fit(network(), points(), recipe(updates=7), quiet=True).summary,
        "minutes": danlu.fit(network(), points(), recipe(epochs="off", minutes=1e-9), quiet=True).summary,
    }
    assert {summary["status"] for summary in done.values()} == {"finished"}
    assert done["epochs"]["updates"] == 15
    assert done["epochs"]["epochs"] == 3
    assert done["updates"]["updates"] == 7
    assert done["updates"]["epochs"] == 1.4
    assert done["updates"]["samples_seen"] == 56
    assert done["updates"]["reason"] == "all 7 updates done"
    assert done["minutes"]["updates"] == 0
    assert "minutes are over" in done["minutes"]["reason"]


def test_minutes_end_with_the_update_that_passes_them():
    note = Note()
    given = recipe(epochs="off", minutes=0.002, validate_every=10**9)
    summary = danlu.fit(network(), points(), given, hooks=[note], quiet=True).summary
    assert 0.12 <= summary["seconds"] < 1.0
    assert summary["updates"] > 5
    assert note.evaluated == [summary["updates"]] * 2  # validation and test, once each


class Stopping(danlu.Hook):
    def __init__(self, event: str, at: int, reason: str) -> None:
        self.event, self.at, self.reason = event, at, reason

    def on_step_end(self, training: Training, result: object) -> danlu.Stop | None:
        return self._wish("step", training)

    def on_eval_end(self, training: Training, figures: dict[str, Any]) -> danlu.Stop | None:
        return self._wish("eval", training)

    def _wish(self, event: str, training: Training) -> danlu.Stop | None:
        return danlu.Stop(self.reason) if self.event == event and training.state.updates_done == self.at else None


def test_a_hook_stops_the_run_and_the_first_reason_counts():
    wishes = [Stopping("step", 7, "enough"), Stopping("step", 7, "never mind")]
    summary = danlu.fit(network(), points(), recipe(), hooks=wishes, quiet=True).summary
    assert (summary["status"], summary["reason"], summary["updates"]) == ("stopped", "enough", 7)
    wishes = [Stopping("eval", 10, "enough"), Stopping("eval", 10, "never mind"), Stopping("step", 12, "late")]
    summary = danlu.fit(network(), points(), recipe(), hooks=wishes, quiet=True).summary
    assert (summary["status"], summary["reason"], summary["updates"]) == ("stopped", "enough", 10)
    wishes = [Stopping("eval", 10, "evaluated"), Stopping("step", 10, "stepped")]
    assert danlu.fit(network(), points(), recipe(), hooks=wishes, quiet=True).summary["reason"] == "stepped"


def test_every_calls_when_it_is_due():
    at: list[tuple[str, int]] = []

    def mark(name: str) -> Callable[[Training], None]:
        return lambda training: at.append((name, training.state.updates_done))

    every = [danlu.Every(mark("steps"), steps=6), danlu.Every(mark("epochs"), epochs=2)]
    danlu.fit(network(), points(), recipe(), hooks=every, quiet=True)
    assert at == [("steps", 6), ("epochs", 10), ("steps", 12)]
    stop = danlu.Every(lambda training: danlu.Stop("six"), steps=6)
    assert danlu.fit(network(), points(), recipe(), hooks=[stop], quiet=True).summary["updates"] == 6


def test_leaving_steps_early_closes_the_record(tmp_path: Path):
    given, note = recipe(log_every=1), Note()
    training = prepare(network(), points(), given)
    (tmp_path / "run").mkdir()
    training.record_in(tmp_path / "run")
    for result in run(training, [*hooks.defaults(training.recipe, quiet=True), note]):
        assert result.samples == 8
        if training.state.updates_done == 7:
            break
    left = danlu.Run(tmp_path / "run")
    assert left.summary["status"] == "stopped"
    assert left.summary["updates"] == 7
    assert note.reason == "the caller left the loop"
    assert note.ended == [None]
    assert left.metrics("running/loss")["step"].to_list() == [1, 2, 3, 4, 5, 6, 7]
    assert not list((tmp_path / "run").glob("metrics.sqlite-*"))
    assert ("stopped", "the caller left the loop") in [event[1:] for event in left.events]


class Failing(danlu.Hook):
    """Fails once in the event it is told to, at the seventh update or the second evaluation."""

    def __init__(self, event: str) -> None:
        self.event = event

    def _fail(self, event: str, training: Training, at: int | None = None) -> None:
        if event == self.event and (at is None or training.state.updates_done == at):
            raise ZeroDivisionError("as told")

    def on_fit_start(self, training: Training) -> None:
        self._fail("on_fit_start", training)

    def on_grads_ready(self, training: Training) -> None:
        self._fail("on_grads_ready", training, 6)

    def on_step_end(self, training: Training, result: object) -> None:
        self._fail("on_step_end", training, 7)

    def on_eval_end(self, training: Training, figures: dict[str, Any]) -> None:
        self._fail("on_eval_end", training, 10)

    def on_checkpoint(self, training: Training) -> None:
        self._fail("on_checkpoint", training, 15)

    def on_fit_end(self, training: Training, error: BaseException | None) -> None:
        self._fail("on_fit_end", training)


@pytest.mark.parametrize(
    ("event", "place"),
    [
        ("on_fit_start", "update 0 (epoch 0, batch 0)"),
        ("on_grads_ready", "update 6 (epoch 1, batch 1)"),
        ("on_step_end", "update 7 (epoch 1, batch 2)"),
        ("on_eval_end", "update 10 (epoch 2, batch 0)"),
        ("on_checkpoint", "update 15 (epoch 3, batch 0)"),
    ],
)
def test_an_error_in_a_hook_names_hook_and_place_and_closes_the_record(tmp_path: Path, event: str, place: str):
    note = Note()
    with pytest.raises(ZeroDivisionError) as caught:
        danlu.fit(network(), points(), recipe(), hooks=[Failing(event), note], out=tmp_path / "run", quiet=True)
    assert caught.value.__notes__ == [f"danlu: in Failing.{event}", f"danlu: in {place}, rank 0"]
    assert note.ended == [caught.value]
    left = danlu.Run(tmp_path / "run")
    assert left.summary["status"] == "failed"
    assert left.summary["reason"] == "ZeroDivisionError: as told"
    assert ("failed", "ZeroDivisionError: as told") in [found[1:] for found in left.events]
    assert not list((tmp_path / "run").glob("metrics.sqlite-*"))


def test_an_error_at_the_very_end_reaches_the_caller_after_all_hooks():
    note = Note()
    with pytest.raises(ZeroDivisionError) as caught:
        danlu.fit(network(), points(), recipe(), hooks=[Failing("on_fit_end"), note], quiet=True)
    assert caught.value.__notes__ == ["danlu: in Failing.on_fit_end"]
    assert note.ended == [None]

    class Worse(Failing):
        def on_step_end(self, training: Training, result: object) -> None:
            raise KeyError("first")

    with pytest.raises(KeyError) as first:
        danlu.fit(network(), points(), recipe(), hooks=[Worse("on_fit_end"), note], quiet=True)
    assert "afterwards ZeroDivisionError: as told; danlu: in Worse.on_fit_end" in first.value.__notes__[-1]
    assert note.ended == [None, first.value]


class Breaking(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.calls = nn.Linear(5, 4), 0

    def forward(self, inputs: Tensor) -> Tensor:
        if self.training:
            self.calls += 1
            if self.calls == 9:
                raise RuntimeError("broken wire")
        return self.layer(inputs)


def test_an_error_in_forward_says_where(tmp_path: Path):
    with pytest.raises(RuntimeError, match="broken wire") as caught:
        danlu.fit(Breaking(), points(), recipe(log_every=1), out=tmp_path / "run", quiet=True)
    assert caught.value.__notes__ == ["danlu: in update 8 (epoch 1, batch 3), rank 0"]
    left = danlu.Run(tmp_path / "run")
    assert left.summary["status"] == "failed"
    assert left.summary["updates"] == 8
    assert left.metrics("running/loss")["step"].to_list() == list(range(1, 9))
    frames = [entry.path for entry in caught.traceback if "/danlu/" in str(entry.path)]
    assert len(frames) <= 4
    assert len(set(frames)) <= 3


def test_hooks_are_called_in_their_order():
    calls: list[str] = []

    class Named(danlu.Hook):
        def __init__(self, name: str) -> None:
            self.name = name

        def on_step_end(self, training: Training, result: object) -> None:
            calls.append(self.name)

    for _ in danlu.steps(network(), points(), recipe(updates=2), hooks=[Named("a"), Named("b")]):
        pass
    assert calls == ["a", "b", "a", "b"]


def test_what_is_no_hook_is_refused_before_anything_is_touched(tmp_path: Path):
    with pytest.raises(TypeError, match=r"must be a danlu\.Hook; got function"):
        danlu.fit(network(), points(), recipe(), hooks=[lambda training: None], out=tmp_path / "a")  # type: ignore[list-item]
    with pytest.raises(TypeError, match="hooks must be a list"):
        danlu.steps(network(), points(), recipe(), hooks=Note(), out=tmp_path / "a")  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
