"""Operations that copy elements to new places: repeat, flip, roll, triangles, diagonals, windows."""

from typing import Any

import numpy as np

from danlu.zero.ops.shape import expand, reshape
from danlu.zero.ops.sizes import Result, Value, dimensions, gathered, named, require, sizes_of
from danlu.zero.ops.sizes import dimension as nth
from danlu.zero.tape import op
from danlu.zero.tensor import Tensor


@op
def clone(x: Value, /, *, memory_format: Any = None) -> Result:
    """Return a copy; dy/dx = 1."""
    return x.copy(order="K"), (lambda g: g,)


@op
def contiguous(x: Value, /, memory_format: Any = None) -> Result:
    """Return a tensor whose elements lie in order in memory: itself if they do; dy/dx = 1."""
    return np.ascontiguousarray(x) if x.ndim else x, (lambda g: g,)


@op
def repeat(x: Value, /, *repeats: Any) -> Result:
    """y = x beside itself, so often in every dimension; the gradients of the copies add up."""
    counts = sizes_of(repeats)
    fits = len(counts) >= x.ndim and min(counts, default=0) >= 0
    require(fits, "repeat: every dimension needs a count, none negative", input=x, counts=counts)
    shape = (1,) * (len(counts) - x.ndim) + x.shape
    blocks = [size for pair in zip(counts, shape, strict=True) for size in pair]
    y = np.tile(x, counts) if counts else x.copy()
    return y, (lambda g: np.add.reduce(g.reshape(blocks), tuple(range(0, len(blocks), 2))),)


def tile(input: Tensor, *dims: Any) -> Tensor:
    """Return x beside itself; missing counts are 1."""
    counts = sizes_of(dims)
    return repeat(input, (1,) * (input._array.ndim - len(counts)) + counts)


def repeat_interleave(input: Tensor, repeats: Any, dim: int | None = None) -> Tensor:
    """Return every element (or place of `dim`) so often in a row; `repeats` is a number, or a tensor of them."""
    flat, axis = (reshape(input, -1), 0) if dim is None else (input, nth(dim, input._array.ndim))
    counts = np.asarray(repeats._array if isinstance(repeats, Tensor) else repeats).reshape(-1)
    size = flat._array.shape[axis]
    fits = counts.size in (1, size) and counts.min(initial=0) >= 0
    require(fits, "repeat_interleave: one repeat, or one for every place", repeats=repeats, places=size)
    return _repeat_each(flat, np.broadcast_to(counts, size), axis)


@op
def _repeat_each(x: Value, /, counts: Value, dim: int) -> Result:
    """y = every place so often in a row; the gradients of the copies add up."""
    places = np.repeat(np.arange(x.shape[dim]), counts)
    return x.take(places, dim), (gathered(x.shape, dim, places),)


@op
def flip(x: Value, /, *dims: Any) -> Result:
    """y = x with dimensions in reverse order."""
    axes = dimensions(sizes_of(dims), x.ndim)[: x.ndim]
    return np.flip(x, axes).copy(), (lambda g: np.flip(g, axes),)


@op
def roll(x: Value, /, shifts: Any, dims: Any = None) -> Result:
    """y = x shifted along dimensions; what leaves at one end comes in at the other."""
    moves = (shifts,) if isinstance(shifts, int) else tuple(shifts)
    axes = None if dims is None or dims == () or x.size == 0 else dimensions(dims, x.ndim)
    moves = moves if axes else moves[:1]
    require(axes is None or len(axes) == len(moves), "roll: shifts and dims must be as many", shifts=moves, dims=dims)
    return np.roll(x, moves, axes), (lambda g: np.roll(g, [-move for move in moves], axes),)


def _triangle(name: str, text: str, cut: Any) -> Any:
    def forward(x: Value, /, diagonal: int = 0) -> Result:
        require(x.ndim > 1, f"{name}: at least 2 dimensions are wanted", input=x)
        return cut(x, diagonal), (lambda g: cut(g, diagonal),)

    return named(forward, name, text, __name__)


tril = _triangle("tril", "y = x with zeros above a diagonal.", np.tril)
triu = _triangle("triu", "y = x with zeros below a diagonal.", np.triu)


@op
def diagonal(x: Value, /, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Result:
    """Return a view of a diagonal of two dimensions, as the last dimension."""
    dim1, dim2 = nth(dim1, x.ndim), nth(dim2, x.ndim)
    require(dim1 != dim2, "diagonal: two dimensions are wanted", dim1=dim1, dim2=dim2)
    shape = x.shape

    def back(g: Value) -> Value:
        whole = np.zeros(shape, g.dtype)
        _diagonal(whole, offset, dim1, dim2)[...] = g
        return whole

    return _diagonal(x, offset, dim1, dim2), (back,)


def _diagonal(x: Value, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Value:
    """Return a diagonal that may be written to, which NumPy's may not."""
    seen = x.diagonal(offset, dim1, dim2)
    seen.flags.writeable = x.flags.writeable
    return seen


@op
def diag(x: Value, /, diagonal: int = 0) -> Result:
    """Return a matrix's diagonal; of a vector, the matrix that has it as its diagonal."""
    require(x.ndim in (1, 2), "diag: a vector or a matrix is wanted", input=x)
    shape = x.shape if x.ndim == 2 else (len(x) + abs(diagonal),) * 2

    def placed(line: Value) -> Value:
        matrix = np.zeros(shape, line.dtype)
        _diagonal(matrix, diagonal)[...] = line
        return matrix

    if x.ndim == 1:
        return placed(x), (lambda g: g.diagonal(diagonal),)
    return x.diagonal(diagonal).copy(), (placed,)


@op
def unfold(x: Value, /, dimension: int, size: int, step: int) -> Result:
    """Return a view of windows of a dimension, each window along a new last dimension."""
    dim, shape = nth(dimension, x.ndim), x.shape
    length = shape[dim] if shape else 1
    fits = 0 <= size <= length and step > 0
    require(fits, "unfold: windows have to fit into the dimension", input=x, dim=dim, size=size, step=step)
    places = (slice(None),) * dim + (slice(None, None, step),)

    def windows(x: Value) -> Value:
        return np.lib.stride_tricks.sliding_window_view(x, size, dim, writeable=x.flags.writeable)[places]

    def back(g: Value) -> Value:
        whole = np.zeros(shape, g.dtype)
        for i in range(size):  # elements of one place in the windows never overlap
            windows(whole)[..., i] += g[..., i]
        return whole

    return windows(x), (back,)


def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Tensor, ...]:
    """Return a grid's coordinates: the i-th result varies along dimension i ("xy": the first two swapped)."""
    require(indexing in ("ij", "xy"), 'meshgrid: indexing is "xy" or "ij"', indexing=indexing)
    lines = list(tensors[0]) if len(tensors) == 1 and not isinstance(tensors[0], Tensor) else list(tensors)
    require(all(x._array.ndim < 2 for x in lines), "meshgrid: vectors are wanted", ranks=[x.ndim for x in lines])
    order = [1, 0, *range(2, len(lines))] if indexing == "xy" and len(lines) > 1 else range(len(lines))
    shape = [lines[i]._array.size for i in order]
    places = [[-1 if i == j else 1 for j in order] for i in range(len(lines))]
    return tuple(expand(reshape(x, place), shape) for x, place in zip(lines, places, strict=True))
