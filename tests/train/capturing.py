"""What tests of captured updates train, and what a whole run comes to."""

import dataclasses
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import danlu
from danlu.data import Arrays, Data
from danlu.measure.untouched import copied
from danlu.train import Training, prepare, run

SAMPLES = 70  # with 16 in a batch: 4 whole ones, and one of 6


def arrays(n: int = SAMPLES) -> Data:
    rng = np.random.default_rng(0)
    x, y = rng.random((n + 20, 2, 6, 6), np.float32), rng.integers(0, 4, n + 20)
    return Data(Arrays(x[:n], y[:n]), {"valid": Arrays(x[n:], y[n:])})


def dense() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(72, 16), nn.ReLU(), nn.Linear(16, 4))


def convolutional() -> nn.Module:
    torch.manual_seed(0)
    block = [nn.Conv2d(2, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU()]
    return nn.Sequential(*block, nn.Flatten(), nn.Linear(72, 4))


def training_of(model: nn.Module, data: Data | None = None, *, step: Any = None, **changed: Any) -> Training:
    optim = danlu.Optim("sgd", lr=0.1, momentum=0.9)
    given = {"optim": optim, "batch_size": 16, "epochs": 5, "plan": "eager", "metrics": ["accuracy"]}
    return prepare(model, data or arrays(), danlu.Recipe(**given | changed), step=step)


def by_plan(training: Training, **changed: Any) -> Training:
    training.plan = dataclasses.replace(training.plan, **changed)
    training.learner.use(training.plan)
    return training


class Watching(danlu.Hook):
    """Notes the losses that updates give, to be read at the end."""

    def __init__(self) -> None:
        self.losses: list[Tensor] = []

    def on_step_end(self, training: Training, result: Any) -> None:
        self.losses.append(result.loss)


def came_to(training: Training, *hooks: danlu.Hook, replay: bool = True) -> tuple[Any, ...]:
    """Train to the end; return losses, figures and everything that survives a restart, as bits."""
    watching, learner = Watching(), training.learner
    learner.after_backward = None if replay else lambda: None
    for _ in run(training, [watching, *hooks]):
        pass
    tensors, values = copied(learner.state())
    bits = {group: {name: a.tobytes() for name, a in named.items()} for group, named in tensors.items()}
    return [float(loss) for loss in watching.losses], training.figures, bits, repr(values)
