"""Normalization: values less their mean, over their standard deviation, times a weight, plus a bias.

What differs is over which values mean and variance are taken: a channel of the whole batch (batch norm), a sample
(layer norm), or a group of channels of a sample (group norm).
"""

from math import prod
from typing import Any, NamedTuple

import numpy as np

from danlu.zero.arguments import require
from danlu.zero.ops.windows import Array
from danlu.zero.tape import op


class _View(NamedTuple):
    """The shape an input is seen in, a letter for every dimension, those that weights have, and those of moments."""

    form: tuple[int, ...]
    all: str
    weights: str
    moments: str

    def over(self, letters: str) -> tuple[int, ...]:
        """Return the shape of what has these dimensions only."""
        return tuple(n if letter in letters else 1 for n, letter in zip(self.form, self.all, strict=True))

    def sum(self, letters: str, *arrays: Array) -> Array:
        """Return the sum of arrays' product over all other dimensions."""
        sums: Array = np.einsum(f"{','.join([self.all] * len(arrays))}->{letters}", *arrays)
        return sums.reshape(self.over(letters))


@op
def _standardize(
    x: Any, weight: Any, bias: Any, /, view: _View, mean: Array, variance: Array, eps: float, constant: bool = False
) -> tuple[Any, Any]:
    """y = w u + b, u = (x - m) s, s = 1/sqrt(v + eps); dx = s (h - mean(h) - u mean(h u)) with h = w g.

    Where mean and variance are `constant`, dx = s h.
    Source: Ioffe, Szegedy, Batch normalization (2015); Ba, Kiros, Hinton, Layer normalization (2016).
    """
    shape, per = x.shape, view.over(view.weights)
    scale = 1 / np.sqrt(variance + x.dtype.type(eps))
    share = prod(view.form) / max(1, scale.size)
    merged = view.weights == view.moments  # one scale for every weight: scale and weight are one factor

    def back(g: Array) -> tuple[Array | None, ...]:
        g = g.reshape(view.form)
        centred, factor, db = x.reshape(view.form) - mean, scale, view.sum(view.weights, g)
        if merged:
            along, total = view.sum(view.moments, g, centred), db
            dw, factor = along * scale, _times(scale, weight, per)
        else:
            dw, g = view.sum(view.weights, g, centred * scale), _times(g, weight, per)
            along, total = view.sum(view.moments, g, centred), view.sum(view.moments, g)
        if not constant:
            centred *= along * scale * scale / -share
            centred += g
            centred -= total / share
            g = centred
        return np.multiply(g, factor, out=centred).reshape(shape), _like(dw, weight), _like(db, bias)

    y = x.reshape(view.form) - mean
    y *= _times(scale, weight, per) if merged else scale
    if weight is not None and not merged:
        y *= weight.reshape(per)
    if bias is not None:
        y += bias.reshape(per)
    return y.reshape(shape), back


def batch_norm(
    input: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    """Normalize every channel of (N, C, ...): by the batch in training, otherwise by the running statistics.

    In training the running statistics, if given, move by `momentum` towards the batch's mean and unbiased variance.
    """
    x = _floating(input)
    _channels(x, running_mean, running_var, weight, bias)
    view = _View((x.shape[0], x.shape[1], prod(x.shape[2:])), "abc", "b", "b")
    if not training:
        require(running_mean is not None and running_var is not None, "running statistics are wanted when not training")
        moments = (running._array.reshape(1, -1, 1) for running in (running_mean, running_var))
        return _standardize(input, weight, bias, view, *moments, eps, True)
    size = view.form[0] * view.form[2]
    require(size != 1, "more than one value per channel is wanted when training", ValueError, input=x)
    mean, variance = _moments(x, view)
    if running_mean is not None:
        for running, new in ((running_mean, mean), (running_var, variance * (size / (size - 1)))):
            running._array *= 1 - momentum
            running._array += momentum * new.reshape(-1)
            running._version[0] += 1
    return _standardize(input, weight, bias, view, mean, variance, eps)


def layer_norm(input: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    """Normalize over the last dimensions, whose sizes are `normalized_shape`."""
    x, tail = _floating(input), tuple(normalized_shape)
    fits = tail and x.shape[-len(tail) :] == tail
    require(fits, "the input's last sizes are normalized_shape", input=x, normalized_shape=tail)
    fits = all(value is None or value._array.shape == tail for value in (weight, bias))
    require(fits, f"weight and bias have the shape {tail}", weight=weight, bias=bias)
    view = _View((prod(x.shape[: x.ndim - len(tail)]), prod(tail)), "ab", "b", "a")
    return _standardize(input, weight, bias, view, *_moments(x, view), eps)


def group_norm(input: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    """Normalize every group of neighbouring channels of every sample of (N, C, ...)."""
    x = _floating(input)
    _channels(x, weight, bias)
    n, c = x.shape[:2]
    require(num_groups > 0 and c % num_groups == 0, "num_groups divides the channels", num_groups=num_groups, input=x)
    view = _View((n, num_groups, c // num_groups, prod(x.shape[2:])), "abcd", "bc", "ab")
    require(n * view.form[2] * view.form[3] != 1, "more than one value per channel is wanted", ValueError, input=x)
    return _standardize(input, weight, bias, view, *_moments(x, view), eps)


@np.errstate(all="ignore")
def _moments(x: Array, view: _View) -> tuple[Array, Array]:
    """Return mean and biased variance; NaN of nothing."""
    x = x.reshape(view.form)
    size = prod(view.form) // max(1, prod(view.over(view.moments))) or np.nan
    mean = (view.sum(view.moments, x) / size).astype(x.dtype, copy=False)
    centred = x - mean
    return mean, (view.sum(view.moments, centred, centred) / size).astype(x.dtype, copy=False)


def _floating(input: Any) -> Array:
    require(input._array.dtype.kind == "f", "normalization takes floating-point tensors", input=input)
    return input._array  # type: ignore[no-any-return]


def _channels(x: Array, *values: Any) -> None:
    """Raise RuntimeError where the input has no channels, or others than what goes with them."""
    require(x.ndim > 1, "an input (N, C, ...) is wanted", input=x)
    for value in values:
        require(value is None or value._array.shape == (x.shape[1],), "one value a channel", input=x, values=value)


def _times(values: Array, weight: Array | None, per: tuple[int, ...]) -> Array:
    return values if weight is None else values * weight.reshape(per)


def _like(gradient: Array, parameter: Array | None) -> Array | None:
    return None if parameter is None else gradient.reshape(parameter.shape)
