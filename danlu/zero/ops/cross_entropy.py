"""The losses of classification: negative log-likelihood, and cross-entropy, which has the softmax in it."""

import numpy as np

from danlu.zero.ops.activation import _exponentials
from danlu.zero.ops.loss import _reduced
from danlu.zero.ops.sizes import Result, Value, require
from danlu.zero.tape import op


@op
def nll_loss(
    input: Value, target: Value, weight: Value = None, /, ignore_index: int = -100, reduction: str = "mean"
) -> Result:
    """L = -w_t x_t for log-probabilities x (N, C, d1, ...) and classes t (N, d1, ...); the mean divides by sum w_t."""
    _check("nll_loss", input, target, weight, ignore_index)
    t, w = _weights(input, target, weight, ignore_index)
    axis, shape, kind = min(input.ndim - 1, 1), input.shape, input.dtype
    picked = np.take_along_axis(input, np.expand_dims(t, axis), axis).reshape(target.shape)
    y, scale = _reduced(np.where(w == 0, 0, -w * picked), reduction, w)

    def gradient(g: Value) -> Value:
        result = np.zeros(shape, kind)
        np.put_along_axis(result, np.expand_dims(t, axis), np.expand_dims(-g * scale * w, axis), axis)
        return result

    return y, (gradient, None, None)


@op
def cross_entropy(
    input: Value,
    target: Value,
    weight: Value = None,
    /,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Result:
    """L = -sum_c q_c log p_c with p = softmax(x), q the target's distribution; dL/dx = p sum_c q_c - q.

    For classes t, L = -w_t log p_t: log p is x - highest - log sum e^(x - highest), which never overflows.
    The logits x are (C,), (N, C) or (N, C, d1, ...), the target classes (), (N,) or (N, d1, ...), or probabilities of
    x's shape. `weight` has a factor for every class; targets of the class `ignore_index` do not count; the mean is
    over sum w_t; `label_smoothing` is the share of q that is spread over all classes.
    """
    require(0 <= label_smoothing <= 1, "label_smoothing lies between 0 and 1", label_smoothing=label_smoothing)
    if target.shape == input.shape and target.dtype.kind == "f":
        return _soft(input, target, weight, reduction, label_smoothing)
    _check("cross_entropy", input, target, weight, ignore_index)
    if not label_smoothing:
        return _hard(input, target, weight, ignore_index, reduction)
    axis, valid = min(input.ndim - 1, 1), target != ignore_index
    t, w = _weights(input, target, weight, ignore_index)
    classes = np.arange(input.shape[axis]).reshape(-1, *(1,) * (input.ndim - 1 - axis))
    one_hot = np.expand_dims(t, axis) == classes
    y, gradients = _soft(input, one_hot, weight, reduction, label_smoothing, w, np.expand_dims(valid, axis))
    return y, (gradients[0], None, None)


def _soft(
    input: Value, target: Value, weight: Value, reduction: str, smoothing: float, counts: Value = None, valid: Value = 1
) -> Result:
    """Compute it for probabilities; the mean is over `counts`, and targets that are not `valid` count nothing."""
    axis = min(input.ndim - 1, 1)
    w = 1 if weight is None else weight.reshape(-1, *(1,) * (input.ndim - 1 - axis))
    q = ((target * (1 - smoothing) + smoothing / input.shape[axis]) * w * valid).astype(input.dtype, copy=False)
    _, total, highest = _exponentials(input, axis)
    log_p = input - highest - np.log(total)
    loss = -np.add.reduce(q * log_p, axis)
    y, scale = _reduced(loss, reduction, counts)
    mass = np.add.reduce(q, axis, keepdims=True)

    def spread(g: Value) -> Value:
        return np.expand_dims(g * scale, axis if g.ndim else 0)

    return y, (
        lambda g: spread(g) * (np.exp(log_p) * mass - q),
        lambda g: spread(g) * -log_p * w * (1 - smoothing),
        None,
    )


def _hard(input: Value, target: Value, weight: Value, ignore_index: int, reduction: str) -> Result:
    """Compute it for classes: on a matrix with one column per target, as NumPy is fast along columns."""
    classes, shape = input.shape[min(input.ndim - 1, 1)], input.shape
    columns = np.moveaxis(input, 1, 0).reshape(classes, -1) if input.ndim > 2 else input.reshape(-1, classes).T
    e, total, highest = _exponentials(columns if classes > 64 else np.ascontiguousarray(columns), 0)
    t, w = target.reshape(-1), None
    if weight is not None or not np.logical_and.reduce(target != ignore_index, None):
        t, w = _weights(input, t, weight, ignore_index)
    each = np.arange(len(t))
    loss = np.log(total[0]) - (columns[t, each] - highest[0])
    if w is not None:
        loss = np.where(w == 0, 0, loss * w)
    y, scale = _reduced(loss.reshape(target.shape), reduction, w)

    def gradient(g: Value) -> Value:
        factor = g.reshape(-1) * scale
        if w is not None:
            factor = factor * w
        dx = e * (factor / total[0])
        dx[t, each] -= factor
        if len(shape) <= 2:
            return dx.T.reshape(shape)
        return np.moveaxis(dx.reshape(classes, shape[0], *shape[2:]), 0, 1)

    return y, (gradient, None, None)


def _weights(input: Value, target: Value, weight: Value, ignore_index: int) -> tuple[Value, Value]:
    """Return targets and their weights, both 0 for ignored ones."""
    valid = target != ignore_index
    t = np.where(valid, target, 0)
    return t, np.where(valid, 1 if weight is None else weight[t], 0).astype(input.dtype)


def _check(name: str, input: Value, target: Value, weight: Value, ignore_index: int) -> None:
    """Raise what PyTorch raises where input and classes do not fit."""
    classes = input.shape[min(input.ndim - 1, 1)] if input.ndim else 0
    wanted = () if input.ndim == 1 else input.shape[:1] + input.shape[2:]
    if not input.ndim or target.shape != wanted:
        of_batch = input.ndim and target.ndim == len(wanted) and wanted[:1] != target.shape[:1]
        text = f"{name}: the target has shape {wanted} (class indices), or that of the input (probabilities)"
        require(False, text, ValueError if of_batch else RuntimeError, input=input, target=target)
    fits = target.dtype.kind in "iu" and target.dtype.itemsize in (1, 8)
    require(fits, "expected scalar type Long: give target.long()", target=target)
    fits = weight is None or weight.shape == (classes,)
    require(fits, "weight should be defined for all classes", weight=weight, classes=classes)
    if target.size and not (np.minimum.reduce(target, None) >= 0 and np.maximum.reduce(target, None) < classes):
        wrong = target[(target != ignore_index) & ((target < 0) | (target >= classes))]
        if wrong.size:
            raise IndexError(f"Target {wrong[0]} is out of bounds: there are {classes} classes, 0 to {classes - 1}")
