"""A function of danlu.zero against PyTorch's: arrays in every layout, values, gradients, refusals."""

import numpy as np
import pytest
import torch

import danlu.zero as zero
from danlu.zero.tensor import wrap

LAYOUTS = ("plain", "transposed", "strided", "flipped")


def laid_out(x, layout):
    """Return the same numbers in another layout of memory."""
    if layout == "transposed" and x.ndim > 1:
        return np.ascontiguousarray(x.T).T
    if layout == "strided" and x.ndim > 0:
        return np.repeat(x, 2, -1)[..., ::2]
    if layout == "flipped" and x.ndim > 0:
        return np.ascontiguousarray(x[::-1])[::-1]
    return x


def array(shape, layout="plain", dtype=np.float64, seed=0):
    return laid_out(np.random.default_rng(seed).normal(size=shape).astype(dtype), layout)


def compare(call, arrays, tolerance):
    mine, theirs = [], []
    for x in arrays:
        mine.append(wrap(x))
        theirs.append(torch.from_numpy(x.copy()))
        if x.dtype.kind == "f":
            mine[-1].requires_grad, _ = True, theirs[-1].requires_grad_(True)
    ys, refs = listed(call(zero, *mine)), listed(call(torch, *theirs))
    assert len(ys) == len(refs)
    loss, loss_ref = 0, 0
    for y, ref in zip(ys, refs, strict=True):
        same(y._array, ref.detach().numpy(), tolerance)
        assert y.requires_grad == ref.requires_grad
        if ref.requires_grad:
            g = np.random.default_rng(1).uniform(1, 2, y._array.shape).astype(y._array.dtype)
            loss, loss_ref = loss + (y * wrap(g)).sum(), loss_ref + (ref * torch.from_numpy(g)).sum()
    if isinstance(loss_ref, torch.Tensor):
        loss.backward()
        loss_ref.backward()
        for a, b in zip(mine, theirs, strict=True):
            assert (a.grad is None) == (b.grad is None)
            if b.grad is not None:
                same(a.grad._array, b.grad.numpy(), tolerance)


def compare_or_refuse(call, shape, layout):
    """Where PyTorch refuses a shape, so do we, with an exception of the same type."""
    x = array(shape, layout)
    try:
        call(torch, torch.from_numpy(x.copy()))
    except Exception as error:
        with pytest.raises(type(error)):
            call(zero, wrap(x))
        return
    compare(call, [x], 1e-10)


def same(mine, theirs, tolerance):
    assert mine.shape == theirs.shape
    assert mine.dtype == theirs.dtype
    np.testing.assert_allclose(mine, theirs, rtol=tolerance, atol=tolerance)


def listed(y):
    return list(y) if isinstance(y, (tuple, list)) else [y]
