"""What cannot be resumed exactly says so before training, and the rehearsal leaves no trace."""

import os
import random
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

import danlu
from danlu import save, zero
from danlu.data import Arrays, Data, Samples
from danlu.errors import ModelError
from danlu.measure import rehearse
from danlu.models.twin import twin
from danlu.train import Training, prepare


def points(n: int = 70) -> Data:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n + 30, 6)).astype(np.float32)
    y = (x[:, 0] > 0) + 2 * (x[:, 1] > 0)
    return Data(Arrays(x[:n], y[:n]), {"valid": Arrays(x[n:], y[n:])})


class Last(nn.Module):
    """One layer, and what a subclass makes of its output."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 4)


class Counting(Last):
    calls = 0

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, inputs: Tensor) -> Tensor:
        self.calls += 1
        return self.layer(inputs) * (1 + 0.1 * self.calls)


class Remembering(Last):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[float] = []

    def forward(self, inputs: Tensor) -> Tensor:
        self.seen.append(0.1)
        return self.layer(inputs) * (1 + sum(self.seen))


class Recalling(Last):
    def __init__(self) -> None:
        super().__init__()
        self.h: Tensor | None = None

    def forward(self, inputs: Tensor) -> Tensor:
        out = self.layer(inputs) if self.h is None else self.layer(inputs) + self.h
        self.h = out.detach().mean(0)
        return out


class Adding(Last):
    def __init__(self) -> None:
        super().__init__()
        self.total = torch.zeros(4)

    def forward(self, inputs: Tensor) -> Tensor:
        self.total += 1
        return self.layer(inputs) * self.total


class Inner(Last):
    """Hides its state where nobody looks."""

    def __init__(self) -> None:
        super().__init__()
        self.box = Box()

    def forward(self, inputs: Tensor) -> Tensor:
        self.box.calls += 1
        return self.layer(inputs) * (1 + 0.1 * self.box.calls)


class Box:
    calls = 0


class Drawing(Last):
    def forward(self, inputs: Tensor) -> Tensor:
        return self.layer(inputs) * (1 + random.random() + np.random.rand()) if self.training else self.layer(inputs)


class Backwards(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return g.put(torch.tensor([0]), torch.tensor([1.0]))


class WithoutKernel(Last):
    def forward(self, inputs: Tensor) -> Tensor:
        return Backwards.apply(self.layer(inputs))


class Entropy(Dataset[tuple[Tensor, int]]):
    def __len__(self) -> int:
        return 50

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.frombuffer(bytearray(os.urandom(6)), dtype=torch.uint8).float(), index % 4


class ByProcess(Entropy):
    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.full((6,), float(os.getpid() % 1000)), index % 4


def whole() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 4))


def recipe(**given: Any) -> danlu.Recipe:
    plain: dict[str, Any] = {"batch_size": 16, "epochs": 2, "optim": danlu.Optim("adam", lr=0.01), "ema": 0.9}
    plain["schedule"] = danlu.Schedule("cosine", per="update")
    return danlu.Recipe(**{**plain, **given})


def bound(model: Any, data: Any = None, **given: Any) -> Training:
    return prepare(model, points() if data is None else data, recipe(**given))


def state(training: Training) -> dict[str, Any]:
    tensors, values = training.learner.state()
    arrays = {f"{group}/{name}": a.tobytes() for group, named in tensors.items() for name, a in named.items()}
    return {**arrays, "values": save.to_json(values)}


@pytest.mark.parametrize("engine", ["torch", "zero"])
@pytest.mark.parametrize("given", [{}, {"accumulate": 3}, {"batch_size": 70}, {"ema": "off", "schedule": "off"}])
def test_what_can_be_resumed_has_no_findings_and_no_trace(engine: str, given: dict[str, Any], tmp_path: Path):
    training = bound(whole() if engine == "torch" else twin(whole()), **given)
    before, drawn = state(training), torch.get_rng_state()
    assert rehearse(training, tmp_path / "run") == []
    assert state(training) == before
    assert torch.equal(torch.get_rng_state(), drawn)
    assert list(tmp_path.iterdir()) == []


def test_a_run_has_the_same_bits_without_it(tmp_path: Path):
    for name, on in (("with", True), ("without", False)):
        torch.manual_seed(0)
        danlu.fit(whole(), points(), recipe(rehearse=on), out=tmp_path / name, quiet=True)
    runs = [danlu.load_model(tmp_path / name, at="last", model=whole()).state_dict() for name in ("with", "without")]
    assert all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0])
    assert danlu.Run(tmp_path / "with").history.equals(danlu.Run(tmp_path / "without").history)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Counting, "calls changes in training and is in no state dict: make it a buffer"),
        (Remembering, "seen changes in training"),
        (Recalling, "h changes in training"),
        (Adding, "total changes in training"),
        (Inner, "remember something"),
    ],
)
def test_hidden_state_is_named(model: type[nn.Module], words: str):
    network = model()
    training = bound(network)
    before = [getattr(network, name, None) for name in ("calls", "h", "total")]
    (finding,) = rehearse(training)
    assert words in finding
    assert "model/layer.weight" in finding
    after = [getattr(network, name, None) for name in ("calls", "h", "total")]
    assert all(one is two for one, two in zip(before, after, strict=True))


def test_hidden_state_of_a_model_of_zero_is_named():
    class Hidden(zero.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = zero.nn.Linear(6, 4)
            self.total = zero.zeros(4)

        def forward(self, inputs: Any) -> Any:
            self.total += 1
            return self.layer(inputs) * self.total

    (finding,) = rehearse(bound(Hidden()))
    assert "; total changes in training" in finding


def test_a_model_that_draws_from_other_generators_has_them_seeded_for_every_update(tmp_path: Path):
    training = bound(Drawing())
    assert rehearse(training) == []
    assert training.plan.generators == training.learner.plan.generators == "all"
    assert bound(whole()).plan.generators == "torch"


@pytest.mark.parametrize(("dataset", "workers", "words"), [(Entropy, 0, "fetched twice"), (ByProcess, 1, "worker")])
def test_data_that_cannot_be_fetched_again_is_found(dataset: type[Entropy], workers: int, words: str):
    training = bound(nn.Linear(6, 4), Data(Samples(dataset(), workers=workers)))
    try:
        (finding,) = rehearse(training)
    finally:
        training.close()
    assert words in finding
    assert "danlu.data.rng()" in finding


def test_an_operation_without_a_deterministic_kernel_is_named(tmp_path: Path):
    with pytest.raises(ModelError, match=r"put_, an operation without a deterministic kernel") as caught:
        danlu.fit(WithoutKernel(), points(), recipe(), out=tmp_path / "run", quiet=True)
    assert "deterministic = false" in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    danlu.fit(WithoutKernel(), points(), recipe(deterministic=False, epochs=1), quiet=True)


def test_optimizers_that_remember_elsewhere_are_found():
    class Secret(torch.optim.SGD):
        """Halves its steps by a count that no state dict has."""

        turns = 0

        def step(self, closure: Any = None) -> Any:
            self.turns += 1
            for group in self.param_groups:
                for parameter in group["params"]:
                    parameter.data -= 0.1 / self.turns * parameter.grad
            return None

    training = bound(whole(), optim=lambda params: Secret(params, lr=0.1), schedule="off")
    (finding,) = rehearse(training)
    assert "optimizer.turns changes in training" in finding


def test_what_fails_in_the_rehearsal_fails_in_the_run_which_says_where():
    numbers = count()

    class Failing(Last):
        def forward(self, inputs: Tensor) -> Tensor:
            if self.training and next(numbers) >= 0:
                raise ValueError("no")
            return self.layer(inputs)

    with pytest.raises(ValueError, match="no") as caught:
        danlu.fit(Failing(), points(), recipe(), quiet=True)
    assert any("in update 0" in note for note in caught.value.__notes__)
