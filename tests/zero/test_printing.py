from contextlib import contextmanager

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import danlu.zero as zero
from danlu.zero import printing
from danlu.zero.tensor import wrap

KINDS = ("float16", "float32", "float64", "int8", "uint8", "int64", "int32", "bool")


@contextmanager
def options_for_a_while():
    before = dict(printing.OPTIONS)
    try:
        yield
    finally:
        printing.OPTIONS.update(before)


@st.composite
def arrays(draw):
    shape = tuple(draw(st.lists(st.integers(0, 5), max_size=4)))
    if draw(st.integers(0, 4)) == 0:
        shape = draw(st.sampled_from([(1001,), (30, 40), (2, 600), (7, 8, 30), (1200, 1)]))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    kind = np.dtype(draw(st.sampled_from(KINDS)))
    if kind.kind != "f":
        return rng.integers(0, 127 if kind.kind != "b" else 2, shape).astype(kind)
    values = rng.standard_normal(shape) * 10.0 ** draw(st.integers(-6, 9 if kind.itemsize > 2 else 4))
    if draw(st.booleans()):
        values = np.round(values)
    if draw(st.booleans()):
        values = np.where(rng.random(shape) < 0.3, rng.choice([np.nan, np.inf, -np.inf, 0.0], shape), values)
    with np.errstate(over="ignore"):
        return np.asarray(values.astype(kind))


@given(arrays(), st.booleans())
@settings(max_examples=150, deadline=None)
def test_it_prints_as_pytorch_does(array, requires_grad):
    requires_grad = requires_grad and array.dtype.kind == "f"
    ours = wrap(array)
    ours.requires_grad = requires_grad
    assert repr(ours) == repr(torch.from_numpy(array).requires_grad_(requires_grad))


@given(
    arrays(),
    st.fixed_dictionaries(
        {
            "precision": st.sampled_from([None, 1, 6]),
            "threshold": st.sampled_from([None, 5, 50]),
            "edgeitems": st.sampled_from([None, 1, 2]),
            "linewidth": st.sampled_from([None, 40, 120]),
            "sci_mode": st.sampled_from([None, True, False]),
        }
    ),
)
@settings(max_examples=60, deadline=None)
def test_print_options_mean_what_they_mean_in_pytorch(array, options):
    with options_for_a_while(), torch._tensor_str.printoptions(**options):
        zero.set_printoptions(**options)
        assert repr(wrap(array)) == repr(torch.from_numpy(array))


def test_no_edge_items():
    with options_for_a_while(), torch._tensor_str.printoptions(edgeitems=0, threshold=5):
        zero.set_printoptions(edgeitems=0, threshold=5)
        assert repr(zero.arange(10)) == repr(torch.arange(10))


def test_options_are_set():
    with options_for_a_while():
        zero.set_printoptions(precision=2)
        assert repr(zero.tensor([1.12345])) == "tensor([1.12])"
    assert repr(zero.tensor([1.12345])) == "tensor([1.1235])"


@pytest.mark.parametrize("engine", [zero, torch])
def test_what_a_graph_adds(engine):
    x = engine.tensor([1.0, 2.0], requires_grad=True)
    assert repr(x) == str(x) == "tensor([1., 2.], requires_grad=True)"
    assert repr(x + 1) == "tensor([2., 3.], grad_fn=<AddBackward0>)"
    assert repr((x * 2).sum()) == "tensor(6., grad_fn=<SumBackward0>)"
    assert repr(x.detach()) == "tensor([1., 2.])"
    assert repr(engine.nn.Parameter(x.detach())) == "Parameter containing:\ntensor([1., 2.], requires_grad=True)"


@pytest.mark.parametrize("engine", [zero, torch])
def test_numbers_in_text(engine):
    loss = engine.tensor(1.5, requires_grad=True)
    assert f"{loss:.3f}|{loss}" == f"1.500|{1.5}"
    assert f"{engine.tensor([1, 2])}" == "tensor([1, 2])"
    assert f"{engine.tensor(3):d}" == "3"
    with pytest.raises(TypeError):
        format(engine.ones(2), ".3f")


def test_the_default_dtype_is_not_named():
    try:
        zero.set_default_dtype(zero.float64)
        assert repr(zero.tensor([1.0])) == "tensor([1.])"
        assert repr(zero.ones(1, dtype=zero.float32)) == "tensor([1.], dtype=torch.float32)"
    finally:
        zero.set_default_dtype(zero.float32)
