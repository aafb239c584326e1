"""Dropout: parts of the input become zero at random."""

import warnings

import numpy as np

from danlu.zero.inplace import derived
from danlu.zero.ops.sizes import Result, Value, require
from danlu.zero.random import default
from danlu.zero.tape import op
from danlu.zero.tensor import Tensor


@op
def dropped(x: Value, /, p: float, dims: int | None = None) -> Result:
    """y = x m / (1 - p), each m (one for every index of the first `dims` dimensions) being 0 with probability p."""
    if p == 1:
        return np.zeros_like(x), (lambda g: np.zeros_like(g),)
    shape = x.shape if dims is None else x.shape[:dims] + (1,) * (x.ndim - dims)
    factor = np.multiply(default().np.random(shape, np.float32) >= p, 1 / (1 - p), dtype=x.dtype)
    return x * factor, (lambda g: g * factor,)


_dropped_ = derived(dropped)


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Return the input with every element zero with probability p, and the others divided by 1 - p."""
    return _dropout(input, p, training, inplace, None)


def dropout1d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Return (N, C, L) or (C, L) with every channel zero with probability p, and the others divided by 1 - p."""
    if input.ndim not in (2, 3):
        raise RuntimeError(f"dropout1d: expected 2D or 3D input, got shape {tuple(input.shape)}")
    return _dropout(input, p, training, inplace, input.ndim - 1)


def dropout2d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Return (N, C, H, W) with every channel zero with probability p, and the others divided by 1 - p."""
    if input.ndim not in (3, 4):
        message = f"dropout2d: expected 4D input, or (N, C, L), got shape {tuple(input.shape)}"
        if input.ndim < 2:
            raise RuntimeError(message)
        warnings.warn(message, stacklevel=2)
    return _dropout(input, p, training, inplace, 2)


def _dropout(input: Tensor, p: float, training: bool, inplace: bool, dims: int | None) -> Tensor:
    require(0 <= p <= 1, "dropout probability has to be between 0 and 1", ValueError, p=p)
    if not training or p == 0:
        return input
    return (_dropped_ if inplace else dropped)(input, p, dims)
