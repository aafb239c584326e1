"""Normalization beside PyTorch's: values, gradients, layers, errors."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from zero.operations import agree, numbers

from danlu.zero.nn import norm as nn
from danlu.zero.ops import norm as ops
from danlu.zero.tensor import wrap

SHAPES = [(5, 3), (5, 3, 4), (2, 3, 4, 5), (2, 1, 4, 5), (1, 4, 3, 3)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_batch_norm_and_its_statistics(shape: Any, training: bool, dtype: Any) -> None:
    c, ours, theirs = shape[1], ops.batch_norm, F.batch_norm
    arrays = numbers(*shape, dtype=dtype), numbers(c, dtype=dtype), numbers(c, dtype=dtype)[::-1].copy()
    mean, var = numbers(c, dtype=dtype), numbers(c, dtype=dtype) ** 2 + dtype(0.1)
    own, peer = (wrap(mean.copy()), wrap(var.copy())), (torch.tensor(mean), torch.tensor(var))
    agree(lambda x, *a: ours(x, *own, *a, training, 0.3), lambda x, *a: theirs(x, *peer, *a, training, 0.3), *arrays)
    for left, right in zip(own, peer, strict=True):
        np.testing.assert_allclose(left._array, right.numpy(), rtol=1e-5 if dtype is np.float32 else 1e-12)
    agree(lambda x: ours(x, None, None, training=True), lambda x: theirs(x, None, None, training=True), arrays[0])


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    over=st.integers(1, 3),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_layer_norm_agrees(sizes: list[int], over: int, dtype: Any) -> None:
    tail = (*sizes[-over:-1], sizes[-1] + 2)
    shape = (*sizes[:-over], *tail)
    x, weight = numbers(*shape, dtype=dtype), numbers(*tail, dtype=dtype)
    for arrays in ((x,), (x, weight, weight)):
        agree(lambda x, *a: ops.layer_norm(x, tail, *a), lambda x, *a: F.layer_norm(x, tail, *a), *arrays)


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 5), (1, 4, 2, 3)])
def test_group_norm_agrees(shape: Any, groups: int) -> None:
    if groups == 4 and len(shape) == 2:
        return  # one value a group: nothing is left of it
    agree(
        lambda *a: ops.group_norm(a[0], groups, *a[1:]),
        lambda *a: F.group_norm(a[0], groups, *a[1:]),
        *(numbers(*shape), numbers(4), numbers(4)),
    )


def test_large_means_keep_their_precision() -> None:
    x = numbers(64, 3, 5, 5, dtype=np.float32) + np.float32(1000)
    y = ops.batch_norm(wrap(x), None, None, training=True)._array
    exact = F.batch_norm(torch.tensor(x, dtype=torch.float64), None, None, training=True).numpy()
    np.testing.assert_allclose(y, exact, atol=2e-3)


LAYERS: list[tuple[str, tuple[Any, ...], dict[str, Any], tuple[int, ...]]] = [
    ("BatchNorm1d", (4,), {}, (6, 4)),
    ("BatchNorm1d", (4,), {"affine": False, "momentum": None}, (3, 4, 5)),
    ("BatchNorm2d", (4,), {"eps": 1e-3, "momentum": 0.3}, (3, 4, 5, 2)),
    ("BatchNorm2d", (4,), {"bias": False}, (3, 4, 5, 2)),
    ("BatchNorm2d", (4,), {"track_running_stats": False}, (3, 4, 5, 2)),
    ("LayerNorm", ((4, 5),), {}, (3, 4, 5)),
    ("LayerNorm", (5,), {"bias": False}, (3, 4, 5)),
    ("LayerNorm", (5,), {"elementwise_affine": False}, (3, 4, 5)),
    ("GroupNorm", (2, 4), {}, (3, 4, 5)),
]


@pytest.mark.parametrize(("name", "sizes", "options", "shape"), LAYERS)
def test_layers_in_training_and_evaluation(name: str, sizes: Any, options: Any, shape: Any) -> None:
    ours, theirs = getattr(nn, name)(*sizes, **options), getattr(torch.nn, name)(*sizes, **options)
    assert repr(ours) == repr(theirs) or "bias=" not in repr(theirs)  # an older PyTorch does not name the bias
    for step in range(3):
        agree(ours, theirs, numbers(*shape, dtype=np.float32) * (step + 1) + step)
    state, expected = ours.state_dict(), theirs.state_dict()
    assert list(state) == list(expected)
    for key, value in expected.items():
        np.testing.assert_allclose(state[key]._array, value.numpy(), rtol=1e-5)
        assert str(state[key]._array.dtype) == str(value.numpy().dtype)
    agree(ours.eval(), theirs.eval(), numbers(*shape, dtype=np.float32))


@pytest.mark.parametrize(
    ("error", "name", "call"),
    [
        (ValueError, "batch_norm", lambda f, t: f(t(numbers(1, 3)), None, None, training=True)),
        (RuntimeError, "batch_norm", lambda f, t: f(t(numbers(4, 3)), t(numbers(2)), t(numbers(2)))),
        (RuntimeError, "layer_norm", lambda f, t: f(t(numbers(4, 3)), (4,))),
        (RuntimeError, "layer_norm", lambda f, t: f(t(numbers(4, 3)), (3,), t(numbers(4)))),
        (RuntimeError, "group_norm", lambda f, t: f(t(numbers(4, 3)), 2)),
        (RuntimeError, "group_norm", lambda f, t: f(t(numbers(4, 4)), 2, t(numbers(3)))),
    ],
)
def test_misuse_raises_as_pytorch_does(error: Any, name: str, call: Any) -> None:
    for module, make in ((F, torch.tensor), (ops, wrap)):
        with pytest.raises(error):
            call(getattr(module, name), make)


@pytest.mark.parametrize(
    ("name", "shape"), [("BatchNorm1d", (3,)), ("BatchNorm2d", (2, 3, 4)), ("BatchNorm1d", (1, 3))]
)
def test_a_wrong_input_raises_as_pytorch_does(name: str, shape: Any) -> None:
    for module, make in ((torch.nn, torch.tensor), (nn, wrap)):
        with pytest.raises(ValueError, match=r"."):
            getattr(module, name)(3)(make(numbers(*shape, dtype=np.float32)))


def test_channels_that_groups_do_not_divide() -> None:
    for module in (torch.nn, nn):
        with pytest.raises(ValueError, match="divisible"):
            module.GroupNorm(2, 5)
