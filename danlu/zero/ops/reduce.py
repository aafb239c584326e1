"""Operations that make one number of many, or go along one dimension: sums, choosing by rank, counting."""

import math
from typing import Any

import numpy as np

from danlu.zero.dtypes import as_floating
from danlu.zero.ops.elementwise import maximum, minimum
from danlu.zero.ops.index import Ranked, _chosen
from danlu.zero.ops.sizes import Result, Value, axes_of, dimension, evenly, floats_only, named, require, restored, wide
from danlu.zero.tape import op
from danlu.zero.tensor import Tensor, wrap

_total: Any = np.add.reduce


def _count(shape: tuple[int, ...], axes: Any) -> int:
    """Return how many elements become one."""
    return math.prod(shape if axes is None else [shape[axis] for axis in axes])


@op
def sum(x: Value, /, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Result:
    """y = Σ x; dy/dx = 1. Integers and bools are summed as int64."""
    x = wide(x, dtype)
    shape, axes = x.shape, axes_of(dim, x.ndim)
    return _total(x, axes, keepdims=keepdim), (lambda g: np.broadcast_to(restored(g, shape, axes), shape),)


@op
def mean(x: Value, /, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Result:
    """y = Σ x / n; dy/dx = 1 / n."""
    x = floats_only("mean", x, dtype)
    shape, axes = x.shape, axes_of(dim, x.ndim)
    n, total = _count(shape, axes), _total(x, axes, keepdims=keepdim)
    y = total / n if n else np.full_like(total, math.nan)
    return y, (lambda g: np.broadcast_to(restored(g / (n or 1), shape, axes), shape),)


@op
def prod(x: Value, /, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Result:
    """y = Π x; dy/dx = the product of all others, right at zeros too."""
    source, x = x, wide(x, dtype)
    shape, axes, kind = x.shape, axes_of(dim, x.ndim), x.dtype

    def others(g: Value) -> Value:
        x = source.astype(kind, copy=False)
        lines = x.reshape(1, -1) if axes is None else np.moveaxis(x, axes[0], -1)
        before, after = np.ones_like(lines), np.ones_like(lines)
        np.cumprod(lines[..., :-1], -1, out=before[..., 1:])
        np.cumprod(lines[..., :0:-1], -1, out=after[..., -2::-1])
        slope = before * after
        return restored(g, shape, axes) * (slope.reshape(shape) if axes is None else np.moveaxis(slope, -1, axes[0]))

    return x.prod(axes, keepdims=keepdim), (others,)


def max(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """Return the largest element; with `dim`, (values, indices) along it; with a tensor, the larger of both."""
    if isinstance(dim, Tensor):
        return maximum(input, dim)
    return amax(input) if dim is None else _chosen(input, argmax(input, dim, True)._array, dim, keepdim)


def min(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """Return the smallest element; with `dim`, (values, indices) along it; with a tensor, the smaller of both."""
    if isinstance(dim, Tensor):
        return minimum(input, dim)
    return amin(input) if dim is None else _chosen(input, argmin(input, dim, True)._array, dim, keepdim)


def _extreme(name: str, text: str, extreme: Any) -> Any:
    def forward(x: Value, /, dim: Any = None, keepdim: bool = False) -> Result:
        axes = axes_of(dim, x.ndim)
        _not_empty(name, x, axes)
        y = np.asarray(extreme.reduce(x, axes, keepdims=keepdim))
        return y, (lambda g: evenly(g, x, y, axes),)

    return named(forward, name, text, __name__)


def _place(name: str, text: str, find: Any) -> Any:
    def forward(x: Value, /, dim: int | None = None, keepdim: bool = False) -> Result:
        axes = axes_of(dim, x.ndim)
        _not_empty(name, x, axes)
        return find(x, None if axes is None else axes[0], keepdims=keepdim), None

    return named(forward, name, text, __name__)


def _truth(name: str, text: str, reduce: Any) -> Any:
    def forward(x: Value, /, dim: Any = None, keepdim: bool = False) -> Result:
        y = reduce(x, axes_of(dim, x.ndim), keepdims=keepdim)
        return y.astype(np.uint8) if x.dtype == np.uint8 else y, None

    return named(forward, name, text, __name__)


def _not_empty(name: str, x: Value, axes: Any) -> None:
    kind = IndexError if axes or name.startswith("arg") else RuntimeError
    require(x.size or _count(x.shape, axes), f"{name}: there is no element to choose", kind, input=x, dim=axes)


amax = _extreme("amax", "y = max x; equal largest elements share the gradient evenly.", np.maximum)
amin = _extreme("amin", "y = min x; equal smallest elements share the gradient evenly.", np.minimum)
argmax = _place("argmax", "Return the index of the largest element, the first of equal ones.", np.argmax)
argmin = _place("argmin", "Return the index of the smallest element, the first of equal ones.", np.argmin)
all = _truth("all", "Return whether all elements are true (not 0).", np.logical_and.reduce)
any = _truth("any", "Return whether any element is true (not 0).", np.logical_or.reduce)


@op
def count_nonzero(x: Value, /, dim: Any = None) -> Result:
    """Return how many elements are not 0."""
    return _total(x != 0, axes_of(dim, x.ndim), dtype=np.int64), None


def var(
    input: Tensor, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *, correction: float | None = None
) -> Tensor:
    """Return the variance; Σ (x - mean)² is divided by n - correction (1 unless given)."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    return _variance(input, dim, int(unbiased) if correction is None else correction, keepdim)


@op
def _variance(x: Value, /, dim: Any, correction: float, keepdim: bool) -> Result:
    """y = Σ (x - mean)² / (n - correction); dy/dx = 2 (x - mean) / (n - correction)."""
    x = floats_only("std and var", x)
    axes = axes_of(dim, x.ndim)
    n = _count(x.shape, axes)
    dof = np.asarray(n - correction if n > correction else 0, x.dtype)
    centre = _total(x, axes, keepdims=True) / np.asarray(n, x.dtype)
    y = _total(np.square(x - centre), axes, keepdims=keepdim) / dof
    return y, (lambda g: restored(g, x.shape, axes) * (2 / dof) * (x - centre),)


def std(
    input: Tensor, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *, correction: float | None = None
) -> Tensor:
    """Return the standard deviation, see `var`."""
    return _root(var(input, dim, unbiased, keepdim, correction=correction))


@op
def _root(x: Value, /) -> Result:
    """y = √x; dy/dx = 1 / (2y), 0 where y = 0: a standard deviation of 0 sends nothing back."""
    y = np.asarray(np.sqrt(x))
    return y, (lambda g: np.divide(g, 2 * y, out=np.zeros_like(g), where=y != 0),)


@op
def norm(x: Value, /, p: Any = "fro", dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Result:
    """y = (Σ |x|^p)^(1/p); dy/dx = sign(x) (|x| / y)^(p-1). p may be inf, -inf, 0; "fro" is 2."""
    x = floats_only("norm", x, dtype)
    require(not isinstance(p, str) or p == "fro", "norm: p is a number or 'fro'", p=p)
    p = 2.0 if p in ("fro", None) else float(p)
    axes = axes_of(dim, x.ndim)
    require(math.isfinite(p) or _count(x.shape, axes), "norm: there is no element to choose", p=p, input=x)
    size = np.abs(x)
    if math.isinf(p):
        y = np.asarray((size.max if p > 0 else size.min)(axes, keepdims=keepdim))
        return y, (lambda g: np.sign(x) * evenly(g, np.abs(x), y, axes),)
    if p == 0:
        return _total(size != 0, axes, keepdims=keepdim).astype(x.dtype), None
    total = _total(x * x if p == 2 else size**p, axes, keepdims=keepdim)
    y = np.asarray(np.sqrt(total) if p == 2 else total ** (1 / p))
    return y, (lambda g: _norm_slope(restored(g, x.shape, axes), x, restored(y, x.shape, axes), p),)


def _norm_slope(g: Value, x: Value, y: Value, p: float) -> Value:
    if p == 1:
        return g * np.sign(x)
    ratio = x / y if p == 2 else np.sign(x) * np.power(np.abs(x) / y, p - 1)
    return np.where((y == 0) | ((x == 0) & (p < 1)), 0, g * ratio)


@op
def logsumexp(x: Value, /, dim: Any, keepdim: bool = False) -> Result:
    """y = log Σ e^x, without overflow; dy/dx = e^(x - y)."""
    x = as_floating(x)
    axes = axes_of(dim, x.ndim)
    top = x.max(axes, keepdims=True, initial=-np.inf)
    top = np.where(np.isfinite(top), top, 0)
    y = np.log(_total(np.exp(x - top), axes, keepdims=True)) + top
    y = np.asarray(y if keepdim else np.squeeze(y, axes))
    return y, (lambda g: restored(g, x.shape, axes) * np.exp(x - restored(y, x.shape, axes)),)


def _order(x: Value, dim: int, descending: bool) -> tuple[Value, int]:
    """Return the indices that sort an array, and the dimension counted from the front.

    Equal elements keep their order, NaN counts as largest.
    """
    dim = dimension(dim, x.ndim)
    if x.ndim == 0:
        return np.zeros((), np.int64), dim
    if not descending:
        return np.argsort(x, dim, kind="stable"), dim
    return np.flip(x.shape[dim] - 1 - np.argsort(np.flip(x, dim), dim, kind="stable"), dim), dim


def sort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Ranked:
    """Return (values, indices), smallest first; equal elements keep their order."""
    return _chosen(input, *_order(input._array, dim, descending))


def argsort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Tensor:
    """Return the indices that sort a dimension."""
    return wrap(_order(input._array, dim, descending)[0])


def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Ranked:
    """Return (values, indices) of the k largest (or smallest) elements, in order."""
    indices, dim = _order(input._array, dim, largest)
    require(0 <= k <= (indices.shape[dim] if indices.ndim else 1), "topk: k out of range", k=k, input=input, dim=dim)
    return _chosen(input, indices[(slice(None),) * dim + (slice(k),)] if indices.ndim else indices, dim)


def median(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """Return the median, the lower one of two; with `dim`, (values, indices) along it."""
    if dim is None:
        return _median(input)
    x = input._array
    indices, axis = _order(x, dim, False)
    if x.ndim:
        require(x.shape[axis], "median: there is no element to choose", IndexError, input=x, dim=dim)
        bad = np.isnan(x)
        indices = indices.take([(x.shape[axis] - 1) // 2], axis)
        indices = np.where(bad.any(axis, keepdims=True), bad.argmax(axis, keepdims=True), indices)
    return _chosen(input, indices, axis, keepdim)


@op
def _median(x: Value, /) -> Result:
    """y = the element in the middle, NaN where there is one; those equal to it share the gradient evenly."""
    if x.size == 0:
        empty = x.shape
        return np.asarray(np.nan, x.dtype), (lambda g: np.zeros(empty, g.dtype),)
    line = np.sort(x, axis=None)
    y = np.asarray(line[-1] if np.isnan(line[-1]) else line[(x.size - 1) // 2])
    return y, (lambda g: evenly(g, x, y, None),)


@op
def cumsum(x: Value, /, dim: int, *, dtype: Any = None) -> Result:
    """y_i = x_1 + ... + x_i; dL/dx_i = g_i + g_(i+1) + ..."""
    x, dim = wide(x, dtype), dimension(dim, x.ndim)
    if x.ndim == 0:
        return x.copy(), (lambda g: g,)
    return np.add.accumulate(x, dim), (lambda g: np.flip(np.add.accumulate(np.flip(g, dim), dim), dim),)


@op
def cumprod(x: Value, /, dim: int, *, dtype: Any = None) -> Result:
    """y_i = x_1 ... x_i; dL/dx_i = y_(i-1) S_i with S_i = g_i + x_(i+1) S_(i+1), right at zeros too."""
    dim = dimension(dim, x.ndim)
    if x.ndim == 0:
        return wide(x, dtype).copy(), (lambda g: g,)
    y = np.multiply.accumulate(wide(x, dtype), dim)

    def back(g: Value) -> Value:
        factors, products, slopes = (np.moveaxis(a, dim, 0) for a in (x, y, g.copy()))
        for i in range(len(slopes) - 2, -1, -1):
            slopes[i] += factors[i + 1] * slopes[i + 1]
        slopes[1:] *= products[:-1]
        return np.moveaxis(slopes, 0, dim)

    return y, (back,)


def unique(
    input: Tensor,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Any:
    """Return the different elements (or slices of `dim`) in order; on request where each came from, and how many."""
    distinct: Any = np.unique
    found = distinct(input._array, False, return_inverse, return_counts, dim, equal_nan=False)
    return tuple(map(wrap, found)) if isinstance(found, tuple) else wrap(found)


def bincount(input: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """Return how often 0, 1, 2, ... occur, or the sum of their weights."""
    x = input._array
    fits = x.ndim == 1 and x.dtype.kind in "iu" and x.min(initial=0) >= 0
    require(fits, "bincount: a vector of integers, none negative, is wanted", input=x)
    if weights is None:
        return wrap(np.bincount(x, None, minlength))
    sums = np.bincount(x, weights._array, minlength)
    return wrap(sums.astype(np.float32) if weights._array.dtype == np.float32 else sums)
