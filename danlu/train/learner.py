"""The seam between the loop and an engine: what one update is, apart from when it happens.

The loop, the hooks, tracking, saving and the command line know learners; only a learner knows what a tensor is. What
crosses the seam is a batch on the way in, and NumPy arrays and plain numbers on the way out.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from danlu.data import Batches, Sampler, Source
from danlu.device import Plan

Array = npt.NDArray[Any]
Tensors = dict[str, dict[str, Array]]
Batch = Any
Figures = dict[str, Any]


class Result(NamedTuple):
    """One update or one evaluated batch, still on the device: reading `loss` waits for it.

    Fields:
        loss: mean loss of the batch, 0-d tensor of the engine; of the last micro-batch where there are several.
        samples: how many samples it was, all micro-batches together.
        outputs: what the model returned for the last micro-batch; None where an own step hides it. Where the plan
            captures updates the next one overwrites it.
        skipped: the update was taken back, because its loss or a gradient was NaN or infinite.
    """

    loss: Any
    samples: int
    outputs: Any
    skipped: bool = False


class Learner(ABC):
    """A model, its objective and its optimizer, on one engine. Abstract.

    Fields:
        schedule_per: the unit of the schedule.
        skips_bad: take an update back whose loss or gradient is NaN or infinite. Cost: one host sync per update.
        after_backward: called in each update when the gradients are whole, before they are clipped; for replay.
    """

    plan: Plan
    schedule_per: Literal["epoch", "update", "evaluation", "off"]
    skips_bad: bool = False
    after_backward: Callable[[], None] | None = None

    @cached_property
    def said(self) -> list[str]:
        """What the user should be told of the updates; whoever tells it empties the list."""
        return []

    @abstractmethod
    def use(self, plan: Plan) -> None:
        """Run updates as a plan of this engine says, from the next session on."""

    @abstractmethod
    def session(self) -> AbstractContextManager[None]:
        """Hold the engine's settings for a run, and put the caller's settings and generators back afterwards."""

    @abstractmethod
    def seed(self, number: int) -> None:
        """Seed the engine's default generators; called before each update with that update's address."""

    @abstractmethod
    def batches(self, source: Source, batch_size: int, *, seed: int, sampler: Sampler, workers: int) -> Batches:
        """Return the batches of a source, in a form that `update` and `evaluate` take."""

    @abstractmethod
    def check(self, batch: Batch, name: str) -> list[str]:
        """Run one batch through model and loss, changing nothing; return warnings.

        Raises:
            ModelError: the model fails on the batch, or its output does not fit the loss.
            DataError: the targets do not fit the loss.
        """

    @abstractmethod
    def check_targets(self, targets: Mapping[str, Array | None]) -> None:
        """Check all targets of every set, where they are known; after `check`. Raises DataError."""

    @abstractmethod
    def lone_sample_refused(self, batch: Batch) -> str | None:
        """Return a layer that could not train on a batch of one sample, such as this batch's first, or None."""

    @abstractmethod
    def update(self, batches: Sequence[Batch], on_grads: Callable[[], None] | None) -> Result:
        """Do one update from one or more micro-batches. Cost: no host sync."""

    @abstractmethod
    def bad_updates(self) -> dict[int, str]:
        """Return which updates since the last call had a loss or norm of NaN or infinity, the first being 0.

        Gradients show at once where `clip_norm` computes their norm, else in the next loss; with a loss scaler, which
        passes over infinite gradients by itself, only the loss counts.

        Cost: one copy from the device, which waits for it.
        """

    @abstractmethod
    def gradients_finite(self) -> bool:
        """Say whether the norm of all gradients is finite; with a loss scaler always. Cost: one sync."""

    @abstractmethod
    def weights_finite(self) -> bool:
        """Say whether every trainable parameter is finite. Cost: one sync, and a pass over the weights."""

    @abstractmethod
    def gradients(self) -> dict[str, Array]:
        """Return a copy of each gradient by its parameter's name, in the model's order. Cost: waits."""

    @abstractmethod
    def plan_schedule(self, spec: Any, horizon: int | None) -> None:
        """Make the learning-rate schedule; `horizon` is the run's length in its unit, where that is known."""

    @abstractmethod
    def step_schedule(self, value: float | None = None) -> None:
        """Tell the schedule that one unit is done; `value` is the monitored metric, where it follows one."""

    @abstractmethod
    def lr(self) -> float:
        """Return the learning rate of the first parameter group."""

    @abstractmethod
    def train_sums(self) -> npt.NDArray[np.float64]:
        """Read the training sums since the last reset; slots 0 and 1 are the loss and what to divide it by.

        Cost: one copy from the device, which waits for it.
        """

    @abstractmethod
    def train_figures(self) -> Figures:
        """Return loss and metrics since the last call, and start new sums. Cost: one copy, which waits."""

    @abstractmethod
    def evaluating(self) -> AbstractContextManager[None]:
        """Hold evaluation mode and no gradients; put every module's own mode and the generators back afterwards."""

    @abstractmethod
    def evaluate(self, batch: Batch) -> Result:
        """Add one batch to the evaluation sums. Cost: no host sync."""

    @abstractmethod
    def evaluation_figures(self) -> Figures:
        """Return loss and metrics of the batches evaluated since the last call. Cost: one copy, which waits."""

    @abstractmethod
    def predict(self, batch: Batch) -> Array:
        """Return probabilities (or values, in a regression) for one batch, shape (B, ...)."""

    @abstractmethod
    def state(self) -> tuple[Tensors, dict[str, Any]]:
        """Return everything that must survive a restart: arrays by file and name, and JSON values.

        The arrays may share memory with the live model: copy what must outlast the next update.
        """

    @abstractmethod
    def load(self, tensors: Tensors, values: dict[str, Any]) -> None:
        """Take back what `state` returned, by copying into the live model."""

    @abstractmethod
    def objects(self) -> dict[str, Any]:
        """Return what learns: every module by its name in the model ("" for the model itself), and "optimizer"."""

    @abstractmethod
    def snapshot(self) -> object:
        """Return a copy of the weights that evaluation uses, kept where the model lives."""

    @abstractmethod
    def restore(self, snapshot: object) -> None:
        """Put a snapshot's weights back."""

    @abstractmethod
    def parameters(self) -> dict[str, Array]:
        """Return the trainable parameters by name, as arrays that share memory where they can."""

    @abstractmethod
    def array(self, tensor: Any) -> Array:
        """Return a tensor of a batch as a NumPy array on the host."""

    @abstractmethod
    def draw_graph(self, folder: Path, batch: Batch) -> None:
        """Write the model's graph for TensorBoard, from a copy, so that nothing in the model moves."""
