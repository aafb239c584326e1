"""Losses: how far an output is from its target, one number per element or their mean or sum.

Each is one operation where training calls it often; the others are composed of operations.
"""

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from danlu.zero.dtypes import promote
from danlu.zero.ops.activation import logsigmoid
from danlu.zero.ops.sizes import Result, Value, mismatch, require
from danlu.zero.tape import op
from danlu.zero.tensor import Tensor


def _reduced(loss: Value, reduction: str, weight: Value = None) -> tuple[Value, Any]:
    """Return a loss in the wanted form, and the factor that its elements' gradients get by that."""
    if reduction == "mean":
        total = loss.size if weight is None else np.add.reduce(weight, None)
        if total == 0:
            return np.asarray(math.nan, loss.dtype), math.nan
        return np.add.reduce(loss, None) / total, 1 / total
    if reduction == "sum":
        return np.add.reduce(loss, None), 1
    require(reduction == "none", "reduction is 'mean', 'sum' or 'none'", ValueError, reduction=reduction)
    return loss, 1


def _composed(loss: Any, reduction: str) -> Tensor:
    """Return the mean or the sum of a loss that was composed of operations, or the loss as it is."""
    fits = reduction in ("mean", "sum", "none")
    require(fits, "reduction is 'mean', 'sum' or 'none'", ValueError, reduction=reduction)
    return loss if reduction == "none" else getattr(loss, reduction)()  # type: ignore[no-any-return]


def _difference(input: Value, target: Value) -> Value:
    """Return x - t; warn, as PyTorch does, where their shapes differ and are broadcast."""
    if input.shape != target.shape:
        text = f"Using a target size ({target.shape}) that is different to the input size ({input.shape})."
        warnings.warn(f"{text} Broadcasting is likely to give wrong results: give both one size.", stacklevel=4)
    if input.dtype is not target.dtype:
        input, target = promote(input, target)
    try:
        return input - target
    except ValueError:
        raise mismatch(input, target) from None


def _of_difference(loss: Value, reduction: str, slope: Callable[[], Value], factor: float = 1) -> Result:
    """Return a loss of x - t, and its gradients: what `slope` returns, for x, and its negative for t."""
    y, scale = _reduced(loss, reduction)
    scale = scale * factor
    return y, (lambda g: (g * scale) * slope(), lambda g: (g * -scale) * slope())


@op
def mse_loss(input: Value, target: Value, /, reduction: str = "mean") -> Result:
    """L = (x - t)²; dL/dx = 2 (x - t) = -dL/dt."""
    d = _difference(input, target)
    return _of_difference(d * d, reduction, lambda: d, 2)


@op
def l1_loss(input: Value, target: Value, /, reduction: str = "mean") -> Result:
    """L = |x - t|; dL/dx = sign(x - t) = -dL/dt."""
    d = _difference(input, target)
    return _of_difference(np.abs(d), reduction, lambda: np.sign(d))


@op
def smooth_l1_loss(input: Value, target: Value, /, reduction: str = "mean", beta: float = 1.0) -> Result:
    """L = d² / (2 beta) for |d| < beta, else |d| - beta / 2, with d = x - t; dL/dx = d / beta clipped to [-1, 1]."""
    require(beta >= 0, "smooth_l1_loss: beta must not be negative", beta=beta)
    d = _difference(input, target)
    far = np.abs(d)
    loss = np.where(far < beta, d * d * (0.5 / beta if beta else 0), far - 0.5 * beta)
    return _of_difference(loss, reduction, lambda: np.clip(d / beta, -1, 1) if beta else np.sign(d))


@op
def huber_loss(input: Value, target: Value, /, reduction: str = "mean", delta: float = 1.0) -> Result:
    """L = d² / 2 for |d| <= delta, else delta (|d| - delta / 2), with d = x - t; dL/dx = d clipped to delta.

    Source: Huber 1964, "Robust estimation of a location parameter".
    """
    require(delta > 0, "huber_loss: delta has to be positive", delta=delta)
    d = _difference(input, target)
    far = np.abs(d)
    loss = np.where(far <= delta, 0.5 * d * d, delta * (far - 0.5 * delta))
    return _of_difference(loss, reduction, lambda: np.clip(d, -delta, delta))


@op
def binary_cross_entropy(p: Value, target: Value, weight: Value = None, /, reduction: str = "mean") -> Result:
    """L = -w (t log p + (1 - t) log(1 - p)), the logarithms at least -100; dL/dp = w (p - t) / (p (1 - p))."""
    require(p.shape == target.shape, "binary_cross_entropy: one shape is wanted", ValueError, input=p, target=target)
    require(p.dtype == target.dtype, "binary_cross_entropy: one dtype is wanted", input=p, target=target)
    fits = p.size == 0 or (p.min() >= 0 and p.max() <= 1)
    require(fits, "all elements of input should be between 0 and 1: apply sigmoid, or use BCEWithLogitsLoss", input=p)
    w = 1 if weight is None else weight
    yes, no = np.maximum(np.log(p), -100), np.maximum(np.log1p(-p), -100)
    y, scale = _reduced((-target * yes - (1 - target) * no) * w, reduction)
    return y, (
        lambda g: (g * scale) * w * (p - target) / np.maximum(p * (1 - p), 1e-12),
        lambda g: (g * scale) * w * (no - yes),
        None,
    )


@op
def binary_cross_entropy_with_logits(
    input: Value, target: Value, weight: Value = None, pos_weight: Value = None, /, reduction: str = "mean"
) -> Result:
    """L = w (a t log(1 + e^-x) + (1 - t) log(1 + e^x)), a being pos_weight; dL/dx = w (s (a t + 1 - t) - a t)."""
    require(input.shape == target.shape, "target and input need one shape", ValueError, input=input, target=target)
    input, target = promote(input, target)
    w, a = 1 if weight is None else weight, 1 if pos_weight is None else pos_weight
    minus = np.maximum(-input, 0) + np.log1p(np.exp(-np.abs(input)))  # log(1 + e^-x)
    y, scale = _reduced(((1 - target) * input + (1 + (a - 1) * target) * minus) * w, reduction)
    return y, (
        lambda g: g * scale * w * ((1 - target) + (1 + (a - 1) * target) * np.expm1(-minus)),
        lambda g: g * scale * w * ((a - 1) * minus - input),
        None,
        None,
    )


@op
def soft_margin_loss(input: Value, target: Value, /, reduction: str = "mean") -> Result:
    """L = log(1 + e^(-t x)); dL/dx = -t sigmoid(-t x)."""
    require(input.shape == target.shape, "soft_margin_loss: one shape is wanted", input=input, target=target)
    y, scale = _reduced(np.maximum(-target * input, 0) + np.log1p(np.exp(-np.abs(target * input))), reduction)
    return y, (lambda g: (g * -scale) * target / (1 + np.exp(np.minimum(target * input, 80))), None)


@op
def multilabel_margin_loss(input: Value, target: Value, /, reduction: str = "mean") -> Result:
    """L = sum over labels j and other classes i of max(0, 1 - x_j + x_i) / C; the labels end at the first -1."""
    rows, labels = np.atleast_2d(input), np.atleast_2d(target)
    fits = input.shape == target.shape and input.ndim in (1, 2) and labels.max(initial=-1) < rows.shape[1]
    require(fits, "multilabel_margin_loss: (N, C) or (C,), and classes", input=input, target=target)
    valid = np.logical_and.accumulate(labels >= 0, axis=1)
    hot = np.zeros(rows.shape, bool)
    hot[np.nonzero(valid)[0], labels[valid]] = True
    of_label = np.take_along_axis(rows, np.where(valid, labels, 0), 1)
    gaps = np.maximum(1 - of_label[:, :, None] + rows[:, None, :], 0) * (valid[:, :, None] & ~hot[:, None, :])
    y, scale = _reduced((gaps.sum((1, 2)) / rows.shape[1]).reshape(input.shape[:-1]), reduction)

    def gradient(g: Value) -> Value:
        active = (gaps > 0).astype(rows.dtype) / rows.shape[1]
        slopes = active.sum(1)
        np.subtract.at(slopes, (np.arange(len(rows))[:, None], np.where(valid, labels, 0)), active.sum(2))
        return (slopes * (g * scale).reshape(-1, 1)).reshape(input.shape)

    return y, (gradient, None)


@op
def _divergence(x: Value, t: Value, /, log_target: bool) -> Result:
    """y = t (log t - x), with 0 log 0 = 0, or e^t (t - x); dx = -t, dt = log t + 1 - x, or -e^t, e^t (t - x + 1)."""
    if log_target:
        p = np.exp(t)
        return p * (t - x), (lambda g: g * -p, lambda g: g * p * (t - x + 1))
    logs = np.log(t)
    return np.where(t == 0, 0, t * np.where(t == 0, 0, logs)) - t * x, (lambda g: g * -t, lambda g: g * (logs + 1 - x))


def kl_div(input: Any, target: Any, reduction: str = "mean", log_target: bool = False) -> Tensor:
    """Return t (log t - x) for log-probabilities x; "batchmean" divides the sum by the first dimension's size."""
    loss = _divergence(input, target, log_target)
    if reduction == "batchmean":
        return loss.sum() / (input.shape[0] if input.ndim else 1)  # type: ignore[no-any-return]
    if reduction == "mean":
        text = "reduction: 'mean' divides by the number of elements, 'batchmean', as it is defined, by that of rows"
        warnings.warn(text, stacklevel=2)
    return _composed(loss, reduction)


def margin_ranking_loss(input1: Any, input2: Any, target: Any, margin: float = 0, reduction: str = "mean") -> Tensor:
    """Return max(0, -t (x1 - x2) + margin): t = 1 wants x1 above x2, -1 below."""
    fits = input1.ndim == input2.ndim == target.ndim
    require(fits, "margin_ranking_loss: as many dimensions are wanted", input1=input1, input2=input2, target=target)
    return _composed((-target * (input1 - input2) + margin).clamp_min(0), reduction)


def multilabel_soft_margin_loss(input: Any, target: Any, weight: Any = None, reduction: str = "mean") -> Tensor:
    """Return the binary cross-entropy of logits, its mean over the classes (the last dimension)."""
    loss = -(target * logsigmoid(input) + (1 - target) * logsigmoid(-input))
    return _composed((loss if weight is None else loss * weight).mean(-1), reduction)
