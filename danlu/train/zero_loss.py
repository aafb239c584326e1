"""The loss of a run on danlu.zero: the function of the same name and options as PyTorch's."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from danlu import zero
from danlu.objectives import LOSSES, LossFunction
from danlu.optim.framework import is_zero
from danlu.recipe import Loss

_NAMES = {kind.module.__name__: name for name, kind in LOSSES.items() if name != "nll2d"}


def named(loss: Any) -> Any:
    """Return a danlu.zero loss module as the recipe's part of the same name and options; anything else as it is.

    So its mean keeps its true denominator. A subclass may compute anything, and stays what it is.
    """
    name = _NAMES.get(type(loss).__name__)
    if not is_zero(loss) or name is None or type(loss) is not getattr(zero.nn, type(loss).__name__, None):
        return loss
    options = {key: value for key, value in vars(loss).items() if not key.startswith("_") and key != "training"}
    options |= dict(loss.named_buffers())
    known = {key: value for key, value in options.items() if value is not None}
    return Loss(name, **{key: value.tolist() if is_zero(value) else value for key, value in known.items()})


def loss_of(function: LossFunction) -> Callable[[Any, Any], Any]:
    """Return the loss that danlu.zero minimises, called with its tensors as `loss(output, target)`.

    Args:
        function: the objective's; a caller's own callable is called as it stands.
    """
    if function.kind is None:
        return function.function
    options = {key: _ours(value) for key, value in _options(function).items()}
    if function.name == "margin_ranking":
        return partial(_margin_ranking, **options)
    return partial(getattr(zero.nn.functional, function.kind.function.__name__), **options)


def _options(function: LossFunction) -> Mapping[str, Any]:
    return {**function.options, "reduction": function.reduction}


def _ours(value: Any) -> Any:
    return zero.from_numpy(np.ascontiguousarray(value.numpy())) if isinstance(value, Tensor) else value


def _margin_ranking(output: Any, target: Any, **options: Any) -> Any:
    first, second = (output[:, 0], output[:, 1]) if is_zero(output) else output
    return zero.nn.functional.margin_ranking_loss(first, second, target, **options)
