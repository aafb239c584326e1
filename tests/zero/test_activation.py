"""Activations: values, gradients, printed form and errors are PyTorch's."""

import numpy as np
import pytest
import torch
import torch.nn.functional as TF
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu import zero
from danlu.zero import nn
from danlu.zero.nn import functional as F

LAYERS = [
    ("ReLU", {}), ("ReLU", {"inplace": True}), ("ReLU6", {}), ("LeakyReLU", {}),
    ("LeakyReLU", {"negative_slope": 0.3}), ("PReLU", {}), ("PReLU", {"num_parameters": 4, "init": 0.1}), ("ELU", {}),
    ("ELU", {"alpha": 0.5}), ("SELU", {}), ("GELU", {}),
    ("GELU", {"approximate": "tanh"}), ("Softplus", {}), ("Softplus", {"beta": 2.0, "threshold": 1.0}),
    ("Softsign", {}), ("Sigmoid", {}), ("LogSigmoid", {}), ("Tanh", {}), ("Hardtanh", {}),
    ("Hardtanh", {"min_val": -2.0, "max_val": 0.5}), ("Hardsigmoid", {}), ("Hardswish", {}), 
    ("SiLU", {}), ("Mish", {}),
    ("Softmax", {"dim": 1}),
    ("Softmax", {"dim": -1}), ("LogSoftmax", {"dim": 0}), ("LogSoftmax", {"dim": -1}),
    ("SiLU", {"inplace": True}), ("Mish", {"inplace": True}),
    ("ELU", {"inplace": True}), ("Hardtanh", {"inplace": True}), ("Hardswish", {"inplace": True}),
    ("LeakyReLU", {"inplace": True}), ("SELU", {"inplace": True}),
]  # fmt: skip
LAYOUTS = {
    "plain": lambda x: x,
    "flipped": lambda x: x[:, ::-1],
    "transposed": lambda x: np.ascontiguousarray(x.transpose(3, 2, 1, 0)).transpose(3, 2, 1, 0),
    "empty": lambda x: x[:0],
}


def close(ours, theirs, dtype):
    ours = ours._array if isinstance(ours, zero.Tensor) else ours
    theirs = theirs.detach().numpy()
    assert ours.dtype == theirs.dtype
    assert ours.shape == theirs.shape
    tolerance = dtype if isinstance(dtype, float) else 1e-5 if dtype == np.float32 else 1e-10
    np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("name", "options"), LAYERS, ids=str)
def test_layers_are_those_of_pytorch(name, options):
    ours, theirs = getattr(nn, name)(**options), getattr(torch.nn, name)(**options)
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for dtype, layout in (
        (np.float32, "plain"),
        (np.float64, "flipped"),
        (np.float64, "transposed"),
        (np.float32, "empty"),
    ):
        ours, theirs = getattr(nn, name)(**options).eval(), getattr(torch.nn, name)(**options).eval()
        if dtype == np.float64:
            ours.double(), theirs.double()
        x = LAYOUTS[layout](np.random.default_rng(0).normal(0, 3, (3, 4, 2, 6))).astype(dtype)
        a, b = zero.tensor(x.copy(), requires_grad=True), torch.tensor(x.copy(), requires_grad=True)
        y, z = ours(a * 1), theirs(b * 1)
        close(y, z, dtype)
        g = np.random.default_rng(1).normal(size=z.shape).astype(dtype)
        y.backward(zero.tensor(g))
        z.backward(torch.tensor(g))
        close(a.grad, b.grad, 1e-7 if name == "Hardsigmoid" else dtype)  # PyTorch has 1/6 in float32 there
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            close(p.grad, q.grad, dtype)


@pytest.mark.parametrize(
    "name", ["softplus", "logsigmoid", "sigmoid", "silu", "mish", "elu", "tanh", "gelu", "hardswish"]
)
def test_extremes_are_silent_and_equal(name):
    x = np.array([-1e4, -100, -30, -0.0, 0.0, 30, 100, 1e4, np.inf, -np.inf, np.nan], np.float32)
    ours, theirs = getattr(F, name)(zero.tensor(x)), getattr(TF, name)(torch.tensor(x))
    if name == "gelu":  # PyTorch: NaN for infinity
        ours, theirs = ours[:-3], theirs[:-3]
    close(ours, theirs, np.float32)


@pytest.mark.parametrize("name", ["relu", "relu6", "leaky_relu", "hardtanh", "hardsigmoid", "hardswish"])
def test_gradients_at_the_kinks(name):
    x = np.array([-3, -1, -0.5, 0, 0.5, 1, 3, 6], np.float32)
    a, b = zero.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    getattr(F, name)(a).sum().backward()
    getattr(TF, name)(b).sum().backward()
    close(a.grad, b.grad, np.float32)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 5), max_size=4), st.integers(-4, 3), st.sampled_from([1.0, 1e4, np.inf]), st.booleans())
def test_softmax_over_any_dimension(shape, dim, scale, log):
    x = np.random.default_rng(len(shape)).normal(size=shape)
    x = np.asarray(np.where(x > 0, x, x * scale), np.float32)
    name = "log_softmax" if log else "softmax"
    a, b = zero.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    try:
        z = getattr(TF, name)(b, dim)
    except IndexError:
        with pytest.raises(IndexError, match="Dimension out of range"):
            getattr(F, name)(a, dim)
        return
    y = getattr(F, name)(a, dim)
    close(y, z, np.float32)
    if np.isfinite(scale):
        (y * y).sum().backward()
        (z * z).sum().backward()
        np.testing.assert_allclose(
            a.grad._array,
            b.grad.numpy(),
            rtol=1e-4,
            atol=1e-5 * max(1, abs(z.detach()).max().item() if z.numel() else 1),
        )


def test_inplace_overwrites_and_keeps_the_gradient():
    for name in ("relu", "elu", "leaky_relu", "hardtanh", "silu"):
        x = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
        a, b = zero.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
        c, d = a * 2, b * 2
        assert getattr(F, name)(c, inplace=True) is c
        getattr(TF, name)(d, inplace=True)
        close(c, d, np.float32)
        c.sum().backward(), d.sum().backward()
        close(a.grad, b.grad, np.float32)
    with pytest.raises(RuntimeError, match="leaf"):
        F.relu(zero.tensor([1.0], requires_grad=True), True)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda m, t: m.GELU("no")(t.ones(3)), RuntimeError),
        (lambda m, t: m.PReLU(3)(t.ones(2, 4)), RuntimeError),
        (lambda m, t: m.Softmax(1)(t.ones(3)), IndexError),
        (lambda m, t: m.Softmax(0)(t.ones(3, dtype=t.int64)), NotImplementedError),
        (lambda m, t: m.ELU(1, False, 3), TypeError),
        (lambda m, t: m.Hardtanh(2, 1)(t.ones(3)), (AssertionError, ValueError)),
    ],
)
def test_misuse_raises_the_same_type(call, error):
    with pytest.raises(error):
        call(torch.nn, torch)
    with pytest.raises(error):
        call(nn, zero)


MASKED = {
    "relu": lambda t, x: t.relu(x),
    "sqrt of relu": lambda t, x: t.relu(x).sqrt(),
    "relu6": lambda t, x: t.nn.functional.relu6(x),
    "hardtanh": lambda t, x: t.nn.functional.hardtanh(x),
    "hardsigmoid": lambda t, x: t.nn.functional.hardsigmoid(x),
    "hardswish": lambda t, x: t.nn.functional.hardswish(x),
    "leaky_relu": lambda t, x: t.nn.functional.leaky_relu(x),
    "elu": lambda t, x: t.nn.functional.elu(x),
    "selu": lambda t, x: t.nn.functional.selu(x),
    "prelu": lambda t, x: t.nn.functional.prelu(x, t.tensor([0.25])),
    "clamp": lambda t, x: x.clamp(-1, 6),
    "clamp to tensors": lambda t, x: t.clamp(x, x.detach() * 0, x.detach() * 0 + 2),
    "maximum": lambda t, x: t.maximum(x, t.tensor(1.0)),
    "minimum": lambda t, x: t.minimum(t.tensor(1.0), x),
    "where": lambda t, x: t.where(x > 0, x, t.tensor(0.0)),
    "masked_fill": lambda t, x: x.masked_fill(x > 0, 0.0),
}


@pytest.mark.parametrize("name", MASKED)
def test_what_is_cut_off_gets_zero_of_an_infinite_gradient_and_nan_gets_what_it_gets_in_pytorch(name):
    gradients = []
    for t in (torch, zero):
        x = t.tensor([-9.0, -1, 0, 1, 6, 9, float("nan"), 2, -3, 3], requires_grad=True)
        infinite = float("inf")
        MASKED[name](t, x).backward(t.tensor([infinite] * 3 + [1, infinite, infinite, 2] + [infinite] * 3))
        gradients.append(x.grad.numpy())
    np.testing.assert_allclose(gradients[1], gradients[0], rtol=1e-5)
