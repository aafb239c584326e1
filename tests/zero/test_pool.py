"""Pooling beside PyTorch's: values, gradients, layers, errors."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from zero.operations import agree, leaf

from danlu.zero import nn
from danlu.zero.ops import pool as ops
from danlu.zero.tape import edge_of, walk
from danlu.zero.tensor import wrap


def steps(*shape: int, dtype: Any = np.float64) -> np.ndarray:
    """Return numbers of which many are equal: it matters which one of them wins."""
    return np.random.default_rng(sum(shape)).integers(-3, 4, shape).astype(dtype)


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_pooling_agrees_over_configurations(data: st.DataObject) -> None:
    dims = data.draw(st.sampled_from([1, 2]))

    def draw(low: int, high: int) -> tuple[int, ...]:
        return tuple(data.draw(st.lists(st.integers(low, high), min_size=dims, max_size=dims)))

    kernel, stride, dilation = draw(1, 3), data.draw(st.sampled_from([None, draw(1, 4)])), draw(1, 2)
    padding = tuple(data.draw(st.integers(0, k // 2)) for k in kernel)
    size, batch = draw(5, 10), data.draw(st.sampled_from([(), (2,)]))
    x = steps(*batch, 3, *size, dtype=data.draw(st.sampled_from([np.float32, np.float64])))
    options = {"stride": stride, "padding": padding, "ceil_mode": data.draw(st.booleans())}
    name = f"avg_pool{dims}d"
    more = {"count_include_pad": data.draw(st.booleans())}
    if dims == 2:
        more["divisor_override"] = data.draw(st.sampled_from([None, 5]))
    average = [partial(getattr(m, name), kernel_size=kernel, **options, **more) for m in (ops, F)]
    agree(*average, x)
    name, options = f"max_pool{dims}d", {**options, "dilation": dilation}
    agree(*[partial(getattr(m, name), kernel_size=kernel, **options) for m in (ops, F)], x)
    _, indices = getattr(ops, name)(wrap(x), kernel, **options, return_indices=True)
    _, expected = getattr(F, name)(torch.tensor(x), kernel, **options, return_indices=True)
    np.testing.assert_array_equal(indices._array, expected.numpy())
    assert indices._array.dtype == np.int64


@pytest.mark.parametrize("shape", [(2, 3, 9, 10), (3, 9, 10)])
@pytest.mark.parametrize("size", [1, 3, (4, 2), (None, 3), (12, 13), (9, 5)])
def test_adaptive_pooling_of_pictures(size: Any, shape: Any) -> None:
    x = steps(*shape)
    agree(lambda x: ops.adaptive_avg_pool2d(x, size), lambda x: F.adaptive_avg_pool2d(x, size), x)
    agree(lambda x: ops.adaptive_max_pool2d(x, size), lambda x: F.adaptive_max_pool2d(x, size), x)
    _, indices = ops.adaptive_max_pool2d(wrap(x), size, return_indices=True)
    _, expected = F.adaptive_max_pool2d(torch.tensor(x), size, return_indices=True)
    np.testing.assert_array_equal(indices._array, expected.numpy())


@pytest.mark.parametrize("shape", [(2, 3, 10), (3, 10)])
@pytest.mark.parametrize("size", [1, 4, 10, 13])
def test_adaptive_pooling_of_lines(size: int, shape: Any) -> None:
    x = steps(*shape, dtype=np.float32)
    agree(lambda x: ops.adaptive_avg_pool1d(x, size), lambda x: F.adaptive_avg_pool1d(x, size), x)
    agree(lambda x: ops.adaptive_max_pool1d(x, size), lambda x: F.adaptive_max_pool1d(x, size), x)


def test_what_is_not_a_number_and_infinite_gradients() -> None:
    x = steps(1, 1, 4, 4)
    x[0, 0, 0, 1], x[0, 0, 3, 3] = np.nan, -np.inf
    y = ops.max_pool2d(leaf(x), 2)
    np.testing.assert_array_equal(y._array, F.max_pool2d(torch.tensor(x), 2).numpy())
    x = steps(1, 1, 4, 4)
    ours, theirs = leaf(x), torch.tensor(x, requires_grad=True)
    g = np.full((1, 1, 2, 2), np.inf)
    walk([(edge_of(ops.max_pool2d(ours, 2)), g)], False)
    F.max_pool2d(theirs, 2).backward(torch.tensor(g))
    np.testing.assert_array_equal(ours.grad._array, theirs.grad.numpy())  # type: ignore[union-attr]


def test_large_windows_and_views() -> None:
    x = steps(2, 3, 20, 24)
    agree(lambda x: ops.max_pool2d(x, (18, 17), 2), lambda x: F.max_pool2d(x, (18, 17), 2), x)
    turned = x.transpose(1, 0, 3, 2)[:, :, ::-1]
    for name in ("max_pool2d", "avg_pool2d"):
        y, expected = getattr(ops, name)(wrap(turned), 3), getattr(F, name)(torch.tensor(turned.copy()), 3)
        np.testing.assert_allclose(y._array, expected.numpy())
    assert ops.max_pool2d(wrap(x[:0]), 2)._array.shape == (0, 3, 10, 12)


LAYERS: list[tuple[str, tuple[Any, ...], dict[str, Any], tuple[int, ...]]] = [
    ("MaxPool1d", (3,), {"stride": 2, "padding": 1}, (2, 3, 8)),
    ("MaxPool2d", (2,), {}, (2, 3, 8, 8)),
    ("MaxPool2d", ((3, 2),), {"stride": (2, 1), "dilation": 2, "ceil_mode": True}, (3, 8, 8)),
    ("AvgPool1d", (3,), {"stride": 2, "padding": 1, "count_include_pad": False}, (2, 3, 8)),
    ("AvgPool2d", (3,), {"stride": 2, "padding": 1, "ceil_mode": True}, (2, 3, 8, 8)),
    ("AvgPool2d", (2,), {"divisor_override": 3}, (2, 3, 8, 8)),
    ("AdaptiveAvgPool1d", (3,), {}, (2, 3, 8)),
    ("AdaptiveAvgPool2d", ((None, 3),), {}, (2, 3, 8, 8)),
    ("AdaptiveMaxPool1d", (3,), {}, (2, 3, 8)),
    ("AdaptiveMaxPool2d", ((3, 5),), {}, (2, 3, 8, 8)),
]


@pytest.mark.parametrize(("name", "sizes", "options", "shape"), LAYERS)
def test_layers(name: str, sizes: Any, options: Any, shape: Any) -> None:
    ours, theirs = getattr(nn, name)(*sizes, **options), getattr(torch.nn, name)(*sizes, **options)
    assert repr(ours) == repr(theirs)
    agree(ours, theirs, steps(*shape))


def test_layers_return_indices() -> None:
    for name in ("MaxPool2d", "AdaptiveMaxPool2d"):
        ours, theirs = (getattr(module, name)(2, return_indices=True) for module in (nn, torch.nn))
        x = steps(1, 2, 6, 6)
        np.testing.assert_array_equal(ours(wrap(x))[1]._array, theirs(torch.tensor(x))[1].numpy())


@pytest.mark.parametrize(
    ("name", "shape", "options"),
    [
        ("max_pool2d", (2, 3, 4, 4), {"kernel_size": 2, "padding": 2}),
        ("max_pool2d", (2, 3, 4, 4), {"kernel_size": 5}),
        ("max_pool2d", (4, 4), {"kernel_size": 2}),
        ("max_pool2d", (2, 3, 4, 4), {"kernel_size": (1, 2, 3)}),
        ("max_pool2d", (2, 3, 4, 4), {"kernel_size": 2, "stride": 0}),
        ("max_pool2d", (2, 3, 4, 4), {"kernel_size": 2, "dilation": 0}),
        ("avg_pool2d", (2, 3, 4, 4), {"kernel_size": 2, "padding": 2}),
        ("avg_pool2d", (2, 3, 4, 4), {"kernel_size": 2, "divisor_override": 0}),
        ("avg_pool2d", (2, 3, 4, 4), {"kernel_size": 2, "padding": -1}),
        ("adaptive_avg_pool2d", (2, 3, 4, 4), {"output_size": (1, -1)}),
        ("adaptive_avg_pool2d", (4, 4), {"output_size": 2}),
    ],
)
def test_misuse_raises_as_pytorch_does(name: str, shape: Any, options: Any) -> None:
    for module, make in ((F, torch.tensor), (ops, wrap)):
        with pytest.raises(RuntimeError):
            getattr(module, name)(make(steps(*shape)), **options)
