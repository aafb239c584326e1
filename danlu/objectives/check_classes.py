"""The check of losses over classes: scores (N, C, ...) against class indices (N, ...) or class probabilities."""

from typing import NoReturn

import torch
from torch import Tensor

from danlu.errors import RecipeError
from danlu.objectives.losses import LossFunction
from danlu.objectives.mismatch import bad_data, bad_model, check_batch, listed, rows_sum_to_one, shown, within


def check_classes(loss: LossFunction, output: Tensor, target: Tensor) -> list[str]:
    """Check one batch of a loss over classes; returns warnings."""
    rank = 4 if loss.name == "nll2d" else 2
    if output.ndim < 2 or (loss.name == "nll2d" and output.ndim != 4):
        shape = "(N, C, H, W)" if rank == 4 else "(N, C) or (N, C, ...)"
        bad_model(loss, output, target, want=f"scores of shape {shape}", fix="give the model one output for each class")
    weight = loss.options.get("weight")
    if weight is not None and weight.numel() != output.size(1):
        got = f"{weight.numel()} weights for {shown(output)}"
        want = f"one weight for each of {output.size(1)} classes"
        raise RecipeError(where="loss.weight", got=got, want=want, fix="mend the list, or the model's last layer")
    check_batch(loss, output, target)
    if target.is_floating_point() and loss.name == "cross_entropy" and target.shape == output.shape:
        return _class_probabilities(loss, output, target) + _class_warnings(loss, output)
    _class_shape(loss, output, target)
    if target.is_floating_point() or target.dtype is torch.bool or target.dtype not in (torch.int64, torch.uint8):
        bad_data(loss, output, target, want="class indices as int64", fix="convert the targets with target.long()")
    indices = target.long()
    kept = indices[indices != loss.ignore_index]
    outside = kept[(kept < 0) | (kept >= output.size(1))]
    if outside.numel():
        _class_range(loss, output, target, kept, outside)
    ignored = (
        [] if kept.numel() else [f"every target of the batch is ignore_index ({loss.ignore_index}); nothing is learned"]
    )
    return ignored + _class_warnings(loss, output)


def _class_shape(loss: LossFunction, output: Tensor, target: Tensor) -> None:
    expected = output.shape[:1] + output.shape[2:]
    if target.shape == expected:
        return
    by_class = target.ndim == output.ndim and target.shape[:1] + target.shape[2:] == expected
    if by_class and target.is_floating_point() and loss.name == "cross_entropy" and target.size(1) > 1:
        want = f"class probabilities of shape {tuple(output.shape)}, or class indices of shape {tuple(expected)}"
        fix = f"give the model {target.size(1)} outputs, or the targets {output.size(1)} columns (classes of mixup)"
        bad_data(loss, output, target, want=want, fix=fix)
    fix = f"make the targets {tuple(expected)}, one class index for each position"
    if target.ndim == len(expected) + 1 and target.size(1) == 1:
        fix = "drop the dimension of size 1 with target.squeeze(1)"
    elif target.shape == output.shape:
        fix = "turn one-hot targets into indices with target.argmax(1)"
        if loss.name == "cross_entropy":
            fix += ", or into probabilities with target.float()"
    elif target.shape == output.shape[:-1]:
        fix = "classes belong in dimension 1: return output.movedim(-1, 1) from the model"
        bad_model(loss, output, target, want=f"class indices of shape {tuple(expected)} for this output", fix=fix)
    bad_data(loss, output, target, want=f"class indices of shape {tuple(expected)}", fix=fix)


def _class_range(loss: LossFunction, output: Tensor, target: Tensor, kept: Tensor, outside: Tensor) -> NoReturn:
    classes, lowest, highest = output.size(1), int(kept.min()), int(kept.max())
    if lowest == 1 and highest == classes:
        fix = "the labels count from 1: subtract 1"
    elif len(torch.unique(outside)) == 1 and (lowest < 0 or highest > classes):
        value = int(outside[0])
        fix = f"if {value} marks targets to leave out, set loss.ignore_index={value}"
        fix += "" if value < 0 else f"; otherwise give the model {highest + 1} outputs"
    else:
        fix = "mend the labels" if lowest < 0 else f"give the model {highest + 1} outputs, or mend the labels"
    want = f"0 to {classes - 1} for {classes} outputs, or ignore_index ({loss.ignore_index})"
    bad_data(loss, output, target, want=want, fix=fix, note=f"values {listed(outside)}")


def _class_probabilities(loss: LossFunction, output: Tensor, target: Tensor) -> list[str]:
    if bool((target < 0).any()):
        fix = "give class indices as int64, or probabilities"
        bad_data(loss, output, target, want="probabilities >= 0", fix=fix, note=f"values {listed(target[target < 0])}")
    if rows_sum_to_one(target):
        return []
    return ["the targets of cross_entropy are class probabilities, but their rows do not sum to 1"]


def _class_warnings(loss: LossFunction, output: Tensor) -> list[str]:
    """Say when the model seems to end in the wrong function for its loss."""
    scores = output.detach()
    if loss.name == "cross_entropy":
        if scores.size(1) == 1:
            return ["cross_entropy over one class is always 0: give the model two outputs, or use bce_with_logits"]
        if within(scores) and rows_sum_to_one(scores):
            return ["the model seems to end in softmax, which cross_entropy applies itself: remove it, or learn slowly"]
        return []
    if rows_sum_to_one(scores.double().exp()):
        return []
    return [f"{loss.name} wants log-probabilities, but these do not sum to 1: end the model in log_softmax(dim=1)"]
