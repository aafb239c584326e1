"""Whole runs: from the same weights and the same batches both engines lose alike for 200 updates."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import danlu
from danlu import models
from danlu.data import Arrays, Data
from danlu.models.twin import twin

UPDATES = 200


def pictures(side: int, samples: int = 320) -> Data:
    """Bars of ten directions in noise, which a small network learns within 200 updates."""
    rng = np.random.default_rng(0)
    target = rng.integers(0, 10, samples)
    across, down = np.meshgrid(np.linspace(-1, 1, side), np.linspace(-1, 1, side))
    angles = target[:, None, None] * (np.pi / 10)
    bars = np.abs(across * np.sin(angles) + down * np.cos(angles)) < 0.2
    inputs = (bars + 0.3 * rng.standard_normal((samples, side, side))).astype(np.float32)[:, None]
    return Data(Arrays(inputs, target), {"valid": Arrays(inputs[:100], target[:100])})


def sentences(samples: int = 200) -> Data:
    """Token sequences of different lengths; the class is what their first token says."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(1, 30, (samples, 9))
    tokens[np.arange(9) >= rng.integers(2, 10, samples)[:, None]] = 0
    return Data(Arrays(tokens, tokens[:, 0] % 3))


SGD = danlu.Optim("sgd", lr=0.05, momentum=0.9)
RUNS: dict[str, tuple[Callable[[], Any], Callable[[], Data], danlu.Optim]] = {
    "mlp": (lambda: models.mlp(64, 10, hidden=[64]), lambda: pictures(8), SGD),
    "lenet": (lambda: models.lenet(activation="relu", pool="max"), lambda: pictures(28), danlu.Optim("sgd", lr=0.1)),
    "cnn": (lambda: models.cnn(widths=(8, 16), size=14), lambda: pictures(14), danlu.Optim("sgd", lr=0.02)),
    "lstm": (lambda: models.lstm(30, 3, embedding=8, hidden=16), sentences, danlu.Optim("sgd", lr=0.5)),
    "bilstm": (lambda: models.bilstm(30, 3, embedding=8, hidden=8, layers=2), sentences, danlu.Optim("sgd", lr=0.5)),
}


@pytest.mark.parametrize("name", RUNS)
def test_both_engines_lose_alike(name: str):
    build, data, optim = RUNS[name]
    recipe = danlu.Recipe(epochs="off", updates=UPDATES, batch_size=16, optim=optim, seed=2, validate_every=10)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = build()
    ours = twin(theirs)
    losses = [[float(result.loss) for result in danlu.steps(model, data(), recipe)] for model in (theirs, ours)]
    assert len(losses[1]) == UPDATES
    assert losses[1] == pytest.approx(losses[0], rel=1e-4, abs=1e-6)
    assert np.mean(losses[1][-20:]) < 0.8 * np.mean(losses[1][:20])
