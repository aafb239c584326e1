"""Functions of one tensor, on every element by itself: a row has the formula and the gradient that goes back."""

import math

import numpy as np

from danlu.zero.dtypes import as_floating
from danlu.zero.ops.sizes import Result, Value, only, unary
from danlu.zero.tape import op


@op
def relu(x: Value, /) -> Result:
    """y = max(x, 0); dy/dx = 0 where y = 0, else 1."""
    y = np.asarray(np.maximum(x, 0))
    return y, (lambda g: only(g, ~(y <= 0)),)


@op
def tanh(x: Value, /) -> Result:
    """y = tanh x; dy/dx = 1 - y²."""
    y = np.asarray(np.tanh(as_floating(x)))
    return y, (lambda g: g * (1 - y * y),)


@op
def round(x: Value, /, *, decimals: int = 0) -> Result:
    """y = x to so many decimals, halves to even; its derivative is zero."""
    if decimals and x.dtype.kind != "f":
        raise NotImplementedError(f"round with decimals={decimals} is not implemented for {x.dtype.name}")
    return np.round(x, decimals), (np.zeros_like,)


@op
def nan_to_num(x: Value, /, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Result:
    """y = x with NaN and infinities replaced; dy/dx = 1, 0 where replaced."""
    return np.nan_to_num(x, copy=True, nan=nan, posinf=posinf, neginf=neginf), (lambda g: g * np.isfinite(x),)


def _negative(x: Value) -> Value:
    if x.dtype.kind == "b":
        raise RuntimeError("Negation, the `-` operator, on a bool tensor is not supported: use `~`.")
    return -x


def _sign(x: Value) -> Value:
    """Return -1, 0 or 1; 0 for NaN, too, unlike NumPy."""
    if x.dtype.kind == "f":
        return np.where(np.isnan(x), 0, np.sign(x)).astype(x.dtype)
    return x.copy() if x.dtype.kind == "b" else np.sign(x)


def _erf(x: Value) -> Value:
    return np.fromiter(map(math.erf, x.ravel().tolist()), x.dtype, x.size).reshape(x.shape)


def _nothing(g: Value) -> Value:
    return np.zeros_like(g)


# fmt: off
exp = unary("exp", "y = e^x; dy/dx = y.", np.exp, lambda g, y: g * y)
expm1 = unary("expm1", "y = e^x - 1; dy/dx = y + 1.", np.expm1, lambda g, y: g * (y + 1))
log = unary("log", "y = ln x; dy/dx = 1 / x.", np.log, lambda g, x: g / x)
log2 = unary("log2", "y = log₂ x; dy/dx = 1 / (x ln 2).", np.log2, lambda g, x: g / (x * math.log(2)))
log10 = unary("log10", "y = log₁₀ x; dy/dx = 1 / (x ln 10).", np.log10, lambda g, x: g / (x * math.log(10)))
log1p = unary("log1p", "y = ln(1 + x); dy/dx = 1 / (1 + x).", np.log1p, lambda g, x: g / (x + 1))
sqrt = unary("sqrt", "y = √x; dy/dx = 1 / (2y).", np.sqrt, lambda g, y: g / (2 * y))
rsqrt = unary("rsqrt", "y = 1 / √x; dy/dx = -y³ / 2.", lambda x: 1 / np.sqrt(x), lambda g, y: g * (-0.5 * y * y * y))
reciprocal = unary("reciprocal", "y = 1 / x; dy/dx = -y².", lambda x: 1 / x, lambda g, y: g * -(y * y))
sigmoid = unary("sigmoid", "y = 1 / (1 + e^-x); dy/dx = y (1 - y).",
                lambda x: 1 / (1 + np.exp(-x)), lambda g, y: g * y * (1 - y))
erf = unary("erf", "y = 2/√π ∫₀ˣ e^(-t²) dt; dy/dx = 2/√π e^(-x²).",
            _erf, lambda g, x: g * (2 / math.sqrt(math.pi) * np.exp(-x * x)))
sin = unary("sin", "y = sin x; dy/dx = cos x.", np.sin, lambda g, x: g * np.cos(x))
cos = unary("cos", "y = cos x; dy/dx = -sin x.", np.cos, lambda g, x: g * -np.sin(x))
tan = unary("tan", "y = tan x; dy/dx = 1 + y².", np.tan, lambda g, y: g * (1 + y * y))
asin = unary("asin", "y = arcsin x; dy/dx = 1 / √(1 - x²).", np.arcsin, lambda g, x: g / np.sqrt(1 - x * x))
acos = unary("acos", "y = arccos x; dy/dx = -1 / √(1 - x²).", np.arccos, lambda g, x: -g / np.sqrt(1 - x * x))
atan = unary("atan", "y = arctan x; dy/dx = 1 / (1 + x²).", np.arctan, lambda g, x: g / (1 + x * x))
sinh = unary("sinh", "y = sinh x; dy/dx = cosh x.", np.sinh, lambda g, x: g * np.cosh(x))
cosh = unary("cosh", "y = cosh x; dy/dx = sinh x.", np.cosh, lambda g, x: g * np.sinh(x))
neg = unary("neg", "y = -x; dy/dx = -1.", _negative, lambda g: -g, integers=True)
abs = unary("abs", "y = |x|; dy/dx = sign x, 0 at 0.", np.abs, lambda g, x: g * _sign(x), integers=True)
square = unary("square", "y = x²; dy/dx = 2x.", lambda x: x * x, lambda g, x: g * 2 * x, integers=True)
sign = unary("sign", "y = -1, 0 or 1; its derivative is zero.", _sign, _nothing, integers=True)
floor = unary("floor", "y = the largest integer ≤ x; its derivative is zero.", np.floor, _nothing, integers=True)
ceil = unary("ceil", "y = the smallest integer ≥ x; its derivative is zero.", np.ceil, _nothing, integers=True)
trunc = unary("trunc", "y = x without its fraction; its derivative is zero.", np.trunc, _nothing, integers=True)
# fmt: on
