"""A network of five inputs and four classes that trains in a moment, and hooks that tell what became of its run."""

from typing import Any

import numpy as np
import torch
from torch import nn

import danlu
from danlu.data import Arrays, Data
from danlu.train import Training


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
