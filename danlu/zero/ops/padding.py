"""Padding, and class indices as rows of zeros and a one."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from danlu.zero.ops.sizes import Result, Value, gathered, require, spread
from danlu.zero.tape import op
from danlu.zero.tensor import Tensor, wrap


def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """Return the input with room at its ends: (left, right) of the last dimension, then of the one before, ...

    Negative sizes crop. The room is filled with `value` (0), or with what stands inside: "reflect", "replicate" and
    "circular" do so for the last 1 to 3 of 2 to 5 dimensions.
    """
    shape, pairs = input._array.shape, [(int(a), int(b)) for a, b in zip(pad[::2], pad[1::2], strict=False)]
    inner = [n + sum(pair) for n, pair in zip(shape[::-1], pairs, strict=False)]
    fits = len(pad) % 2 == 0 and len(pairs) <= len(shape) and min(inner, default=0) >= 0
    require(fits, "pad: two sizes a dimension, from the last on", pad=pad, input=input)
    if mode == "constant":
        return _constant(input, pairs, 0 if value is None else value)
    fits = mode in ("reflect", "replicate", "circular") and len(shape) - len(pairs) in (1, 2)
    require(fits, "pad: a known mode, and (N, C, ...) or (C, ...)", NotImplementedError, mode=mode, input=input)
    for dim, pair in enumerate(pairs):
        most = {"reflect": shape[-1 - dim] - 1, "circular": shape[-1 - dim], "replicate": max(*pair, 0)}[mode]
        require(max(pair) <= most, f"pad: {mode} padding is too large for dimension {-1 - dim}", pad=pair, input=input)
        input = _repeated(input, -1 - dim, pair, mode)
    return input


@op
def _constant(x: Value, /, pairs: Any, value: float) -> Result:
    """y = x inside, the value outside; dx = g inside."""
    pairs, shape = [(0, 0)] * (x.ndim - len(pairs)) + pairs[::-1], x.shape
    y = np.full([n + left + right for n, (left, right) in zip(shape, pairs, strict=True)], value, x.dtype)
    inside = tuple(slice(max(left, 0), y.shape[i] - max(right, 0)) for i, (left, right) in enumerate(pairs))
    kept = tuple(slice(max(-left, 0), shape[i] - max(-right, 0)) for i, (left, right) in enumerate(pairs))
    y[inside] = x[kept]
    return y, (lambda g: spread(shape, kept)(g[inside]),)


@op
def _repeated(x: Value, /, axis: int, pair: tuple[int, int], mode: str) -> Result:
    """y = x where it is read along one dimension; dx = sum of g over all places that read it."""
    (left, right), shape = pair, x.shape
    last, first = shape[axis] - 1, max(-left, 0)
    source = np.arange(-left, shape[axis] + right)
    if mode == "reflect":
        source = last - np.abs(last - np.abs(source))
    elif mode == "replicate":
        source = np.clip(source, 0, last)
    else:  # only what is left goes round
        source = (source - first) % (shape[axis] - first - max(-right, 0)) + first
    return np.take(x, source, axis), (gathered(shape, axis, source),)


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """Return int64 of shape (..., num_classes) with a 1 at every index and 0 elsewhere; -1: as many as there are."""
    ids = tensor._array
    require(ids.dtype == np.int64, "one_hot: a Long tensor is wanted", tensor=ids)
    if num_classes == -1 and ids.size:
        num_classes = int(ids.max()) + 1
    fits = num_classes > 0 and ids.min(initial=0) >= 0 and ids.max(initial=-1) < num_classes
    require(fits, "one_hot: classes have to lie in [0, num_classes)", num_classes=num_classes, tensor=ids)
    return wrap((ids[..., None] == np.arange(num_classes)).astype(np.int64))
