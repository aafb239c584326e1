"""Convolution and its transpose.

Every window is unrolled into a column, and a convolution is one matrix product per picture: y = W columns(x). So the
gradient of x puts W^T g back to where the columns were taken from, and that of W is g columns(x)^T. A transposed
convolution is the same three products with the parts exchanged.

Source: Chellapilla, Puri, Simard, High performance convolutional neural networks for document processing (2006).
"""

from typing import Any

import numpy as np

from danlu.zero.arguments import require
from danlu.zero.ops.windows import (
    Array,
    Pair,
    Windows,
    borders,
    chunk,
    lift,
    lifted_shape,
    lines_and_pictures,
    lower,
    pair,
    roll,
    unroll,
)
from danlu.zero.tape import op

FEW_PLACES, LARGE = 64, 1 << 18  # BLAS shares a product of more than 2^18 terms among threads


def _correlate(x: Array, weight: Array, windows: Windows, groups: int, counts: Pair) -> Array:
    """Return (N, O, *counts): the weights (O, C/groups, KH, KW) over the pictures' windows."""
    n, o, places = len(x), len(weight), counts[0] * counts[1]
    kernels = weight.reshape(groups, o // groups, weight[0].size)
    y = np.empty((n, groups, o // groups, places), x.dtype)
    together = _together(groups, places, weight.size)
    for part, columns in unroll(x, windows, counts, together):
        unrolled = columns.reshape(len(columns), groups, kernels.shape[2], places)
        if together:
            y[part, 0] = np.tensordot(kernels[0], unrolled[:, 0], ((1,), (1,))).swapaxes(0, 1)
        else:
            np.matmul(kernels, unrolled, out=y[part])
    return y.reshape(n, o, *counts)


def _spread(g: Array, weight: Array, windows: Windows, groups: int, size: Pair) -> Array:
    """Return (N, C, *size): what `_correlate` took of its pictures, the gradient g (N, O, ...) brings back."""
    n, o, *counts = g.shape
    kernels = weight.reshape(groups, o // groups, weight[0].size).swapaxes(1, 2)
    c, places = groups * weight.shape[1], counts[0] * counts[1]
    g = g.reshape(n, groups, o // groups, places)
    x = np.empty((n, c, *size), g.dtype)
    step = chunk((c, *windows.kernel, *counts), g.itemsize)
    for start in range(0, n, step):
        part = g[start : start + step]
        if _together(groups, places, weight.size):
            columns = np.tensordot(kernels[0], part[:, 0], ((1,), (1,))).swapaxes(0, 1)
        else:
            columns = np.matmul(kernels, part)
        x[start : start + step] = roll(columns.reshape(len(part), c, *windows.kernel, *counts), windows, size)
    return x


def _weigh(x: Array, g: Array, windows: Windows, groups: int) -> Array:
    """Return (O, C/groups, KH, KW): the gradient of `_correlate`'s weights from that of its result."""
    n, o, *counts = g.shape
    c, places = x.shape[1] // groups, counts[0] * counts[1]
    g = g.reshape(n, groups, o // groups, places)
    total = np.zeros((groups, c * windows.kernel[0] * windows.kernel[1], o // groups), g.dtype)
    together = _together(groups, places, total.size)
    for part, columns in unroll(x, windows, (counts[0], counts[1]), together):
        unrolled = columns.reshape(len(columns), groups, total.shape[1], places)
        if together:
            total[0] += np.tensordot(g[part, 0], unrolled[:, 0], ((0, 2), (0, 2))).T
        else:
            total += np.add.reduce(np.matmul(unrolled, g[part].swapaxes(2, 3)), axis=0)
    return total.swapaxes(1, 2).reshape(o, c, *windows.kernel)


def _together(groups: int, places: int, weights: int) -> bool:
    """Whether one product over many pictures is faster than one for each: for few places, or where each is large."""
    return groups == 1 and (places < FEW_PLACES or places * weights > LARGE)


@op
def _convolution(
    x: Any, weight: Any, bias: Any, /, dims: int, windows: Windows, groups: int, size: Pair, transposed: bool
) -> tuple[Any, Any]:
    """y = W columns(x) + b; dx = W^T g put back, dW = g columns(x)^T, db = the sum of g over pictures and places.

    `transposed`: y = W^T x put back to where a convolution takes its columns; dx = W columns(g), dW = x columns(g)^T.
    """
    shape, have = x.shape, lift(x, dims).shape[2:]
    there, back = (_spread, _correlate) if transposed else (_correlate, _spread)
    y = there(lift(x, dims), lift(weight, dims), windows, groups, size)
    if bias is not None:
        y += bias[:, None, None]

    def weights(g: Array) -> Array:
        pictures, g = lift(x, dims), lift(g, dims)
        ends = (g, pictures) if transposed else (pictures, g)
        return _weigh(*ends, windows, groups).reshape(weight.shape)

    return lower(y, shape, dims), (
        lambda g: back(lift(g, dims), lift(weight, dims), windows, groups, have).reshape(shape),
        weights,
        lambda g: np.add.reduce(lift(g, dims), axis=(0, 2, 3)),
    )


def _plain(dims: int) -> Any:
    def conv(
        input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
    ) -> Any:
        """Convolve (N, C, ...) or (C, ...), lines or pictures, with weights (O, C/groups, *kernel)."""
        shape, form = _checked(dims, input, weight, bias, groups, transposed=False)
        windows = _windows(dims, form[2:], stride, padding, dilation)
        return _convolution(input, weight, bias, dims, windows, groups, windows.counts(*shape[2:]), False)

    return conv


def _transposed(dims: int) -> Any:
    def conv_transpose(
        input: Any,
        weight: Any,
        bias: Any = None,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        dilation: Any = 1,
    ) -> Any:
        """Transposed convolution of (N, C, ...) or (C, ...), lines or pictures, with weights (C, O/groups, *kernel)."""
        shape, form = _checked(dims, input, weight, bias, groups, transposed=True)
        windows = _windows(dims, form[2:], stride, padding, dilation)
        extra = pair(output_padding, dims, "output_padding", 0)
        largest = map(max, windows.stride, windows.dilation)
        fits = all(not over or over < most for over, most in zip(extra, largest, strict=True))
        require(fits, "output padding is smaller than stride or dilation", output_padding=output_padding)
        ways = zip(shape[2:], windows.stride, windows.before, windows.extent, extra, strict=True)
        size = tuple((n - 1) * step - 2 * border + reach + over for n, step, border, reach, over in ways)
        require(min(size) > 0, "the output size is too small", input=input, output=size)
        return _convolution(input, weight, bias, dims, windows, groups, size, True)

    return conv_transpose


conv1d, conv2d = lines_and_pictures(_plain)
conv_transpose1d, conv_transpose2d = lines_and_pictures(_transposed)


def _checked(dims: int, x: Any, weight: Any, bias: Any, groups: int, transposed: bool) -> tuple[Any, Any]:
    """Return the shapes of input and weight as those of pictures in a batch."""
    shape, kernels = lifted_shape(x, dims), weight._array
    require(kernels.ndim == dims + 2, f"a weight of {dims + 2} dimensions is wanted", weight=weight)
    one_type = all(t is None or t._array.dtype == kernels.dtype for t in (x, bias))
    require(one_type, "input, weight and bias have one dtype", input=x, weight=weight, bias=bias)
    require(groups > 0, "groups is positive", groups=groups)
    first, second, *_ = kernels.shape
    channels, outputs = (first, second * groups) if transposed else (second * groups, first)
    if shape[1] != channels:
        sizes = f"input {list(x.shape)}, weight {list(kernels.shape)}, groups={groups}"
        raise RuntimeError(f"want {channels} channels, got {shape[1]}: {sizes}")
    fits = first % groups == 0 and (bias is None or bias._array.shape == (outputs,))
    require(fits, f"groups and a bias that go with {outputs} output channels", groups=groups, bias=bias)
    return shape, lift(kernels, dims).shape


def _windows(dims: int, kernel: Any, stride: Any, padding: Any, dilation: Any) -> Windows:
    """Return the windows of a convolution, its padding in numbers or in a word."""
    steps, apart = pair(stride, dims, "stride"), pair(dilation, dims, "dilation")
    before, after = borders(dims, padding, kernel, steps, apart)
    fits = min(*steps, *apart) > 0 and min(before) >= 0
    text = "stride and dilation are positive, and padding is not negative"
    require(fits, text, stride=stride, dilation=dilation, padding=padding)
    return Windows((kernel[0], kernel[1]), steps, apart, before, after)
