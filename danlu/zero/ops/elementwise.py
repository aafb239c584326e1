"""Arithmetic, comparisons, logic and bits on every element; operands are broadcast against each other."""

from collections.abc import Callable
from typing import Any

import numpy as np

from danlu.zero.dtypes import as_array, as_floating, promote
from danlu.zero.ops.index import nonzero
from danlu.zero.ops.sizes import Result, Value, mismatch, named, only, require, together
from danlu.zero.tape import op
from danlu.zero.tensor import Tensor


@op
def add(a: Value, b: Value, /, *, alpha: float = 1) -> Result:
    """y = a + alpha b; dy/da = 1, dy/db = alpha."""
    a, b = promote(a, b)
    scaled = b if alpha == 1 else _whole(a, alpha) * b
    try:
        return a + scaled, (lambda g: g, (lambda g: g) if alpha == 1 else (lambda g: g * alpha))
    except ValueError:
        raise mismatch(a, b) from None


@op
def sub(a: Value, b: Value, /, *, alpha: float = 1) -> Result:
    """y = a - alpha b; dy/da = 1, dy/db = -alpha."""
    a, b = promote(a, b)
    if type(a) is np.ndarray and a.dtype.kind == "b":
        raise RuntimeError("Subtraction, the `-` operator, with two bool tensors is not supported: use `^`.")
    scaled = b if alpha == 1 else _whole(a, alpha) * b
    try:
        return a - scaled, (lambda g: g, (lambda g: -g) if alpha == 1 else (lambda g: g * -alpha))
    except ValueError:
        raise mismatch(a, b) from None


@op
def mul(a: Value, b: Value, /) -> Result:
    """y = a b; dy/da = b, dy/db = a."""
    a, b = promote(a, b)
    try:
        y = a * b
    except ValueError:
        raise mismatch(a, b) from None
    return y, (
        None if type(a) is not np.ndarray else lambda g: g * b,
        None if type(b) is not np.ndarray else lambda g: g * a,
    )


@op
def div(a: Value, b: Value, /, *, rounding_mode: str | None = None) -> Result:
    """y = a / b; dy/da = 1 / b, dy/db = -a / b². Rounded ("floor", "trunc") the derivative is zero."""
    a, b = promote(a, b)
    if rounding_mode is not None:
        return _rounded_quotient(a, b, rounding_mode), (np.zeros_like, np.zeros_like)
    a, b = as_floating(a), as_floating(b)
    y = together(np.divide, a, b)
    return y, (lambda g: g / b, None if type(b) is not np.ndarray else lambda g: g * -(a / b / b))


@op
def pow(a: Value, b: Value, /) -> Result:
    """y = a^b; dy/da = b a^(b-1), dy/db = y log a."""
    a, b = promote(a, b)
    if type(b) is not np.ndarray and b == 2:
        return a * a, (lambda g: g * 2 * a, None)
    kind = (a if type(a) is np.ndarray else b).dtype.kind
    if kind != "f" and np.any(np.less(b, 0)):
        raise RuntimeError("Integers to negative integer powers are not allowed.")
    y = np.asarray(together(np.power, a, b))
    return y, (
        lambda g: np.where(np.equal(b, 0), 0, g * b * np.power(a, b - 1)),
        lambda g: np.where(np.equal(a, 0) & np.greater_equal(b, 0), 0, g * y * np.log(a)),
    )


@op
def remainder(a: Value, b: Value, /) -> Result:
    """y = a - b floor(a / b), with the divisor's sign; dy/da = 1, dy/db = -floor(a / b)."""
    a, b = _divisible(a, b)
    return together(np.remainder, a, b), (lambda g: g, lambda g: -g * np.floor(a / b))


@op
def floor_divide(a: Value, b: Value, /) -> Result:
    """y = floor(a / b); not differentiable."""
    return _rounded_quotient(*promote(a, b), "floor"), None


def _extreme(name: str, text: str, extreme: Any, loses: Any) -> Any:
    def forward(a: Value, b: Value, /) -> Result:
        a, b = promote(a, b)
        return together(extreme, a, b), (lambda g: _share(g, a, b, loses), lambda g: _share(g, b, a, loses))

    return named(forward, name, f"y = the {text} of both; it gets the gradient, half of it where they tie.", __name__)


def _share(g: Value, a: Value, b: Value, loses: Any) -> Value:
    return only(np.where(np.equal(a, b), g / 2, g), ~loses(a, b))


maximum = _extreme("maximum", "larger", np.maximum, np.less)
minimum = _extreme("minimum", "smaller", np.minimum, np.greater)


def clamp(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """Return every element moved into [min, max]; either may be a tensor, a number or None."""
    require(min is not None or max is not None, "clamp: at least one bound is wanted", min=min, max=max)
    return _clamp(input, min, max)


def clamp_min(input: Tensor, min: Any) -> Tensor:
    """Return every element, at least `min`."""
    return _clamp(input, min, None)


def clamp_max(input: Tensor, max: Any) -> Tensor:
    """Return every element, at most `max`."""
    return _clamp(input, None, max)


@op
def _clamp(x: Value, low: Value, high: Value, /) -> Result:
    """y = min(max(x, low), high); what was not moved gets the gradient, the bound gets the others'."""
    if low is not None:
        x, low = promote(x, low)
    if high is not None:
        x, high = promote(x, high)
    y = x if low is None else together(np.maximum, x, low)
    y = y if high is None else together(np.minimum, y, high)
    low, high = -np.inf if low is None else low, np.inf if high is None else high
    return y, (
        lambda g: only(g, (x >= low) & (x <= high)),
        lambda g: only(g, (x < low) & np.less(low, high)),
        lambda g: only(g, (x > high) | np.less(high, low)),
    )


def where(condition: Tensor, input: Any = None, other: Any = None) -> Any:
    """Return `input` where the condition holds, else `other`; with the condition alone, where it holds."""
    if input is None and other is None:
        return nonzero(condition, as_tuple=True)
    return _where(condition, input, other)


@op
def _where(condition: Value, a: Value, b: Value, /) -> Result:
    """y = a where the condition holds, else b; the chosen one gets the gradient."""
    require(condition.dtype in (np.bool_, np.uint8), "where: the condition is a bool tensor", condition=condition)
    a, b = promote(*map(as_array, promote(a, b)))
    condition = condition.astype(bool, copy=False)
    return together(np.where, condition, a, b), (None, lambda g: only(g, condition), lambda g: only(g, ~condition))


true_divide, divide, multiply, subtract, clip = div, div, mul, sub, clamp


def _whole(a: Value, alpha: float) -> float:
    """Return `alpha` as it may multiply numbers of a's type."""
    fits = type(a) is not np.ndarray or a.dtype.kind == "f" or isinstance(alpha, int)
    require(fits, "For integral input tensors, argument alpha must not be a floating point number", alpha=alpha)
    return alpha


def _divisible(a: Value, b: Value) -> tuple[Value, Value]:
    """Return both in one type. Raises RuntimeError where integers are divided by zero."""
    a, b = promote(a, b)
    fits = (a if type(a) is np.ndarray else b).dtype.kind == "f" or np.all(b)
    require(fits, "ZeroDivisionError: integers are divided by zero", input=a, other=b)
    return a, b


def _rounded_quotient(a: Value, b: Value, mode: str) -> Value:
    require(mode in ("floor", "trunc"), "div: rounding_mode is None, 'trunc' or 'floor'", rounding_mode=mode)
    a, b = _divisible(a, b)
    floating = (a if type(a) is np.ndarray else b).dtype.kind == "f"
    if mode == "trunc" and floating:
        return np.trunc(together(np.divide, a, b))
    down = together(np.floor_divide, a, b)
    return down if mode == "floor" else down + ((down < 0) & (down * b != a)).astype(down.dtype)


def _of_two(name: str, text: str, compare: Any, floats: bool = True) -> Callable[..., Tensor]:
    def forward(a: Value, b: Value, /) -> Result:
        a, b = promote(a, b)
        if not floats and (a if type(a) is np.ndarray else b).dtype.kind == "f":
            raise NotImplementedError(f"{name} is not implemented for floating-point tensors")
        return together(compare, a, b), None

    return named(forward, name, text, __name__)


def _of_one(name: str, text: str, test: Any) -> Callable[..., Tensor]:
    def forward(x: Value, /) -> Result:
        return test(x), None

    return named(forward, name, text, __name__)


def _inverted(x: Value) -> Value:
    if x.dtype.kind == "f":
        raise TypeError("~ (bitwise_not) is only implemented on integer and bool tensors")
    return ~x


eq = _of_two("eq", "y = (a == b).", np.equal)
ne = _of_two("ne", "y = (a != b).", np.not_equal)
lt = _of_two("lt", "y = (a < b).", np.less)
le = _of_two("le", "y = (a <= b).", np.less_equal)
gt = _of_two("gt", "y = (a > b).", np.greater)
ge = _of_two("ge", "y = (a >= b).", np.greater_equal)
logical_and = _of_two("logical_and", "y = (a and b).", np.logical_and)
logical_or = _of_two("logical_or", "y = (a or b).", np.logical_or)
logical_xor = _of_two("logical_xor", "y = (a or b, not both).", np.logical_xor)
bitwise_and = _of_two("bitwise_and", "y = a & b, bit by bit, for integers and bools.", np.bitwise_and, floats=False)
bitwise_or = _of_two("bitwise_or", "y = a | b, bit by bit, for integers and bools.", np.bitwise_or, floats=False)
bitwise_xor = _of_two("bitwise_xor", "y = a ^ b, bit by bit, for integers and bools.", np.bitwise_xor, floats=False)
bitwise_not = _of_one("bitwise_not", "y = ~x, bit by bit, for integers and bools.", _inverted)
logical_not = _of_one("logical_not", "y = (x == 0).", np.logical_not)
isnan = _of_one("isnan", "y = whether x is not a number.", np.isnan)
isinf = _of_one("isinf", "y = whether x is infinite.", np.isinf)
isfinite = _of_one("isfinite", "y = whether x is neither infinite nor NaN.", np.isfinite)


def allclose(input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    """Return whether |input - other| ≤ atol + rtol |other| for all elements."""
    require(input._array.dtype is other._array.dtype, "allclose: one dtype is wanted", input=input, other=other)
    return np.allclose(input._array, other._array, rtol, atol, equal_nan)


def equal(input: Tensor, other: Tensor) -> bool:
    """Return whether both have the same shape and elements."""
    return bool(np.array_equal(input._array, other._array))
