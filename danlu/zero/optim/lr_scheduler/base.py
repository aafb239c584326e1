"""The base of every schedule."""

import warnings
from collections.abc import Callable
from typing import Any

from danlu.zero.optim.optimizer import Optimizer, number
from danlu.zero.tensor import Tensor


class LRScheduler:
    """Set the learning rate of every group, by the number of steps so far; subclass it and write `get_lr`.

    Args:
        optimizer: whose `param_groups` get the rates; their `lr` at the start is kept as `initial_lr`.
        last_epoch: the last step of the run that goes on here; -1 for a new run.
    """

    _not_saved: tuple[str, ...] = ("optimizer",)
    _get_lr_called_within_step = False
    _is_initial = False  # whether the first step is being made, as part of the constructor

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        self.optimizer = check_optimizer(optimizer)
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", number(group["lr"]))
            elif "initial_lr" not in group:
                raise KeyError(
                    f"param 'initial_lr' is not specified in param_groups[{i}]: to go on with last_epoch={last_epoch}, "
                    "load the optimizer's state_dict first, or start anew with last_epoch=-1"
                )
        self.base_lrs: list[float] = [number(group["initial_lr"]) for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._initial_step()

    def get_last_lr(self) -> list[float]:
        """Return the rates that the last step set, one per group."""
        return self._last_lr

    def get_lr(self) -> list[float]:
        """Compute the rates of step `last_epoch`; `step` calls this."""
        if not self._get_lr_called_within_step:
            warnings.warn("To get the last learning rate computed by the scheduler, use `get_last_lr()`.", stacklevel=2)
        return self._rates()

    def _rates(self) -> list[float]:
        raise NotImplementedError(f"{type(self).__name__} has to define get_lr()")

    def _get_closed_form_lr(self) -> list[float]:
        """Compute the rates of step `last_epoch` where it does not follow the step before."""
        return self.get_lr()

    def step(self, epoch: int | None = None) -> None:
        """Set the next rates. Warns (UserWarning) where `optimizer.step()` was not called before."""
        if self._step_count == 1 and not self.optimizer._opt_called:
            text = "Detected call of `lr_scheduler.step()` before `optimizer.step()`; the first rate would be skipped. "
            warnings.warn(text + "Please call `optimizer.step()` before `lr_scheduler.step()`.", stacklevel=2)
        self._step_count += 1
        if epoch is not None:
            warnings.warn("`scheduler.step(epoch)` is deprecated; call `scheduler.step()`.", stacklevel=2)
        self._move(epoch)

    def _move(self, epoch: int | None = None) -> None:
        """Go to the next step, or to another, and set its rates."""
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        self._set_rates(self.get_lr if epoch is None else self._get_closed_form_lr)

    def _initial_step(self) -> None:
        self._step_count, self._is_initial = 0, True
        self.step()
        self._is_initial = False

    def _set_rates(self, compute: Callable[[], list[float]]) -> None:
        self._get_lr_called_within_step = True
        rates = compute()
        self._get_lr_called_within_step = False
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            set_rate(group, rate)
        self._last_lr = self._current()

    def _current(self) -> list[float]:
        return [number(group["lr"]) for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Return everything but the optimizer, and functions that the caller gave."""
        return {name: value for name, value in vars(self).items() if name not in self._not_saved}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take what `state_dict` returned."""
        vars(self).update((name, value) for name, value in state_dict.items() if name not in self._not_saved)


def check_optimizer(optimizer: Any) -> Optimizer:
    """Return it. Raises TypeError where it is no optimizer."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{type(optimizer).__name__} is not an Optimizer")
    return optimizer


def check_option(name: str, value: Any, right: bool, want: str) -> None:
    """Raise ValueError unless `right`."""
    if not right:
        raise ValueError(f"Expected {name} to be {want}, but got {value!r}")


def set_rate(group: dict[str, Any], rate: float) -> None:
    """Set a group's learning rate; a rate that is a tensor is changed in place."""
    if isinstance(group["lr"], Tensor):
        group["lr"]._array.fill(rate)
        group["lr"]._version[0] += 1
    else:
        group["lr"] = rate


def one_per_group(name: str, value: Any, optimizer: Optimizer) -> list[Any]:
    """Return an option as a list with a value for every group."""
    groups = len(optimizer.param_groups)
    if not isinstance(value, list | tuple):
        return [value] * groups
    if len(value) != groups:
        raise ValueError(f"{name} must have one value per parameter group: it has {len(value)}, groups are {groups}")
    return list(value)
