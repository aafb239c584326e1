"""Casts, `x.double()` or `x.to(torch.int64)`, and copies."""

from typing import Any

import numpy as np

from danlu.zero import arguments, dtypes
from danlu.zero.device import check, no_cuda
from danlu.zero.tape import op
from danlu.zero.tensor import Tensor


@op
def clone(x: Any, /, *, memory_format: None = None) -> tuple[Any, Any]:
    """y = x, in memory of its own; dy/dx = 1."""
    return x.copy(order="K"), (lambda g: g,)


@op
def contiguous(x: Any, /, *, memory_format: None = None) -> tuple[Any, Any]:
    """y = x, with elements in memory in the order of their indices; dy/dx = 1."""
    return (x if x.flags.c_contiguous else np.array(x, order="C")), (lambda g: g,)


@op
def to_copy(x: Any, /, *, dtype: dtypes.dtype) -> tuple[Any, Any]:
    """y = x in another number type; dy/dx = 1 between floating types."""
    return x.astype(dtype.numpy), ((lambda g: g,) if dtype.is_floating_point else None)


def to(self: Tensor, *target: Any, dtype: Any = None, device: Any = None, copy: Any = False, **rest: Any) -> Tensor:
    """Return the tensor with another dtype: `to(dtype)`, `to("cpu")`, `to("cpu", dtype)`, `to(other)`; or itself."""
    rest.pop("non_blocking", None)
    arguments.refuse("to", device=device, **rest)
    for given in target:
        if isinstance(given, Tensor):
            dtype = given.dtype
        elif isinstance(given, (dtypes.dtype, type)):
            dtype = given
        elif given is not True and given is not False:  # non_blocking
            check(given)
    dtype = dtype and dtypes.known(dtype)
    if dtype is not None and dtype.numpy != self._array.dtype:
        return to_copy(self, dtype=dtype)
    return clone(self) if copy else self


def _type(self: Tensor, dtype: Any = None, **rest: Any) -> Any:
    """Return the name of the tensor's type, or the tensor in another: `torch.LongTensor`, its name, or a dtype."""
    if dtype is None:
        return next(f"torch.{name}" for name, kind in dtypes.CONSTRUCTORS.items() if kind is self.dtype)
    name = dtype.removeprefix("torch.") if isinstance(dtype, str) else getattr(dtype, "__name__", "")
    return to(self, dtype=dtypes.CONSTRUCTORS.get(name, dtype), **rest)


def _to(dtype: dtypes.dtype) -> Any:
    return lambda self: self if self._array.dtype == dtype.numpy else to_copy(self, dtype=dtype)


def _matrix_flipped(self: Tensor) -> Any:
    if self.ndim < 2:
        raise RuntimeError(f"tensor.mT is only supported on matrices or batches of matrices. Got {self.ndim}-D tensor.")
    return self.transpose(-2, -1)


METHODS = {
    **{"clone": clone, "contiguous": contiguous, "to": to, "type": _type, "cuda": no_cuda, "cpu": lambda self: self},
    "type_as": lambda self, other: to(self, other.dtype),
    **{"float": _to(dtypes.float32), "double": _to(dtypes.float64), "half": _to(dtypes.float16)},
    **{"long": _to(dtypes.int64), "int": _to(dtypes.int32), "short": _to(dtypes.int16), "char": _to(dtypes.int8)},
    **{"byte": _to(dtypes.uint8), "bool": _to(dtypes.bool_)},
    "T": property(lambda self: self.permute(*range(self.ndim - 1, -1, -1)), doc="Its dimensions in reverse order."),
    "mT": property(_matrix_flipped, doc="The tensor with its last two dimensions exchanged."),
}
