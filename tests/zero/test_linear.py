"""Linear layers against PyTorch."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu import zero
from danlu.zero import nn
from danlu.zero.nn import functional as F


def same(build, *arrays, dtype=np.float32):
    """Compare a layer's output and all gradients with PyTorch's, for the same parameters."""
    theirs = build(torch.nn).to(torch.float64 if dtype == np.float64 else torch.float32)
    ours = build(nn)
    ours.load_state_dict({k: zero.tensor(v.numpy()) for k, v in theirs.state_dict().items()})
    ours = ours.double() if dtype == np.float64 else ours
    if dtype == np.float64:
        ours.load_state_dict({k: zero.tensor(v.numpy()) for k, v in theirs.state_dict().items()})
    assert repr(ours) == repr(theirs)
    a = [zero.tensor(x.astype(dtype), requires_grad=True) for x in arrays]
    b = [torch.tensor(x.astype(dtype), requires_grad=True) for x in arrays]
    y, z = ours(*a), theirs(*b)
    tolerance = 1e-5 if dtype == np.float32 else 1e-10
    pairs = [(y.detach(), z.detach())]
    y.sum().backward(), z.sum().backward()
    pairs += [(p.grad, q.grad) for p, q in zip([*a, *ours.parameters()], [*b, *theirs.parameters()], strict=True)]
    for p, q in pairs:
        assert p._array.dtype == q.numpy().dtype
        assert p._array.shape == q.numpy().shape
        np.testing.assert_allclose(p._array, q.numpy(), rtol=tolerance, atol=10 * tolerance)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 4), max_size=3), st.integers(1, 5), st.integers(1, 5), st.booleans(), st.booleans())
def test_linear(leading, inputs, outputs, bias, double):
    x = np.random.default_rng(inputs).normal(size=(*leading, inputs))
    same(lambda m: m.Linear(inputs, outputs, bias), x, dtype=np.float64 if double else np.float32)


@pytest.mark.parametrize("rows", [63, 64, 300])
def test_many_rows(rows):
    same(lambda m: m.Linear(3, 7), np.random.default_rng(0).normal(size=(rows, 3)), dtype=np.float64)


@pytest.mark.parametrize("leading", [(), (4,), (2, 3), (0,)])
def test_bilinear(leading):
    rng = np.random.default_rng(0)
    for bias in (True, False):
        same(lambda m, b=bias: m.Bilinear(2, 3, 4, b), rng.normal(size=(*leading, 2)), rng.normal(size=(*leading, 3)))


def test_strided_inputs():
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(3, 8)), rng.normal(size=(3, 4))
    a, b = zero.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    v, u = zero.tensor(w, requires_grad=True), torch.tensor(w, requires_grad=True)
    F.linear(a.T[::2], v.T[:3, :]).sum().backward()
    torch.nn.functional.linear(b.T[::2], u.T[:3, :]).sum().backward()
    np.testing.assert_allclose(a.grad._array, b.grad.numpy())
    np.testing.assert_allclose(v.grad._array, u.grad.numpy())


def test_vector_weight_and_keywords():
    x, w = np.random.default_rng(0).normal(size=(2, 3, 4)), np.arange(4.0)
    a, b = zero.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    v, u = zero.tensor(w, requires_grad=True), torch.tensor(w, requires_grad=True)
    F.linear(a, v).sum().backward()
    torch.nn.functional.linear(b, u).sum().backward()
    np.testing.assert_allclose(v.grad._array, u.grad.numpy())
    np.testing.assert_allclose(a.grad._array, b.grad.numpy())
    assert F.linear(input=a, weight=zero.ones(2, 4).double(), bias=zero.ones(2).double()).shape == (2, 3, 2)


@pytest.mark.parametrize(
    "call",
    [
        lambda m, t: m.Linear(2, 3)(t.ones(4, 3)),
        lambda m, t: m.Linear(2, 3)(t.ones(4, 2, dtype=t.float64)),
        lambda m, t: m.Linear(2, 3)(t.ones(4, 2, dtype=t.int64)),
        lambda m, t: m.Linear(2, 3)(t.ones(())),
        lambda m, t: m.Bilinear(2, 3, 4)(t.ones(4, 3), t.ones(4, 3)),
        lambda m, t: m.Bilinear(0, 3, 4),
        lambda m, t: m.Linear("2", 3),
        lambda m, t: m.Linear(-1, 3),
    ],
)
def test_misuse_raises_the_same_type(call):
    with pytest.raises(Exception) as theirs:  # noqa: PT011 - PyTorch says which
        call(torch.nn, torch)
    with pytest.raises(theirs.type):
        call(nn, zero)
