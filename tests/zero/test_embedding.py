"""Embedding, padding and one-hot against PyTorch."""

import numpy as np
import pytest
import torch

from danlu import zero
from danlu.zero import nn
from danlu.zero.nn import functional as F

TF = torch.nn.functional


@pytest.mark.parametrize(
    "options", [{}, {"padding_idx": 2}, {"padding_idx": -1}, {"scale_grad_by_freq": True}], ids=str
)
@pytest.mark.parametrize("shape", [(), (5,), (3, 40), (0, 2)])
def test_embedding(options, shape):
    ours, theirs = nn.Embedding(7, 3, **options), torch.nn.Embedding(7, 3, **options)
    assert repr(ours) == repr(theirs)
    padding = options.get("padding_idx")
    assert padding is None or (ours.weight[padding]._array == 0).all()
    ours.load_state_dict({k: zero.tensor(v.numpy()) for k, v in theirs.state_dict().items()})
    ids = np.asarray(np.random.default_rng(0).integers(0, 7, shape))
    y, z = ours(zero.tensor(ids)), theirs(torch.tensor(ids))
    np.testing.assert_array_equal(y._array, z.detach().numpy())
    g = np.random.default_rng(1).normal(size=z.shape).astype(np.float32)
    y.backward(zero.tensor(g))
    z.backward(torch.tensor(g))
    np.testing.assert_allclose(ours.weight.grad._array, theirs.weight.grad.numpy(), rtol=1e-5, atol=1e-6)


def test_pretrained_and_sparse():
    table = zero.tensor(np.arange(12.0).reshape(4, 3))
    frozen = nn.Embedding.from_pretrained(table)
    assert not frozen.weight.requires_grad
    assert nn.Embedding.from_pretrained(table, freeze=False, padding_idx=1).weight.requires_grad
    np.testing.assert_array_equal(frozen(zero.tensor([1, 1]))._array, table._array[[1, 1]])
    sparse = nn.Embedding(5, 2, sparse=True)
    sparse(zero.tensor([3, 1])), sparse(zero.tensor([[4]]))
    assert [list(ids.reshape(-1)) for ids in sparse.weight.grad_rows] == [[3, 1], [4]]
    with zero.no_grad():
        sparse.weight.zero_()
    sparse(zero.tensor([2]))
    assert [list(ids) for ids in sparse.weight.grad_rows] == [[2]]


@pytest.mark.parametrize(
    "call",
    [
        lambda m, t: m.Embedding(3, 2)(t.tensor([3])),
        lambda m, t: m.Embedding(3, 2)(t.tensor([-1])),
        lambda m, t: m.Embedding(3, 2)(t.tensor([1.0])),
        lambda m, t: m.Embedding(3, 2, padding_idx=3),
        lambda m, t: m.Embedding.from_pretrained(t.ones(3)),
        lambda m, t: m.functional.one_hot(t.tensor([1.0])),
        lambda m, t: m.functional.one_hot(t.tensor([-1])),
        lambda m, t: m.functional.one_hot(t.tensor([3]), 3),
        lambda m, t: m.functional.pad(t.ones(3), (1,)),
        lambda m, t: m.functional.pad(t.ones(3), (-2, -2)),
        lambda m, t: m.functional.pad(t.ones(1, 3), (3, 0), "reflect"),
        lambda m, t: m.functional.pad(t.ones(1, 3), (4, 0), "circular"),
        lambda m, t: m.functional.pad(t.ones(1, 3), (1, 0), "nonsense"),
    ],
)
def test_misuse_raises_the_same_type(call):
    with pytest.raises(Exception) as theirs:  # noqa: PT011 - PyTorch says which
        call(torch.nn, torch)
    with pytest.raises(theirs.type):
        call(nn, zero)


def test_max_norm_is_refused():
    with pytest.raises(NotImplementedError, match="max_norm"):
        nn.Embedding(3, 2, max_norm=1.0)


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("sizes", [(1, 2), (2, 0, 1, 1), (-1, 2), (0, -1, 2, 1)])
def test_pad(mode, sizes):
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
    a, b = zero.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    if mode != "constant" and len(sizes) == 2:
        a, b = a[0].detach().requires_grad_(), b[0].detach().requires_grad_()
    value = 3.0 if mode == "constant" else None
    y, z = F.pad(a, sizes, mode, value), TF.pad(b, sizes, mode, value)
    np.testing.assert_array_equal(y._array, z.detach().numpy())
    (y * y).sum().backward(), (z * z).sum().backward()
    np.testing.assert_allclose(a.grad._array, b.grad.numpy())


def test_one_hot():
    ids = np.array([[0, 3], [1, 1]])
    for classes in (-1, 6):
        np.testing.assert_array_equal(
            F.one_hot(zero.tensor(ids), classes)._array, TF.one_hot(torch.tensor(ids), classes).numpy()
        )
