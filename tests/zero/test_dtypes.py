"""Type promotion against PyTorch."""

import itertools

import numpy as np
import pytest
import torch

import danlu.zero as zero
from danlu.zero import dtypes
from danlu.zero.tensor import wrap

NAMES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64")
OPERANDS = [np.ones(shape, name) for shape in ((), (2,)) for name in NAMES] + [True, 2, 2.5]


def tensor(x, make):
    return make(x) if isinstance(x, np.ndarray) else x


@pytest.mark.parametrize(("a", "b"), [*itertools.product(OPERANDS, OPERANDS)])
def test_result_type_and_what_operations_return(a, b):
    want = torch.result_type(tensor(a, torch.from_numpy), tensor(b, torch.from_numpy))
    mine = [tensor(x, wrap) for x in (a, b)]
    assert str(zero.result_type(*mine)) == str(want)
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        assert str(zero.add(*mine).dtype) == str(want)
        assert str(zero.mul(*mine).dtype) == str(want)
    if isinstance(a, np.ndarray):
        theirs = torch.from_numpy(a) / tensor(b, torch.from_numpy)
        assert str((mine[0] / mine[1]).dtype) == str(theirs.dtype)
        assert str((mine[0] == mine[1]).dtype) == "torch.bool"


@pytest.mark.parametrize(("a", "b"), [*itertools.product(NAMES, NAMES)])
def test_types(a, b):
    mine, theirs = (
        [getattr(m, "bool_" if n == "bool" and m is dtypes else n) for n in (a, b)] for m in (dtypes, torch)
    )
    assert zero.can_cast(*mine) == torch.can_cast(*theirs)


def test_numpy_numbers_count_as_numbers():
    x = wrap(np.ones(2, np.float32))
    assert str((x * np.float64(2)).dtype) == "torch.float32"
    assert str((x + np.int64(2)).dtype) == "torch.float32"


def test_default_type_decides_for_integers():
    x = wrap(np.arange(1, 3))
    dtypes.set_default_dtype(dtypes.float64)
    try:
        assert str((x / 2).dtype) == str(x.exp().dtype) == str((x * 0.5).dtype) == "torch.float64"
    finally:
        dtypes.set_default_dtype(dtypes.float32)
    assert str((x / 2).dtype) == "torch.float32"


def test_refuses_what_is_no_number():
    with pytest.raises(TypeError):
        wrap(np.ones(2)) + "a"
    with pytest.raises(TypeError):
        dtypes.of(np.ones(2, np.complex64))
    with pytest.raises(TypeError):
        dtypes.set_default_dtype(dtypes.int64)
