"""Optimizers that are a formula for one parameter, and the parts that such formulas share.

Formulas compute in place: what NumPy's functions get as their last argument is where the result goes."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from danlu.zero import dtypes
from danlu.zero.optim.optimizer import Group, Optimizer, evaluate, number
from danlu.zero.tensor import wrap

Array = npt.NDArray[Any]
Arrays = Sequence[Array]


class PerParameter(Optimizer):
    """An optimizer that changes every parameter by itself; `takes` declares its options, and `_update` is its formula.

    Fields:
        slots: names of the arrays that are kept for every parameter.
    """

    slots: tuple[str, ...] = ()

    if TYPE_CHECKING:  # `takes` writes it

        def __init__(self, params: Any, *args: Any, **options: Any) -> None: ...

    @classmethod
    def _settle(cls, options: Group) -> None:
        """Check options that depend on each other, and add those that a caller cannot choose."""

    def _slots_of(self, group: Group) -> tuple[str, ...]:
        """Return the slots that a group's options need."""
        return self.slots

    def _begin(self, p: Array, group: Group) -> dict[str, Array]:
        """Return what is kept of parameter `p` before its first step; all but "step" are zeros like it."""
        step = np.zeros((), dtypes.get_default_dtype().numpy)
        return {"step": step} | {name: np.zeros_like(p) for name in self._slots_of(group)}

    def _update(self, p: Array, g: Array, t: float, group: Group, kept: Arrays, scratch: Arrays) -> None:
        """Change parameter `p` in place.

        Args:
            p: the parameter.
            g: the gradient of what is minimized, weight decay included. It may lie in `scratch[0]`.
            t: the step, from 1.
            group: the options.
            kept: what is remembered, changed in place.
            scratch: two arrays like `p` to compute in.
        """
        raise NotImplementedError

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Change every parameter that has a gradient; `closure` computes the loss anew, and it is returned."""
        self._opt_called = True
        loss = None if closure is None else evaluate(closure)
        with np.errstate(all="ignore"):  # inf and NaN pass on silently, as in every operation
            for group in self.param_groups:
                self._change(group)
        return loss

    def _change(self, group: Group) -> None:
        """Change one group's parameters."""
        names = self._slots_of(group)
        for tensor in group["params"]:
            if tensor.grad is not None:
                p, g, state = tensor._array, tensor.grad._array, self.state[tensor]
                scratch = self._scratch(p, g)
                if not state:
                    state.update((name, wrap(array)) for name, array in self._begin(p, group).items())
                step = state["step"]._array
                step += 1
                g = descent(p, g, group, scratch[0])
                self._update(p, g, step.item(), group, [state[name]._array for name in names], scratch)
                tensor._version[0] += 1


def descent(p: Array, g: Array, group: Group, out: Array) -> Array:
    """Return the gradient of what is minimized: g (-g to maximize) + weight_decay p. It is `g` itself or in `out`.

    A decoupled weight decay shrinks `p` by itself: p = (1 - lr weight_decay) p.
    """
    decay = group["weight_decay"]
    if decay and group.get("decoupled_weight_decay"):
        np.multiply(p, 1 - number(group["lr"]) * decay, p)
    elif decay:
        np.multiply(p, decay, out)
        return np.subtract(out, g, out) if group["maximize"] else np.add(g, out, out)
    return np.negative(g, out) if group["maximize"] else g


def decayed(average: Array, value: Array, keep: float, out: Array) -> None:
    """Move a running average: average += (1 - keep) (value - average)."""
    np.subtract(value, average, out)
    np.multiply(out, 1 - keep, out)
    np.add(average, out, average)


def decayed_square(average: Array, g: Array, keep: float, out: Array) -> None:
    """Move a running average of squares: average = keep average + (1 - keep) g^2."""
    np.multiply(g, g, out)
    np.multiply(out, 1 - keep, out)
    np.multiply(average, keep, average)
    np.add(average, out, average)
