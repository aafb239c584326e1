"""One look at one batch before training: does this loss fit this output and this target, without any broadcast?

A mismatch that PyTorch would accept in silence, or explain in terms of its kernels, becomes one error that shows both
sides and says what to change. What merely looks wrong comes back as a warning.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from danlu.errors import DanluError, DataError, ModelError, RecipeError
from danlu.objectives.check_classes import check_classes
from danlu.objectives.denominators import first_tensor
from danlu.objectives.losses import LossFunction, pair
from danlu.objectives.mismatch import (
    TOLERANCE,
    bad_data,
    bad_model,
    both,
    check_floating,
    check_shape,
    listed,
    shown,
    span,
    within,
)

FLAT_MIN = 16  # outputs needed before "all of them lie in [0, 1]" says anything


def check(loss: LossFunction, output: Any, target: Any) -> list[str]:
    """Check one batch.

    Args:
        loss: what will be minimised.
        output: the model's output for the batch.
        target: the batch's target.

    Returns:
        warnings: one sentence each for what is allowed but looks like a mistake.

    Raises:
        DataError: the target does not fit the loss.
        ModelError: the output does not fit the loss or the target, or holds NaN.
        RecipeError: an option of the loss does not fit the output.

    Cost: syncs; runs the loss once, apart from the model's graph, which is left alone.
    """
    if loss.kind is None:
        _check_runs(loss, output, target)
        return []
    scores = _tensor_output(loss, output)
    if not isinstance(target, Tensor):
        bad_data(
            loss, output, target, want=f"a tensor, as {loss.name} compares with one", fix="give each sample a target"
        )
    if scores.ndim == 0 or scores.size(0) == 0 or target.numel() == 0:
        bad_data(loss, output, target, want="at least one sample", fix="check what the data yields")
    if bool(scores.isnan().any()):
        fix = "look for NaN in the inputs, a division by 0 or a log of 0 in the model"
        bad_model(loss, output, target, want="an output without NaN", fix=fix)
    if target.is_floating_point() and bool(target.isnan().any()):
        bad_data(loss, output, target, want="targets without NaN", fix="remove or fill the missing targets")
    warnings = _CHECKS[loss.name](loss, scores, target)
    _check_runs(loss, output, target)
    return warnings


def _tensor_output(loss: LossFunction, output: Any) -> Tensor:
    """Return the output as one floating tensor; the pair of a ranking is laid side by side, (N, 2)."""
    if loss.name == "margin_ranking":
        return _ranked(loss, output)
    if not isinstance(output, Tensor):
        fix = 'return the tensor alone from forward, such as output["logits"], or write the loss as a function'
        raise ModelError(where="the model's output", got=shown(output), want=f"one tensor for {loss.name}", fix=fix)
    if not output.is_floating_point():
        fix = "return the scores before argmax or rounding: those have no gradient"
        raise ModelError(where="the model's output", got=shown(output), want="a floating tensor", fix=fix)
    return output


def _ranked(loss: LossFunction, output: Any) -> Tensor:
    is_pair = isinstance(output, list | tuple) and len(output) == 2 and all(isinstance(x, Tensor) for x in output)
    if is_pair or (isinstance(output, Tensor) and output.ndim == 2 and output.size(1) == 2):
        first, second = pair(output)
        if first.shape == second.shape:
            return torch.stack((first, second), 1)
    fix = "return (x1, x2), the scores of the two items, of one shape"
    raise ModelError(where="the model's output", got=shown(output), want="a pair (x1, x2) or a tensor (N, 2)", fix=fix)


# Numbers, labels, pairs --------------------------------------------------------------------------------------------


def _regression(loss: LossFunction, output: Tensor, target: Tensor) -> list[str]:
    check_shape(loss, output, target)
    check_floating(loss, output, target)
    if bool(target.isinf().any()):
        bad_data(loss, output, target, want="finite targets", fix="remove or clip infinite targets")
    return []


def _binary(loss: LossFunction, output: Tensor, target: Tensor) -> list[str]:
    check_floating(loss, output, target)
    check_shape(loss, output, target)
    for option in ("weight", "pos_weight"):
        weight = loss.options.get(option)
        if weight is not None and weight.numel() > 1 and (output.ndim < 2 or weight.shape[-1] != output.size(-1)):
            got, want = f"{weight.numel()} weights for {shown(output)}", "one weight for each column of the output"
            raise RecipeError(where=f"loss.{option}", got=got, want=want, fix="give one weight, or one for each column")
    if not within(target):
        fix = "map -1 and 1 to 0 and 1 with (target + 1) / 2" if bool((target == -1).any()) else "scale them to [0, 1]"
        outside = target[(target < 0) | (target > 1)]
        bad_data(loss, output, target, want="targets from 0 to 1", fix=fix, note=f"values {listed(outside)}")
    if loss.name == "bce" and not within(output):
        fix = 'use the loss "bce_with_logits", or end the model in a sigmoid'
        bad_model(loss, output, target, want="probabilities from 0 to 1", fix=fix, note=f"values from {span(output)}")
    if loss.name == "bce_with_logits" and output.numel() >= FLAT_MIN and within(output):
        return ["the model seems to end in a sigmoid, which bce_with_logits applies itself: remove it, or use bce"]
    return []


def _kl_div(loss: LossFunction, output: Tensor, target: Tensor) -> list[str]:
    check_floating(loss, output, target)
    check_shape(loss, output, target)
    if bool((output > TOLERANCE).any()):
        fix = "end the model in log_softmax(dim=1), not softmax"
        bad_model(loss, output, target, want="log-probabilities, all <= 0", fix=fix, note=f"values from {span(output)}")
    if loss.options.get("log_target"):
        if bool((target > TOLERANCE).any()):
            fix = "give target.log(), or leave log_target out"
            bad_data(
                loss, output, target, want="log-probabilities, all <= 0", fix=fix, note=f"values from {span(target)}"
            )
    elif not within(target, -TOLERANCE, 1 + TOLERANCE):
        fix = "set loss.log_target=true" if bool((target <= TOLERANCE).all()) else "make each row a distribution"
        bad_data(loss, output, target, want="probabilities from 0 to 1", fix=fix, note=f"values from {span(target)}")
    return []


def _signs(loss: LossFunction, output: Tensor, target: Tensor) -> list[str]:
    """Refuse targets other than -1 and 1."""
    scores = output[:, 0] if loss.name == "margin_ranking" else output
    check_shape(loss, scores, target)
    other = target[(target != 1) & (target != -1)]
    if other.numel():
        fix = "map 0 and 1 to -1 and 1 with 2 * target - 1" if within(target) else "mend the targets"
        bad_data(loss, output, target, want="targets -1 or 1", fix=fix, note=f"values {listed(other)}")
    return []


def _label_lists(loss: LossFunction, output: Tensor, target: Tensor) -> list[str]:
    check_shape(loss, output, target)
    if target.dtype is not torch.int64:
        fix = "list the classes of each row first, then -1; 0/1 flags go with bce_with_logits or multilabel_soft_margin"
        bad_data(loss, output, target, want="class indices as int64, each row filled up with -1", fix=fix)
    outside = target[(target < -1) | (target >= output.size(-1))]
    if outside.numel():
        want = f"0 to {output.size(-1) - 1}, and -1 after the last"
        bad_data(loss, output, target, want=want, fix="mend the labels", note=f"values {listed(outside)}")
    if bool((target[..., 0] == -1).all()):
        return ["every row of the targets is empty: the list of classes stands before the first -1"]
    return []


def _label_flags(loss: LossFunction, output: Tensor, target: Tensor) -> list[str]:
    check_floating(loss, output, target)
    check_shape(loss, output, target)
    if not within(target):
        outside = target[(target < 0) | (target > 1)]
        bad_data(
            loss,
            output,
            target,
            want="targets from 0 to 1",
            fix="give one flag per label",
            note=f"values {listed(outside)}",
        )
    return []


_CHECKS: dict[str, Callable[[LossFunction, Tensor, Tensor], list[str]]] = {
    "l1": _regression,
    "mse": _regression,
    "smooth_l1": _regression,
    "huber": _regression,
    "cross_entropy": check_classes,
    "nll": check_classes,
    "nll2d": check_classes,
    "kl_div": _kl_div,
    "bce": _binary,
    "bce_with_logits": _binary,
    "soft_margin": _signs,
    "multilabel_soft_margin": _label_flags,
    "multi_label_margin": _label_lists,
    "margin_ranking": _signs,
}


# Running it --------------------------------------------------------------------------------------------------------


def _apart(tree: Any, leaves: list[Tensor]) -> Any:
    """Copy an output's tensors out of the model's graph, and append to `leaves` what their gradients belong to.

    The copies are no leaves themselves, as the model's outputs are none: a loss may change them in place. An output
    of a class of its own is passed as it is, since it may be read by attribute.
    """
    if isinstance(tree, Tensor):
        if not tree.is_floating_point():
            return tree.detach().clone()
        leaves.append(tree.detach().requires_grad_())
        return leaves[-1].clone()
    if type(tree) is dict:
        return {key: _apart(leaf, leaves) for key, leaf in tree.items()}
    if type(tree) in (list, tuple):
        return type(tree)(_apart(leaf, leaves) for leaf in tree)
    return tree


def _check_runs(loss: LossFunction, output: Any, target: Any) -> None:
    """Run the loss and its gradient on a copy of the output."""
    where = f"the loss {loss.name}"
    if first_tensor(output) is None:
        fix = "return a tensor, or a tuple or dict of them, from forward"
        raise ModelError(where="the model's output", got=shown(output), want="something with tensors", fix=fix)
    with torch.enable_grad():
        leaves: list[Tensor] = []
        copies = _apart(output, leaves)
        try:
            result = loss(copies, target)
        except DanluError:
            raise
        except Exception as error:
            got = f"{both(output, target)}: {error}"
            raise DataError(
                where=where, got=got, want="a loss that runs on this batch", fix="mend the shapes"
            ) from error
        if not isinstance(result, Tensor) or result.numel() != 1 or result.ndim or not result.is_floating_point():
            got = f"{shown(result)} from {both(output, target)}"
            raise ModelError(where=where, got=got, want="one floating number, shape ()", fix="return its mean()")
        if not result.requires_grad and (leaves or type(output) in (Tensor, tuple, list, dict)):
            fix = "compute it with tensors: no detach(), item(), argmax() or NumPy on the way"
            raise ModelError(where=where, got="a number without a gradient", want="a differentiable loss", fix=fix)
        if leaves:
            _check_gradient(where, result, leaves, both(output, target))


def _check_gradient(where: str, result: Tensor, leaves: list[Tensor], both: str) -> None:
    try:
        gradients = torch.autograd.grad(result, leaves, allow_unused=True)
    except RuntimeError as error:
        fix = "give output and target the same dtype, such as target.to(output.dtype)"
        raise DataError(where=where, got=f"{both}: {error}", want="a loss with a gradient", fix=fix) from error
    if all(gradient is None for gradient in gradients):
        fix = "use the output in the loss"
        raise ModelError(where=where, got="a loss that does not depend on the output", want="one that does", fix=fix)
