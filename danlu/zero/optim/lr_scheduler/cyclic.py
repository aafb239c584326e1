"""Schedules that rise and fall, some with the momentum going the other way."""

import math
from collections.abc import Callable
from typing import Any

from danlu.zero.optim.lr_scheduler.base import (
    LRScheduler,
    check_optimizer,
    check_option,
    one_per_group,
    set_rate,
)
from danlu.zero.optim.optimizer import Optimizer

Rate = float | list[float]


class CosineAnnealingWarmRestarts(LRScheduler):
    """lr = eta_min + (initial lr - eta_min) (1 + cos(pi T_cur / T_i)) / 2; T_cur starts anew after T_i steps.

    The first T_i is T_0, each next one T_mult times longer.

    Source: Loshchilov and Hutter 2017, "SGDR: Stochastic gradient descent with warm restarts".
    """

    def __init__(
        self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        check_option("T_0", T_0, isinstance(T_0, int) and T_0 > 0, "a positive integer")
        check_option("T_mult", T_mult, isinstance(T_mult, int) and T_mult >= 1, "an integer >= 1")
        check_option("eta_min", eta_min, isinstance(eta_min, float | int), "a number")
        self.T_0, self.T_i, self.T_mult, self.eta_min = T_0, T_0, T_mult, eta_min
        self.T_cur: float = last_epoch
        super().__init__(optimizer, last_epoch)

    def _rates(self) -> list[float]:
        share = (1 + math.cos(math.pi * self.T_cur / self.T_i)) / 2
        return [self.eta_min + (base - self.eta_min) * share for base in self.base_lrs]

    def step(self, epoch: float | None = None) -> None:
        """Set the next rates, or those of `epoch`, which may lie between two steps."""
        epoch = max(self.last_epoch + 1, 0) if epoch is None else epoch
        check_option("epoch", epoch, epoch >= 0, "not negative")
        self.last_epoch, self.T_i, self.T_cur = math.floor(epoch), self.T_0, epoch
        if self.T_mult == 1:
            self.T_cur %= self.T_0
        while self.T_cur >= self.T_i:
            self.T_cur, self.T_i = self.T_cur - self.T_i, self.T_i * self.T_mult
        self._set_rates(self.get_lr)


class MomentumCycle(LRScheduler):
    """A schedule that may set momentum, too: `momentum` of the groups, or the first of their `betas`."""

    cycle_momentum: bool
    use_beta1: bool

    def _begin_momentum(self, low: Any, high: Any, last_epoch: int) -> None:
        """Note lowest and highest momentum in every group, and start at the highest."""
        options = self.optimizer.defaults
        if "momentum" not in options and "betas" not in options:
            raise ValueError("optimizer must support momentum or beta1 with `cycle_momentum` option enabled")
        self.use_beta1 = "betas" in options
        self.base_momentums = one_per_group("base_momentum", low, self.optimizer)
        self.max_momentums = one_per_group("max_momentum", high, self.optimizer)
        bounds = zip(self.optimizer.param_groups, self.base_momentums, self.max_momentums, strict=True)
        for group, least, most in bounds if last_epoch == -1 else ():
            self._set_momentum(group, most)
            group["max_momentum"], group["base_momentum"] = most, least

    def _set_momentum(self, group: dict[str, Any], momentum: float) -> None:
        if self.use_beta1:
            group["betas"] = (momentum, *group["betas"][1:])
        else:
            group["momentum"] = momentum


class CyclicLR(MomentumCycle):
    """lr goes from base_lr to max_lr in step_size_up steps, and back in step_size_down; momentum goes the other way.

    The height of cycle c (from 1) is scaled by 1 ("triangular"), by 1 / 2^(c - 1) ("triangular2"), at step i by
    gamma^i ("exp_range"), or by scale_fn of the cycle or of the step (scale_mode "cycle" or "iterations").

    Source: Smith 2017, "Cyclical learning rates for training neural networks".
    """

    _not_saved = ("optimizer", "_scale_fn_custom")

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: Rate,
        max_lr: Rate,
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: str = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None,
        scale_mode: str = "cycle",
        cycle_momentum: bool = True,
        base_momentum: Rate = 0.8,
        max_momentum: Rate = 0.9,
        last_epoch: int = -1,
    ) -> None:
        known = mode in ("triangular", "triangular2", "exp_range")
        check_option("mode", mode, known or scale_fn is not None, "triangular, triangular2 or exp_range")
        self.optimizer = check_optimizer(optimizer)
        base_lrs = one_per_group("base_lr", base_lr, optimizer)
        if last_epoch == -1:
            for group, rate in zip(optimizer.param_groups, base_lrs, strict=True):
                set_rate(group, rate)
        self.max_lrs = one_per_group("max_lr", max_lr, optimizer)
        up, down = float(step_size_up), float(step_size_up if step_size_down is None else step_size_down)
        self.total_size, self.step_ratio = up + down, up / (up + down)
        if scale_fn is None:
            scale_mode = "iterations" if mode == "exp_range" else "cycle"
        self.mode, self.gamma, self.scale_mode, self._scale_fn_custom = mode, gamma, scale_mode, scale_fn
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self._begin_momentum(base_momentum, max_momentum, last_epoch)
        super().__init__(optimizer, last_epoch)
        self.base_lrs = base_lrs

    def scale_fn(self, x: float) -> float:
        """Return what scales the height of cycle, or at step, `x`."""
        if self._scale_fn_custom is not None:
            return self._scale_fn_custom(x)
        if self.mode == "exp_range":
            return float(self.gamma**x)
        return 1 / 2.0 ** (x - 1) if self.mode == "triangular2" else 1.0

    def _rates(self) -> list[float]:
        cycle = math.floor(1 + self.last_epoch / self.total_size)
        x = 1.0 + self.last_epoch / self.total_size - cycle
        share = x / self.step_ratio if x <= self.step_ratio else (x - 1) / (self.step_ratio - 1)
        height = share * self.scale_fn(cycle if self.scale_mode == "cycle" else self.last_epoch)
        if self.cycle_momentum:
            bounds = zip(self.optimizer.param_groups, self.base_momentums, self.max_momentums, strict=True)
            for group, low, high in bounds:
                self._set_momentum(group, high - (high - low) * height)
        return [low + (high - low) * height for low, high in zip(self.base_lrs, self.max_lrs, strict=True)]


class OneCycleLR(MomentumCycle):
    """lr rises from max_lr / div_factor to max_lr, then falls to the start / final_div_factor; momentum mirrors it.

    The cycle has total_steps, or epochs x steps_per_epoch; in the share pct_start of them the rate rises, along half a
    cosine or a line ("cos", "linear"). With three_phase it falls to the first rate as slowly as it rose, and only then
    to the last. Momentum goes from max_momentum to base_momentum, and back.

    Source: Smith and Topin 2018, "Super-convergence: Very fast training of neural networks using large learning rates".
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: Rate,
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: Rate = 0.85,
        max_momentum: Rate = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        self.optimizer = check_optimizer(optimizer)
        for name, value in {"total_steps": total_steps, "epochs": epochs, "steps_per_epoch": steps_per_epoch}.items():
            check_option(name, value, value is None or (isinstance(value, int) and value > 0), "a positive integer")
        if total_steps is None and (epochs is None or steps_per_epoch is None):
            raise ValueError("You must define either total_steps OR (epochs AND steps_per_epoch)")
        self.total_steps: int = total_steps or (epochs or 0) * (steps_per_epoch or 0)
        check_option("pct_start", pct_start, isinstance(pct_start, float) and 0 <= pct_start <= 1, "a float in [0, 1]")
        check_option("anneal_strategy", anneal_strategy, anneal_strategy in ("cos", "linear"), "'cos' or 'linear'")
        self._anneal_func_type = anneal_strategy
        self._schedule_phases = _phases(self.total_steps, pct_start, three_phase)
        rates = one_per_group("max_lr", max_lr, optimizer)
        if last_epoch == -1:
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                first = rate / div_factor
                group.update(initial_lr=first, max_lr=rate, min_lr=first / final_div_factor)
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self._begin_momentum(base_momentum, max_momentum, last_epoch)
        super().__init__(optimizer, last_epoch)

    def _rates(self) -> list[float]:
        if self.last_epoch > self.total_steps:
            raise ValueError(f"Tried to step {self.last_epoch} times; the total number of steps is {self.total_steps}")
        start, phases = 0.0, self._schedule_phases
        for phase in phases:
            end = phase["end_step"]
            if self.last_epoch <= end or phase is phases[-1]:
                break
            start = end
        done = (self.last_epoch - start) / (end - start)
        for group in self.optimizer.param_groups if self.cycle_momentum else ():
            self._set_momentum(group, self._between(group, phase, "momentum", done))
        return [self._between(group, phase, "lr", done) for group in self.optimizer.param_groups]

    def _between(self, group: dict[str, Any], phase: dict[str, Any], what: str, done: float) -> float:
        """Return the value where a share of the phase is done."""
        start, end = float(group[phase[f"start_{what}"]]), float(group[phase[f"end_{what}"]])
        share = (1 - math.cos(math.pi * done)) / 2 if self._anneal_func_type == "cos" else done
        return start + (end - start) * share


def _phases(total: int, rising: float, three: bool) -> list[dict[str, Any]]:
    """Return the phases: their last step, and which of the groups' options they go from and to."""
    rows = [(float(rising * total) - 1, "initial_lr", "max_lr", "max_momentum", "base_momentum")]
    if three:
        rows.append((float(2 * rising * total) - 2, "max_lr", "initial_lr", "base_momentum", "max_momentum"))
        rows.append((total - 1, "initial_lr", "min_lr", "max_momentum", "max_momentum"))
    else:
        rows.append((total - 1, "max_lr", "min_lr", "base_momentum", "max_momentum"))
    names = ("end_step", "start_lr", "end_lr", "start_momentum", "end_momentum")
    return [dict(zip(names, row, strict=True)) for row in rows]
