"""Schedules that multiply the initial rate by a factor of the step.

Each sets its rates from those of the step before, so that several of them act together (`ChainedScheduler`).
"""

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from danlu.zero.optim.lr_scheduler.base import LRScheduler, check_option, one_per_group
from danlu.zero.optim.optimizer import Optimizer

Function = Callable[[int], float]


class FactorLR(LRScheduler):
    """lr = eta_min + (initial lr - eta_min) x factor(step); a schedule says what its factor is.

    Fields:
        eta_min: what the rate goes to where the factor is 0.
        in_steps: whether the rate stays for a while, then jumps. A run that goes on with `last_epoch` makes a jump
            that is due; rates that change all the time it takes as the optimizer has them, as in PyTorch.
    """

    eta_min, in_steps = 0.0, False

    def _factor(self, step: int) -> float:
        raise NotImplementedError

    def _rates(self) -> list[float]:
        step = self.last_epoch
        if step > 0 and self._is_initial and not self.in_steps:
            return self._current()
        now, before = self._factor(step), self._factor(step - 1) if step > 0 else 1.0
        if before == 0:  # nothing can be multiplied to come away from there
            return self._get_closed_form_lr()
        return [self.eta_min + (lr - self.eta_min) * (now / before) for lr in self._current()]

    def _get_closed_form_lr(self) -> list[float]:
        factor = self._factor(self.last_epoch)
        return [self.eta_min + (lr - self.eta_min) * factor for lr in self.base_lrs]


class StepLR(FactorLR):
    """factor = gamma^(step // step_size)."""

    in_steps = True

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1) -> None:
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def _factor(self, step: int) -> float:
        return float(self.gamma ** (step // self.step_size))


class MultiStepLR(FactorLR):
    """factor = gamma^(milestones reached); one that is listed twice counts twice."""

    in_steps = True

    def __init__(
        self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.milestones, self.gamma = Counter(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def _factor(self, step: int) -> float:
        return float(self.gamma ** bisect_right(sorted(self.milestones.elements()), step))


class ConstantLR(FactorLR):
    """The given factor until step total_iters, then 1."""

    in_steps = True

    def __init__(self, optimizer: Optimizer, factor: float = 1 / 3, total_iters: int = 5, last_epoch: int = -1) -> None:
        check_option("factor", factor, 0 <= factor <= 1, "between 0 and 1")
        self.factor, self.total_iters = factor, total_iters
        super().__init__(optimizer, last_epoch)

    def _factor(self, step: int) -> float:
        return self.factor if step < self.total_iters else 1.0


class LinearLR(FactorLR):
    """A factor that goes in a line from start_factor to end_factor, in total_iters steps."""

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        check_option("start_factor", start_factor, 0 < start_factor <= 1, "in (0, 1]")
        check_option("end_factor", end_factor, 0 <= end_factor <= 1, "in [0, 1]")
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer, last_epoch)

    def _factor(self, step: int) -> float:
        return self.start_factor + (self.end_factor - self.start_factor) * _done(step, self.total_iters)


class ExponentialLR(FactorLR):
    """factor = gamma^step."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def _factor(self, step: int) -> float:
        return float(self.gamma**step)


class PolynomialLR(FactorLR):
    """factor = (1 - step / total_iters)^power, then 0."""

    def __init__(self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1) -> None:
        self.total_iters, self.power = total_iters, power
        super().__init__(optimizer, last_epoch)

    def _factor(self, step: int) -> float:
        return float((1 - _done(step, self.total_iters)) ** self.power)


class CosineAnnealingLR(FactorLR):
    """factor = (1 + cos(pi step / T_max)) / 2, above eta_min.

    Source: Loshchilov and Hutter 2017, "SGDR: Stochastic gradient descent with warm restarts", without the restarts.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def _factor(self, step: int) -> float:
        return (1 + math.cos(math.pi * step / self.T_max)) / 2


class LambdaLR(LRScheduler):
    """lr = initial lr x lr_lambda(step); one function, or a list with one per group."""

    _not_saved = ("optimizer", "lr_lambdas")

    def __init__(self, optimizer: Optimizer, lr_lambda: Function | list[Function], last_epoch: int = -1) -> None:
        self.lr_lambdas: list[Any] = one_per_group("lr_lambda", lr_lambda, optimizer)
        super().__init__(optimizer, last_epoch)

    def _rates(self) -> list[float]:
        return self._times(self.base_lrs)

    def _times(self, rates: list[float]) -> list[float]:
        return [lr * factor(self.last_epoch) for factor, lr in zip(self.lr_lambdas, rates, strict=True)]


class MultiplicativeLR(LambdaLR):
    """lr = lr x lr_lambda(step)."""

    def __init__(self, optimizer: Optimizer, lr_lambda: Function | list[Function], last_epoch: int = -1) -> None:
        for factor in lr_lambda if isinstance(lr_lambda, list | tuple) else [lr_lambda]:
            if not callable(factor):
                raise TypeError(f"lr_lambda should be a function, but got {type(factor).__name__}")
        super().__init__(optimizer, lr_lambda, last_epoch)

    def _rates(self) -> list[float]:
        return self._current() if self._is_initial else self._times(self._current())


def _done(step: int, total: int) -> float:
    """Return which share of the steps is done."""
    return step / total if step < total else 1.0
