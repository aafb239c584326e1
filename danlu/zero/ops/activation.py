"""Activation functions: non-linear operations on every element, and those that weigh elements along a dimension."""

import math
import warnings
from typing import Any

import numpy as np

from danlu.zero import dtypes
from danlu.zero.ops.sizes import Result, Value, dimension, only, require, unary
from danlu.zero.ops.unary import _erf
from danlu.zero.tape import op


def _sigmoid(x: Value) -> Value:
    return 1 / (1 + np.exp(-x))


def _softplus(x: Value) -> Value:
    """Return log(1 + e^x) without overflow."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def _mish_slope(g: Value, x: Value) -> Value:
    t = np.tanh(_softplus(x))
    return g * (t + x * (1 - t * t) * _sigmoid(x))


# fmt: off
relu6 = unary("relu6", "y = min(max(x, 0), 6); dy/dx = 1 between.",
              lambda x: np.clip(x, 0, 6), lambda g, y: only(g, ~((y <= 0) | (y >= 6))), integers=True)
softsign = unary("softsign", "y = x / (1 + |x|); dy/dx = 1 / (1 + |x|)².",
                 lambda x: x / (1 + np.abs(x)), lambda g, x: g / (1 + np.abs(x)) ** 2)
logsigmoid = unary("logsigmoid", "y = log(1 / (1 + e^-x)); dy/dx = sigmoid(-x).",
                   lambda x: -_softplus(-x), lambda g, x: g * _sigmoid(-x))
hardsigmoid = unary("hardsigmoid", "y = x / 6 + 1/2 clipped to [0, 1]; dy/dx = 1/6 between.",
                    lambda x: np.clip(x + 3, 0, 6) / 6, lambda g, x: only(g / 6, (x > -3) & (x < 3)))
hardswish = unary("hardswish", "y = x hardsigmoid(x); dy/dx = x / 3 + 1/2 between -3 and 3, 0 below, 1 above.",
                  lambda x: x * (np.clip(x + 3, 0, 6) / 6),
                  lambda g, x: only(np.where(x < 3, g * (x / 3 + 0.5), g), ~(x <= -3)))
silu = unary("silu", "y = x s with s = sigmoid(x); dy/dx = s (1 + x (1 - s)).",
             lambda x: x * _sigmoid(x), lambda g, x: g * (_sigmoid(x) * (1 + x * (1 - _sigmoid(x)))))
mish = unary("mish", "y = x t with t = tanh(softplus x); dy/dx = t + x (1 - t²) sigmoid(x).",
             lambda x: x * np.tanh(_softplus(x)), _mish_slope)
# fmt: on


@op
def hardtanh(x: Value, /, min_val: float = -1.0, max_val: float = 1.0) -> Result:
    """y = x clipped to [min_val, max_val]; dy/dx = 1 between."""
    require(min_val <= max_val, "hardtanh: min_val cannot be greater", ValueError, min_val=min_val, max_val=max_val)
    return np.clip(x, min_val, max_val), (lambda g: only(g, ~((x <= min_val) | (x >= max_val))),)


@op
def leaky_relu(x: Value, /, negative_slope: float = 0.01) -> Result:
    """y = x for x > 0, else a x; dy/dx = 1 or a."""
    return np.where(x > 0, x, x * negative_slope), (lambda g: np.where(x > 0, g, g * negative_slope),)


@op
def prelu(x: Value, weight: Value, /) -> Result:
    """y = x for x > 0, else a x, with one a for all or one for every channel (dimension 1); da = sum of g min(x, 0)."""
    channels = x.shape[1] if x.ndim > 1 else 1
    fits = weight.ndim < 2 and weight.size in (1, channels)
    require(fits, "prelu: one weight for all, or one for every channel", input=x, weight=weight)
    sizes = (-1,) + (1,) * (x.ndim - 2) if weight.size > 1 else ()
    others = tuple(i for i in range(x.ndim) if i != 1 or weight.size == 1)
    shape = weight.shape
    return np.where(x > 0, x, x * weight.reshape(sizes)), (
        lambda g: np.where(x > 0, g, g * weight.reshape(sizes)),
        lambda g: np.add.reduce(only(g * x, ~(x > 0)), others).reshape(shape),
    )


@op
def elu(x: Value, /, alpha: float = 1.0) -> Result:
    """y = x for x > 0, else alpha (e^x - 1); dy/dx = 1 or alpha e^x."""
    return _elu(x, alpha, 1)


@op
def selu(x: Value, /) -> Result:
    """y = elu with the scale and alpha that keep mean 0 and variance 1 (Klambauer et al. 2017)."""
    return _elu(x, 1.6732632423543772848170429916717, 1.0507009873554804934193349852946)


def _elu(x: Value, alpha: float, scale: float) -> Result:
    y = scale * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))
    return y, (lambda g: g * np.where(x <= 0, alpha * scale * np.exp(np.minimum(x, 0)), scale),)


@op
def gelu(x: Value, /, approximate: str = "none") -> Result:
    """y = x P(N < x) for a standard normal N; dy/dx = P(N < x) + x p(x); "tanh" approximates P.

    Source: Hendrycks & Gimpel 2016, "Gaussian error linear units".
    """
    require(approximate in ("none", "tanh"), "gelu: approximate is 'none' or 'tanh'", approximate=approximate)
    if approximate == "none":
        below = 0.5 * (1 + _erf(x * math.sqrt(0.5)))
        return x * below, (lambda g: g * (below + x * np.exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi))),)
    k, c = math.sqrt(2 / math.pi), 0.044715
    t = np.tanh(k * (x + c * x * x * x))
    y = x * (0.5 * (1 + t))
    return y, (lambda g: g * 0.5 * (1 + t + x * (1 - t * t) * k * (1 + 3 * c * x * x)),)


@op
def softplus(x: Value, /, beta: float = 1.0, threshold: float = 20.0) -> Result:
    """y = log(1 + e^(beta x)) / beta, or x where beta x > threshold; dy/dx = sigmoid(beta x), or 1."""
    y = np.where(x * beta > threshold, x, _softplus(x * beta) / beta).astype(x.dtype, copy=False)
    return y, (lambda g: np.where(x * beta > threshold, g, g * _sigmoid(x * beta)),)


@op
def softmax(x: Value, /, dim: int | None = None, dtype: Any = None) -> Result:
    """y_i = e^(x_i) / sum_j e^(x_j) along a dimension; dx = y (g - sum g y)."""
    x, axis = _prepared("softmax", x, dim, dtype)
    y, total, _ = _exponentials(x, axis)
    y = np.asarray(y / total).reshape(x.shape)
    return y, (lambda g: y * (g - np.add.reduce(g * y, axis, keepdims=True)),)


@op
def log_softmax(x: Value, /, dim: int | None = None, dtype: Any = None) -> Result:
    """y_i = x_i - log sum_j e^(x_j) along a dimension; dx = g - e^y sum g."""
    x, axis = _prepared("log_softmax", x, dim, dtype)
    _, total, highest = _exponentials(x, axis)
    y = np.asarray(x - (np.log(total) + highest)).reshape(x.shape)
    return y, (lambda g: g - np.exp(y) * np.add.reduce(g, axis, keepdims=True),)


def _prepared(name: str, x: Value, dim: int | None, dtype: Any) -> tuple[Value, int | None]:
    """Return x in the type that is asked for, and the dimension; None for a tensor of no dimension."""
    x = x if dtype is None else x.astype(dtypes.known(dtype).numpy, copy=False)
    if x.dtype.kind != "f":
        raise NotImplementedError(f'"{name}" is not implemented for {dtypes.of(x)}: give it a floating dtype')
    if dim is None:
        text = f"Implicit dimension choice for {name} has been deprecated."
        warnings.warn(f"{text} Change the call to include dim=X as an argument.", stacklevel=4)
        dim = 0 if x.ndim in (0, 1, 3) else 1
    axis = dimension(dim, x.ndim)
    return x, axis if x.ndim else None


def _exponentials(x: Value, axis: int | None) -> tuple[Value, Value, Value]:
    """Return e^(x - highest), its sum along an axis, and the highest, which is taken off lest e^x overflow."""
    if axis is not None and axis == x.ndim - 1 and x.shape[-1] <= 64 < x.size:  # short rows: NumPy is faster on columns
        columns = np.ascontiguousarray(x.reshape(-1, x.shape[-1]).T)
        y, total, highest = _exponentials(columns, 0)
        flat = (*x.shape[:-1], 1)
        return np.ascontiguousarray(y.T).reshape(x.shape), total.reshape(flat), highest.reshape(flat)
    highest = np.maximum.reduce(x, axis, keepdims=True, initial=-np.inf)
    y = np.asarray(x - highest)
    np.exp(y, out=y)
    return y, np.add.reduce(y, axis, keepdims=True), highest
