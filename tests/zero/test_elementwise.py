"""Elementwise operations against PyTorch: values, gradients, exceptions."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from zero.functions import LAYOUTS, laid_out, same

import danlu.zero as zero
from danlu.zero.tensor import wrap

SHAPES = ((), (0,), (1,), (3,), (2, 3), (1, 3), (2, 1), (4, 2, 3), (2, 0))
TOLERANCE = {"float32": 2e-5, "float64": 1e-10}
ANY, POSITIVE, UNIT = (-3, 3), (0.1, 3), (-0.95, 0.95)

WIDE = """
    neg exp relu sigmoid tanh square expm1 sin cos atan sinh cosh erf abs floor
    ceil round trunc sign isnan isinf isfinite logical_not nan_to_num
""".split()  # noqa: SIM905 - a table
UNARY = {
    **dict.fromkeys(WIDE, ANY),
    **dict.fromkeys(("log", "sqrt", "rsqrt", "reciprocal", "log2", "log10", "log1p", "tan"), POSITIVE),
    **dict.fromkeys(("asin", "acos"), UNIT),
}
BINARY = {
    **dict.fromkeys(("add", "sub", "mul", "div", "maximum", "minimum"), ANY),
    **dict.fromkeys(("eq", "ne", "lt", "le", "gt", "ge"), ANY),
    **dict.fromkeys(("logical_and", "logical_or", "logical_xor", "true_divide"), POSITIVE),
    **dict.fromkeys(("pow", "remainder"), POSITIVE),
}
CALLS = {
    "add_alpha": (lambda m, a, b: m.add(a, b, alpha=2.5), ANY),
    "sub_alpha": (lambda m, a, b: m.sub(a, b, alpha=-2), ANY),
    "div_floor": (lambda m, a, b: m.div(a, b, rounding_mode="floor"), POSITIVE),
    "div_trunc": (lambda m, a, b: m.div(a, b, rounding_mode="trunc"), POSITIVE),
    "where": (lambda m, a, b: m.where(a > b, a, b), ANY),
    "where_number": (lambda m, a, b: m.where(a > b, a, 0.5) + m.where(a > b, 1, b), ANY),
    "clamp": (lambda m, a, b: m.clamp(a, -0.5, 1.5) * b, ANY),
    "clamp_low": (lambda m, a, b: a.clamp(min=0) * b.clamp_max(1), ANY),
    "clamp_tensors": (lambda m, a, b: m.clamp(a, min=b, max=b + 1), ANY),
    "number_left": (lambda m, a, b: (2 - a) * (1 / b) + 2**a - (b % 2), POSITIVE),
    "number_right": (lambda m, a, b: (a - 2) * (b / 3) + a**2 + b**3 + a**0.5 + a**-1, POSITIVE),
    "square": (lambda m, a, b: a * a + b * a, ANY),
    "round": (lambda m, a, b: m.round(a, decimals=1) + b, ANY),
    "min_of_two": (lambda m, a, b: m.max(a, b) + m.min(a, b), ANY),
}


def array(rng, shape, layout, dtype, domain):
    low, high = domain
    return laid_out(rng.uniform(low, high, shape).astype(dtype), layout)


def compare(call, arrays, tolerance):
    mine, theirs = [], []
    for x in arrays:
        mine.append(wrap(x))
        theirs.append(torch.from_numpy(x.copy()))
        if x.dtype.kind == "f":
            mine[-1].requires_grad, _ = True, theirs[-1].requires_grad_(True)
    y, y_ref = call(zero, *mine), call(torch, *theirs)
    same(y._array, y_ref.detach().numpy(), tolerance)
    if y_ref.requires_grad:
        g = np.random.default_rng(1).normal(size=y._array.shape).astype(y._array.dtype)
        y.backward(wrap(g))
        y_ref.backward(torch.from_numpy(g))
        for a, b in zip(mine, theirs, strict=True):
            assert (a.grad is None) == (b.grad is None)
            if b.grad is not None:
                same(a.grad._array, b.grad.numpy(), tolerance)


@pytest.mark.parametrize("name", UNARY)
@settings(max_examples=15, deadline=None)
@given(
    shape=st.sampled_from(SHAPES),
    layout=st.sampled_from(LAYOUTS),
    dtype=st.sampled_from(("float32", "float64")),
    seed=st.integers(0, 99),
)
def test_one_tensor(name, shape, layout, dtype, seed):
    x = array(np.random.default_rng(seed), shape, layout, dtype, UNARY[name])
    compare(lambda m, a: getattr(m, name)(a), [x], TOLERANCE[dtype])


@pytest.mark.parametrize("name", [*BINARY, *CALLS])
@settings(max_examples=15, deadline=None)
@given(
    shapes=st.sampled_from([(s, s) for s in SHAPES] + [((2, 3), (3,)), ((2, 1), (1, 3)), ((), (2, 3)), ((1,), (0,))]),
    layout=st.sampled_from(LAYOUTS),
    dtype=st.sampled_from(("float32", "float64")),
    seed=st.integers(0, 99),
)
def test_two_tensors(name, shapes, layout, dtype, seed):
    rng = np.random.default_rng(seed)
    call, domain = CALLS.get(name) or ((lambda m, a, b: getattr(m, name)(a, b)), BINARY[name])
    a, b = (array(rng, shape, layout, dtype, domain) for shape in shapes)
    compare(call, [a, b], TOLERANCE[dtype])


SPECIAL = np.array([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e30, -1e30, 0.5, 2.0])


@pytest.mark.parametrize("name", [name for name in UNARY if name != "relu"])  # its gradient is 0 at NaN
def test_special_values_are_silent(name):
    compare(lambda m, a: getattr(m, name)(a), [SPECIAL.astype(np.float64)], 1e-10)


@pytest.mark.parametrize("name", [*BINARY, "floor_divide"])
def test_special_pairs(name):
    numbers = SPECIAL[~np.isinf(SPECIAL)] if name in ("add", "sub", "mul") else SPECIAL
    a, b = (x.reshape(-1) for x in np.meshgrid(numbers, numbers))
    with torch.no_grad():
        want = getattr(torch, name)(torch.from_numpy(a.copy()), torch.from_numpy(b.copy())).numpy()
    same(getattr(zero, name)(wrap(a), wrap(b))._array, want, 1e-10)


@pytest.mark.parametrize("name", [n for n in UNARY if n not in ("neg", "relu", "abs", "floor", "ceil", "trunc")])
def test_integers(name):
    x = np.array([1, 1, 0 if name not in ("log1p",) else 1])
    same(getattr(zero, name)(wrap(x))._array, getattr(torch, name)(torch.from_numpy(x)).numpy(), 2e-5)


@pytest.mark.parametrize("name", ["floor_divide", "remainder", "div", "mul", "sub", "pow", "maximum"])
def test_integer_pairs(name):
    a, b = (x.reshape(-1) for x in np.meshgrid(np.arange(-4, 5), [1, 2, 3]))
    same(
        getattr(zero, name)(wrap(a), wrap(b))._array, getattr(torch, name)(*map(torch.from_numpy, (a, b))).numpy(), 1e-6
    )


def test_integer_division_towards_zero():
    a, b = (x.reshape(-1) for x in np.meshgrid(np.arange(-4, 5), [-3, -2, 1, 2]))
    want = torch.div(*map(torch.from_numpy, (a, b)), rounding_mode="trunc").numpy()
    same(zero.div(wrap(a), wrap(b), rounding_mode="trunc")._array, want, 0)


@pytest.mark.parametrize("name", ["bitwise_and", "bitwise_or", "bitwise_xor"])
@pytest.mark.parametrize("kind", ["int64", "uint8", "bool"])
def test_bits(name, kind):
    a, b = np.array([0, 1, 6, 5]).astype(kind), np.array([1, 1, 3, 0]).astype(kind)
    same(getattr(zero, name)(wrap(a), wrap(b))._array, getattr(torch, name)(*map(torch.from_numpy, (a, b))).numpy(), 0)
    same((~wrap(a))._array, (~torch.from_numpy(a)).numpy(), 0)


def test_erf_is_exact():
    x = np.linspace(-7, 7, 5001)
    want = np.array([math.erf(v) for v in x])
    np.testing.assert_allclose(zero.erf(wrap(x))._array, want, rtol=1e-15, atol=0)


def test_close_and_equal():
    a, b = np.array([1.0, np.nan]), np.array([1.0 + 1e-7, np.nan])
    assert not zero.allclose(wrap(a), wrap(b))
    assert zero.allclose(wrap(a), wrap(b), equal_nan=True)
    assert zero.equal(wrap(a[:1]), wrap(a[:1].copy()))
    assert not zero.equal(wrap(a[:1]), wrap(b))


FLOAT, INT, BOOL = np.ones(3), np.arange(3), np.array([True, False, True])
MISUSE = {
    "shapes": lambda m, t: t(FLOAT) + t(np.ones(2)),
    "shapes_mul": lambda m, t: t(FLOAT) * t(np.ones(2)),
    "shapes_div": lambda m, t: t(FLOAT) / t(np.ones(2)),
    "shapes_eq": lambda m, t: t(FLOAT) == t(np.ones(2)),
    "shapes_max": lambda m, t: m.maximum(t(FLOAT), t(np.ones(2))),
    "shapes_where": lambda m, t: m.where(t(BOOL), t(FLOAT), t(np.ones(2))),
    "sub_bools": lambda m, t: t(BOOL) - t(BOOL),
    "neg_bools": lambda m, t: -t(BOOL),
    "not_floats": lambda m, t: ~t(FLOAT),
    "and_floats": lambda m, t: t(FLOAT) & 1,
    "rounding": lambda m, t: m.div(t(FLOAT), 2, rounding_mode="up"),
    "zero": lambda m, t: t(INT) // 0,
    "zero_remainder": lambda m, t: t(INT) % 0,
    "alpha": lambda m, t: m.add(t(INT), t(INT), alpha=0.5),
    "power": lambda m, t: t(INT) ** -1,
    "clamp": lambda m, t: t(FLOAT).clamp(),
    "where_type": lambda m, t: m.where(t(FLOAT), t(FLOAT), t(FLOAT)),
    "round": lambda m, t: m.round(t(INT), decimals=1),
    "text": lambda m, t: m.add(t(FLOAT), "a"),
    "close": lambda m, t: m.allclose(t(FLOAT), t(INT)),
}


@pytest.mark.parametrize("name", MISUSE)
def test_misuse_raises_the_same_type(name):
    with pytest.raises(Exception) as theirs:  # noqa: PT011
        MISUSE[name](torch, torch.from_numpy)
    with pytest.raises(theirs.type):
        MISUSE[name](zero, wrap)


def test_number_operand_saves_nothing():
    x = wrap(np.ones(2))
    leaf = zero.ones(2, dtype=zero.float64, requires_grad=True)
    x = leaf + 0
    y = (x * 2).sum()
    with zero.no_grad():
        x.add_(1)
    y.backward()
    assert leaf.grad._array.tolist() == [2, 2]
