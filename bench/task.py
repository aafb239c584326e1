"""What every competitor has to do: the same data, model, optimizer and number of updates, and what it gives back."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from bench.models import MODELS

Array = npt.NDArray[Any]
ARRAYS = ("train_inputs", "train_target", "valid_inputs", "valid_target")


@dataclass(frozen=True)
class Task:
    """One fit. An epoch trains on every sample in shuffled batches, then evaluates the whole validation set.

    Fields:
        name: what the tables call it.
        arrays: folder of the four arrays that `load` reads.
        train_samples, valid_samples: how many of them are used, from the first on.
        threads: intra-op threads of PyTorch.
        model: of `bench.models`; "line" is a regression of one number on two, all others classify.
        momentum: of SGD.
        seed: decides the first weights, which are the same for every competitor.
        found: folder of what was found before the rounds, `NAME.json` of a task's plan.
        folder: empty, for whatever a competitor writes.
    """

    name: str
    arrays: Path
    train_samples: int
    valid_samples: int
    batch_size: int
    lr: float
    threads: int
    model: str = "mlp"
    optimizer: Literal["sgd", "adamw"] = "sgd"
    momentum: float = 0.0
    seed: int = 0
    found: Path = Path("unset")
    folder: Path = Path("unset")

    @property
    def classifies(self) -> bool:
        """Whether targets are classes; then accuracy is recorded besides the loss."""
        return self.model != "line"

    @property
    def updates_per_epoch(self) -> int:
        return -(-self.train_samples // self.batch_size)


@dataclass
class Epoch:
    """One epoch: when it was through with training and with everything (`time.perf_counter`), and what it recorded."""

    trained_s: float
    ended_s: float
    train_loss: float
    valid_loss: float
    train_accuracy: float | None = None
    valid_accuracy: float | None = None


@dataclass
class Fit:
    """One fit: the moment before its first batch, and its epochs. What lies before is set-up, what follows finish."""

    begun_s: float
    epochs: list[Epoch] = field(default_factory=list)


class Competitor(ABC):
    """One way to train. Abstract; a fresh one is made for every fit."""

    @abstractmethod
    def prepare(self, task: Task) -> None:
        """Bring the data into the form that this way of training wants. Timed as part of the set-up."""

    @abstractmethod
    def run(self, epochs: int) -> Fit:
        """Train for so many epochs."""


def load(task: Task) -> list[Array]:
    """Return training inputs and target, validation inputs and target: uint8 pictures and int64 classes, or float32."""
    sizes = (task.train_samples, task.train_samples, task.valid_samples, task.valid_samples)
    arrays = [np.load(task.arrays / f"{name}.npy")[:size] for name, size in zip(ARRAYS, sizes, strict=True)]
    if [len(array) for array in arrays] != list(sizes):
        raise ValueError(f"{task.arrays} holds {[len(array) for array in arrays]} samples, the task wants {sizes}")
    return arrays


def as_floats(inputs: Array) -> Tensor:
    """Return inputs as float32, pictures in [0, 1]."""
    tensor = torch.from_numpy(inputs)
    return tensor.float().mul_(1 / 255) if tensor.dtype == torch.uint8 else tensor


def make_model(task: Task) -> nn.Module:
    """Return the task's model; the same seed gives the same weights."""
    torch.manual_seed(task.seed)
    return MODELS[task.model]()


def means(task: Task, loss_sum: Tensor | float, hits: Tensor | int, samples: int) -> tuple[float, float | None]:
    """Return mean loss and accuracy; where nothing is classified there is no accuracy. Cost: waits for the device."""
    return float(loss_sum) / samples, float(hits) / samples if task.classifies else None


def make_loss(task: Task) -> nn.Module:
    return nn.CrossEntropyLoss() if task.classifies else nn.MSELoss()


def make_optimizer(task: Task, model: nn.Module) -> torch.optim.Optimizer:
    if task.optimizer == "adamw":
        return torch.optim.AdamW(model.parameters(), lr=task.lr)
    return torch.optim.SGD(model.parameters(), lr=task.lr, momentum=task.momentum)
