"""Reading and writing by place against PyTorch: values, gradients, exceptions."""

import numpy as np
import pytest
import torch
from zero.functions import LAYOUTS, array, compare, compare_or_refuse

import danlu.zero as zero
from danlu.zero.tensor import wrap

CALLS = {
    "x[0]": lambda m, x: x[0],
    "x[-1]": lambda m, x: x[-1],
    "x[1:]": lambda m, x: x[1:],
    "x[..., 0]": lambda m, x: x[..., 0],
    "x[:, 1]": lambda m, x: x[:, 1],
    "x[None]": lambda m, x: x[None],
    "x[..., None, :]": lambda m, x: x[..., None, :],
    "x[::2]": lambda m, x: x[::2],
    "x[:, ::2]": lambda m, x: x[:, ::2],
    "x[1:, :2]": lambda m, x: x[1:, :2],
    "x[0, 1]": lambda m, x: x[0, 1],
    "x[m.tensor([0, 1])]": lambda m, x: x[m.tensor([0, 1])],
    "x[m.tensor([0, 0, 1])]": lambda m, x: x[m.tensor([0, 0, 1])],
    "x[m.tensor([[0, 1], [1, 1]])]": lambda m, x: x[m.tensor([[0, 1], [1, 1]])],
    "x[:, m.tensor([0, -1])]": lambda m, x: x[:, m.tensor([0, -1])],
    "x[m.tensor([0, 1]), m.tensor([1, 0])]": lambda m, x: x[m.tensor([0, 1]), m.tensor([1, 0])],
    "x[m.tensor([0, 1]), :, m.tensor([1, 0])]": lambda m, x: x[m.tensor([0, 1]), :, m.tensor([1, 0])],
    "x[m.tensor([[0], [1]]), m.tensor([0, 1, 1])]": lambda m, x: x[m.tensor([[0], [1]]), m.tensor([0, 1, 1])],
    "x[x > 0]": lambda m, x: x[x > 0],
    "x[..., m.tensor([0])]": lambda m, x: x[..., m.tensor([0])],
    "x[m.tensor(0)]": lambda m, x: x[m.tensor(0)],
    "x[m.tensor(True)]": lambda m, x: x[m.tensor(True)],
    "x[True]": lambda m, x: x[True],
    "x[[0, 1], [1, 0]]": lambda m, x: x[[0, 1], [1, 0]],
    "x[m.tensor([0] * 40 + [1])]": lambda m, x: x[m.tensor([0] * 40 + [1])],
    "x[m.zeros(0, dtype=m.int64)]": lambda m, x: x[m.zeros(0, dtype=m.int64)],
    "x[m.tensor([True, False])]": lambda m, x: x[m.tensor([True, False])],
    "x[:, m.tensor([True, False, True])]": lambda m, x: x[:, m.tensor([True, False, True])],
    "x[()]": lambda m, x: x[()],
    "x[...]": lambda m, x: x[...],
    "m.index_select(x, 0, m.tensor([0, 0, 1]))": lambda m, x: m.index_select(x, 0, m.tensor([0, 0, 1])),
    "m.index_select(x, -1, m.tensor([0]))": lambda m, x: m.index_select(x, -1, m.tensor([0])),
    "m.take(x, m.tensor([0, 1, 1]))": lambda m, x: m.take(x, m.tensor([0, 1, 1])),
    "m.gather(x, 0, (x > 0).long())": lambda m, x: m.gather(x, 0, (x > 0).long()),
    "m.gather(x, -1, (x > 0).long())": lambda m, x: m.gather(x, -1, (x > 0).long()),
    "m.gather(x, 1, m.tensor([[0, 1, 1], [1, 0, 0]]))": lambda m, x: m.gather(x, 1, m.tensor([[0, 1, 1], [1, 0, 0]])),
    "m.scatter(x, 0, (x > 5).long(), x * 2)": lambda m, x: m.scatter(x, 0, (x > 5).long(), x * 2),
    "m.scatter(x, -1, m.tensor([[0], [1]]), 3.0)": lambda m, x: m.scatter(x, -1, m.tensor([[0], [1]]), 3.0),
    "m.scatter_add(x, 0, (x > 0).long(), x * 2)": lambda m, x: m.scatter_add(x, 0, (x > 0).long(), x * 2),
    "x[:1].scatter_add(1, m.tensor([[0, 0, 1]]), x[1:] * 3)": lambda m, x: x[:1].scatter_add(
        1, m.tensor([[0, 0, 1]]), x[1:] * 3
    ),
    "m.index_add(x, 0, m.tensor([0, 0]), x[:2])": lambda m, x: m.index_add(x, 0, m.tensor([0, 0]), x[:2]),
    "x.index_add(0, m.tensor([1, 0]), x[:2] * 2, alpha=3)": lambda m, x: x.index_add(
        0, m.tensor([1, 0]), x[:2] * 2, alpha=3
    ),
    "m.masked_fill(x, x > 0, 1.5)": lambda m, x: m.masked_fill(x, x > 0, 1.5),
    "x.masked_fill(m.tensor([True]), 0)": lambda m, x: x.masked_fill(m.tensor([True]), 0),
    "x.masked_fill(x > 0, x.sum())": lambda m, x: x.masked_fill(x > 0, x.sum()),
    "m.masked_select(x, x > 0)": lambda m, x: m.masked_select(x, x > 0),
    "m.nonzero(x > 0)": lambda m, x: m.nonzero(x > 0),
    "m.nonzero(x, as_tuple=True)": lambda m, x: m.nonzero(x, as_tuple=True),
    "m.where(x > 0)": lambda m, x: m.where(x > 0),
}

SHAPES = ((), (0,), (1,), (4,), (2, 3), (3, 1), (2, 3, 4), (1, 2, 1, 3), (2, 0, 3))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", CALLS)
def test_parity(name, layout):
    for shape in SHAPES:
        compare_or_refuse(CALLS[name], shape, layout)


WRITES = {
    "int": lambda m, x, v: (0, v.sum()),
    "slice": lambda m, x, v: (slice(0, 2), v),
    "column": lambda m, x, v: ((slice(None), 1), v[0, :3]),
    "mask": lambda m, x, v: (x > 0, v.sum()),
    "list": lambda m, x, v: (m.tensor([1, 0]), v),
    "number": lambda m, x, v: ((..., slice(None, None, 2)), 2.0),
    "broadcast": lambda m, x, v: (slice(None), v[:1]),
    "mixed": lambda m, x, v: ((m.tensor([0, 2]), slice(1, 3)), v[:, :2]),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", WRITES)
def test_writing(name, layout):
    def write(m, x, v):
        y = x * 1
        index, value = WRITES[name](m, x, v)
        y[index] = value
        return y

    compare(write, [array((3, 4), layout), array((2, 4), layout, seed=1)], 1e-10)


MISUSE = {
    "step": lambda m, t: t(np.ones(3))[::-1],
    "far": lambda m, t: t(np.ones(3))[5],
    "far_tensor": lambda m, t: t(np.ones(3))[t(np.array([5]))],
    "many": lambda m, t: t(np.ones(3))[0, 0],
    "float": lambda m, t: t(np.ones(3))[t(np.ones(3))],
    "mask": lambda m, t: t(np.ones(3))[t(np.array([True]))],
    "text": lambda m, t: t(np.ones(3))["a"],
    "gather_type": lambda m, t: m.gather(t(np.ones(3)), 0, t(np.ones(1))),
    "gather_far": lambda m, t: m.gather(t(np.ones(3)), 0, t(np.array([7]))),
    "gather_rank": lambda m, t: m.gather(t(np.ones(3)), 0, t(np.array([[0]]))),
    "scatter_far": lambda m, t: m.scatter(t(np.ones(3)), 0, t(np.array([7])), 1.0),
    "select_far": lambda m, t: m.index_select(t(np.ones(3)), 0, t(np.array([7]))),
    "fill": lambda m, t: m.masked_fill(t(np.ones(3)), t(np.ones(3) > 0), t(np.ones(2))),
    "fill_type": lambda m, t: m.masked_fill(t(np.ones(3)), t(np.ones(3)), 1.0),
    "write": lambda m, t: t(np.ones(3)).__setitem__(slice(None), t(np.ones(2))),
}


@pytest.mark.parametrize("name", MISUSE)
def test_misuse_raises_the_same_type(name):
    with pytest.raises(Exception) as theirs:  # noqa: PT011
        MISUSE[name](torch, torch.from_numpy)
    with pytest.raises(theirs.type):
        MISUSE[name](zero, wrap)
