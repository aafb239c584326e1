"""Attention against PyTorch: values, and gradients of inputs, masks and weights."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from zero.layers import TOLERANCE, assert_close, leaf, twin, with_the_weights_of

from danlu import zero
from danlu.zero import nn

F = nn.functional


def both(*sizes, dtype=torch.float64, **options):
    """Return PyTorch's layer and ours with the same weights."""
    torch.manual_seed(0)
    theirs = torch.nn.MultiheadAttention(*sizes, **options, dtype=dtype)
    for parameter in theirs.parameters():  # biases start at 0
        torch.nn.init.normal_(parameter, 0, 0.5)
    return theirs, with_the_weights_of(theirs, nn.MultiheadAttention, *sizes, dtype=dtype, **options)


def assert_same(theirs, ours, leaves, dtype=torch.float64, **options):
    """Compare both functions' results, and the gradients of a weighted sum of all that they return."""
    mine, given = [twin(leaf) for leaf in leaves], {key: twin(value) for key, value in options.items()}
    expected, got = theirs(*leaves, **options), ours(*mine, **given)
    total, sums = 0, 0
    pairs = zip(got, expected, strict=True) if isinstance(expected, tuple) else [(got, expected)]
    for y, z in pairs:
        assert (y is None) == (z is None)
        if z is not None:
            assert_close(y, z, dtype)
            weight = torch.randn(z.shape, dtype=dtype)
            total, sums = total + (y * twin(weight)).sum(), sums + (z * weight).sum()
    total.backward()
    sums.backward()
    masks = [(given[key], value) for key, value in options.items() if isinstance(value, torch.Tensor)]
    for y, z in [*zip(mine, leaves, strict=True), *masks]:
        if z.requires_grad:
            assert_close(y.grad, z.grad, dtype)
    if isinstance(theirs, torch.nn.Module):
        for (key, y), (other, z) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
            assert key == other
            assert_close(y.grad, z.grad, dtype)


def mask_of(kind, shape, blocked, dtype):
    """Return a mask of a kind in which every row keeps one place."""
    if kind is None:
        return None
    if kind == "float":
        return torch.randn(shape, dtype=dtype)
    mask = torch.rand(shape) < 0.4
    mask[..., 0] = False
    return mask if blocked else ~mask


@settings(max_examples=40, deadline=None)
@given(
    lead=st.sampled_from([(), (2,), (2, 3), (0,)]),
    sizes=st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3)),
    kind=st.sampled_from([None, "bool", "float", "causal"]),
    scale=st.sampled_from([None, 0.7]),
    dtype=st.sampled_from(list(TOLERANCE)),
)
def test_the_function(lead, sizes, kind, scale, dtype):
    steps, keys, features, values = sizes
    leaves = [leaf(*lead, *s, dtype=dtype) for s in ((steps, features), (keys, features), (keys, values))]
    options = {"scale": scale, "is_causal": kind == "causal"}
    if kind in ("bool", "float"):
        options["attn_mask"] = mask_of(kind, (steps, keys), False, dtype)
    theirs = torch.nn.functional.scaled_dot_product_attention
    assert_same(theirs, F.scaled_dot_product_attention, leaves, dtype, **options)


def test_a_mask_gets_its_gradient_and_a_row_without_keys_is_zero():
    theirs, ours = torch.nn.functional.scaled_dot_product_attention, F.scaled_dot_product_attention
    mask = torch.randn(2, 1, 3, 4, dtype=torch.float64).requires_grad_()
    assert_same(theirs, ours, [leaf(2, 2, 3, 5), leaf(2, 2, 4, 5), leaf(2, 2, 4, 5)], attn_mask=mask)
    mask = torch.tensor([[True, False], [False, False]])
    assert_same(theirs, ours, [leaf(2, 5), leaf(2, 5), leaf(2, 5)], attn_mask=mask)
    theirs, ours = both(4, 2)  # where weights are asked for, PyTorch's layer has NaN in such a row, else 0
    x = leaf(2, 1, 4)
    for need_weights in (True, False):
        options = {"attn_mask": ~mask, "need_weights": need_weights}
        given = {"attn_mask": twin(~mask), "need_weights": need_weights}
        assert_close(ours(twin(x), twin(x), twin(x), **given)[0], theirs(x, x, x, **options)[0])


def test_overflow_is_silent():
    q = torch.tensor([[3e38, -3e38], [1.0, 2.0]])
    mine = F.scaled_dot_product_attention(twin(q), twin(q), twin(q))
    assert_close(mine, torch.nn.functional.scaled_dot_product_attention(q, q, q), torch.float32)


@settings(max_examples=50, deadline=None)
@given(
    sizes=st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4)),
    flags=st.fixed_dictionaries({"bias": st.booleans(), "batch_first": st.booleans()}),
    widths=st.sampled_from([{}, {"kdim": 3, "vdim": 5}]),
    masks=st.tuples(st.sampled_from([None, "2D", "3D"]), st.booleans(), st.sampled_from(["bool", "float"])),
    weights=st.sampled_from([{}, {"need_weights": False}, {"average_attn_weights": False}]),
    dtype=st.sampled_from(list(TOLERANCE)),
)
def test_the_layer(sizes, flags, widths, masks, weights, dtype):
    batch, steps, keys = sizes
    attn, padding, kind = masks
    theirs, ours = both(4, 2, **flags, **widths, dtype=dtype)
    leaves = [
        leaf(*((batch, count) if flags["batch_first"] else (count, batch)), width, dtype=dtype)
        for count, width in ((steps, 4), (keys, widths.get("kdim", 4)), (keys, widths.get("vdim", 4)))
    ]
    options = dict(weights)
    if attn is not None:
        shape = (steps, keys) if attn == "2D" else (2 * batch, steps, keys)
        options["attn_mask"] = mask_of(kind, shape, True, dtype)
    if padding:
        options["key_padding_mask"] = mask_of(kind, (batch, keys), True, dtype)
    assert_same(theirs, ours, leaves, dtype, **options)


@pytest.mark.parametrize("need_weights", [True, False])
def test_itself_causal_without_batch(need_weights):
    theirs, ours = both(6, 3)
    x, mask = leaf(4, 6), torch.ones(4, 4, dtype=torch.bool).triu(1)
    options = {"attn_mask": mask, "is_causal": True, "need_weights": need_weights}
    mine, given = twin(x), {key: twin(value) for key, value in options.items()}
    y, z = ours(mine, mine, mine, **given), theirs(x, x, x, **options)
    assert_close(y[0], z[0])
    y[0].sum().backward()
    z[0].sum().backward()
    assert_close(mine.grad, x.grad)


def test_dropout():
    layer = nn.MultiheadAttention(4, 2, dropout=0.5)
    x = zero.ones(50, 1, 4)
    shown = layer(x, x, x, average_attn_weights=False)[1].detach().numpy()
    assert sorted(set(np.round(shown * 50, 4).ravel())) == [0, 2]
    layer.eval()
    np.testing.assert_allclose(layer(x, x, x)[1].detach().numpy() * 50, 1, rtol=1e-5)
    q = zero.ones(1, 4)
    assert F.scaled_dot_product_attention(q, q, q, None, 1.0).sum().item() == 0


def test_names_shapes_and_first_weights():
    for widths in ({}, {"kdim": 3}):
        theirs, ours = both(4, 2, **widths)
        assert [(k, tuple(v.shape)) for k, v in ours.state_dict().items()] == [
            (k, tuple(v.shape)) for k, v in theirs.state_dict().items()
        ]
    ours = nn.MultiheadAttention(64, 4)
    weight = ours.in_proj_weight.detach().numpy()
    bound = (6 / 256) ** 0.5
    assert 0.98 * bound < abs(weight).max() <= bound
    assert not ours.in_proj_bias.detach().numpy().any()
    assert not ours.out_proj.bias.detach().numpy().any()


def _layer(call):
    return lambda n, t: call(n.MultiheadAttention(4, 2), t)


def _function(call):
    return lambda n, t: call(n.functional.scaled_dot_product_attention, t)


MISUSE = {
    "sizes": lambda n, t: n.MultiheadAttention(0, 2),
    "heads": lambda n, t: n.MultiheadAttention(4, 3),
    "dims": _layer(lambda m, t: m(t.ones(4), t.ones(4), t.ones(4))),
    "batch of keys": _layer(lambda m, t: m(t.ones(2, 1, 4), t.ones(2, 4), t.ones(2, 4))),
    "width": _layer(lambda m, t: m(t.ones(2, 1, 5), t.ones(2, 1, 5), t.ones(2, 1, 5))),
    "values": _layer(lambda m, t: m(t.ones(2, 1, 4), t.ones(2, 1, 4), t.ones(3, 1, 4))),
    "mask": _layer(lambda m, t: m(t.ones(2, 1, 4), t.ones(2, 1, 4), t.ones(2, 1, 4), attn_mask=t.ones(3, 2))),
    "padding": _layer(lambda m, t: m(t.ones(2, 1, 4), t.ones(2, 1, 4), t.ones(2, 1, 4), t.ones(1, 3))),
    "causal": _layer(lambda m, t: m(t.ones(2, 1, 4), t.ones(2, 1, 4), t.ones(2, 1, 4), is_causal=True)),
    "integers": _layer(
        lambda m, t: m(t.ones(2, 1, 4), t.ones(2, 1, 4), t.ones(2, 1, 4), attn_mask=t.ones(2, 2, dtype=t.int64))
    ),
    "features": _function(lambda f, t: f(t.ones(2, 4), t.ones(2, 3), t.ones(2, 3))),
    "keys": _function(lambda f, t: f(t.ones(2, 4), t.ones(2, 4), t.ones(3, 4))),
    "causal and mask": _function(lambda f, t: f(t.ones(2, 4), t.ones(2, 4), t.ones(2, 4), t.ones(2, 2), 0.0, True)),
    "dtype": _function(lambda f, t: f(t.ones(2, 4), t.ones(2, 4), t.ones(2, 4, dtype=t.float64))),
    "whole numbers": _function(lambda f, t: f(*[t.ones(2, 4, dtype=t.int64)] * 3)),
    "mask dtype": _function(lambda f, t: f(t.ones(2, 4), t.ones(2, 4), t.ones(2, 4), t.ones(2, 2, dtype=t.int64))),
}


@pytest.mark.parametrize("what", MISUSE)
def test_misuse_raises_what_pytorch_raises(what):
    with pytest.raises(Exception) as theirs:  # noqa: PT011
        MISUSE[what](torch.nn, torch)
    with pytest.raises(theirs.type):
        MISUSE[what](nn, zero)


@pytest.mark.parametrize("name", ["add_bias_kv", "add_zero_attn"])
def test_what_is_not_supported_names_its_argument(name):
    with pytest.raises(NotImplementedError, match=name):
        nn.MultiheadAttention(4, 2, **{name: True})
    with pytest.raises(NotImplementedError, match="enable_gqa"):
        F.scaled_dot_product_attention(zero.ones(1, 2), zero.ones(1, 2), zero.ones(1, 2), enable_gqa=True)
