"""Reading and writing elements by their place: `x[...]`, gather, scatter, masks.

Basic indices (ints, slices, None, ...) give views. Gradients of reads that may meet an element twice add up.
"""

import functools
import operator
from typing import Any, NamedTuple

import numpy as np

from danlu.zero.ops.shape import reshape, squeeze
from danlu.zero.ops.sizes import Result, Value, add_rows, dimension, only, require, spread
from danlu.zero.tape import op
from danlu.zero.tensor import Tensor, wrap


def getitem(x: Tensor, index: Any) -> Tensor:
    """Return x[index]: a view for ints, slices, None and ...; a copy for tensors, lists and masks."""
    if type(index) is int:  # the commonest, and the fastest
        return _basic(x, index)
    items = tuple(_item(item) for item in index) if type(index) is tuple else (_item(index),)
    if any(type(item) is np.ndarray or type(item) is bool for item in items):
        return _advanced(x, items)
    return _basic(x, items)


def _item(item: Any) -> Any:
    """Return one part of an index as NumPy takes it: arrays in place of tensors and lists."""
    if item is None or item is Ellipsis or type(item) is int or type(item) is bool:
        return item
    if type(item) is slice:
        parts = [None if i is None else operator.index(i) for i in (item.start, item.stop, item.step)]
        require(parts[2] is None or parts[2] > 0, "the step has to be positive", ValueError, step=parts[2])
        return slice(*parts)
    if isinstance(item, Tensor):
        item = item._array
        require(item.dtype.kind != "f", "an index is a tensor of integers or bools", IndexError, index=item)
        item = item.astype(bool) if item.dtype == np.uint8 else item
        return int(item) if item.ndim == 0 and item.dtype.kind != "b" else item
    if isinstance(item, (list, tuple, range, np.ndarray)):
        array = np.asarray([part.tolist() if isinstance(part, Tensor) else part for part in item])
        return array.astype(np.int64) if array.size == 0 else array
    try:
        return operator.index(item)
    except TypeError:
        kind = TypeError if isinstance(item, str) else IndexError
        raise kind(f"a tensor is indexed by ints, slices, None, ..., lists and tensors, not {item!r}") from None


def _read(x: Value, index: Any) -> Value:
    """Return x[index] of an array. Raises IndexError that names the index, the dimension and its size."""
    try:
        return x[index]
    except IndexError as error:
        text = str(error).replace("axis", "dimension").replace("array", "tensor")
        raise IndexError(f"{text} (a tensor of shape {list(x.shape)} was indexed)") from None


@op
def _basic(x: Value, /, index: Any) -> Result:
    """y = x[index]; the gradient goes to where the elements stood."""
    y = _read(x, index)
    if type(y) is not np.ndarray:  # one element: a view of no dimension
        y = x[(*index, ...) if type(index) is tuple else (index, ...)]
    return y, (spread(x.shape, index),)


@op
def _advanced(x: Value, /, index: Any) -> Result:
    """y = x[index]; the gradient goes to where the elements stood, and adds up where one was read twice."""
    shape = x.shape

    def back(g: Value) -> Value:
        whole = np.zeros(shape, g.dtype)
        if all(item.dtype.kind == "b" for item in index if type(item) is np.ndarray):
            whole[index] += g  # masks name nothing twice
        elif len(index) == 1:
            add_rows(whole, index[0], g)
        else:
            np.add.at(whole, index, g)
        return whole

    return _read(x, index), (back,)


def _dim_second(operation: Any) -> Any:
    """Return an operation with the order of arguments that PyTorch has: input, dim, index, ..."""

    @functools.wraps(operation)
    def call(input: Tensor, dim: int, index: Tensor, *rest: Any, **options: Any) -> Tensor:
        return operation(input, index, *rest, dim=dim, **options)  # type: ignore[no-any-return]

    return call


@_dim_second
@op
def gather(x: Value, index: Value, /, dim: int) -> Result:
    """y[i][j] = x[index[i][j]][j] (for dim 0); the gradient adds up where an element was taken twice."""
    shape, places = x.shape, _places("gather", x, index, dim)

    def back(g: Value) -> Value:
        whole = np.zeros(shape, g.dtype)
        np.add.at(whole, places, g)
        return whole

    return x[places], (back, None)


def _places(name: str, x: Value, index: Value, dim: int, source: Value = None) -> Any:
    """Return an index of one dimension as an index of all of them."""
    dim = dimension(dim, x.ndim)
    require(index.dtype in (np.int64, np.int32), f"{name}: the index is int64 or int32", index=index)
    require(max(x.ndim, 1) == max(index.ndim, 1), f"{name}: as many dimensions are wanted", index=index, input=x)
    _within(name, index, x.shape[dim] if x.ndim else 1, RuntimeError)
    if type(source) is np.ndarray and source.ndim:
        fits = source.ndim == index.ndim and not any(map(operator.gt, index.shape, source.shape))
        require(fits and source.dtype is x.dtype, f"{name}: src does not fit", src=source, index=index, input=x)
    larger = any(i > j for d, (i, j) in enumerate(zip(index.shape, x.shape, strict=False)) if d != dim)
    require(not larger, f"{name}: the index is larger than the input beside dim {dim}", index=index, input=x)
    if x.ndim == 0:
        return ()
    grid = list(np.ogrid[tuple(slice(size) for size in index.shape)])
    return (*grid[:dim], index, *grid[dim + 1 :])


def _within(name: str, index: Value, size: int, kind: type[Exception]) -> None:
    if index.size and (index.min() < 0 or index.max() >= size):
        wrong = index[(index < 0) | (index >= size)].reshape(-1)[0]
        raise kind(f"{name}(): index {wrong} is out of bounds: it must lie in [0, {size - 1}]")


@_dim_second
@op
def scatter(x: Value, index: Value, src: Value = None, /, dim: int = 0, *, value: Any = None) -> Result:
    """y = x with y[index[i][j]][j] = src[i][j] (for dim 0); what was overwritten gets no gradient."""
    src = value if src is None else src
    places, part = _places("scatter", x, index, dim, src), tuple(slice(size) for size in index.shape)
    y, shape, array = x.copy(), np.shape(src), np.ndim(src) > 0
    y[places] = src[part] if array else src

    def to_rest(g: Value) -> Value:
        rest = g.copy()
        rest[places] = 0
        return rest

    return y, (to_rest, None, lambda g: spread(shape, part)(g[places]) if array else g[places].sum())


@_dim_second
@op
def scatter_add(x: Value, index: Value, src: Value, /, dim: int) -> Result:
    """y = x with src[i][j] added to y[index[i][j]][j] (for dim 0); dL/dx = g, dL/dsrc = g at the index."""
    places, part = _places("scatter_add", x, index, dim, src), tuple(slice(size) for size in index.shape)
    y, shape = x.copy(), src.shape
    np.add.at(y, places, src[part])
    return y, (lambda g: g, None, lambda g: spread(shape, part)(g[places]))


def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """Return the places of a dimension that the index names."""
    x, places = input._array, index._array
    dim = dimension(dim, x.ndim)
    require(places.dtype in (np.int64, np.int32), "index_select: the index is int64 or int32", index=places)
    require(places.ndim < 2, "index_select: the index is a vector", IndexError, index=places)
    if x.ndim == 0:
        require(places.size == 1, "index_select: a tensor with no dimensions has one place", index=places)
        return reshape(input, ())
    _within("index_select", places, x.shape[dim], IndexError)
    return _advanced(input, (slice(None),) * dim + (places.reshape(-1),))


@_dim_second
@op
def index_add(x: Value, index: Value, source: Value, /, dim: int, *, alpha: float = 1) -> Result:
    """y = x with alpha source added at the places that the index names; dL/dx = g, dL/dsource = alpha g there."""
    dim = dimension(dim, x.ndim)
    fits = x.dtype is source.dtype and source.shape[dim : dim + 1] == index.reshape(-1).shape
    require(fits, "index_add: one index for every place, one type", input=x, index=index, source=source, dim=dim)
    _within("index_add", index, x.shape[dim], IndexError)
    where = (slice(None),) * dim + (index.reshape(-1),)
    y = x.copy()
    np.add.at(y, where, alpha * source)
    return y, (lambda g: g, None, lambda g: alpha * g[where])


def take(input: Tensor, index: Tensor) -> Tensor:
    """Return the elements at places counted as if x had one dimension."""
    return _advanced(reshape(input, -1), (index._array,))


@op
def masked_fill(x: Value, mask: Value, value: Value, /) -> Result:
    """y = value where the mask holds, else x; the value gets the sum of the gradients there."""
    fits = mask.dtype.kind == "b" and np.ndim(value) == 0
    require(fits, "masked_fill: a bool mask and one number are wanted", mask=mask, value=value)
    kept = ~mask
    filled = np.where(mask, np.asarray(value).astype(x.dtype), x)
    return filled, (lambda g: only(g, kept), None, lambda g: np.asarray(only(g, mask).sum()))


@op
def masked_select(x: Value, mask: Value, /) -> Result:
    """y = the elements where the mask holds, as a vector."""
    require(mask.dtype.kind == "b", "masked_select: a bool mask is wanted", mask=mask)
    shape = np.broadcast_shapes(x.shape, mask.shape)
    places = np.broadcast_to(mask, shape)
    return np.broadcast_to(x, shape)[places], (spread(shape, places), None)


def nonzero(input: Tensor, *, as_tuple: bool = False) -> Any:
    """Return the indices of the elements that are not 0, one row each; or one tensor per dimension."""
    x = input._array
    found = np.nonzero(x if x.ndim else x.reshape(1))
    if as_tuple:
        return tuple(wrap(i) for i in found)
    return wrap(np.stack(found, 1) if x.ndim else np.zeros((len(found[0]), 0), np.int64))


class Ranked(NamedTuple):
    """Values, and their indices along the dimension."""

    values: Tensor
    indices: Tensor


def _chosen(x: Tensor, indices: Value, dim: int, keepdim: bool = True) -> Ranked:
    """Return the elements at some indices of a dimension, and the indices."""
    places = wrap(indices)
    if x._array.ndim == 0:
        return Ranked(x, places)
    values = gather(x, dim, places)
    return Ranked(values, places) if keepdim else Ranked(squeeze(values, dim), squeeze(places, dim))
