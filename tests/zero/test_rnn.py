"""Recurrent layers against PyTorch: values, and gradients of inputs, states and weights."""

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from zero.layers import TOLERANCE, assert_close, leaf, twin, with_the_weights_of

from danlu import zero
from danlu.zero import nn
from danlu.zero.nn.utils.rnn import pack_padded_sequence

LAYERS = ["RNN", "LSTM", "GRU"]


def both(name, *sizes, dtype=torch.float64, **options):
    """Return PyTorch's layer and ours with the same weights."""
    torch.manual_seed(0)
    theirs = getattr(torch.nn, name)(*sizes, **options, dtype=dtype)
    return theirs, with_the_weights_of(theirs, getattr(nn, name), *sizes, dtype=dtype, **options)


def flat(result):
    """Return all tensors of a result."""
    if isinstance(result, tuple) and not hasattr(result, "data"):
        return [tensor for part in result for tensor in flat(part)]
    return [result.data if hasattr(result, "batch_sizes") else result]


def assert_same(theirs, ours, call, leaves, dtype=torch.float64):
    """Compare `call(layer, *leaves)`, and the gradients of a weighted sum of all that it returns."""
    mine = [twin(leaf) for leaf in leaves]
    expected, got = flat(call(theirs, *leaves)), flat(call(ours, *mine))
    assert len(expected) == len(got)
    total, sums = 0, 0
    for y, z in zip(got, expected, strict=True):
        assert_close(y, z, dtype)
        weight = torch.randn(z.shape, dtype=dtype)
        total, sums = total + (y * twin(weight)).sum(), sums + (z * weight).sum()
    total.backward()
    sums.backward()
    for y, z in zip(mine, leaves, strict=True):
        assert_close(y.grad, z.grad, dtype)
    for (key, y), (other, z) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert key == other
        assert_close(y.grad, z.grad, dtype)


@settings(max_examples=50, deadline=None)
@given(
    name=st.sampled_from(LAYERS),
    layers=st.integers(1, 3),
    batch=st.integers(0, 3),
    steps=st.integers(1, 4),
    options=st.fixed_dictionaries({k: st.booleans() for k in ("bias", "batch_first", "bidirectional")}),
    given_states=st.booleans(),
    dtype=st.sampled_from(list(TOLERANCE)),
)
def test_layers(name, layers, batch, steps, options, given_states, dtype):
    theirs, ours = both(name, 3, 4, layers, **options, dtype=dtype)
    shape = (batch, steps, 3) if options["batch_first"] else (steps, batch, 3)
    states = [leaf(layers * (1 + options["bidirectional"]), batch, 4, dtype=dtype) for _ in range(1 + (name == "LSTM"))]

    def call(layer, x, *hx):
        return layer(x, *([hx] if len(hx) == 2 else hx))

    leaves = [leaf(*shape, dtype=dtype), *(states if given_states else [])]
    assert_same(theirs, ours, call, leaves, dtype)


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(LAYERS),
    layers=st.integers(1, 2),
    lengths=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    bidirectional=st.booleans(),
    given_states=st.booleans(),
)
def test_lengths(name, layers, lengths, bidirectional, given_states):
    theirs, ours = both(name, 2, 3, layers, bidirectional=bidirectional)
    states = [leaf(layers * (1 + bidirectional), len(lengths), 3) for _ in range(1 + (name == "LSTM"))]

    def call(layer, x, *hx):
        pack = torch.nn.utils.rnn.pack_padded_sequence if isinstance(x, torch.Tensor) else pack_padded_sequence
        return layer(pack(x, lengths, enforce_sorted=False), *([hx] if len(hx) == 2 else hx))

    assert_same(theirs, ours, call, [leaf(max(lengths), len(lengths), 2), *(states if given_states else [])])


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("batch_first", [False, True])
def test_one_sequence_without_batch(name, batch_first):
    theirs, ours = both(name, 3, 4, bidirectional=True, batch_first=batch_first)
    states = [leaf(2, 4) for _ in range(1 + (name == "LSTM"))]
    assert_same(theirs, ours, lambda m, x, *hx: m(x, *([hx] if len(hx) == 2 else hx)), [leaf(5, 3), *states])


def test_relu():
    assert_same(*both("RNN", 3, 4, 2, "relu"), lambda m, x: m(x), [leaf(5, 2, 3)])


@pytest.mark.parametrize("name", LAYERS)
def test_names_shapes_and_first_weights(name):
    theirs, ours = both(name, 3, 50, 2, bidirectional=True)
    assert [(k, tuple(v.shape)) for k, v in ours.state_dict().items()] == [
        (k, tuple(v.shape)) for k, v in theirs.state_dict().items()
    ]
    ours.reset_parameters()
    drawn = np.concatenate([weight.detach().numpy().ravel() for weight in ours.parameters()])
    assert abs(drawn).max() <= 50**-0.5
    assert abs(drawn.std() - 50**-0.5 / 3**0.5) < 2e-3
    assert repr(ours) == repr(theirs)


def test_dropout_between_layers_only():
    layer = nn.GRU(3, 40, 2, dropout=1.0)
    x = zero.ones(2, 1, 3)
    layer.flatten_parameters()
    alone = nn.GRU(40, 40)
    alone.load_state_dict({k[:-1] + "0": v for k, v in layer.state_dict().items() if k.endswith("1")})
    assert_close(layer(x)[0], torch.tensor(alone(zero.zeros(2, 1, 40))[0].detach().numpy()), torch.float32)
    layer.eval()
    assert not np.allclose(layer(x)[0].detach().numpy(), alone(zero.zeros(2, 1, 40))[0].detach().numpy())


def test_backward_twice_and_partial_use():
    for name in LAYERS:
        theirs, ours = both(name, 3, 4, 2)
        x = leaf(4, 2, 3)
        mine = twin(x)
        for layer, leaves in ((theirs, x), (ours, mine)):
            last = flat(layer(leaves))[-1]  # the outputs themselves have no gradient
            last.sum().backward(retain_graph=True)
            last.sum().backward()
        assert_close(mine.grad, x.grad)
        with pytest.raises(RuntimeError, match="second time"):
            last.sum().backward()


def test_a_weight_changed_before_backward_is_noticed():
    layer = nn.LSTM(3, 4)
    y, _ = layer(zero.ones(2, 1, 3))
    with zero.no_grad():
        layer.weight_hh_l0.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


@pytest.mark.parametrize("name", LAYERS)
def test_extreme_numbers_are_silent_and_a_copy_is_independent(name):
    theirs, ours = both(name, 2, 3, dtype=torch.float32)
    x = torch.tensor([[[1e30, -1e30]], [[-3e38, 3e38]]])
    copied = pickle.loads(pickle.dumps(copy.deepcopy(ours)))
    assert_close(copied(twin(x))[0], theirs(x)[0], torch.float32)
    with zero.no_grad():
        copied.weight_hh_l0.zero_()
    assert ours.weight_hh_l0.any()
    assert ours.double()(twin(x.double()))[0].dtype is zero.float64


MISUSE = {
    "no steps": lambda n, t: n.LSTM(2, 3)(t.zeros(0, 3, 2)),
    "dtype": lambda n, t: n.LSTM(2, 3)(t.zeros(4, 3, 2, dtype=t.float64)),
    "width": lambda n, t: n.LSTM(2, 3)(t.zeros(4, 3, 5)),
    "dims": lambda n, t: n.GRU(2, 3)(t.zeros(3)),
    "h batch": lambda n, t: n.LSTM(2, 3)(t.zeros(4, 3, 2), (t.zeros(1, 2, 3), t.zeros(1, 3, 3))),
    "c batch": lambda n, t: n.LSTM(2, 3)(t.zeros(4, 3, 2), (t.zeros(1, 3, 3), t.zeros(1, 2, 3))),
    "h dims": lambda n, t: n.GRU(2, 3)(t.zeros(4, 3, 2), t.zeros(3, 3)),
    "h dims, one sequence": lambda n, t: n.GRU(2, 3)(t.zeros(4, 2), t.zeros(1, 1, 3)),
    "h width": lambda n, t: n.GRU(2, 3)(t.zeros(4, 3, 2), t.zeros(1, 3, 2)),
    "h dtype": lambda n, t: n.GRU(2, 3)(t.zeros(4, 3, 2), t.zeros(1, 3, 3, dtype=t.float64)),
    "nonlinearity": lambda n, t: n.RNN(2, 3, nonlinearity="x"),
    "projection of an RNN": lambda n, t: n.RNN(2, 3, proj_size=2),
    "projection of a GRU": lambda n, t: n.GRU(2, 3, proj_size=2),
    "hidden size": lambda n, t: n.RNN(2, 0),
    "layers": lambda n, t: n.RNN(2, 3, 0),
    "dropout": lambda n, t: n.RNN(2, 3, dropout=2),
    "size type": lambda n, t: n.LSTM(2.0, 3),
    "bias type": lambda n, t: n.LSTM(2, 3, bias=1),
}


@pytest.mark.parametrize("what", MISUSE)
def test_misuse_raises_what_pytorch_raises(what):
    with pytest.raises(Exception) as theirs:  # noqa: PT011
        MISUSE[what](torch.nn, torch)
    with pytest.raises(theirs.type):
        MISUSE[what](nn, zero)


def test_what_is_not_supported_names_its_argument():
    with pytest.raises(NotImplementedError, match="proj_size"):
        nn.LSTM(2, 3, proj_size=2)
    with pytest.warns(UserWarning, match="num_layers=1"):
        nn.LSTM(2, 3, dropout=0.5)
