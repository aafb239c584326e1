"""When things happen: the same bits again, what watching leaves alone, and what is the caller's stays the caller's."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset
from train.small_job import Failing, bits, fitted, network, points, recipe

import danlu
from danlu import hooks
from danlu.data import Data, Samples
from danlu.train import Training

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
