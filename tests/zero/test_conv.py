"""Convolutions beside PyTorch's: values, gradients, layers, errors."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from zero.operations import CLOSE, agree, leaf, numbers

from danlu.zero.nn import conv as nn
from danlu.zero.ops import conv as ops
from danlu.zero.tape import edge_of, walk
from danlu.zero.tensor import wrap


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_convolutions_agree_over_configurations(data: st.DataObject) -> None:
    dims, groups = data.draw(st.sampled_from([1, 2])), data.draw(st.sampled_from([1, 2, 3]))
    small = st.lists(st.integers(1, 3), min_size=dims, max_size=dims).map(tuple)
    kernel, stride, dilation = data.draw(small), data.draw(small), data.draw(small)
    padding = data.draw(st.lists(st.integers(0, 3), min_size=dims, max_size=dims).map(tuple))
    size = data.draw(st.lists(st.integers(7, 10), min_size=dims, max_size=dims))
    ins, outs = groups * data.draw(st.integers(1, 2)), groups * data.draw(st.integers(1, 2))
    batch = data.draw(st.sampled_from([(), (1,), (3,)]))
    dtype = data.draw(st.sampled_from([np.float32, np.float64]))
    x, bias = numbers(*batch, ins, *size, dtype=dtype), numbers(outs, dtype=dtype)
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    ours, theirs = getattr(ops, f"conv{dims}d"), getattr(F, f"conv{dims}d")
    weight = numbers(outs, ins // groups, *kernel, dtype=dtype)
    agree(lambda *a: ours(*a, **options), lambda *a: theirs(*a, **options), x, weight, bias)
    ours, theirs = getattr(ops, f"conv_transpose{dims}d"), getattr(F, f"conv_transpose{dims}d")
    weight = numbers(ins, outs // groups, *kernel, dtype=dtype)
    extra = tuple(data.draw(st.integers(0, max(pair) - 1)) for pair in zip(stride, dilation, strict=True))
    options["output_padding"] = extra
    agree(lambda *a: ours(*a, **options), lambda *a: theirs(*a, **options), x, weight, bias)


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("dilation", [1, 2])
def test_padding_in_words(padding: str, dilation: int) -> None:
    options = {"padding": padding, "dilation": dilation}
    x, weight = numbers(2, 3, 9, 11), numbers(4, 3, 3, 5)
    agree(lambda *a: ops.conv2d(*a, **options), lambda *a: F.conv2d(*a, **options), x, weight)


def test_many_pictures_many_channels_and_views() -> None:
    x = numbers(70, 20, 16, 8)  # more than one chunk
    agree(lambda *a: ops.conv2d(*a, padding=1), lambda *a: F.conv2d(*a, padding=1), x, numbers(4, 20, 3, 3))
    agree(lambda *a: ops.conv2d(*a, stride=4), lambda *a: F.conv2d(*a, stride=4), x, numbers(4, 20, 1, 1))
    agree(ops.conv2d, F.conv2d, x, numbers(4, 20, 1, 1))
    agree(lambda *a: ops.conv2d(*a, groups=20), lambda *a: F.conv2d(*a, groups=20), x, numbers(20, 1, 3, 3))
    turned = x.transpose(3, 1, 0, 2)[::-1, :, ::2]
    y = ops.conv2d(wrap(turned), wrap(numbers(4, 20, 3, 3).transpose(0, 1, 3, 2)))
    expected = F.conv2d(torch.tensor(turned.copy()), torch.tensor(numbers(4, 20, 3, 3)).transpose(2, 3))
    np.testing.assert_allclose(y._array, expected.numpy(), **CLOSE["float64"])
    assert y._array.flags.c_contiguous
    assert ops.conv2d(wrap(x[:0]), wrap(numbers(4, 20, 3, 3)))._array.shape == (0, 4, 14, 6)


LAYERS: list[tuple[str, tuple[Any, ...], dict[str, Any], tuple[int, ...]]] = [
    ("Conv1d", (4, 6, 3), {"stride": 2, "padding": 1, "groups": 2}, (2, 4, 9)),
    ("Conv1d", (4, 6, 3), {"padding": 2, "padding_mode": "reflect"}, (4, 9)),
    ("Conv2d", (4, 6, (3, 1)), {"padding": "same", "bias": False}, (2, 4, 9, 8)),
    ("Conv2d", (4, 6, 3), {"padding": (1, 2), "padding_mode": "reflect", "stride": 2}, (2, 4, 9, 8)),
    ("Conv2d", (4, 6, 3), {"padding": (1, 2), "padding_mode": "replicate"}, (2, 4, 9, 8)),
    ("Conv2d", (4, 6, (3, 5)), {"padding": "same", "padding_mode": "circular"}, (2, 4, 9, 8)),
    ("Conv2d", (4, 6, (3, 5)), {"padding": "same"}, (2, 4, 9, 8)),
    ("ConvTranspose2d", (4, 6, 3), {"stride": 2, "padding": 1, "groups": 2, "dilation": 2}, (2, 4, 5, 6)),
]


@pytest.mark.parametrize(("name", "sizes", "options", "shape"), LAYERS)
def test_layers(name: str, sizes: Any, options: Any, shape: Any) -> None:
    ours, theirs = getattr(nn, name)(*sizes, **options), getattr(torch.nn, name)(*sizes, **options)
    own = dict(ours.named_parameters())
    assert repr(ours) == repr(theirs)
    assert {key: p._array.shape for key, p in own.items()} == {k: tuple(p.shape) for k, p in theirs.named_parameters()}
    spread = np.concatenate([p._array.ravel() for p in own.values()])
    bound = float(torch.cat([p.detach().ravel() for p in theirs.parameters()]).abs().max())
    assert 0.7 * bound < np.abs(spread).max() < 1.4 * bound
    for key, p in theirs.named_parameters():
        p.data = torch.tensor(own[key]._array)
    agree(ours, theirs, numbers(*shape, dtype=np.float32))


MISUSES = [
    ("conv2d", (numbers(2, 3, 5, 5), numbers(4, 2, 3, 3)), {}),
    ("conv2d", (numbers(2, 3, 2, 2), numbers(4, 3, 3, 3)), {}),
    ("conv2d", (numbers(3, 5), numbers(4, 3, 3, 3)), {}),
    ("conv2d", (numbers(2, 3, 5, 5), numbers(4, 3, 3)), {}),
    ("conv2d", (numbers(2, 3, 5, 5), numbers(4, 3, 3, 3), numbers(3)), {}),
    ("conv2d", (numbers(2, 3, 5, 5), numbers(4, 3, 3, 3)), {"stride": 0}),
    ("conv2d", (numbers(2, 3, 5, 5), numbers(4, 3, 3, 3)), {"stride": (1, 1, 1)}),
    ("conv2d", (numbers(2, 3, 5, 5), numbers(4, 3, 3, 3)), {"padding": -1}),
    ("conv2d", (numbers(2, 3, 5, 5), numbers(4, 3, 3, 3)), {"padding": "full"}),
    ("conv2d", (numbers(2, 3, 5, 5), numbers(4, 3, 3, 3)), {"padding": "same", "stride": 2}),
    ("conv2d", (numbers(2, 4, 5, 5), numbers(3, 2, 3, 3)), {"groups": 2}),
    ("conv2d", (numbers(2, 3, 5, 5), numbers(4, 3, 3, 3)), {"groups": 0}),
    ("conv2d", (numbers(2, 3, 5, 5), numbers(4, 3, 3, 3, dtype=np.float32)), {}),
    ("conv_transpose2d", (numbers(2, 3, 5, 5), numbers(4, 3, 3, 3)), {}),
    ("conv_transpose2d", (numbers(2, 3, 5, 5), numbers(3, 3, 3, 3)), {"output_padding": 1}),
]


@pytest.mark.parametrize(("name", "arrays", "options"), MISUSES)
def test_misuse_raises_as_pytorch_does(name: str, arrays: Any, options: Any) -> None:
    for module, make in ((F, torch.tensor), (ops, wrap)):
        with pytest.raises(RuntimeError):
            getattr(module, name)(*map(make, arrays), **options)


@pytest.mark.parametrize(
    "options",
    [{"groups": 2}, {"groups": 0}, {"padding": "x"}, {"padding": "same", "stride": 2}],
)
def test_a_wrong_layer_raises_as_pytorch_does(options: Any) -> None:
    for module in (torch.nn, nn):
        with pytest.raises(ValueError, match=r"."):
            module.Conv2d(3, 4, 3, **options)


def test_changed_inputs_are_noticed() -> None:
    weight = leaf(numbers(4, 3, 3, 3))
    x = wrap(numbers(2, 3, 5, 5))
    y = ops.conv2d(x, weight)
    x._version[0] += 1
    with pytest.raises(RuntimeError, match="inplace"):
        walk([(edge_of(y), y._array)], False)
