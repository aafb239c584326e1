"""What the learners of both engines do alike with the parts that they are made of."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from danlu.objectives import settle_targets
from danlu.optim import make_schedule
from danlu.train.learner import Array, Figures, Learner
from danlu.train.sums import Sums
from danlu.train.watch import Watch


class PartsLearner(Learner):
    """A learner made of a model, an objective, an optimizer and what goes with them. Abstract.

    Fields:
        parts: the engine's own; their names are the same in both.
    """

    parts: Any
    _sums: Sums
    _watch: Watch

    def bad_updates(self) -> dict[int, str]:
        """Read losses and norms since the last call in one copy."""
        return self._watch.look()

    def plan_schedule(self, spec: Any, horizon: int | None) -> None:
        """Make the schedule of the optimizer's learning rates."""
        self.parts.schedule = schedule = make_schedule(spec, self.parts.optimizer, horizon=horizon)
        self.schedule_per = "evaluation" if schedule.monitor else schedule.per

    def step_schedule(self, value: float | None = None) -> None:
        """Tell the schedule that one unit is done."""
        if self.parts.schedule is not None:
            self.parts.schedule.step(value)

    def lr(self) -> float:
        """Return the learning rate of the first parameter group."""
        return float(self.parts.optimizer.param_groups[0]["lr"])

    def train_sums(self) -> npt.NDArray[np.float64]:
        """Read the training sums in one copy."""
        return self._sums.read_train()

    def train_figures(self) -> Figures:
        """Read the training sums, and start new ones."""
        return self._sums.train_figures()

    def evaluation_figures(self) -> Figures:
        """Read the evaluation sums in one copy, and start new ones."""
        return self._sums.evaluation_figures()

    def check_targets(self, targets: Mapping[str, Array | None]) -> None:
        """Check all targets of every set, where they are known."""
        if self.parts.step is None:
            settle_targets(self.parts.objective, targets)

    def objects(self) -> dict[str, Any]:
        """Return every module by name, and the optimizer."""
        return {**dict(self.parts.model.named_modules()), "optimizer": self.parts.optimizer}

    def _evaluated(self) -> Any:
        return self.parts.model if self.parts.ema is None else self.parts.ema.module
