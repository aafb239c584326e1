"""Losses by name: what is minimised, and the true denominator of its mean.

A mean over a batch hides what it was divided by: samples, elements, the targets that are not ignored, or the sum of
their class weights. `LossFunction` keeps that number, so that batches of different size or weight can be joined
without error: sum the totals, sum the denominators, divide once.
"""

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from danlu.errors import RecipeError, unknown_name
from danlu.objectives.denominators import Counted, Denominator, class_positions, make_denominator, samples_of_any
from danlu.recipe import Loss

Task = Literal["classes", "binary", "labels", "regression", "ranking", "other"]
Link = Literal["softmax", "exp", "sigmoid", "identity"]

IGNORE_INDEX = -100  # PyTorch's own default of cross_entropy and nll
TENSOR_OPTIONS = ("weight", "pos_weight")
_HIDDEN = ("self", "size_average", "reduce")  # the deprecated spellings of reduction


def pair(output: Any) -> tuple[Tensor, Tensor]:
    """Return the two scores that a ranking compares, from a pair `(x1, x2)` or from a tensor (N, 2)."""
    if isinstance(output, Tensor):
        return output[:, 0], output[:, 1]
    first, second = output
    return first, second


def _margin_ranking(output: Any, target: Tensor, **options: Any) -> Tensor:
    first, second = pair(output)
    return F.margin_ranking_loss(first, second, target, **options)


@final
@dataclass(frozen=True)
class Kind:
    """What is fixed about a named loss.

    Fields:
        module: PyTorch's class; its signature says which options exist.
        function: PyTorch's function, called as `function(output, target, **options)`.
        task: what the target is.
        counted: what the mean is divided by.
        link: how an output becomes probabilities.
        threshold: the output above which a binary prediction is positive.
        positive_above: the target above which the truth is positive.
    """

    module: type[nn.Module]
    function: Callable[..., Tensor]
    task: Task
    counted: Counted
    link: Link = "identity"
    threshold: float | None = None
    positive_above: float = 0.5


LOSSES: dict[str, Kind] = {
    "l1": Kind(nn.L1Loss, F.l1_loss, "regression", "elements"),
    "mse": Kind(nn.MSELoss, F.mse_loss, "regression", "elements"),
    "smooth_l1": Kind(nn.SmoothL1Loss, F.smooth_l1_loss, "regression", "elements"),
    "huber": Kind(nn.HuberLoss, F.huber_loss, "regression", "elements"),
    "cross_entropy": Kind(nn.CrossEntropyLoss, F.cross_entropy, "classes", "classes", "softmax"),
    "nll": Kind(nn.NLLLoss, F.nll_loss, "classes", "classes", "exp"),
    "nll2d": Kind(nn.NLLLoss, F.nll_loss, "classes", "classes", "exp"),
    "kl_div": Kind(nn.KLDivLoss, F.kl_div, "other", "samples", "exp"),
    "bce": Kind(nn.BCELoss, F.binary_cross_entropy, "binary", "elements", threshold=0.5),
    "bce_with_logits": Kind(
        nn.BCEWithLogitsLoss, F.binary_cross_entropy_with_logits, "binary", "elements", "sigmoid", threshold=0.0
    ),
    "soft_margin": Kind(
        nn.SoftMarginLoss, F.soft_margin_loss, "binary", "elements", "sigmoid", threshold=0.0, positive_above=0.0
    ),
    "multilabel_soft_margin": Kind(
        nn.MultiLabelSoftMarginLoss, F.multilabel_soft_margin_loss, "labels", "rows", "sigmoid", threshold=0.0
    ),
    "multi_label_margin": Kind(nn.MultiLabelMarginLoss, F.multilabel_margin_loss, "labels", "rows"),
    "margin_ranking": Kind(nn.MarginRankingLoss, _margin_ranking, "ranking", "elements"),
}
_BY_MODULE = {kind.module: name for name, kind in LOSSES.items() if name != "nll2d"}
_BY_FUNCTION = {kind.function: name for name, kind in LOSSES.items() if name != "nll2d"}


@final
@dataclass(frozen=True, eq=False)
class LossFunction:
    """A loss, called as `loss(output, target)`.

    Fields:
        name: the loss's name, or that of the callable.
        function: PyTorch's own function or module, for callers that cannot spare a Python frame.
        task: what the target is; "other" for a callable.
        exact: whether the denominator is the true one; a callable is weighted by samples.
        reduction: "mean", "sum", or "batchmean" for kl_div.
        kind: what is fixed about a named loss; None for a callable.
        options: PyTorch's options, tensors among them.
        ignore_index: the target that is left out, for losses over class indices.
        count: `count(target, output)`, what `denominator` returns.
        all_counted: whether no target is ever ignored, so that counting needs no look at the values.
    """

    name: str
    function: Callable[..., Any]
    task: Task
    exact: bool
    reduction: str
    kind: Kind | None
    options: Mapping[str, Any]
    ignore_index: int | None
    count: Denominator
    all_counted: bool = False

    def __call__(self, output: Any, target: Any) -> Tensor:
        """Return what is minimised, a 0-d tensor."""
        return self.function(output, target)  # type: ignore[no-any-return]

    def denominator(self, target: Any, output: Any = None) -> float | Tensor:
        """Return what the mean over this batch is divided by.

        Args:
            target: the batch's target.
            output: the model's output; only a callable without a target needs it, to count samples.

        Returns:
            a float, or a 0-d tensor on the target's device where the number depends on the targets' values.

        Cost:
            no sync.
        """
        return self.count(target, output)

    def total(self, loss: Tensor, denominator: float | Tensor) -> Tensor:
        """Return the sum behind a batch's loss, differentiable; 0 where every target is ignored (mean 0/0)."""
        if self.reduction == "sum":
            return loss
        if isinstance(denominator, Tensor):
            return (loss * denominator).masked_fill(denominator.eq(0), 0.0)
        return loss * denominator

    @property
    def counts_positions(self) -> bool:
        """Whether the denominator is the number of targets scored."""
        if self.kind is None:
            return False
        plain_classes = self.kind.counted == "classes" and self.options.get("weight") is None
        return self.kind.counted == "elements" or plain_classes

    def none_ignored(self) -> "LossFunction":
        """Return the same loss for targets known never to equal `ignore_index`: counting them then costs nothing."""
        if self.kind is None or self.kind.counted != "classes" or self.options.get("weight") is not None:
            return self
        return replace(self, count=class_positions, all_counted=True)

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> "LossFunction":
        """Return the same loss with its tensors on `device`; a module is moved in place, as PyTorch does."""
        if isinstance(self.function, nn.Module):
            moved = _from_module(self.function.to(device=device, dtype=dtype))
        elif self.kind is None:
            return self
        else:
            options = {key: _moved(value, device, dtype) for key, value in self.options.items()}
            moved = _named(self.name, options, self.reduction)
        return moved.none_ignored() if self.all_counted else moved


def _moved(value: Any, device: torch.device | str, dtype: torch.dtype | None) -> Any:
    return value.to(device=device, dtype=dtype) if isinstance(value, Tensor) else value


def make_loss(spec: Loss | str | Callable[..., Any]) -> LossFunction:
    """Build a loss from a recipe's part, a name, one of PyTorch's modules or functions, or a callable.

    Args:
        spec: `Loss("cross_entropy", label_smoothing=0.1)`, `"mse"`, `nn.MSELoss()`, `F.mse_loss`, or any
            `(output, target) -> 0-d tensor`. PyTorch's own losses keep their true denominator; other callables
            are weighted by samples.

    Raises:
        RecipeError: an unknown name or option, an option's value, or a reduction that is no single number.
    """
    if isinstance(spec, str):
        spec = Loss(spec)
    if isinstance(spec, Loss):
        return _from_recipe(spec)
    if isinstance(spec, nn.Module):
        return _from_module(spec)
    if not callable(spec):
        raise RecipeError(
            where="loss", got=spec, want="a name, a loss module or a callable", fix='write loss="cross_entropy", say'
        )
    plain = spec.func if isinstance(spec, functools.partial) and not spec.args else spec
    name = _BY_FUNCTION.get(plain) if inspect.isfunction(plain) or inspect.isbuiltin(plain) else None
    if name is None:
        return _opaque(spec)
    keywords = dict(spec.keywords) if isinstance(spec, functools.partial) else {}
    return _from_recipe(Loss(name, **{"reduction": "mean", **keywords}))


def _from_recipe(spec: Loss) -> LossFunction:
    """Check a named loss's options against PyTorch's signature and build it."""
    kind = LOSSES.get(spec.name)
    if kind is None:
        raise unknown_name(RecipeError, "loss.name", spec.name, LOSSES, "loss")
    known = [key for key in inspect.signature(kind.module).parameters if key not in _HIDDEN]
    for key in spec.options:
        if key not in known:
            raise unknown_name(RecipeError, f"loss.{key}", key, known, f"option of {spec.name}")
    given = {key: value for key, value in spec.options.items() if value is not None}
    reduction = given.pop("reduction", "batchmean" if spec.name == "kl_div" else "mean")
    _check_reduction(spec.name, reduction)
    return _named(spec.name, {key: _option(key, value) for key, value in given.items()}, reduction)


def _check_reduction(name: str, reduction: object) -> None:
    allowed = ("batchmean", "mean", "sum") if name == "kl_div" else ("mean", "sum")
    if reduction not in allowed:
        choices = " or ".join(f'"{choice}"' for choice in allowed)
        raise RecipeError(
            where="loss.reduction", got=reduction, want=f"{choices}: one number is minimised", fix="leave reduction out"
        )


def _option(key: str, value: Any) -> Any:
    """Return an option's value as PyTorch takes it, after a check of its type and range."""
    if key in TENSOR_OPTIONS:
        return _weights(key, value)
    where, number = f"loss.{key}", isinstance(value, int | float) and not isinstance(value, bool)
    if key == "log_target":
        good, want = isinstance(value, bool), "true or false"
    elif key == "ignore_index":
        good, want = number and isinstance(value, int), "a whole number"
    elif key == "label_smoothing":
        good, want = number and 0 <= value <= 1, "a number from 0 to 1"
    elif key == "delta":
        good, want = number and value > 0, "a number > 0"
    elif key == "beta":
        good, want = number and value >= 0, "a number >= 0"
    else:
        good, want = number and math.isfinite(value), "a number"
    if not good:
        raise RecipeError(where=where, got=value, want=want, fix=f"change {where}, or leave it out")
    return value


def _weights(key: str, value: Any) -> Tensor:
    """Return weights as a tensor, of PyTorch's default dtype unless they are floating already."""
    try:
        tensor = (
            value.detach() if isinstance(value, Tensor) else torch.as_tensor(value, dtype=torch.get_default_dtype())
        )
        tensor = tensor if tensor.is_floating_point() else tensor.to(torch.get_default_dtype())
        good = bool(tensor.isfinite().all()) and bool((tensor >= 0).all())
    except (TypeError, ValueError, RuntimeError):
        good = False
    if not good:
        raise RecipeError(
            where=f"loss.{key}", got=value, want="a list of numbers >= 0", fix=f"write {key} = [1.0, 2.0, ...]"
        )
    return tensor


def _named(name: str, options: Mapping[str, Any], reduction: str) -> LossFunction:
    kind = LOSSES[name]
    keywords = dict(options) if reduction == "mean" else {**options, "reduction": reduction}
    function = functools.partial(kind.function, **keywords) if keywords else kind.function
    return _described(name, function, options, reduction)


def _described(name: str, function: Callable[..., Any], options: Mapping[str, Any], reduction: str) -> LossFunction:
    """Put a named loss together; `function` already holds the options."""
    kind = LOSSES[name]
    ignore_index = int(options.get("ignore_index", IGNORE_INDEX)) if kind.counted == "classes" else None
    weight = options.get("weight")
    if weight is not None and ignore_index is not None and options.get("label_smoothing"):
        _check_smoothed(weight, ignore_index)
    count = make_denominator(kind.counted, reduction, ignore_index, weight=weight)
    return LossFunction(name, function, kind.task, True, reduction, kind, options, ignore_index, count)


def _check_smoothed(weight: Tensor, ignore_index: int) -> None:
    """Refuse a weight of 0 with smoothing: PyTorch's mean over samples of that class alone divides by 0."""
    weightless = [index for index in torch.nonzero(weight == 0).flatten().tolist() if index != ignore_index]
    if weightless:
        raise RecipeError(
            where="loss.weight",
            got=f"weight 0 for class {weightless[0]}, with label_smoothing",
            want="weights > 0: the mean over a batch of that class alone would be infinite",
            fix="use a small weight such as 1e-6, or leave label_smoothing out",
        )


def _from_module(module: nn.Module) -> LossFunction:
    """Recognise PyTorch's own loss modules by exact type; a subclass may compute anything, so it stays opaque."""
    name = _BY_MODULE.get(type(module))
    if name is None:
        return _opaque(module)
    reduction = str(module.reduction)
    _check_reduction(name, reduction)
    known = (key for key in inspect.signature(type(module)).parameters if key not in (*_HIDDEN, "reduction"))
    options = {key: getattr(module, key) for key in known if getattr(module, key) is not None}
    if name != "margin_ranking":
        return _described(name, module, options, reduction)
    return _named(name, options, reduction)


def _opaque(function: Callable[..., Any]) -> LossFunction:
    name = str(getattr(function, "__name__", type(function).__name__))
    return LossFunction(name, function, "other", False, "mean", None, {}, None, samples_of_any)
