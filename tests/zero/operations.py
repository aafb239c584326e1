"""An operation of danlu.zero against PyTorch's: values and gradients of floats in both precisions."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from danlu.zero.tape import edge_of, walk
from danlu.zero.tensor import Tensor, wrap

CLOSE = {"float64": {"rtol": 1e-10, "atol": 1e-10}, "float32": {"rtol": 1e-5, "atol": 2e-5}}


def leaf(array: np.ndarray) -> Tensor:
    tensor = wrap(array.copy())
    tensor.requires_grad = True
    return tensor


def agree(ours: Callable[..., Any], theirs: Callable[..., Any], *arrays: np.ndarray) -> None:
    """Compare values and gradients with PyTorch's."""
    mine = [leaf(array) for array in arrays]
    peers = [torch.tensor(array, requires_grad=True) for array in arrays]
    y, expected = ours(*mine), theirs(*peers)
    close = CLOSE[str(arrays[0].dtype)]
    assert y._array.shape == tuple(expected.shape)
    assert y._array.dtype == arrays[0].dtype
    np.testing.assert_allclose(y._array, expected.detach().numpy(), **close)
    g = np.random.default_rng(7).standard_normal(expected.shape).astype(arrays[0].dtype)
    walk([(edge_of(y), g)], False)
    expected.backward(torch.from_numpy(g))
    for tensor, peer in zip(mine, peers, strict=True):
        assert tensor.grad is not None
        assert tensor.grad._array.shape == tuple(peer.shape)
        np.testing.assert_allclose(tensor.grad._array, peer.grad.numpy(), **close)


def numbers(*shape: int, dtype: Any = np.float64) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(dtype)
