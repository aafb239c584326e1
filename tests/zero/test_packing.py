"""Padding and packing of sequences against PyTorch."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.utils import rnn as theirs
from zero.layers import twin

from danlu import zero
from danlu.zero.nn.utils import rnn as ours

LENGTHS = st.lists(st.integers(1, 5), min_size=1, max_size=5)


def assert_equal(mine, other):
    if other is None:
        assert mine is None
        return
    mine, other = mine.detach().numpy(), other.detach().numpy()
    assert mine.dtype == other.dtype
    np.testing.assert_array_equal(mine, other)


def assert_same(call, leaves):
    """Compare `call(module, leaves)`, and the gradients of a weighted sum of the first tensor that it returns."""
    mine = [twin(leaf) for leaf in leaves]
    expected, got = call(theirs, leaves), call(ours, mine)
    assert len(expected) == len(got)
    for y, z in zip(got, expected, strict=True):
        assert_equal(y, z)
    weight = torch.randn(expected[0].shape)
    (got[0] * twin(weight)).sum().backward()
    (expected[0] * weight).sum().backward()
    for y, z in zip(mine, leaves, strict=True):
        if z.grad is not None:
            assert_equal(y.grad, z.grad)


@settings(max_examples=30, deadline=None)
@given(lengths=LENGTHS, batch_first=st.booleans(), enforce_sorted=st.booleans(), features=st.sampled_from([(), (2,)]))
def test_pack_and_pad(lengths, batch_first, enforce_sorted, features):
    lengths = sorted(lengths, reverse=True) if enforce_sorted else lengths
    steps = max(lengths) + 1
    shape = (len(lengths), steps) if batch_first else (steps, len(lengths))
    x = torch.randn(*shape, *features, requires_grad=True)
    options = {"batch_first": batch_first, "enforce_sorted": enforce_sorted}
    assert_same(lambda m, leaves: m.pack_padded_sequence(leaves[0], lengths, **options), [x])

    def there_and_back(module, leaves):
        packed = module.pack_padded_sequence(leaves[0], lengths, **options)
        return module.pad_packed_sequence(packed, batch_first, -1.5, total_length=steps + 1)

    assert_same(there_and_back, [x.detach().requires_grad_()])


@settings(max_examples=30, deadline=None)
@given(lengths=LENGTHS, batch_first=st.booleans(), side=st.sampled_from(["left", "right"]))
def test_pad_sequence(lengths, batch_first, side):
    leaves = [torch.randn(length, 2, requires_grad=True) for length in lengths]
    assert_same(lambda m, leaves: [m.pad_sequence(leaves, batch_first, -1.0, side)], leaves)
    leaves = [leaf.detach().requires_grad_() for leaf in leaves]
    assert_same(lambda m, leaves: list(m.pack_sequence(leaves, enforce_sorted=False)[:2]), leaves)


def test_a_packed_sequence():
    packed = ours.pack_sequence([zero.ones(1), zero.zeros(3)], enforce_sorted=False)
    data, batch_sizes, order, back = packed
    assert data is packed.data
    assert (batch_sizes.tolist(), order.tolist(), back.tolist()) == ([2, 1, 1], [1, 0], [1, 0])


def test_integers_are_packed_too():
    x = torch.arange(6).reshape(3, 2)
    for y, z in zip(
        ours.pack_padded_sequence(twin(x), zero.tensor([3, 1])), theirs.pack_padded_sequence(x, [3, 1]), strict=True
    ):
        assert_equal(y, z)


MISUSE = {
    "count": lambda m, t: m.pack_padded_sequence(t.zeros(4, 3, 2), [4, 3]),
    "length 0": lambda m, t: m.pack_padded_sequence(t.zeros(4, 3, 2), [4, 3, 0]),
    "order": lambda m, t: m.pack_padded_sequence(t.zeros(4, 3, 2), [3, 4, 1]),
    "dims": lambda m, t: m.pack_padded_sequence(t.zeros(4), [3]),
    "total": lambda m, t: m.pad_packed_sequence(m.pack_padded_sequence(t.zeros(4, 1), [3]), total_length=2),
    "none": lambda m, t: m.pad_sequence([]),
    "shapes": lambda m, t: m.pad_sequence([t.zeros(4, 3, 2), t.zeros(2, 4, 2)]),
    "side": lambda m, t: m.pad_sequence([t.zeros(2)], padding_side="top"),
    "no list": lambda m, t: m.pad_sequence(3),
}


@pytest.mark.parametrize("what", MISUSE)
def test_misuse_raises_what_pytorch_raises(what):
    with pytest.raises(Exception) as other:  # noqa: PT011
        MISUSE[what](theirs, torch)
    with pytest.raises(other.type):
        MISUSE[what](ours, zero)


def test_a_length_beyond_the_batch_raises():
    with pytest.raises(RuntimeError, match="4 steps"):
        ours.pack_padded_sequence(zero.zeros(4, 1), [5])
