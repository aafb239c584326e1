"""Pooling: the greatest value or the mean of every window."""

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

from danlu.zero.arguments import require
from danlu.zero.ops.windows import (
    Array,
    Pair,
    Windows,
    blank,
    crop,
    lift,
    lifted_shape,
    lines_and_pictures,
    lower,
    pad,
    pair,
)
from danlu.zero.tape import op
from danlu.zero.tensor import wrap


@op
def _max_pool(x: Any, /, dims: int, windows: Windows, counts: Pair) -> tuple[Any, Any]:
    """y = the greatest of every window; dx = g where the first greatest (row by row) stands."""
    shape = x.shape

    def back(g: Array) -> Array:
        picture = lift(x, dims)
        winner, g = _winners(picture, windows, counts), lift(g, dims)
        dx = blank(picture.shape, windows, g.dtype)
        bits = np.dtype(f"i{g.itemsize}")  # a gradient's bits and a mask of ones or zeros: quicker than a choice
        apart = all(step >= reach for step, reach in zip(windows.stride, windows.extent, strict=True))
        for number, (down, along) in enumerate(_taps(windows, counts)):
            place, won = dx[:, :, down, along], np.negative((winner == number).view(np.int8), dtype=bits)
            if apart:
                np.bitwise_and(g.view(bits), won, out=place.view(bits))
            else:
                place += np.bitwise_and(g.view(bits), won, out=won).view(g.dtype)
        return crop(dx, windows, picture.shape[2:]).reshape(shape)

    y = _sweep(pad(lift(x, dims), windows, -np.inf), windows, counts, np.maximum)
    return lower(y, shape, dims), (back,)


@op
def _avg_pool(x: Any, /, dims: int, windows: Windows, counts: Pair, divisor: Any) -> tuple[Any, Any]:
    """y = the sum of every window / divisor; dx = g / divisor, added to every place of the window."""
    shape, pictures = x.shape, lift(x, dims)
    size, dtype = pictures.shape, x.dtype
    y = _sweep(pad(pictures, windows), windows, counts, np.add)
    y /= divisor

    def back(g: Array) -> Array:
        g = lift(g, dims) / divisor
        dx = blank(size, windows, dtype)
        for down, along in _taps(windows, counts):
            dx[:, :, down, along] += g
        return crop(dx, windows, size[2:]).reshape(shape)

    return lower(y, shape, dims), (back,)


@op
def _adaptive_avg_pool(x: Any, /, dims: int, counts: Pair) -> tuple[Any, Any]:
    """y = D x A^T, where row i of D and A is 1 / size inside window i, else 0; dx = D^T g A."""
    shape, pictures = x.shape, lift(x, dims)
    down, along = (_means(have, want, x.dtype) for have, want in zip(pictures.shape[2:], counts, strict=True))

    def both(z: Array, axis: int) -> Array:
        return np.tensordot(np.tensordot(z, down, ((2,), (axis,))), along, ((2,), (axis,)))

    return lower(both(pictures, 1), shape, dims), (lambda g: both(lift(g, dims), 0).reshape(shape),)


def _sweep(x: Array, windows: Windows, counts: Pair, combine: Callable[..., Any]) -> Array:
    """Return (N, C, *counts): every window's values combined, first down its columns, then along."""
    first, *others = windows.steps(0, counts[0])
    y = x[:, :, first]
    for number, down in enumerate(others):
        y = combine(y, x[:, :, down], out=y if number else None)
    first, *others = windows.steps(1, counts[1])
    x, y = y, y[..., first]
    for number, along in enumerate(others):
        y = combine(y, x[..., along], out=y if number else None)
    return y if others else y.copy()


def _winners(x: Array, windows: Windows, counts: Pair) -> Array:
    """Return (N, C, *counts): the number, row by row, of each window's first greatest value; the last NaN wins."""
    padded = pad(x, windows, -np.inf)
    (down, along), *others = _taps(windows, counts)
    best = padded[:, :, down, along]
    kind = np.min_scalar_type(len(others)).type
    winner = np.zeros(best.shape, kind)
    for number, (down, along) in enumerate(others, 1):
        better = np.maximum(best, padded[:, :, down, along])
        np.maximum(winner, (better != best).view(np.uint8) * kind(number), out=winner)
        best = better
    return winner


def _taps(windows: Windows, counts: Pair) -> list[tuple[slice, slice]]:
    """Return what of a padded picture every place of a window meets, row by row."""
    return list(product(windows.steps(0, counts[0]), windows.steps(1, counts[1])))


def _shares(have: int, want: int) -> list[slice]:
    """Return adaptive windows: window i reaches from floor(i have / want) to ceil((i + 1) have / want)."""
    return [slice(i * have // want, -(-(i + 1) * have // want)) for i in range(want)]


def _means(have: int, want: int, dtype: Any) -> Array:
    matrix = np.zeros((want, have), dtype)
    for row, share in zip(matrix, _shares(have, want), strict=True):
        row[share] = 1 / (share.stop - share.start)
    return matrix


def _greatest(dims: int) -> Any:
    def max_pool(
        input: Any,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Any:
        """Return the greatest value of every window of (N, C, ...) or (C, ...), and where it stood if asked for."""
        windows, counts = _windows(dims, input, (kernel_size, stride, padding, dilation), ceil_mode)
        y = _max_pool(input, dims, windows, counts)
        if not return_indices:
            return y
        pictures = lift(input._array, dims)
        row, column = np.divmod(_winners(pictures, windows, counts).astype(np.int64), windows.kernel[1])
        row = row * windows.dilation[0] + np.arange(counts[0])[:, None] * windows.stride[0] - windows.before[0]
        column = column * windows.dilation[1] + np.arange(counts[1]) * windows.stride[1] - windows.before[1]
        return y, wrap(lower(row * pictures.shape[3] + column, input._array.shape, dims))

    return max_pool


def _mean(dims: int) -> Any:
    def avg_pool(
        input: Any,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> Any:
        """Return the mean of every window of (N, C, ...) or (C, ...)."""
        windows, counts = _windows(dims, input, (kernel_size, stride, padding, 1), ceil_mode)
        require(divisor_override != 0, "avg_pool: the divisor is not zero", divisor_override=divisor_override)
        (top, left), (h, w) = windows.before, lifted_shape(input, dims)[2:]
        ones = blank((1, 1, h, w), windows, input._array.dtype)  # where a place counts, the border's perhaps too
        part = ones[:, :, : h + 2 * top, : w + 2 * left] if count_include_pad else crop(ones, windows, (h, w))
        part[...] = 1
        divisor = divisor_override or _sweep(ones, windows, counts, np.add)[0, 0]
        return _avg_pool(input, dims, windows, counts, divisor)

    return avg_pool


def _adaptive_mean(dims: int) -> Any:
    def adaptive_avg_pool(input: Any, output_size: Any) -> Any:
        """Return the means of `output_size` windows of (N, C, ...) or (C, ...); None keeps a size."""
        return _adaptive_avg_pool(input, dims, _wanted(input, output_size, dims))

    return adaptive_avg_pool


def _adaptive_greatest(dims: int) -> Any:
    def adaptive_max_pool(input: Any, output_size: Any, return_indices: bool = False) -> Any:
        """Return the greatest values of `output_size` windows of (N, C, ...) or (C, ...); None keeps a size."""
        counts, pictures = _wanted(input, output_size, dims), lift(input._array, dims)
        n, c, h, w = pictures.shape
        flat = np.empty((n, c, *counts), np.int64)
        for i, down in enumerate(_shares(h, counts[0])):
            for j, along in enumerate(_shares(w, counts[1])):
                window = pictures[:, :, down, along]
                row, column = np.divmod(window.reshape(n, c, -1).argmax(-1), window.shape[3])
                flat[:, :, i, j] = (row + down.start) * w + column + along.start
        indices = wrap(lower(flat, input._array.shape, dims))
        y = input.flatten(-dims).gather(-1, indices.flatten(-dims)).reshape(indices._array.shape)
        return (y, indices) if return_indices else y

    return adaptive_max_pool


max_pool1d, max_pool2d = lines_and_pictures(_greatest)
avg_pool1d, avg_pool2d = lines_and_pictures(_mean)
adaptive_avg_pool1d, adaptive_avg_pool2d = lines_and_pictures(_adaptive_mean)
adaptive_max_pool1d, adaptive_max_pool2d = lines_and_pictures(_adaptive_greatest)


def _windows(dims: int, x: Any, sizes: tuple[Any, ...], ceil_mode: bool) -> tuple[Windows, Pair]:
    """Return the windows, their padding below and to the right long enough for all, and how many there are."""
    kernel = pair(sizes[0], dims, "kernel_size")
    stride = kernel if sizes[1] is None or sizes[1] == () or sizes[1] == [] else pair(sizes[1], dims, "stride")
    border, dilation = pair(sizes[2], dims, "padding", 0), pair(sizes[3], dims, "dilation")
    shape = lifted_shape(x, dims)
    positive = min(*kernel, *stride, *dilation) > 0
    require(positive, "sizes are at least 1", kernel_size=kernel, stride=stride, dilation=dilation)
    windows = Windows(kernel, stride, dilation, border, border)
    counts, after = [], []
    for have, step, edge, reach in zip(shape[2:], stride, border, windows.extent, strict=True):
        require(0 <= edge <= reach // 2, f"padding is at most half of the windows' {reach}", padding=edge)
        count = (have + 2 * edge - reach + (step - 1 if ceil_mode else 0)) // step + 1
        if ceil_mode and (count - 1) * step >= have + edge:
            count -= 1  # a window has to start inside the picture or its left border
        require(count > 0 and shape[1] > 0, "the input is too small for the windows", input=x, kernel_size=kernel)
        counts.append(count)
        after.append(max(edge, (count - 1) * step + reach - have - edge))
    return replace(windows, after=(after[0], after[1])), (counts[0], counts[1])


def _wanted(x: Any, output_size: Any, dims: int) -> Pair:
    shape = lifted_shape(x, dims)
    sizes = tuple(output_size) if isinstance(output_size, (tuple, list)) else (output_size,) * dims
    wanted = [n if want is None else int(want) for n, want in zip(shape[4 - dims :], sizes, strict=False)]
    fits = len(sizes) == dims and min(wanted) >= 0 and min(shape[1:]) > 0
    require(fits, "adaptive pooling: an output size that goes with the input", output_size=output_size, input=x)
    return (1, wanted[0]) if dims == 1 else (wanted[0], wanted[1])
