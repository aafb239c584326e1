"""What operations share: reading dimensions and sizes as they are given, and saying what does not fit."""

from collections.abc import Callable
from typing import Any

import numpy as np

from danlu.zero.arguments import require as require
from danlu.zero.dtypes import as_floating, known
from danlu.zero.tape import op
from danlu.zero.tensor import Tensor

Value = Any  # an array or a number
Result = tuple[Any, Any]
Axes = tuple[int, ...] | None  # None: all
_BITS = {size: np.dtype(f"i{size}") for size in (2, 4, 8)}


def dimension(dim: int, ndim: int) -> int:
    """Return a dimension counted from the front. Raises IndexError where there is none such."""
    size = max(ndim, 1)
    if not isinstance(dim, (int, np.integer)):
        raise TypeError(f"dim must be an int, not {type(dim).__name__}")
    if not -size <= dim < size:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-size}, {size - 1}], but got {dim})")
    return int(dim) % size


def dimensions(dim: Any, ndim: int) -> tuple[int, ...]:
    """Return one dimension, or several, counted from the front. Raises RuntimeError where one is named twice."""
    dims = tuple(dimension(d, ndim) for d in ((dim,) if isinstance(dim, int) else dim))
    require(len(set(dims)) == len(dims), "each dim may be named once", dims=dims)
    return dims


def axes_of(dim: Any, ndim: int) -> Axes:
    """Return dimensions to reduce, counted from the front; None (and no dimension at all) means all of them."""
    axes = () if dim is None else dimensions(dim, ndim)
    return axes if axes and ndim else None


def sizes_of(sizes: Any) -> tuple[int, ...]:
    """Return sizes that were given one by one, or together as one sequence."""
    if len(sizes) == 1 and not isinstance(sizes[0], (int, np.integer)):
        sizes = sizes[0]
    return tuple(sizes)


def mismatch(*operands: Any) -> RuntimeError:
    """Return the error for shapes that cannot be broadcast together."""
    shapes = " and ".join(str(list(x.shape)) for x in operands if isinstance(x, np.ndarray))
    return RuntimeError(f"the shapes {shapes} cannot be broadcast together: sizes must be equal, or one of them 1")


def unfit(name: str, a: Any, b: Any, names: str = "mat1 and mat2") -> RuntimeError:
    """Return the error for factors without a matrix product: the one thing that is wrong with them."""
    if a.dtype is not b.dtype:
        text = f"must have the same dtype, but got {a.dtype} and {b.dtype}: change one, for example with .float()"
    elif a.ndim == 0 or b.ndim == 0:
        text = f"need at least one dimension each, but have {a.ndim} and {b.ndim}"
    elif a.shape[-1] != (inner := b.shape[-2 if b.ndim > 1 else 0]):
        text = f"of shapes {list(a.shape)} and {list(b.shape)} cannot be multiplied: {a.shape[-1]} is not {inner}"
    else:
        text = f"of shapes {list(a.shape)} and {list(b.shape)} are batches that cannot be broadcast together"
    return RuntimeError(f"{name}: {names} {text}")


def together(function: Callable[..., Any], *operands: Any) -> Any:
    """Call a function that broadcasts its operands. Raises RuntimeError, as PyTorch does, where it cannot."""
    try:
        return function(*operands)
    except ValueError:
        raise mismatch(*operands) from None


def named(forward: Any, name: str, text: str, module: str) -> Callable[..., Tensor]:
    """Return an operation of a function that a table's row made."""
    forward.__name__ = forward.__qualname__ = name
    forward.__doc__, forward.__module__ = text, module
    return op(forward)


def unary(name: str, text: str, formula: Any, slope: Any, integers: bool = False) -> Callable[..., Tensor]:
    """Return an operation on every element, of its formula x -> y and the gradient that goes back.

    `slope` takes (g), (g, x) or (g, y): what it names is kept for it. Integers become floating unless `integers`.
    """
    keeps = slope.__code__.co_varnames[1:2]

    def forward(x: Value, /) -> Result:
        x = x if integers else as_floating(x)
        y = np.asarray(formula(x))
        if keeps == ("x",):
            return y, (lambda g: slope(g, x),)
        return y, ((lambda g: slope(g, y),) if keeps else (slope,))

    return named(forward, name, text, slope.__module__)


def wide(x: Value, dtype: Any) -> Value:
    """Return x in the type its sums have: integers and bools as int64."""
    if dtype is not None:
        return x.astype(known(dtype).numpy, copy=False)
    return x if x.dtype.kind == "f" else x.astype(np.int64, copy=False)


def floats_only(name: str, x: Value, dtype: Any = None) -> Value:
    """Return x in a type. Raises RuntimeError where it is not floating."""
    x = x if dtype is None else x.astype(known(dtype).numpy, copy=False)
    require(x.dtype.kind == "f", f"{name}: the input must be floating-point", input=x)
    return x


def restored(g: Value, shape: tuple[int, ...], axes: Axes) -> Value:
    """Return what belongs to a reduced result with its reduced dimensions put back, of size 1."""
    if g.ndim == len(shape):
        return g
    return np.reshape(g, (1,) * len(shape)) if axes is None else np.expand_dims(g, axes)


def only(g: Value, chosen: Value) -> Value:
    """Return g where it is chosen, else 0 (a product with 0 would make NaN of inf), by bits: g & -1, g & 0."""
    y, bits = np.empty_like(g), _BITS[g.dtype.itemsize]
    mask = y.view(bits)
    np.negative(chosen.view(np.int8), mask)
    np.bitwise_and(g.view(bits), mask, mask)
    return y


def evenly(g: Value, x: Value, y: Value, axes: Axes) -> Value:
    """Return the gradient divided among the elements that equal the result (NaN equals NaN here)."""
    g, y = restored(g, x.shape, axes), restored(y, x.shape, axes)
    chosen = (x == y) | (np.isnan(x) & np.isnan(y))
    return np.where(chosen, g / np.add.reduce(chosen, axes, keepdims=True).astype(g.dtype), 0)


def spread(shape: tuple[int, ...], where: Any) -> Callable[[Value], Value]:
    """Return the gradient of taking `x[where]`, a basic index: zeros, with g where it was taken."""

    def back(g: Value) -> Value:
        whole = np.zeros(shape, g.dtype)
        whole[where] = g
        return whole

    return back


def gathered(shape: tuple[int, ...], axis: int, places: Value) -> Callable[[Value], Value]:
    """Return the gradient of taking places of an axis: zeros, with g added where each was taken."""

    def back(g: Value) -> Value:
        whole = np.zeros(shape, g.dtype)
        add_rows(np.moveaxis(whole, axis, 0), places, np.moveaxis(g, axis, 0))
        return whole

    return back


def add_rows(whole: Value, index: Value, g: Value) -> None:
    """Add rows of g to the rows of `whole` that the integer index names, in place; a row named twice gets both."""
    rows = index.reshape(-1) % len(whole) if len(whole) else index.reshape(-1)
    if rows.size < 32 or whole[:1].size == 0:
        np.add.at(whole, index, g)
        return
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    whole[ordered[starts]] += np.add.reduceat(g.reshape(rows.size, *whole.shape[1:])[order], starts)
