"""Loss and metrics of a run as sums on the device, over training batches and over an evaluation's."""

from collections.abc import Mapping
from typing import Any, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from danlu.objectives import Objective
from danlu.train.learner import Array, Figures


@final
class Sums:
    """The sums of both kinds; reading them is the only thing that waits for the device.

    Args:
        objective: says what is summed, unless the caller's own step hides output and target.
        device: where the sums live.
        own_step: whether it does; then there is the loss, and what the step names.
    """

    def __init__(self, objective: Objective, device: torch.device, *, own_step: bool) -> None:
        self._objective, self._device, self._own_step = objective, device, own_step
        self._prepared = False
        self._named: dict[str, Tensor] = {}  # sums of an own step's named losses
        self._aside: dict[str, Tensor] = {}
        self._none = torch.zeros(2, dtype=torch.float64, device=device)
        self._train, self._evaluation = self._none.clone(), self._none.clone()

    def prepare(self, output: Any, target: Any) -> None:
        """Size the sums from the first batch that is checked."""
        if not self._prepared:
            self._objective.prepare(output, target)
            self._none = self._objective.zeros(self._device)
            self._train, self._evaluation = self._none.clone(), self._none.clone()
            self._prepared = True

    def add(self, loss: Tensor, output: Any, target: Any, samples: int, *, evaluating: bool = False) -> Tensor:
        """Add one batch; return its loss as it is counted. Cost: no sync."""
        sums = self._evaluation if evaluating else self._train
        if not self._own_step:
            return self._objective.add(sums, loss, output, target)
        loss = loss.detach()
        sums[0].add_(loss, alpha=samples)
        sums[1].add_(samples)
        return loss

    def add_named(self, losses: Mapping[str, Tensor], samples: int) -> None:
        """Add an own step's named losses of one batch. Cost: no sync."""
        for name, value in losses.items():
            zero = torch.zeros((), dtype=torch.float64, device=self._device)
            self._named.setdefault(name, zero).add_(value.detach(), alpha=samples)

    def begin_evaluation(self) -> None:
        """Start an evaluation's sums, and put the training's named ones aside."""
        self._aside, self._named = self._named, {}
        self._evaluation.copy_(self._none)

    def end_evaluation(self) -> None:
        """Go on with the training's named sums."""
        self._named = self._aside

    def read_train(self) -> npt.NDArray[np.float64]:
        """Read the training sums in one copy."""
        return self._train.cpu().numpy().copy()

    def train_figures(self) -> Figures:
        """Read the training sums, and start new ones."""
        figures = self._figures(self._train)
        self._train.copy_(self._none)
        return figures

    def evaluation_figures(self) -> Figures:
        """Read the evaluation sums in one copy, and start new ones."""
        figures = self._figures(self._evaluation)
        self._evaluation.copy_(self._none)
        return figures

    def _figures(self, sums: Tensor) -> Figures:
        read = sums.cpu().numpy()
        samples = float(read[1])
        named = {name: float(total) / samples for name, total in self._named.items() if samples}
        self._named.clear()
        if self._own_step:
            return {"loss": float(read[0]) / samples if samples else float("nan"), **named}
        return self._objective.read(read)

    def training(self) -> tuple[Tensor, ...]:
        """Return the tensors that a training update adds to; a reading of the figures drops the named ones."""
        return (self._train, *self._named.values())

    def keep(self) -> tuple[Tensor, dict[str, Tensor]]:
        """Return a copy of the training sums, for `put_back`. Cost: no sync."""
        return self._train.clone(), {name: total.clone() for name, total in self._named.items()}

    def put_back(self, kept: tuple[Tensor, dict[str, Tensor]]) -> None:
        """Take the training sums back to a copy."""
        self._train.copy_(kept[0])
        self._named = kept[1]

    def state(self) -> dict[str, Array]:
        """Return the training sums by name."""
        named = {f"named/{name}": total.cpu().numpy() for name, total in self._named.items()}
        return {"train": self._train.cpu().numpy(), **named}

    def load(self, state: Mapping[str, Array]) -> None:
        """Take back what `state` returned."""
        sums = dict(state)
        self._train = torch.tensor(sums.pop("train"), device=self._device)
        self._named = {k.removeprefix("named/"): torch.tensor(v, device=self._device) for k, v in sums.items()}
