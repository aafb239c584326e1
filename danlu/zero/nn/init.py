"""Starting values of parameters. Every function changes its tensor in place, unrecorded, and returns it."""

import math
import warnings
from typing import Any

import numpy as np

from danlu.zero.arguments import require
from danlu.zero.random import Generator, choose
from danlu.zero.tensor import Tensor

Chance = Generator | None
LINEAR = ("linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "sigmoid")


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """Return the factor by which a layer before this activation has to spread wider; `param`: the negative slope."""
    gains = {**dict.fromkeys(LINEAR, 1.0), "tanh": 5.0 / 3, "relu": math.sqrt(2.0), "selu": 3.0 / 4}
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        fits = isinstance(slope, int | float) and not isinstance(slope, bool)
        require(fits, "a negative slope is a number", ValueError, param=param)
        return math.sqrt(2.0 / (1 + slope**2))
    require(nonlinearity in gains, f"nonlinearity is one of {list(gains)}", ValueError, nonlinearity=nonlinearity)
    return gains[nonlinearity]


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Chance = None) -> Tensor:
    """Draw evenly from [a, b)."""
    require(a <= b, "uniform_: a is not above b", a=a, b=b)
    return _drawn(tensor, choose(generator).random, b - a, a)


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Chance = None) -> Tensor:
    """Draw from a normal distribution."""
    require(std >= 0, "normal_: std is not negative", std=std)
    return _drawn(tensor, choose(generator).standard_normal, std, mean)


def _drawn(tensor: Tensor, draw: Any, scale: float, shift: float) -> Tensor:
    kind = tensor._array.dtype
    values = draw(tensor._array.shape, kind if kind.itemsize >= 4 else np.float32)  # NumPy draws no float16
    values *= scale
    values += shift
    return _set(tensor, values)


def trunc_normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0, generator: Chance = None
) -> Tensor:
    """Draw from a normal distribution, again and again until all numbers lie in [a, b]."""
    if mean < a - 2 * std or mean > b + 2 * std:
        text = "mean is more than 2 std from [a, b] in nn.init.trunc_normal_. The distribution may be incorrect."
        warnings.warn(text, stacklevel=2)
    drawn = _truncated(choose(generator), tensor._array.size, (a - mean) / std, (b - mean) / std)
    return _set(tensor, np.clip(drawn * std + mean, a, b).reshape(tensor._array.shape))


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Set every number to `val`."""
    return _set(tensor, val)


def ones_(tensor: Tensor) -> Tensor:
    """Set every number to 1."""
    return _set(tensor, 1)


def zeros_(tensor: Tensor) -> Tensor:
    """Set every number to 0."""
    return _set(tensor, 0)


def eye_(tensor: Tensor) -> Tensor:
    """Set a matrix to ones on its diagonal, zeros elsewhere."""
    _check_dims(tensor, 2, 2)
    return _set(tensor, np.eye(*tensor._array.shape))


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """Let a convolution of weight (out, in, ...) pass its input on, as many channels as there are."""
    sizes = tensor._array.shape
    _check_dims(tensor, 3, 5)
    require(sizes[0] % groups == 0, "groups divides dimension 0", ValueError, tensor=tensor, groups=groups)
    out = sizes[0] // groups
    values, middle = np.zeros(sizes), tuple(size // 2 for size in sizes[2:])
    for group in range(groups):
        for d in range(min(out, sizes[1])):
            values[(group * out + d, d, *middle)] = 1
    return _set(tensor, values)


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Chance = None) -> Tensor:
    """Draw evenly, so wide that signals keep their size forwards and backwards.

    Source: Glorot & Bengio 2010, "Understanding the difficulty of training deep feedforward neural networks".
    """
    bound = gain * math.sqrt(6.0 / sum(_fans(tensor)))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Chance = None) -> Tensor:
    """Draw normally, so wide that signals keep their size forwards and backwards; see `xavier_uniform_`."""
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / sum(_fans(tensor))), generator)


def kaiming_uniform_(
    tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", generator: Chance = None
) -> Tensor:
    """Draw evenly, so wide that signals keep their size through rectifiers.

    Source: He et al. 2015, "Delving deep into rectifiers".
    """
    bound = math.sqrt(3.0) * _kaiming(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", generator: Chance = None
) -> Tensor:
    """Draw normally, so wide that signals keep their size through rectifiers; see `kaiming_uniform_`."""
    return normal_(tensor, 0, _kaiming(tensor, a, mode, nonlinearity), generator)


def _kaiming(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    """Return the standard deviation that keeps signals' size."""
    if 0 in tensor._array.shape:
        warnings.warn("Initializing zero-element tensors is a no-op", stacklevel=3)
        return 0.0
    require(mode.lower() in ("fan_in", "fan_out"), "mode is 'fan_in' or 'fan_out'", ValueError, mode=mode)
    return calculate_gain(nonlinearity, a) / math.sqrt(_fans(tensor)[mode.lower() == "fan_out"])


def orthogonal_(tensor: Tensor, gain: float = 1, generator: Chance = None) -> Tensor:
    """Set a matrix (rows, all other dimensions) to an orthogonal one, all of them being equally likely.

    Source: Saxe et al. 2013, "Exact solutions to the nonlinear dynamics of learning in deep linear networks".
    """
    shape = tensor._array.shape
    _check_dims(tensor, 2)
    if tensor._array.size == 0:
        return tensor
    rows, columns = shape[0], tensor._array.size // shape[0]
    drawn = choose(generator).standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(drawn)
    q *= np.sign(np.diag(r))  # which makes all orthogonal matrices equally likely
    return _set(tensor, gain * (q.T if rows < columns else q).reshape(shape))


def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01, generator: Chance = None) -> Tensor:
    """Draw a matrix normally, and set the share `sparsity` of every column to zero."""
    _check_dims(tensor, 2, 2)
    rows, columns = tensor._array.shape
    zeros = math.ceil(sparsity * rows)
    values = choose(generator).standard_normal((rows, columns)) * std
    for column in range(columns):
        values[choose(generator).permutation(rows)[:zeros], column] = 0
    return _set(tensor, values)


def _fans(tensor: Tensor) -> tuple[int, int]:
    """Return how many numbers an output is made of, and how many an input goes into."""
    require(tensor._array.ndim > 1, "a weight of at least two dimensions is wanted", ValueError, tensor=tensor)
    outputs, inputs, *kernel = tensor._array.shape
    return inputs * math.prod(kernel), outputs * math.prod(kernel)


def _truncated(generator: np.random.Generator, size: int, low: float, high: float) -> Any:
    """Draw from the standard normal distribution within [low, high]: evenly, then thinned to the bell's shape."""
    near = min(max(0.0, low), high)  # where the bell is highest
    low, high = max(low, near - 8), min(high, near + 8)
    found = np.empty(0)
    while found.size < size:
        drawn = generator.uniform(low, high, 2 * size + 16)
        kept = generator.random(drawn.size) < np.exp((near * near - drawn * drawn) / 2)
        found = np.concatenate([found, drawn[kept]])
    return found[:size]


def _check_dims(tensor: Tensor, least: int, most: int = 64) -> None:
    fits = least <= tensor._array.ndim <= most
    require(fits, f"a tensor of {least} to {most} dimensions is wanted", ValueError, tensor=tensor)


def _set(tensor: Tensor, values: Any) -> Tensor:
    np.copyto(tensor._array, values, casting="unsafe")
    tensor._version[0] += 1
    return tensor
