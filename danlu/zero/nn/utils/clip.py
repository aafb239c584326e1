"""Gradients kept within bounds, and parameters as one vector."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from danlu.zero.arguments import require
from danlu.zero.ops.shape import cat
from danlu.zero.tensor import Tensor, wrap


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scale all gradients together, in place, so that their common norm is at most `max_norm`; return that before."""
    gradients, kind = _gradients(parameters), float(norm_type)
    arrays = [gradient._array for gradient in gradients]
    if kind == 2:
        total = math.sqrt(sum(float(np.vdot(a, a)) for a in arrays))
    else:
        norms = [float(np.linalg.norm(a.reshape(-1), kind)) for a in arrays]
        total = float(np.linalg.norm(norms or [0.0], kind))
    fits = math.isfinite(total) or not error_if_nonfinite
    require(fits, "the norm is non-finite; to scale by it all the same, set error_if_nonfinite=False", norm=total)
    factor = max_norm / (total + 1e-6)
    if not factor >= 1:  # NaN goes into the gradients, too
        for gradient in gradients:
            with np.errstate(invalid="ignore"):
                gradient._array *= factor
            gradient._version[0] += 1
    return wrap(np.asarray(total, arrays[0].dtype if arrays else np.float32))


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float, foreach: bool | None = None) -> None:
    """Clip every element of every gradient to [-clip_value, clip_value], in place; `foreach` changes nothing."""
    for gradient in _gradients(parameters):
        np.clip(gradient._array, -float(clip_value), float(clip_value), out=gradient._array)
        gradient._version[0] += 1


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """Return all parameters one after another in one dimension."""
    return cat([parameter.reshape(-1) for parameter in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Write the pieces of a vector into the parameters, one after another."""
    require(isinstance(vec, Tensor), "a tensor is wanted", TypeError, vec=vec)
    start = 0
    for parameter in parameters:
        array = parameter._array
        array[...] = vec._array[start : start + array.size].reshape(array.shape)
        parameter._version[0] += 1
        start += array.size


def _gradients(parameters: Tensor | Iterable[Tensor]) -> list[Any]:
    every = [parameters] if isinstance(parameters, Tensor) else parameters
    return [parameter.grad for parameter in every if parameter.grad is not None]
