"""Dropout: rates, scale, gradients, printed form and errors."""

import numpy as np
import pytest
import torch

from danlu import zero
from danlu.zero import nn
from danlu.zero.nn import functional as F

KINDS = [("Dropout", (200, 50)), ("Dropout2d", (100, 60, 2, 3)),
         ("Dropout2d", (100, 50, 4))]  # fmt: skip


@pytest.mark.parametrize(("name", "shape"), KINDS)
@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
@pytest.mark.filterwarnings("ignore:dropout2d")
def test_as_much_is_dropped_as_by_pytorch(name, shape, p):
    zero.manual_seed(0)
    ours, theirs = getattr(nn, name)(p), getattr(torch.nn, name)(p)
    assert repr(ours) == repr(theirs)
    x = zero.ones(shape, requires_grad=True)
    y, z = ours(x), theirs(torch.ones(shape)).numpy()
    kept = y._array != 0
    assert abs((z != 0).mean() - kept.mean()) < 0.06
    np.testing.assert_allclose(y._array[kept], 1 / (1 - p) if p < 1 else 0, rtol=1e-6)
    first = tuple(range(1, len(shape)))
    for axes in (first, first[1:]):  # which dimensions are dropped together
        if axes and 0 < p < 1:
            whole = np.isin((z != 0).mean(axes), (0, 1)).all()
            assert np.isin(kept.mean(axes), (0, 1)).all() == whole
    y.sum().backward()
    np.testing.assert_array_equal(x.grad._array, y._array)
    np.testing.assert_array_equal(ours.eval()(x)._array, x._array)


def test_seed_repeats_and_inplace_overwrites():
    x = zero.ones(100)
    zero.manual_seed(3)
    first = F.dropout(x)
    zero.manual_seed(3)
    assert F.dropout(x, inplace=True) is x
    np.testing.assert_array_equal(first._array, x._array)
    assert F.dropout(x, training=False) is x
    assert F.dropout(zero.ones(5, dtype=zero.float64)).dtype is zero.float64


@pytest.mark.parametrize(
    "call",
    [
        lambda m, t: m.Dropout(1.1),
        lambda m, t: m.Dropout(-0.1),
        lambda m, t: m.functional.dropout(t.ones(2), -1.0),
    ],
)
def test_misuse_raises_the_same_type(call):
    with pytest.raises(Exception) as theirs:  # noqa: PT011 - PyTorch says which
        call(torch.nn, torch)
    with pytest.raises(theirs.type):
        call(nn, zero)
