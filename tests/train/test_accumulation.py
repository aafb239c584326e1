"""Accumulation: micro-batches, uneven ones too, make the update that one large batch makes."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import danlu
from danlu.data import Arrays, Data

SEED = 3


@pytest.fixture
def double() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def classes(n: int = 70) -> Data:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((n + 23, 6)), rng.integers(0, 4, n + 23)
    return Data(Arrays(x[:n], y[:n]), {"valid": Arrays(x[n:], y[n:])})


def train(model: nn.Module, data: object, recipe: danlu.Recipe) -> None:
    for _ in danlu.steps(model, data, recipe):
        pass


def accumulated(model: nn.Module, data: Data, loss: object, size: int, times: int, lr: float) -> None:
    recipe = danlu.Recipe(
        loss=loss,
        optim=danlu.Optim("sgd", lr=lr, momentum=0.9),
        epochs=3,
        batch_size=size,
        accumulate=times,
        seed=SEED,
    )
    train(model, data, recipe)


LOSSES = {
    "plain": danlu.Loss("cross_entropy"),
    "weighted": danlu.Loss("cross_entropy", weight=[0.1, 1.0, 3.0, 9.0]),
    "ignoring": danlu.Loss("cross_entropy", ignore_index=2),
    "both": danlu.Loss("cross_entropy", weight=[0.1, 1.0, 3.0, 9.0], ignore_index=2, label_smoothing=0.1),
    "module": nn.CrossEntropyLoss(torch.tensor([0.1, 1.0, 3.0, 9.0], dtype=torch.float64), ignore_index=0),
    "sum": danlu.Loss("cross_entropy", reduction="sum"),
    "opaque": lambda output, target: F.cross_entropy(output, target),
}


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("samples", [64, 70, 35])  # whole; micro-batches of 16, 16, 16, 16, 6; and 35 = 2 x 16 + 3
def test_four_times_four_is_sixteen(name: str, samples: int):
    data = classes(n=samples)
    ours, whole = (nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 4)) for _ in range(2))
    whole.load_state_dict(ours.state_dict())
    lr = (
        0.2 / 16 if name == "sum" else 0.2
    )  # a sum's steps are 16 times a mean's: training that diverges amplifies bits
    accumulated(ours, data, LOSSES[name], 4, 4, lr)
    accumulated(whole, data, LOSSES[name], 16, 1, lr)
    for left, right in zip(ours.parameters(), whole.parameters(), strict=True):
        assert torch.allclose(left, right, rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("double")
def test_a_micro_batch_of_ignored_targets_alone_weighs_nothing():
    x = np.random.default_rng(0).standard_normal((8, 6))
    y = np.array([0, 1, 2, 3, -100, -100, -100, -100])
    data = Data(Arrays(x, y))
    ours, whole = nn.Linear(6, 4), nn.Linear(6, 4)
    whole.load_state_dict(ours.state_dict())
    part = danlu.recipe.Data("", sampler="in_order")
    for model, size, times in ((ours, 4, 2), (whole, 8, 1)):
        run = danlu.fit(model, data, danlu.Recipe(batch_size=size, accumulate=times, epochs=2, data=part), quiet=True)
        assert math.isfinite(run.summary["final"]["train/loss"])
    for left, right in zip(ours.parameters(), whole.parameters(), strict=True):
        assert torch.allclose(left, right, rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("double")
def test_an_opaque_loss_without_targets_is_weighted_by_samples():
    inputs = np.random.default_rng(0).standard_normal((10, 5))  # micro-batches of 4, 4, 2
    ours, whole = nn.Linear(5, 3), nn.Linear(5, 3)
    whole.load_state_dict(ours.state_dict())

    def compact(output: Tensor, _: object) -> Tensor:
        return output.square().mean()

    for model, size, times in ((ours, 4, 3), (whole, 10, 1)):
        for _ in danlu.steps(model, inputs, danlu.Recipe(loss=compact, batch_size=size, accumulate=times, epochs=3)):
            pass
    for left, right in zip(ours.parameters(), whole.parameters(), strict=True):
        assert torch.allclose(left, right, rtol=1e-12, atol=1e-12)


def test_accumulated_updates_count_and_end_with_the_epoch():
    sizes = [
        result.samples
        for result in danlu.steps(nn.Linear(6, 4), classes(n=70), danlu.Recipe(batch_size=8, accumulate=4, epochs=2))
    ]
    assert sizes == [32, 32, 6] * 2
