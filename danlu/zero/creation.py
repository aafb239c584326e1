"""Tensors from numbers, arrays and shapes. What an argument cannot do here raises, and names the argument."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from danlu.zero import dtypes
from danlu.zero.arguments import DType, floating, like, refuse, require, shape_of
from danlu.zero.device import check
from danlu.zero.tensor import Tensor, wrap

Array = npt.NDArray[Any]


def tensor(
    data: Any, *, dtype: DType = None, device: Any = None, requires_grad: bool = False, pin_memory: bool = False
) -> Tensor:
    """Copy numbers, nested sequences of them, an array or a tensor; Python's floats get the default dtype."""
    refuse("tensor", device=device, pin_memory=pin_memory)
    return wrap(_read(data, dtype)).requires_grad_(requires_grad)


def as_tensor(data: Any, dtype: DType = None, device: Any = None) -> Tensor:
    """Return data as a tensor; a tensor stays itself and an array shares its memory where the dtype fits."""
    check(device)
    dtype = dtype and dtypes.known(dtype)
    if isinstance(data, Tensor):
        return data if dtype is None or data.dtype is dtype else data.to(dtype)
    if isinstance(data, np.ndarray) and (dtype is None or data.dtype == dtype.numpy):
        return from_numpy(data)
    return wrap(_read(data, dtype))


def from_numpy(ndarray: Array, /) -> Tensor:
    """Return a tensor that shares the array's memory."""
    require(isinstance(ndarray, np.ndarray), "from_numpy: an array is wanted", TypeError, ndarray=ndarray)
    return wrap(ndarray.view(dtypes.of(ndarray).numpy, np.ndarray))


def _of_shape(name: str, make: Callable[..., Array], text: str) -> Callable[..., Tensor]:
    def create(*sizes: Any, size: Any = None, dtype: DType = None, requires_grad: bool = False, **rest: Any) -> Tensor:
        refuse(name, **rest)
        return wrap(make(shape_of(name, sizes, size), floating(name, dtype))).requires_grad_(requires_grad)

    create.__name__ = create.__qualname__ = name
    create.__doc__ = text
    return create


empty = _of_shape("empty", np.empty, "Return a tensor of a shape; its numbers are whatever memory holds.")
zeros = _of_shape("zeros", np.zeros, "Return zeros of a shape.")
ones = _of_shape("ones", np.ones, "Return ones of a shape.")


def full(
    size: Sequence[int], fill_value: Any, *, dtype: DType = None, requires_grad: bool = False, **rest: Any
) -> Tensor:
    """Return a tensor of a shape that holds one number everywhere; its dtype follows from the number."""
    refuse("full", **rest)
    require(not isinstance(size, int), "full: size is a tuple of ints", TypeError, size=size)
    return wrap(np.full(shape_of("full", (tuple(size),)), _read(fill_value, dtype))).requires_grad_(requires_grad)


def eye(n: int, m: int | None = None, *, dtype: DType = None, requires_grad: bool = False, **rest: Any) -> Tensor:
    """Return ones on the diagonal of an (n, m) matrix of zeros."""
    refuse("eye", **rest)
    shape = shape_of("eye", (n, n if m is None else m))
    return wrap(np.eye(*shape, dtype=floating("eye", dtype))).requires_grad_(requires_grad)


def arange(
    start: Any = 0, end: Any = None, step: Any = 1, *, dtype: DType = None, requires_grad: bool = False, **rest: Any
) -> Tensor:
    """Return start, start + step, ... below `end`; `arange(end)` starts at 0. Whole arguments give int64."""
    refuse("arange", **rest)
    start, end = (0, start) if end is None else (start, end)
    start, end, step = (x.item() if isinstance(x, (Tensor, np.generic)) else x for x in (start, end, step))
    fits = step != 0 and (end - start) * step >= 0
    require(fits, "arange: a step, not 0, that leads from start to end", start=start, end=end, step=step)
    if dtype is None and not any(isinstance(x, float) for x in (start, end, step)):
        dtype = dtypes.int64
    return wrap(np.arange(start, end, step).astype(floating("arange", dtype))).requires_grad_(requires_grad)


def linspace(
    start: float, end: float, steps: int, *, dtype: DType = None, requires_grad: bool = False, **rest: Any
) -> Tensor:
    """Return `steps` numbers at equal distances, both ends among them."""
    refuse("linspace", **rest)
    require(steps >= 0, "linspace: the number of steps is not negative", steps=steps)
    array = np.linspace(float(start), float(end), steps)
    return wrap(array.astype(floating("linspace", dtype))).requires_grad_(requires_grad)


empty_like, zeros_like, ones_like, full_like = map(like, (empty, zeros, ones, full))


def _typed(name: str, dtype: dtypes.dtype) -> Callable[..., Tensor]:
    def build(*data: Any) -> Tensor:
        sizes = all(isinstance(size, int) for size in data)
        return empty(data or (0,), dtype=dtype) if sizes else wrap(_read(data[0], dtype))

    build.__name__ = build.__qualname__ = name
    build.__doc__ = f"Return a tensor of {dtype}, of sizes (uninitialised) or of data, as PyTorch did of old."
    return build


globals().update({name: _typed(name, dtype) for name, dtype in dtypes.CONSTRUCTORS.items()})


@np.errstate(all="ignore")
def _read(data: Any, dtype: DType) -> Array:
    """Return a fresh array of what was given, in the dtype that PyTorch would infer."""
    dtype = dtype and dtypes.known(dtype)
    if isinstance(data, (Tensor, np.ndarray, np.generic)):
        array = np.array(data._array if isinstance(data, Tensor) else data)
        array = array.view(dtypes.of(array).numpy)
        return array if dtype is None else array.astype(dtype.numpy, copy=False)
    first = data
    while isinstance(first, Sequence) and not isinstance(first, str | bytes) and len(first):
        first = first[0]
    array = _nested(_without_tensors(data) if isinstance(first, Tensor) else data)
    if dtype is not None:
        return _fitting(array, dtype.numpy)
    if array.dtype.kind == "f" and not isinstance(first, (np.ndarray, np.generic)):
        known = isinstance(first, Tensor) and first._array.dtype.kind == "f"
        return array.astype(first._array.dtype if known else floating("tensor", None), copy=False)
    return array.view(dtypes.of(array).numpy)


def _nested(data: Any) -> Array:
    """Return numbers in nested sequences as an array."""
    require(data is not None and not isinstance(data, dict | set), "tensor: numbers are wanted", data=data)
    try:
        array = np.array(data)
    except ValueError as error:  # ragged
        raise ValueError(f"expected sequences of one length at every level: {error}") from None
    if array.dtype.kind in "SU":
        kind = ValueError if array.ndim and isinstance(data[0], str) else TypeError
        require(False, "tensor: numbers are wanted", kind, data=data)
    if array.dtype.kind in "Ou":
        whole = all(isinstance(x, int) for x in array.ravel().tolist())
        text = "tensor: a number needs more than 64 bits" if whole else "tensor: numbers are wanted"
        require(False, text, ValueError if whole else RuntimeError, data=data)
    return array


def _fitting(array: Array, wanted: np.dtype[Any]) -> Array:
    """Convert to the wanted type. Raises RuntimeError where a number does not fit into an integer."""
    if wanted.kind in "iu" and array.size and array.dtype.kind in "if":
        limits = np.iinfo(wanted)
        fits = array.min() >= limits.min and array.max() <= limits.max
        require(fits, "tensor: a number does not fit into the type without overflow", dtype=wanted.name)
    return array.astype(wanted, copy=False)


def _without_tensors(data: Any) -> Any:
    """Replace tensors in nested sequences by their one number."""
    if isinstance(data, Tensor):
        require(data._array.size == 1, "tensor: tensors in a list have one element; see stack", ValueError, found=data)
        return data._array.reshape(())[()]
    return [_without_tensors(x) for x in data] if isinstance(data, Sequence) else data
