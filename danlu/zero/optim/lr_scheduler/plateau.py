"""The schedule that waits for a measured value to stop improving."""

from math import inf
from typing import SupportsFloat

from danlu.zero.optim.lr_scheduler.base import LRScheduler, check_optimizer, check_option, one_per_group, set_rate
from danlu.zero.optim.optimizer import Optimizer, number


class ReduceLROnPlateau(LRScheduler):
    """lr = lr x factor where a value did not improve for more than `patience` steps.

    A value improves where it is lower (mode "min") or higher ("max") than the best so far by more than the threshold,
    a share of the best ("rel") or as it is ("abs"). For `cooldown` steps after a reduction nothing is counted. No rate
    falls below min_lr, and a reduction of less than eps is left out.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | list[float] = 0,
        eps: float = 1e-8,
    ) -> None:
        check_option("factor", factor, factor < 1.0, "< 1.0")
        check_option("mode", mode, mode in ("min", "max"), "'min' or 'max'")
        check_option("threshold_mode", threshold_mode, threshold_mode in ("rel", "abs"), "'rel' or 'abs'")
        self.optimizer = check_optimizer(optimizer)
        self.default_min_lr = None if isinstance(min_lr, list | tuple) else min_lr
        self.min_lrs = one_per_group("min_lr", min_lr, optimizer)
        self.factor, self.patience, self.cooldown, self.eps = factor, patience, cooldown, eps
        self.mode, self.threshold, self.threshold_mode = mode, threshold, threshold_mode
        self.best = self.mode_worse = inf if mode == "min" else -inf
        self.cooldown_counter = self.num_bad_epochs = self.last_epoch = 0
        self._last_lr = self._current()

    def step(self, metrics: SupportsFloat) -> None:  # type: ignore[override]
        """Take the next value, and reduce the rates where it is time."""
        value = float(number(metrics))
        self.last_epoch += 1
        if self._is_better(value):
            self.best, self.num_bad_epochs = value, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._reduce()
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        self._last_lr = self._current()

    def _is_better(self, value: float) -> bool:
        change = -self.threshold if self.mode == "min" else self.threshold
        bound = self.best * (1 + change) if self.threshold_mode == "rel" else self.best + change
        return value < bound if self.mode == "min" else value > bound

    def _reduce(self) -> None:
        groups = self.optimizer.param_groups
        want = f"one per group, {len(groups)}; write the rates of groups that were added into this field"
        check_option("min_lrs", self.min_lrs, len(groups) == len(self.min_lrs), want)
        for group, low, rate in zip(groups, self.min_lrs, self._current(), strict=True):
            reduced = max(rate * self.factor, low)
            if rate - reduced > self.eps:
                set_rate(group, reduced)
