"""Shape, order of dimensions, joining, splitting. What is a view in PyTorch is one here."""

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from danlu.zero import dtypes
from danlu.zero.ops.sizes import Result, Value, dimension, dimensions, require, sizes_of, spread
from danlu.zero.tape import Mode, op, record
from danlu.zero.tensor import Tensor, wrap


@op
def reshape(x: Value, /, *sizes: Any, shape: Any = None) -> Result:
    """Return the elements in another shape; one size may be -1. A view where that is possible."""
    return _reshaped(x, sizes_of(sizes) if shape is None else tuple(shape), None)


@op
def view(x: Value, /, *sizes: Any) -> Result:
    """Return a view in another shape. Raises RuntimeError where only a copy could have it."""
    return _reshaped(x, sizes_of(sizes), False)


def _reshaped(x: Value, sizes: tuple[int, ...], copy: bool | None) -> Result:
    before = x.shape
    try:
        return x.reshape(sizes, copy=copy), (lambda g: g.reshape(before),)
    except ValueError as error:
        if "copy" not in str(error):
            raise RuntimeError(f"shape '{list(sizes)}' is invalid for input of size {x.size}") from None
        text = f"view: elements of shape {list(before)} that lie in another order in memory have no view of shape"
        raise RuntimeError(f"{text} {list(sizes)}. Use .reshape(...) instead.") from None


def view_as(input: Tensor, other: Tensor) -> Tensor:
    """Return a view in the shape of `other`."""
    return view(input, other._array.shape)


@op
def flatten(x: Value, /, start_dim: int = 0, end_dim: int = -1) -> Result:
    """Return the dimensions from `start_dim` to `end_dim` as one."""
    before = x.shape
    start, end = dimension(start_dim, x.ndim), dimension(end_dim, x.ndim)
    require(start <= end, "flatten: start_dim cannot come after end_dim", start_dim=start, end_dim=end)
    after = (*before[:start], math.prod(before[start : end + 1]), *before[end + 1 :])
    return x.reshape(after), (lambda g: g.reshape(before),)


def unflatten(input: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """Return one dimension split into several; one size may be -1."""
    shape = input._array.shape
    require(shape, "unflatten: there is no dimension to split", input=input)
    dim, known = dimension(dim, len(shape)), -math.prod(sizes)
    if list(sizes).count(-1) == 1 and known > 0 and shape[dim] % known == 0:
        sizes = [shape[dim] // known if size == -1 else size for size in sizes]
    fits = math.prod(sizes) == shape[dim]
    require(fits, "unflatten: the sizes have to multiply to the dimension's", sizes=sizes, dim=dim, input=input)
    return reshape(input, (*shape[:dim], *sizes, *shape[dim + 1 :]))


@op
def transpose(x: Value, /, dim0: int, dim1: int) -> Result:
    """Return two dimensions swapped."""
    dim0, dim1 = dimension(dim0, x.ndim), dimension(dim1, x.ndim)
    if x.ndim == 0:
        return x.view(), (lambda g: g,)
    return x.swapaxes(dim0, dim1), (lambda g: g.swapaxes(dim0, dim1),)


@op
def t(x: Value, /) -> Result:
    """Return a matrix transposed; a vector as it is."""
    require(x.ndim <= 2, "t: at most 2 dimensions are wanted", input=x)
    return x.transpose(), (lambda g: g.transpose(),)


@op
def permute(x: Value, /, *dims: Any) -> Result:
    """Return the dimensions in another order."""
    dims = sizes_of(dims)
    order = tuple(dimension(dim, x.ndim) for dim in dims) if len(dims) == x.ndim else dims
    require(sorted(order) == list(range(x.ndim)), "permute: each dimension is named once", dims=dims, input=x)
    return x.transpose(order), (lambda g: g.transpose(np.argsort(order)),)


@op
def movedim(x: Value, /, source: Any, destination: Any) -> Result:
    """Return dimensions moved to other places; the rest keeps its order."""
    here, there = dimensions(source, x.ndim), dimensions(destination, x.ndim)
    require(len(here) == len(there), "movedim: as many dims have to come as go", source=here, destination=there)
    if x.ndim == 0:
        return x[...], (lambda g: g,)
    return np.moveaxis(x, here, there), (lambda g: np.moveaxis(g, there, here),)


@op
def squeeze(x: Value, /, dim: Any = None) -> Result:
    """Return x without its dimensions of size 1, or without those of `dim` that are."""
    before = x.shape
    dims = range(x.ndim) if dim is None else dimensions(dim, x.ndim)
    after = [size for d, size in enumerate(before) if size != 1 or d not in dims]
    return x.reshape(after), (lambda g: g.reshape(before),)


@op
def unsqueeze(x: Value, /, dim: int) -> Result:
    """Return x with a dimension of size 1 put in at `dim`."""
    before = x.shape
    return np.expand_dims(x, dimension(dim, x.ndim + 1)), (lambda g: g.reshape(before),)


@op
def expand(x: Value, /, *sizes: Any) -> Result:
    """Return x with dimensions of size 1 stretched, without a copy; -1 keeps a size."""
    sizes = sizes_of(sizes)
    extra = len(sizes) - x.ndim
    shape = tuple(x.shape[i - extra] if size == -1 and i >= extra else size for i, size in enumerate(sizes))
    if shape == x.shape:
        return x[...], (lambda g: g,)
    try:
        return np.broadcast_to(x, shape), (lambda g: g,)  # not to be written to: one element may stand for many
    except ValueError:
        raise RuntimeError(f"expand: a tensor of shape {list(x.shape)} cannot be stretched to {list(shape)}") from None


def expand_as(input: Tensor, other: Tensor) -> Tensor:
    """Return x stretched to the shape of `other`."""
    return expand(input, other._array.shape)


@op
def narrow(x: Value, /, dim: int, start: int, length: int) -> Result:
    """Return `length` elements of a dimension, from `start` on."""
    size, start, dim = _length(x, dim), int(start), dimension(dim, x.ndim)
    require(-size <= start <= size, "narrow: start is out of range", IndexError, start=start, size=size)
    start += size if start < 0 else 0
    fits = 0 <= length <= size - start
    require(fits, "narrow: start + length exceeds the size", start=start, length=length, size=size)
    where = (*(slice(None),) * dim, slice(start, start + length))
    return x[where], (spread(x.shape, where),)


@op
def select(x: Value, /, dim: int, index: int) -> Result:
    """Return one place of a dimension, without that dimension."""
    dim = dimension(dim, x.ndim)
    size = x.shape[dim]
    require(-size <= index < size, "select: index out of range", IndexError, index=index, size=size, dim=dim)
    where = (*(slice(None),) * dim, index, ...)
    return x[where], (spread(x.shape, where),)


def _length(x: Value, dim: int) -> int:
    """Return the size of a dimension that is to be cut."""
    require(x.ndim, "there is no dimension to cut into parts", input=x)
    size: int = x.shape[dimension(dim, x.ndim)]
    return size


def split(tensor: Tensor, split_size_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Return a dimension cut into parts of one size (the last may be smaller), or into parts of the given sizes."""
    size, sizes = _length(tensor._array, dim), split_size_or_sections
    if isinstance(sizes, int):
        require(sizes > 0 or sizes == size == 0, "split: the parts' size has to be positive", split_size=sizes)
        sizes = [min(sizes, size - i) for i in range(0, size, sizes or 1)] or [0]
    fits = sum(sizes) == size and min(sizes, default=0) >= 0
    require(fits, "split: sizes have to sum to the dimension's", sizes=sizes, dim=dim, input=tensor)
    return tuple(narrow(tensor, dim, sum(sizes[:i]), part) for i, part in enumerate(sizes))


def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """Return a dimension cut into at most so many parts of the same size, the last one may be smaller."""
    require(chunks > 0, "chunk: at least one is wanted", chunks=chunks)
    size = _length(input._array, dim)
    return split(input, -(-size // chunks) if size else [0] * chunks, dim)


def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """Return every place of a dimension, without that dimension."""
    require(input._array.ndim, "unbind: there is no dimension", IndexError, input=input)
    return tuple(select(input, dim, i) for i in range(_length(input._array, dim)))


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Return tensors one after the other along a dimension; each gets its part of the gradient."""
    require(len(tensors), "cat: at least one tensor is wanted", ValueError, tensors=tensors)
    arrays = [x._array for x in tensors]
    full = [x for x in arrays if x.shape != (0,)] or arrays[:1]  # PyTorch passes over tensors of shape [0]
    require(full[0].ndim, "cat: tensors of no dimension cannot be concatenated, use stack", tensor=full[0])
    dim = 0 if full[0].shape == (0,) else dimension(dim, full[0].ndim)
    try:
        y = np.concatenate(full, dim, dtype=functools.reduce(dtypes.join, [x.dtype for x in arrays]))
    except ValueError:
        shapes = [list(x.shape) for x in arrays]
        raise RuntimeError(f"cat: shapes must be equal but for dimension {dim}, got {shapes}") from None
    empty = [x.shape == (0,) for x in arrays]
    edges = [0, *itertools.accumulate(0 if x.shape == (0,) else x.shape[dim] for x in arrays)]

    def parts(g: Value) -> tuple[Value, ...]:
        cuts = [g[(slice(None),) * dim + (slice(a, b),)] for a, b in itertools.pairwise(edges)]
        return tuple(part.reshape(0) if none else part for part, none in zip(cuts, empty, strict=True))

    return _joined("CatBackward0", tensors, parts, y)


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Return tensors of one shape along a new dimension."""
    arrays = [x._array for x in tensors]
    require(len({x.shape for x in arrays}) == 1, "stack: tensors of one shape", shapes=[list(x.shape) for x in arrays])
    dim = dimension(dim, arrays[0].ndim + 1)
    y = np.stack(arrays, dim, dtype=functools.reduce(dtypes.join, [x.dtype for x in arrays]))
    return _joined("StackBackward0", tensors, lambda g: tuple(np.moveaxis(g, dim, 0)), y)


def _joined(label: str, tensors: Sequence[Tensor], gradients: Any, y: Value) -> Tensor:
    """Return an operation of any number of tensors as one, recorded when one of them wants a gradient."""
    output = wrap(y)
    if Mode.record and any(x.requires_grad for x in tensors):
        record(label, tensors, gradients, output)
    return output


concat = concatenate = cat


def hstack(tensors: Sequence[Tensor]) -> Tensor:
    """Return tensors side by side: along dimension 1, vectors along 0."""
    flat = [reshape(x, 1) if x._array.ndim == 0 else x for x in tensors]
    return cat(flat, 0 if flat[0]._array.ndim == 1 else 1)


def vstack(tensors: Sequence[Tensor]) -> Tensor:
    """Return tensors below each other; vectors are rows."""
    return cat([x if x._array.ndim > 1 else reshape(x, (1, -1)) for x in tensors], 0)
