"""Shapes, joining, splitting, arranging against PyTorch: values, gradients, exceptions."""

import numpy as np
import pytest
import torch
from zero.functions import LAYOUTS, array, compare_or_refuse, same

import danlu.zero as zero
from danlu.zero.tensor import wrap

CALLS = {
    "x.reshape(-1)": lambda m, x: x.reshape(-1),
    "x.reshape(x.numel(), 1) if x.numel() else x": lambda m, x: x.reshape(x.numel(), 1) if x.numel() else x,
    "x.flatten()": lambda m, x: x.flatten(),
    "x.flatten(1)": lambda m, x: x.flatten(1),
    "x.flatten(0, 1)": lambda m, x: x.flatten(0, 1),
    "x.flatten(-2, -1)": lambda m, x: x.flatten(-2, -1),
    "x.transpose(0, 1)": lambda m, x: x.transpose(0, 1),
    "x.transpose(-1, 0)": lambda m, x: x.transpose(-1, 0),
    "x.t()": lambda m, x: x.t(),
    "x.permute(1, 0)": lambda m, x: x.permute(1, 0),
    "x.permute(2, 0, 1)": lambda m, x: x.permute(2, 0, 1),
    "x.permute((0,))": lambda m, x: x.permute((0,)),
    "m.movedim(x, 0, -1)": lambda m, x: m.movedim(x, 0, -1),
    "m.movedim(x, (0, 1), (1, 0))": lambda m, x: m.movedim(x, (0, 1), (1, 0)),
    "x.squeeze()": lambda m, x: x.squeeze(),
    "x.squeeze(0)": lambda m, x: x.squeeze(0),
    "x.squeeze(-1)": lambda m, x: x.squeeze(-1),
    "x.squeeze((0, 2))": lambda m, x: x.squeeze((0, 2)),
    "x.unsqueeze(0)": lambda m, x: x.unsqueeze(0),
    "x.unsqueeze(-1)": lambda m, x: x.unsqueeze(-1),
    "x.unsqueeze(1)": lambda m, x: x.unsqueeze(1),
    "x.expand(3, *x.shape)": lambda m, x: x.expand(3, *x.shape),
    "x.expand(2, 3)": lambda m, x: x.expand(2, 3),
    "x.expand(-1, 4)": lambda m, x: x.expand(-1, 4),
    "x.unsqueeze(0).expand(5, *[-1] * x.ndim)": lambda m, x: x.unsqueeze(0).expand(5, *[-1] * x.ndim),
    "x.repeat(2)": lambda m, x: x.repeat(2),
    "x.repeat(2, 3)": lambda m, x: x.repeat(2, 3),
    "x.repeat(1, 2, 2)": lambda m, x: x.repeat(1, 2, 2),
    "x.tile(2)": lambda m, x: x.tile(2),
    "x.tile((2, 1, 2))": lambda m, x: x.tile((2, 1, 2)),
    "x.repeat_interleave(2)": lambda m, x: x.repeat_interleave(2),
    "x.repeat_interleave(3, 0)": lambda m, x: x.repeat_interleave(3, 0),
    "x.repeat_interleave(2, -1)": lambda m, x: x.repeat_interleave(2, -1),
    "m.repeat_interleave(x, m.tensor([1, 0, 2, 1]))": lambda m, x: m.repeat_interleave(x, m.tensor([1, 0, 2, 1])),
    "m.cat([x, x * 2])": lambda m, x: m.cat([x, x * 2]),
    "m.cat([x, x], -1)": lambda m, x: m.cat([x, x], -1),
    "m.cat([x, x, x], 1)": lambda m, x: m.cat([x, x, x], 1),
    "m.stack([x, x * 2])": lambda m, x: m.stack([x, x * 2]),
    "m.stack([x, x], -1)": lambda m, x: m.stack([x, x], -1),
    "m.stack([x, x], 1)": lambda m, x: m.stack([x, x], 1),
    "m.hstack([x, x])": lambda m, x: m.hstack([x, x]),
    "m.vstack([x, x])": lambda m, x: m.vstack([x, x]),
    "x.split(2)": lambda m, x: x.split(2),
    "x.split(1, -1)": lambda m, x: x.split(1, -1),
    "x.split([1, 3])": lambda m, x: x.split([1, 3]),
    "x.split([1, 2], 1)": lambda m, x: x.split([1, 2], 1),
    "x.chunk(2)": lambda m, x: x.chunk(2),
    "x.chunk(3, -1)": lambda m, x: x.chunk(3, -1),
    "x.unbind()": lambda m, x: x.unbind(),
    "x.unbind(-1)": lambda m, x: x.unbind(-1),
    "x.narrow(0, 1, 1)": lambda m, x: x.narrow(0, 1, 1),
    "x.narrow(-1, 0, 2)": lambda m, x: x.narrow(-1, 0, 2),
    "x.select(0, 1)": lambda m, x: x.select(0, 1),
    "x.select(-1, -1)": lambda m, x: x.select(-1, -1),
    "x.flip(0)": lambda m, x: x.flip(0),
    "x.flip(0, 1)": lambda m, x: x.flip(0, 1),
    "x.flip((-1,))": lambda m, x: x.flip((-1,)),
    "x.roll(1)": lambda m, x: x.roll(1),
    "x.roll(-1, 0)": lambda m, x: x.roll(-1, 0),
    "x.roll((1, 2), (0, 1))": lambda m, x: x.roll((1, 2), (0, 1)),
    "x.tril()": lambda m, x: x.tril(),
    "x.triu(1)": lambda m, x: x.triu(1),
    "x.tril(-1)": lambda m, x: x.tril(-1),
    "x.diagonal()": lambda m, x: x.diagonal(),
    "x.diagonal(1)": lambda m, x: x.diagonal(1),
    "x.diagonal(-1, 0, -1)": lambda m, x: x.diagonal(-1, 0, -1),
    "x.diagonal(0, 1, 2)": lambda m, x: x.diagonal(0, 1, 2),
    "m.diag(x)": lambda m, x: m.diag(x),
    "m.diag(x, 1)": lambda m, x: m.diag(x, 1),
    "m.diag(x, -1)": lambda m, x: m.diag(x, -1),
    "x.unfold(0, 2, 1)": lambda m, x: x.unfold(0, 2, 1),
    "x.unfold(-1, 2, 2)": lambda m, x: x.unfold(-1, 2, 2),
    "x.unfold(1, 1, 1)": lambda m, x: x.unfold(1, 1, 1),
    "x.unflatten(0, (2, -1))": lambda m, x: x.unflatten(0, (2, -1)),
    "x.unflatten(-1, (1, 3))": lambda m, x: x.unflatten(-1, (1, 3)),
    "x.clone()": lambda m, x: x.clone(),
    "x.contiguous()": lambda m, x: x.contiguous(),
    "x.contiguous().view(-1)": lambda m, x: x.contiguous().view(-1),
    "x.view_as(x)": lambda m, x: x.view_as(x),
    "m.meshgrid(x, x, indexing='ij')": lambda m, x: m.meshgrid(x, x, indexing="ij"),
    "m.meshgrid(x, x * 2, x, indexing='xy')": lambda m, x: m.meshgrid(x, x * 2, x, indexing="xy"),
}

SHAPES = ((), (0,), (1,), (4,), (2, 3), (3, 1), (2, 3, 4), (1, 2, 1, 3), (2, 0, 3))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", CALLS)
def test_parity(name, layout):
    for shape in SHAPES:
        compare_or_refuse(CALLS[name], shape, layout)


MISUSE = {
    "view": lambda m, t: t(np.ones((2, 3)).T).view(-1),
    "view_size": lambda m, t: t(np.ones(3)).view(2, -1),
    "reshape": lambda m, t: t(np.ones(3)).reshape(4),
    "two_open": lambda m, t: t(np.ones(4)).reshape(-1, -1),
    "empty": lambda m, t: t(np.ones(0)).reshape(0, -1),
    "cat_empty": lambda m, t: m.cat([]),
    "stack_empty": lambda m, t: m.stack([]),
    "cat_ranks": lambda m, t: m.cat([t(np.ones(3)), t(np.ones((2, 2)))]),
    "cat_sizes": lambda m, t: m.cat([t(np.ones((3, 3))), t(np.ones((2, 2)))]),
    "cat_0d": lambda m, t: m.cat([t(np.ones(())), t(np.ones(()))]),
    "stack": lambda m, t: m.stack([t(np.ones(3)), t(np.ones(2))]),
    "chunk": lambda m, t: t(np.ones(3)).chunk(0),
    "split": lambda m, t: t(np.ones(3)).split([1, 1]),
    "grid": lambda m, t: m.meshgrid(t(np.ones(3)), t(np.ones(3)), indexing="ji"),
    "flip": lambda m, t: t(np.ones((2, 3))).flip(0, 0),
}


@pytest.mark.parametrize("name", MISUSE)
def test_misuse_raises_the_same_type(name):
    with pytest.raises(Exception) as theirs:  # noqa: PT011
        MISUSE[name](torch, torch.from_numpy)
    with pytest.raises(theirs.type):
        MISUSE[name](zero, wrap)


VIEWS = {
    "view": lambda x: x.view(-1),
    "reshape": lambda x: x.reshape(3, 2, 4),
    "transpose": lambda x: x.transpose(0, 2),
    "permute": lambda x: x.permute(2, 0, 1),
    "index": lambda x: x[1:, None, :, ::2],
    "int": lambda x: x[1],
    "number": lambda x: x[1, 2, 3],
    "expand": lambda x: x.unsqueeze(0).expand(5, -1, -1, -1),
    "diagonal": lambda x: x.diagonal(1, 1, 2),
    "narrow": lambda x: x.narrow(1, 1, 2),
    "split": lambda x: x.split(2, 1)[1],
    "unbind": lambda x: x.unbind(1)[2],
    "flatten": lambda x: x.flatten(1),
    "squeeze": lambda x: x[:1].squeeze(0),
    "unfold": lambda x: x.unfold(2, 2, 1),
    "movedim": lambda x: x.movedim(0, 1).transpose(0, 2),
}


@pytest.mark.parametrize("name", VIEWS)
def test_views_share_memory(name):
    x = wrap(array((2, 3, 4)))
    y, ref = VIEWS[name](x), VIEWS[name](torch.from_numpy(x._array))
    assert np.shares_memory(y._array, x._array)
    x._array += 1
    same(y._array, ref.numpy(), 0)


@pytest.mark.parametrize("name", ["diagonal", "narrow", "int", "number", "transpose", "flatten"])
def test_views_can_be_written_to(name):
    x = wrap(array((2, 3, 4)))
    want = torch.from_numpy(x._array.copy())
    VIEWS[name](x).mul_(3)
    VIEWS[name](want).mul_(3)
    same(x._array, want.numpy(), 0)


def test_joining_promotes():
    parts = [np.ones(2, np.float32), np.arange(3), np.array([True])]
    for name in ("cat",):
        same(
            getattr(zero, name)([*map(wrap, parts)])._array,
            getattr(torch, name)([*map(torch.from_numpy, parts)]).numpy(),
            0,
        )
