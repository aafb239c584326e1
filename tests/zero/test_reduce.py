"""Reductions, sorting and running sums against PyTorch: values, gradients, exceptions."""

import numpy as np
import pytest
import torch
from zero.functions import LAYOUTS, compare, compare_or_refuse, listed, same

import danlu.zero as zero
from danlu.zero.tensor import wrap

CALLS = {
    "x.sum()": lambda m, x: x.sum(),
    "x.sum(dim=0)": lambda m, x: x.sum(dim=0),
    "x.sum(dim=-1, keepdim=True)": lambda m, x: x.sum(dim=-1, keepdim=True),
    "x.sum(dim=1)": lambda m, x: x.sum(dim=1),
    "x.sum(dim=(0, 1))": lambda m, x: x.sum(dim=(0, 1)),
    "x.sum(dim=(0, -1), keepdim=True)": lambda m, x: x.sum(dim=(0, -1), keepdim=True),
    "x.mean()": lambda m, x: x.mean(),
    "x.mean(dim=0)": lambda m, x: x.mean(dim=0),
    "x.mean(dim=-1, keepdim=True)": lambda m, x: x.mean(dim=-1, keepdim=True),
    "x.mean(dim=1)": lambda m, x: x.mean(dim=1),
    "x.mean(dim=(0, 1))": lambda m, x: x.mean(dim=(0, 1)),
    "x.mean(dim=(0, -1), keepdim=True)": lambda m, x: x.mean(dim=(0, -1), keepdim=True),
    "x.prod()": lambda m, x: x.prod(),
    "x.prod(dim=0)": lambda m, x: x.prod(dim=0),
    "x.prod(dim=-1, keepdim=True)": lambda m, x: x.prod(dim=-1, keepdim=True),
    "x.prod(dim=1)": lambda m, x: x.prod(dim=1),
    "x.amax()": lambda m, x: x.amax(),
    "x.amax(dim=0)": lambda m, x: x.amax(dim=0),
    "x.amax(dim=-1, keepdim=True)": lambda m, x: x.amax(dim=-1, keepdim=True),
    "x.amax(dim=1)": lambda m, x: x.amax(dim=1),
    "x.amax(dim=(0, 1))": lambda m, x: x.amax(dim=(0, 1)),
    "x.amin()": lambda m, x: x.amin(),
    "x.amin(dim=0)": lambda m, x: x.amin(dim=0),
    "x.amin(dim=-1, keepdim=True)": lambda m, x: x.amin(dim=-1, keepdim=True),
    "x.amin(dim=1)": lambda m, x: x.amin(dim=1),
    "x.amin(dim=(0, 1))": lambda m, x: x.amin(dim=(0, 1)),
    "x.std()": lambda m, x: x.std(),
    "x.std(dim=0)": lambda m, x: x.std(dim=0),
    "x.std(dim=-1, keepdim=True)": lambda m, x: x.std(dim=-1, keepdim=True),
    "x.std(dim=1)": lambda m, x: x.std(dim=1),
    "x.std(dim=(0, 1))": lambda m, x: x.std(dim=(0, 1)),
    "x.std(dim=(0, -1), keepdim=True)": lambda m, x: x.std(dim=(0, -1), keepdim=True),
    "x.var()": lambda m, x: x.var(),
    "x.var(dim=0)": lambda m, x: x.var(dim=0),
    "x.var(dim=-1, keepdim=True)": lambda m, x: x.var(dim=-1, keepdim=True),
    "x.var(dim=1)": lambda m, x: x.var(dim=1),
    "x.var(dim=(0, 1))": lambda m, x: x.var(dim=(0, 1)),
    "x.var(dim=(0, -1), keepdim=True)": lambda m, x: x.var(dim=(0, -1), keepdim=True),
    "x.logsumexp(dim=0)": lambda m, x: x.logsumexp(dim=0),
    "x.logsumexp(dim=-1, keepdim=True)": lambda m, x: x.logsumexp(dim=-1, keepdim=True),
    "x.logsumexp(dim=1)": lambda m, x: x.logsumexp(dim=1),
    "x.logsumexp(dim=(0, 1))": lambda m, x: x.logsumexp(dim=(0, 1)),
    "x.logsumexp(dim=(0, -1), keepdim=True)": lambda m, x: x.logsumexp(dim=(0, -1), keepdim=True),
    "x.norm(dim=0)": lambda m, x: x.norm(dim=0),
    "x.norm(dim=-1, keepdim=True)": lambda m, x: x.norm(dim=-1, keepdim=True),
    "x.norm(dim=1)": lambda m, x: x.norm(dim=1),
    "x.norm(dim=(0, 1))": lambda m, x: x.norm(dim=(0, 1)),
    "x.norm(dim=(0, -1), keepdim=True)": lambda m, x: x.norm(dim=(0, -1), keepdim=True),
    "x.max()": lambda m, x: x.max(),
    "x.min()": lambda m, x: x.min(),
    "x.round().max()": lambda m, x: x.round().max(),
    "x.round().amax(-1)": lambda m, x: x.round().amax(-1),
    "m.max(x, 0)": lambda m, x: m.max(x, 0),
    "m.min(x, dim=-1)": lambda m, x: m.min(x, dim=-1),
    "m.max(x, -1, True)": lambda m, x: m.max(x, -1, True),
    "m.round(x).max(-1)": lambda m, x: m.round(x).max(-1),
    "m.round(x).min(0)": lambda m, x: m.round(x).min(0),
    "x.argmax()": lambda m, x: x.argmax(),
    "x.argmin()": lambda m, x: x.argmin(),
    "x.argmax(0)": lambda m, x: x.argmax(0),
    "x.round().argmax(-1, keepdim=True)": lambda m, x: x.round().argmax(-1, keepdim=True),
    "x.argmin(-1)": lambda m, x: x.argmin(-1),
    "x.std(unbiased=False)": lambda m, x: x.std(unbiased=False),
    "x.var(0, correction=0)": lambda m, x: x.var(0, correction=0),
    "x.var(-1, unbiased=False)": lambda m, x: x.var(-1, unbiased=False),
    "(x * 0).std()": lambda m, x: (x * 0).std(),
    "x.norm()": lambda m, x: x.norm(),
    "x.norm(1)": lambda m, x: x.norm(1),
    "x.norm(3, 0)": lambda m, x: x.norm(3, 0),
    "x.norm(0.5, -1)": lambda m, x: x.norm(0.5, -1),
    "x.norm(float('inf'))": lambda m, x: x.norm(float("inf")),
    "x.norm(-float('inf'), -1)": lambda m, x: x.norm(-float("inf"), -1),
    "x.norm(0)": lambda m, x: x.detach().norm(0),
    "(x * 0).norm()": lambda m, x: (x * 0).norm(),
    "(x * 0).norm(3, -1)": lambda m, x: (x * 0).norm(3, -1),
    "(x > 0).all()": lambda m, x: (x > 0).all(),
    "(x > 0).any(-1)": lambda m, x: (x > 0).any(-1),
    "(x > 0).all(0, keepdim=True)": lambda m, x: (x > 0).all(0, keepdim=True),
    "(x > 0).any((0, 1))": lambda m, x: (x > 0).any((0, 1)),
    "m.count_nonzero(x.round())": lambda m, x: m.count_nonzero(x.round()),
    "m.count_nonzero(x.round(), dim=0)": lambda m, x: m.count_nonzero(x.round(), dim=0),
    "x.cumsum(0)": lambda m, x: x.cumsum(0),
    "x.cumsum(-1)": lambda m, x: x.cumsum(-1),
    "x.cumprod(0)": lambda m, x: x.cumprod(0),
    "x.round().cumprod(-1)": lambda m, x: x.round().cumprod(-1),
    "x.round().prod()": lambda m, x: x.round().prod(),
    "x.round().prod(-1)": lambda m, x: x.round().prod(-1),
    "x.median()": lambda m, x: x.median(),
    "x.median(0)": lambda m, x: x.median(0),
    "x.median(-1, keepdim=True)": lambda m, x: x.median(-1, keepdim=True),
    "x.sort()": lambda m, x: x.sort(),
    "x.sort(0, descending=True)": lambda m, x: x.sort(0, descending=True),
    "x.round().sort(stable=True)": lambda m, x: x.round().sort(stable=True),
    "x.round().sort(dim=-1, descending=True, stable=True)": lambda m, x: x.round().sort(
        dim=-1, descending=True, stable=True
    ),
    "x.argsort(0)": lambda m, x: x.argsort(0),
    "x.topk(2)": lambda m, x: x.topk(2),
    "x.topk(1, 0)": lambda m, x: x.topk(1, 0),
    "x.topk(2, -1, largest=False)": lambda m, x: x.topk(2, -1, largest=False),
    "m.unique(x.round().detach())": lambda m, x: m.unique(x.round().detach()),
    "(x > 0).sum()": lambda m, x: (x > 0).sum(),
    "(x > 0).sum(0)": lambda m, x: (x > 0).sum(0),
    "x.sum(())": lambda m, x: x.sum(()),
    "x.mean(dim=[])": lambda m, x: x.mean(dim=[]),
}

SHAPES = ((), (0,), (1,), (4,), (2, 3), (3, 1), (2, 3, 4), (1, 2, 1, 3), (2, 0, 3))


@pytest.mark.filterwarnings("ignore:(var|std)\\(\\).*degrees of freedom:UserWarning")
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", CALLS)
def test_parity(name, layout):
    for shape in SHAPES:
        compare_or_refuse(CALLS[name], shape, layout)


@pytest.mark.parametrize("name", ["sum", "prod", "max", "min", "amax", "median", "cumsum", "sort", "unique", "argmax"])
@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "bool", "float32"])
def test_types(name, dtype):
    x = np.array([3, 1, 1, 0, 2]).astype(dtype)
    options = {"dim": 0} if name == "cumsum" else {}
    if dtype == "bool" and name in ("median", "argmax"):
        return
    mine, theirs = getattr(zero, name)(wrap(x), **options), getattr(torch, name)(torch.from_numpy(x), **options)
    same(listed(mine)[0]._array, listed(theirs)[0].numpy(), 1e-6)


def test_nan_counts_as_largest():
    x = np.array([[1.0, np.nan, 3.0], [2.0, 1.0, np.inf]])
    for call in (
        lambda m, x: m.max(x, -1),
        lambda m, x: m.min(x, -1),
        lambda m, x: m.sort(x, -1),
        lambda m, x: m.sort(x, -1, descending=True),
        lambda m, x: m.median(x, -1),
        lambda m, x: m.median(x),
        lambda m, x: m.logsumexp(x, -1),
    ):
        for mine, theirs in zip(listed(call(zero, wrap(x))), listed(call(torch, torch.from_numpy(x))), strict=True):
            same(mine._array, theirs.numpy(), 1e-10)


def test_logsumexp_of_infinities():
    compare(lambda m, x: m.logsumexp(x, 0), [np.array([1000.0, 1000.0, -np.inf])], 1e-10)
    compare(lambda m, x: m.logsumexp(x, 0), [np.array([np.inf, 1.0])], 1e-10)


def test_counting():
    x, w = np.array([1, 3, 1]), np.array([0.5, 1.0, 2.0])
    same(zero.bincount(wrap(x), minlength=6)._array, torch.bincount(torch.from_numpy(x), minlength=6).numpy(), 0)
    same(zero.bincount(wrap(x), wrap(w))._array, torch.bincount(torch.from_numpy(x), torch.from_numpy(w)).numpy(), 0)
    mine = zero.unique(wrap(x), return_inverse=True, return_counts=True)
    for a, b in zip(mine, torch.unique(torch.from_numpy(x), return_inverse=True, return_counts=True), strict=True):
        same(a._array, b.numpy(), 0)


MISUSE = {
    "mean": lambda m, t: t(np.arange(3)).mean(),
    "std": lambda m, t: t(np.arange(3)).std(),
    "norm": lambda m, t: t(np.arange(3)).norm(),
    "dims": lambda m, t: t(np.ones((2, 2))).sum((0, 0)),
    "bincount": lambda m, t: m.bincount(t(np.array([-1]))),
    "topk": lambda m, t: t(np.ones(3)).topk(5),
    "dim_type": lambda m, t: t(np.ones(3)).cumsum("a"),
}


@pytest.mark.parametrize("name", MISUSE)
def test_misuse_raises_the_same_type(name):
    with pytest.raises(Exception) as theirs:  # noqa: PT011
        MISUSE[name](torch, torch.from_numpy)
    with pytest.raises(theirs.type):
        MISUSE[name](zero, wrap)
