"""Parameters: the tensors of a module that are trained."""

import copy
from typing import Any

import numpy as np

from danlu.zero.tensor import Tensor, rebuilt


class Parameter(Tensor):
    """A tensor that becomes part of a module's `parameters()` when it is assigned to one of its attributes."""

    def __init__(self, data: Tensor | None = None, requires_grad: bool = True) -> None:
        self._array = np.empty(0, np.float32) if data is None else data._array
        self._version = [0]
        if requires_grad and self._array.dtype.kind != "f":
            raise RuntimeError(f"only tensors of floating point dtype can require gradients, but got {self.dtype}")
        self._requires_grad = requires_grad

    def __repr__(self) -> str:
        return "Parameter containing:\n" + super().__repr__()

    def __deepcopy__(self, memo: dict[int, Any]) -> "Parameter":
        known: Parameter = memo.setdefault(id(self), _rebuilt(type(self), self._array.copy(), self._requires_grad))
        known.grad = copy.deepcopy(self.grad, memo)
        return known

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return _rebuilt, (type(self), self._array, self._requires_grad)


def _rebuilt(kind: type[Parameter], array: Any, requires_grad: bool) -> Parameter:
    known = kind.__new__(kind)
    Parameter.__init__(known, rebuilt(array, requires_grad=False), requires_grad)
    return known
