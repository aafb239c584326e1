"""What a tensor tells of itself, its casts and its operators, as PyTorch has them."""

import copy
import pickle

import numpy as np
import pytest
import torch

import danlu.zero as zero

TYPES = ("float16", "float32", "float64", "uint8", "int8", "int16", "int32", "int64", "bool")


def plain(value):
    """Return what a result is, in terms that both can be compared by."""
    if isinstance(value, (zero.Tensor, torch.Tensor)):
        return "tensor", value.tolist(), tuple(value.shape), str(value.dtype), value.requires_grad
    if isinstance(value, (zero.Size, torch.Size)):
        return "size", tuple(value)
    if isinstance(value, np.ndarray):
        return "array", value.tolist(), value.dtype.name
    if isinstance(value, (list, tuple)):
        return type(value).__name__, [plain(item) for item in value]
    return str(value) if "torch." in str(value) else value


SAME = {
    "shape": lambda t, x: (x.shape, x.size(), x.size(1), x.size(-1), x.dim(), x.ndim, x.numel(), x.nelement(), len(x)),
    "size": lambda t, x: (
        x.shape.numel(),
        x.shape[1:],
        x.shape[0],
        (*x.shape, 1),
        x.shape + x.shape,
        repr(x.shape),
        x.shape == (2, 3),
    ),
    "memory": lambda t, x: (x.stride(), x.stride(0), x.t().stride(), x.is_contiguous(), x.t().is_contiguous()),
    "contiguous": lambda t, x: (x.t().contiguous(), x.t().contiguous().stride(), x.t().clone()),
    "lists": lambda t, x: (x.tolist(), x[0, 0].item(), x[0].tolist(), list(x), [*x[1]]),
    "numpy": lambda t, x: (x.numpy(), np.asarray(x), np.asarray(x, np.float64)),
    "numbers": lambda t, x: (float(x[0, 1]), int(x[1, 2]), bool(x[0, 0]), [5, 6, 7][t.tensor(1)], f"{x[0, 1]:.1f}"),
    "contains": lambda t, x: (2.0 in x, 9 in x),
    "flags": lambda t, x: (
        x.is_leaf,
        x.requires_grad,
        x.is_cuda,
        x.is_floating_point(),
        x.grad,
        x.grad_fn,
    ),
    "device": lambda t, x: (str(x.device), repr(x.device), x.cpu() is x, x.to("cpu") is x),
    "flipped": lambda t, x: (x.T, x.mT, x.view(1, 2, 3).mT),
    "type": lambda t, x: (
        x.type(t.int32),
        x.type_as(t.tensor(1)),
    ),
    "to": lambda t, x: (
        x.to(t.float32) is x,
        x.to(t.float64),
        x.to("cpu", t.int64),
        x.to(t.tensor(True)),
        x.to(dtype=t.half),
    ),
    "to of itself": lambda t, x: (x.float() is x, x.to(t.float32, copy=True) is x),
    "right operators": lambda t, x: (2 - x, 2 + x, 2 * x, 1 / (x + 1), 2**x, 7 // (x + 1), 7 % (x + 1), -x, abs(-x)),
    "numpy scalars": lambda t, x: (np.float64(2) * x, x * np.float32(2), x + np.int64(1)),
    "comparisons": lambda t, x: (
        x == 1,
        x != 1,
        x < 2,
        x <= 2,
        x > 2,
        x <= 2,
        (x > 1) & (x < 4),
        (x > 1) | (x < 0),
        ~(x > 1),
    ),
    "matmul": lambda t, x: (x @ x.T, x @ x[0], t.eye(2) @ x),
    "where": lambda t, x: (x.where(x > 2, -x), x.where(x > 2, t.tensor(0.0))),
    "not numbers": lambda t, x: (x == None, x != None, x == "a", x == None),  # noqa: E711
    "keywords": lambda t, x: (t.add(input=x, other=x), t.abs(input=x), x.mul(other=x), t.sub(x, other=x, alpha=2)),
    "copies": lambda t, x: (copy.deepcopy(x), copy.copy(x), pickle.loads(pickle.dumps(x))),
    "old constructor": lambda t, x: (t.Tensor([1, 2]), t.Tensor(2, 0), t.Tensor()),
    "requires grad": lambda t, x: (x.requires_grad_() is x, x.requires_grad, x.detach(), x.data, x.double(), x.long()),
    "detach_": lambda t, x: ((x.requires_grad_() * 2).detach_(), x.is_leaf),
}


@pytest.mark.parametrize("name", SAME)
def test_pytorch_says_the_same(name):
    ours, theirs = (SAME[name](t, t.arange(6, dtype=t.float32).view(2, 3)) for t in (zero, torch))
    assert plain(ours) == plain(theirs)


@pytest.mark.parametrize("source", TYPES)
@pytest.mark.parametrize("name", ["float", "double", "half", "long", "int", "short", "char", "byte", "bool"])
def test_casts(source, name):
    ours, theirs = (getattr(t.tensor([0, 1, 2]).to(getattr(t, source)), name)() for t in (zero, torch))
    assert plain(ours) == plain(theirs)


def test_casts_between_floating_types_carry_gradients():
    def make(t):
        x = t.tensor([1.0, 2.0], requires_grad=True)
        y = x.double() * 3
        (y.float() * x).sum().backward()
        return x.grad, x.long(), (x.double().type_as(x)).requires_grad

    assert plain(make(zero)) == plain(make(torch))


def test_detach_shares_memory_and_hash_is_identity():
    x = zero.ones(2, requires_grad=True)
    x.detach()[0] = 5
    assert x.tolist() == [5, 1]
    assert len({x, x, x.detach()}) == 2
    assert x.numpy(force=True)[0] == 5


def test_deepcopy_copies_the_gradient_and_refuses_results():
    for t in (zero, torch):
        x = t.ones(2, requires_grad=True)
        x.sum().backward()
        twin = copy.deepcopy([x, x])
        assert twin[0] is twin[1]
        assert twin[0].grad.tolist() == [1, 1]
        twin[0].sum().backward()
        assert x.grad.tolist() == [1, 1]
        with pytest.raises(RuntimeError):
            copy.deepcopy(x * 2)


def test_arrays_leave_operators_to_the_tensor():
    y = np.ones(2, np.float32) * zero.ones(2, requires_grad=True)
    assert isinstance(y, zero.Tensor)
    assert y.requires_grad


def test_types_out_of_a_pickle_are_the_canonical_ones():
    array = pickle.loads(pickle.dumps(np.ones(2, np.float32)))
    parameter = zero.nn.Parameter(zero.ones(2))
    for x in (zero.from_numpy(array), zero.tensor(array), *map(copy.deepcopy, (zero.ones(2), parameter))):
        assert x._array.dtype is np.dtype(np.float32)
    for x in (zero.ones(2), parameter):
        assert pickle.loads(pickle.dumps(x))._array.dtype is np.dtype(np.float32)
