"""Windows that slide over a picture: how many there are, what lies under each, and how what they hold is put back.

Pictures are arrays (N, C, H, W); a line is a picture of height one, so that no operation is written twice.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Any, final

import numpy as np
import numpy.typing as npt

from danlu.zero.arguments import require

Array = npt.NDArray[Any]
Pair = tuple[int, int]
CHUNK_BYTES = 1 << 21  # of what is unrolled at a time: it stays in the processor's cache and little memory is needed


@final
@dataclass(frozen=True, slots=True)
class Windows:
    """Sizes of windows, vertical and horizontal; the padding is that `before` (above, left) and `after` the picture."""

    kernel: Pair
    stride: Pair
    dilation: Pair
    before: Pair
    after: Pair

    @property
    def extent(self) -> Pair:
        """How far a window reaches."""
        (kh, kw), (dh, dw) = self.kernel, self.dilation
        return dh * (kh - 1) + 1, dw * (kw - 1) + 1

    def counts(self, height: int, width: int) -> Pair:
        """Return how many windows fit; raise RuntimeError where none does."""
        (top, left), (bottom, right), (eh, ew) = self.before, self.after, self.extent
        padded = (height + top + bottom, width + left + right)
        require(
            padded[0] >= eh and padded[1] >= ew, "windows fit into the padded input", windows=(eh, ew), input=padded
        )
        return (padded[0] - eh) // self.stride[0] + 1, (padded[1] - ew) // self.stride[1] + 1

    def steps(self, way: int, count: int) -> list[slice]:
        """Return, for every row (way 0) or column (1) of the kernel, those of the padded picture that it meets."""
        apart, stride = self.dilation[way], self.stride[way]
        reach = stride * (count - 1) + 1
        return [slice(i * apart, i * apart + reach, stride) for i in range(self.kernel[way])]


def pair(value: Any, dims: int, name: str, first: int = 1) -> Pair:
    """Return an option as (vertical, horizontal); for lines (`dims` 1) the vertical one is `first`."""
    values = (value,) * dims if isinstance(value, (int, np.integer)) else tuple(value)
    values = values * dims if len(values) == 1 else values
    require(len(values) == dims, f"{name} is an int or {dims} ints", given=value)
    return (first, int(values[0])) if dims == 1 else (int(values[0]), int(values[1]))


def borders(dims: int, padding: Any, kernel: Pair, stride: Pair, dilation: Pair) -> tuple[Pair, Pair]:
    """Return the padding before and after, which is given in numbers or in a word."""
    if not isinstance(padding, str):
        border = pair(padding, dims, "padding", 0)
        return border, border
    require(padding in ("valid", "same"), "padding is numbers, 'valid' or 'same'", padding=padding)
    if padding == "valid":
        return (0, 0), (0, 0)
    require(stride == (1, 1), "padding='same' goes with stride 1", stride=stride)
    high, wide = (apart * (k - 1) for apart, k in zip(dilation, kernel, strict=True))
    return (high // 2, wide // 2), (high - high // 2, wide - wide // 2)


def lines_and_pictures(make: Callable[[int], Any]) -> list[Any]:
    """Return `make(1)` and `make(2)`, functions of lines and of pictures, named with 1d and 2d at the end."""
    made = [make(1), make(2)]
    for dims, function in enumerate(made, 1):
        function.__name__ = function.__qualname__ = f"{function.__name__}{dims}d"
    return made


def lift(x: Array, dims: int) -> Array:
    """Return lines or pictures, in a batch or alone, as pictures in a batch (a view)."""
    if dims == 1:
        x = x[..., None, :]
    return x if x.ndim == 4 else x[None]


def lower(y: Array, like: tuple[int, ...], dims: int) -> Array:
    """Return pictures with as many dimensions as what they were made from."""
    if dims == 1:
        y = y.reshape(*y.shape[:2], y.shape[3])
    return y if y.ndim == len(like) else y.reshape(y.shape[1:])


def lifted_shape(x: Any, dims: int) -> tuple[int, ...]:
    """Return a tensor's shape as that of pictures in a batch; raise RuntimeError where it holds none."""
    fits = x._array.ndim in (dims + 1, dims + 2)
    require(fits, f"an input of {dims + 1} dimensions, or {dims + 2} in a batch, is wanted", input=x)
    return lift(x._array, dims).shape


def blank(shape: tuple[int, ...], windows: Windows, dtype: Any, value: float = 0) -> Array:
    """Return pictures and their border, filled with `value`."""
    (top, left), (bottom, right), (n, c, h, w) = windows.before, windows.after, shape
    size = (n, c, top + h + bottom, left + w + right)
    return np.full(size, value, dtype) if value else np.zeros(size, dtype)


def crop(padded: Array, windows: Windows, size: tuple[int, ...]) -> Array:
    """Return pictures of a size without their border (a view)."""
    (top, left), (h, w) = windows.before, size
    return padded[:, :, top : top + h, left : left + w]


def pad(x: Array, windows: Windows, value: float = 0) -> Array:
    """Return pictures with a border of `value`; the pictures themselves where none is asked for."""
    if not any(windows.before + windows.after):
        return x
    padded = blank(x.shape, windows, x.dtype, value)
    crop(padded, windows, x.shape[2:])[...] = x
    return padded


def unroll(x: Array, windows: Windows, counts: Pair, together: bool = False) -> Iterator[tuple[slice, Array]]:
    """Yield (which pictures, what lies under their windows), some pictures at a time.

    The second is (pictures, C, KH, KW, *counts), valid until the next one; in memory it is one matrix per picture, or
    one (C KH KW, pictures and places) if `together`.
    """
    n, c, *_ = x.shape
    shape = (c, *windows.kernel, *counts)
    if windows.kernel == (1, 1) and x.shape[2:] == counts and windows.before == (0, 0):
        yield slice(0, n), x.reshape(n, *shape)
        return
    step = chunk(shape, x.itemsize)
    if together:
        held = np.empty((*shape[:3], min(step, n), *counts), x.dtype).transpose(3, 0, 1, 2, 4, 5)
    else:
        held = np.empty((min(step, n), *shape), x.dtype)
    for start in range(0, n, step):
        padded = pad(x[start : start + step], windows)
        columns = held[: len(padded)]
        np.copyto(columns, _under(padded, windows, counts))
        yield slice(start, start + step), columns


def chunk(shape: tuple[int, ...], itemsize: int) -> int:
    """Return how many pictures to unroll at a time when one becomes `shape`."""
    return max(1, CHUNK_BYTES // max(1, itemsize * prod(shape)))


def _under(padded: Array, windows: Windows, counts: Pair) -> Array:
    """Return a view (N, C, KH, KW, *counts) of what lies under the windows."""
    n, c, h, w = padded.strides
    (sh, sw), (dh, dw) = windows.stride, windows.dilation
    shape = (*padded.shape[:2], *windows.kernel, *counts)
    return np.lib.stride_tricks.as_strided(padded, shape, (n, c, h * dh, w * dw, h * sh, w * sw), writeable=False)


def roll(columns: Array, windows: Windows, size: Pair) -> Array:
    """Return pictures of a size: every value of `unroll`'s shape is added to where it was taken from."""
    n, c, _, _, *counts = columns.shape
    padded = blank((n, c, *size), windows, columns.dtype)
    across = windows.steps(1, counts[1])
    for i, down in enumerate(windows.steps(0, counts[0])):
        for j, along in enumerate(across):
            padded[:, :, down, along] += columns[:, :, i, j]
    return crop(padded, windows, size)
