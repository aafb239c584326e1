"""How a mismatch between output and target is said: both sides, what would fit, and what to change."""

from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from danlu.errors import DataError, ModelError
from danlu.objectives.losses import LossFunction

TOLERANCE = 1e-3  # of a row of probabilities, in the sum
SHOWN_MAX = 5  # values that a message lists


def shown(value: Any) -> str:
    """Describe a value as `float32 (32, 10)`."""
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {shown(leaf)}" for key, leaf in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "(" + ", ".join(shown(leaf) for leaf in value) + ")"
    return "None" if value is None else type(value).__name__


def both(output: Any, target: Any, note: str = "") -> str:
    """Describe output and target, and what else was found."""
    return f"output {shown(output)}, target {shown(target)}" + (f" with {note}" if note else "")


def bad_data(loss: LossFunction, output: Any, target: Any, *, want: str, fix: str, note: str = "") -> NoReturn:
    """Raise the error of a target that does not fit."""
    raise DataError(where=f"the target of {loss.name}", got=both(output, target, note), want=want, fix=fix)


def bad_model(loss: LossFunction, output: Any, target: Any, *, want: str, fix: str, note: str = "") -> NoReturn:
    """Raise the error of an output that does not fit."""
    where = f"the model's output for {loss.name}"
    raise ModelError(where=where, got=both(output, target, note), want=want, fix=fix)


def listed(values: Tensor) -> str:
    """Name the distinct values, the first few of them."""
    distinct = torch.unique(values)
    shown = ", ".join(f"{float(value):g}" for value in distinct[:SHOWN_MAX])
    return shown + (f" and {len(distinct) - SHOWN_MAX} more" if len(distinct) > SHOWN_MAX else "")


def check_batch(loss: LossFunction, output: Tensor, target: Tensor) -> None:
    """Refuse an output whose number of samples is not the target's."""
    if target.ndim and output.size(0) != target.size(0):
        want = f"{target.size(0)} rows, one for each target"
        bad_model(
            loss, output, target, want=want, fix="keep dimension 0 for samples in the model: flatten with start_dim=1"
        )


def check_shape(loss: LossFunction, output: Tensor, target: Tensor) -> None:
    """Refuse anything but equal shapes, where PyTorch would broadcast."""
    if output.shape == target.shape:
        return
    check_batch(loss, output, target)
    try:
        paired = np.broadcast_shapes(output.shape, target.shape)
        want = f"equal shapes; PyTorch would stretch both to {tuple(paired)}"
    except ValueError:
        want = "equal shapes"
    if output.ndim == target.ndim + 1 and output.size(-1) == 1:
        fix = "return output.squeeze(-1) from the model, or give the data target.unsqueeze(-1)"
    elif target.ndim == output.ndim + 1 and target.size(-1) == 1:
        fix = "give the data target.squeeze(-1), or return output.unsqueeze(-1) from the model"
    else:
        fix = f"make the model return {tuple(target.shape)}, or the data targets of shape {tuple(output.shape)}"
    bad_data(loss, output, target, want=want, fix=fix)


def check_floating(loss: LossFunction, output: Tensor, target: Tensor) -> None:
    """Refuse targets that are whole numbers."""
    if not target.is_floating_point():
        bad_data(loss, output, target, want="a floating target", fix="convert the targets with target.float()")


def rows_sum_to_one(values: Tensor) -> bool:
    """Say whether every row (dimension 1) sums to 1."""
    return bool(((values.double().sum(1) - 1).abs() <= TOLERANCE).all())


def within(values: Tensor, low: float = 0.0, high: float = 1.0) -> bool:
    """Say whether all values lie in [low, high]."""
    return bool(((values >= low) & (values <= high)).all())


def span(values: Tensor) -> str:
    """Describe the range of values."""
    return f"{float(values.min()):g} to {float(values.max()):g}"
