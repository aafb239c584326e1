import numpy as np
import pytest
import torch

import danlu.zero as zero

ENGINES = [zero, torch]


def same(ours, theirs):
    assert str(ours.dtype) == str(theirs.dtype)
    assert tuple(ours.shape) == tuple(theirs.shape)
    assert ours.requires_grad == theirs.requires_grad
    np.testing.assert_allclose(ours._array, theirs.detach().numpy(), rtol=1e-6)


MADE = {
    "floats": lambda t: t.tensor([1.0, 2.5]),
    "whole": lambda t: t.tensor([[1, 2], [3, 4]]),
    "bools": lambda t: t.tensor([True, False]),
    "bool and int": lambda t: t.tensor([True, 2]),
    "int and float": lambda t: t.tensor([1, 2.5]),
    "number": lambda t: t.tensor(3),
    "float": lambda t: t.tensor(3.5),
    "range": lambda t: t.tensor(range(3)),
    "nothing": lambda t: t.tensor([]),
    "empty rows": lambda t: t.tensor([[], []]),
    "tuples": lambda t: t.tensor(((1.0, 2.0), (3.0, 4.0))),
    "array": lambda t: t.tensor(np.arange(3.0)),
    "array int32": lambda t: t.tensor(np.arange(3, dtype=np.int32)),
    "numpy number": lambda t: t.tensor(np.float64(1.5)),
    "numpy float32": lambda t: t.tensor(np.float32(1.5)),
    "numpy numbers": lambda t: t.tensor([np.float64(1.5), np.float64(2)]),
    "numpy int": lambda t: t.tensor([np.int32(1)]),
    "tensors": lambda t: t.tensor([t.tensor(1.0), t.tensor(2.0)]),
    "tensors of kinds": lambda t: t.tensor([t.tensor(1.0), t.tensor(2)]),
    "tensors and numbers": lambda t: t.tensor([1.0, t.tensor(2.0)]),
    "one-element tensors": lambda t: t.tensor([[t.tensor([1.0])], [t.tensor([2.0])]][0]),
    "whole tensors": lambda t: t.tensor([t.tensor(1), t.tensor(2)]),
    "dtype": lambda t: t.tensor([1.7, -1.7], dtype=t.long),
    "to bool": lambda t: t.tensor([0.0, 2.0], dtype=t.bool),
    "to half": lambda t: t.tensor([0.1], dtype=t.half),
    "needs a gradient": lambda t: t.tensor([1.0], requires_grad=True),
    "as_tensor": lambda t: t.as_tensor([1, 2.0]),
    "as_tensor dtype": lambda t: t.as_tensor(np.arange(2), dtype=t.float32),
    "zeros": lambda t: t.zeros(2, 3),
    "zeros of a tuple": lambda t: t.zeros((2, 3), dtype=t.int64),
    "zeros of a shape": lambda t: t.zeros(t.ones(2, 1).shape),
    "zeros of a list": lambda t: t.zeros([2]),
    "one zero": lambda t: t.zeros(()),
    "no zeros": lambda t: t.zeros(0, 3),
    "numpy sizes": lambda t: t.zeros(np.int64(2), 3),
    "ones": lambda t: t.ones(2, requires_grad=True),
    "full": lambda t: t.full((2, 2), 3),
    "full float": lambda t: t.full((2,), 3.5),
    "full bool": lambda t: t.full((2,), True),
    "full inf": lambda t: t.full((2,), float("-inf")),
    "full dtype": lambda t: t.full((2,), 3, dtype=t.float64),
    "eye": lambda t: t.eye(3),
    "eye wide": lambda t: t.eye(2, 4, dtype=t.int64),
    "arange": lambda t: t.arange(5),
    "arange float": lambda t: t.arange(5.0),
    "arange steps": lambda t: t.arange(1, 10, 3),
    "arange halves": lambda t: t.arange(0, 2, 0.3),
    "arange down": lambda t: t.arange(5, 0, -2),
    "arange named": lambda t: t.arange(start=1, end=4, dtype=t.float32),
    "arange nothing": lambda t: t.arange(3, 3),
    "linspace": lambda t: t.linspace(-1, 1, 5),
    "linspace one": lambda t: t.linspace(2, 5, steps=1),
    "zeros_like": lambda t: t.zeros_like(t.ones(2, 3, dtype=t.int32)),
    "ones_like": lambda t: t.ones_like(t.zeros(2), dtype=t.float64),
    "full_like": lambda t: t.full_like(t.zeros(2), 7),
    "FloatTensor": lambda t: t.FloatTensor([[1, 2], [3, 4]]),
    "LongTensor": lambda t: t.LongTensor([1, 2]),
    "LongTensor cuts": lambda t: t.LongTensor([1.5]),
    "ByteTensor": lambda t: t.ByteTensor([1, 0]),
    "DoubleTensor of an array": lambda t: t.DoubleTensor(np.arange(3.0)),
    "FloatTensor of nothing": lambda t: t.FloatTensor(),
}


@pytest.mark.parametrize("name", MADE)
def test_made_as_pytorch_makes_it(name):
    same(MADE[name](zero), MADE[name](torch))


@pytest.mark.parametrize("name", ["empty", "FloatTensor", "empty_like"])
def test_uninitialised_memory_has_the_shape(name):
    made = zero.empty_like(zero.ones(2, 3)) if name == "empty_like" else getattr(zero, name)(2, 3)
    assert tuple(made.shape) == (2, 3)
    assert made.dtype is zero.float32


REFUSED = {
    "ragged": lambda t: t.tensor([[1, 2], [3]]),
    "text": lambda t: t.tensor("a"),
    "texts": lambda t: t.tensor([1, "a"]),
    "None": lambda t: t.tensor(None),
    "None inside": lambda t: t.tensor([None]),
    "dictionary": lambda t: t.tensor({}),
    "too large": lambda t: t.tensor([2**63]),
    "does not fit": lambda t: t.tensor(300, dtype=t.uint8),
    "nan as int": lambda t: t.tensor(float("nan"), dtype=t.long),
    "larger tensors": lambda t: t.tensor([t.ones(2), t.ones(2)]),
    "int gradient": lambda t: t.tensor([1], requires_grad=True),
    "int ones gradient": lambda t: t.ones(2, dtype=t.long, requires_grad=True),
    "text array": lambda t: t.from_numpy(np.array(["a"])),
    "not an array": lambda t: t.from_numpy([1]),
    "no size": lambda t: t.zeros(),
    "float size": lambda t: t.zeros(2, 3.0),
    "text size": lambda t: t.zeros("a"),
    "negative size": lambda t: t.zeros(-1),
    "full of an int": lambda t: t.full(2, 3),
    "negative eye": lambda t: t.eye(2, -1),
    "step 0": lambda t: t.arange(0, 5, 0),
    "wrong way": lambda t: t.arange(5, 0),
    "no steps": lambda t: t.linspace(0, 1),
    "negative steps": lambda t: t.linspace(0, 1, -1),
    "unknown argument": lambda t: t.zeros(2, foo=1),
    "unknown device": lambda t: t.zeros(2, device="foo"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_as_pytorch_refuses_it(name):
    with pytest.raises(Exception) as theirs:  # noqa: PT011 - any; ours is compared with it
        REFUSED[name](torch)
    with pytest.raises(theirs.type):
        REFUSED[name](zero)


NAMED = {
    "out": (NotImplementedError, lambda: zero.zeros(2, out=zero.ones(2))),
    "layout": (NotImplementedError, lambda: zero.rand(2, layout="torch.sparse_coo")),
    "pin_memory": (NotImplementedError, lambda: zero.tensor([1.0], pin_memory=True)),
    "memory_format": (NotImplementedError, lambda: zero.zeros_like(zero.ones(2), memory_format="torch.channels_last")),
    "device": (RuntimeError, lambda: zero.tensor([1.0], device="cuda")),
    "device='cuda:0'": (RuntimeError, lambda: zero.randn(2, device=zero.device("cuda", 0))),
}


@pytest.mark.parametrize("argument", NAMED)
def test_what_is_not_supported_is_named(argument):
    error, make = NAMED[argument]
    with pytest.raises(error, match=argument):
        make()


def test_the_only_values_of_other_arguments_are_taken():
    made = zero.zeros(2, out=None, layout=zero.strided, device="cpu", pin_memory=False)
    assert made.tolist() == [0.0, 0.0]


def test_tensor_copies_and_from_numpy_shares():
    array = np.zeros(2, np.float32)
    copied, shared, also = zero.tensor(array), zero.from_numpy(array), zero.as_tensor(array)
    array[0] = 5
    assert copied.tolist() == [0, 0]
    assert shared.tolist() == also.tolist() == [5, 0]
    assert zero.as_tensor(shared) is shared
    assert zero.as_tensor(shared, dtype=zero.float64).dtype is zero.float64
    again = zero.tensor(shared)
    again._array[0] = 7
    assert shared.tolist() == [5, 0]


def test_the_default_dtype_counts():
    try:
        for engine in ENGINES:
            engine.set_default_dtype(engine.float64)
        for make in (lambda t: t.tensor([1.0]), lambda t: t.zeros(2), lambda t: t.arange(0, 1, 0.5)):
            same(make(zero), make(torch))
    finally:
        for engine in ENGINES:
            engine.set_default_dtype(engine.float32)
