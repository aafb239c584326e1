"""The objective: a loss, how an output becomes a prediction, and metrics as sums that stay on the device."""

from collections.abc import Callable, Sequence
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from danlu.errors import RecipeError
from danlu.objectives.accumulate import Accumulator, Seen, Sizes, measure, predict
from danlu.objectives.losses import LossFunction, Task, make_loss
from danlu.objectives.metrics import F64, MetricFunction, Value, fit_to_task, make_metrics, needs_of, ratio
from danlu.recipe import Metric

CONFUSION_CLASSES_MAX = 2048  # 32 MiB of sums


@final
class Objective:
    """What is minimised and measured.

    Args:
        loss: what is minimised.
        metrics: names or recipe parts.

    Raises:
        RecipeError: an unknown metric, or one that does not fit the loss.
    """

    def __init__(self, loss: LossFunction, metrics: Sequence[Metric | str] = ()) -> None:
        self.loss = loss
        self.task: Task = loss.task
        self.metrics: list[MetricFunction] = make_metrics(metrics)
        self._sizes: Sizes | None = None
        self._layout: list[tuple[Accumulator, int, int]] = []
        self._bound: Tensor | None = None
        self._loss_sum: Tensor = torch.empty(0)
        self._denominators: Tensor = torch.empty(0)
        self._adders: list[tuple[Callable[[Tensor, Seen], None], Tensor]] = []
        if loss.exact:
            self.metrics = [needs_of(fit_to_task(metric, loss, self.task), loss) for metric in self.metrics]

    def prepare(self, output: Any, target: Any) -> None:
        """Size the sums from one batch, and see what the targets of a callable loss are.

        Args:
            output: the model's output for the batch.
            target: the batch's target.

        Raises:
            RecipeError: a metric that does not fit these shapes.

        Cost: one sync. The same shapes give the same layout, so stored sums fit again after a restart.
        """
        if not self.loss.exact:
            self.task = _guess_task(output, target)
            for metric in self.metrics:
                fit_to_task(metric, self.loss, self.task)
        sizes = measure(self.task, output, target)
        self._check_classes(sizes.classes)
        self._sizes = sizes
        self._layout, start, seen = [], 2, set[str]()
        for accumulator in (each for metric in self.metrics for each in metric.accumulators()):
            shared = accumulator.key == "positions" and self.loss.counts_positions
            if accumulator.key in seen or shared:
                continue
            seen.add(accumulator.key)
            self._layout.append((accumulator, start, start + accumulator.slots(sizes)))
            start = self._layout[-1][2]
        self._bound = None

    @property
    def classes(self) -> int:
        """Return how many classes or labels the model tells apart; 0 before `prepare`."""
        return 0 if self._sizes is None else self._sizes.classes

    def _check_classes(self, classes: int) -> None:
        for metric in self.metrics:
            if metric.k > classes:
                raise RecipeError(
                    where=f"metrics.{metric.name}",
                    got=f"k = {metric.k}",
                    want=f"at most the {classes} classes of the model's output",
                    fix=f"use a k below {classes}, such as top{max(1, min(2, classes - 1))}_accuracy",
                )
            if metric.name == "confusion_matrix" and classes > CONFUSION_CLASSES_MAX and self.task == "classes":
                raise RecipeError(
                    where="metrics.confusion_matrix",
                    got=f"{classes} classes",
                    want=f"at most {CONFUSION_CLASSES_MAX}",
                    fix="use precision, recall or f1, which need three sums per class",
                )
            if metric.name == "confusion_matrix" and classes > 1 and self.task == "binary":
                raise RecipeError(
                    where="metrics.confusion_matrix", got=f"{classes} labels", want="one yes/no label", fix="use f1"
                )

    def zeros(self, device: torch.device | str = "cpu") -> Tensor:
        """Return sums over nothing: flat float64; slot 0 sums loss x denominator, slot 1 denominators, then metrics.

        A new span of batches starts from `zeros`, not from `sums.zero_()`: r2 keeps a constant in its slots.
        """
        if self._sizes is None and self.metrics:
            raise RuntimeError("Objective.prepare(output, target) comes before zeros")
        sums = torch.zeros(self._layout[-1][2] if self._layout else 2, dtype=torch.float64)
        for accumulator, start, stop in self._layout:
            if accumulator.start is not None and self._sizes is not None:
                accumulator.start(sums[start:stop], self._sizes)
        return sums.to(device)

    def add(self, sums: Tensor, loss: Tensor, output: Any, target: Any) -> Tensor:
        """Add one batch to `sums`, in place.

        Args:
            sums: what `zeros` returned, on the device of the loss.
            loss: what the loss function returned for this batch; its graph is left alone.
            output: the model's output.
            target: the batch's target.

        Returns:
            the loss as it is counted, without a graph: 0 where every target is ignored.

        Cost: no sync and no copy; two small kernels for the loss (six where targets may be ignored), four for accuracy.
        """
        if sums is not self._bound:
            self._bind(sums)
        function = self.loss
        denominator = function.count(target, output)
        loss = loss.detach()
        if function.reduction == "sum":
            self._loss_sum.add_(loss)
        elif isinstance(denominator, Tensor):  # a mean over no targets is 0/0 and weighs nothing
            loss = loss.masked_fill(denominator.eq(0), 0.0)
            self._loss_sum.addcmul_(loss, denominator)
        elif denominator:
            self._loss_sum.add_(loss, alpha=denominator)
        else:
            loss = torch.zeros_like(loss)
        self._denominators.add_(denominator)
        if self._adders:
            seen = Seen(function, self.task, output, target)
            for adder, slots in self._adders:
                adder(slots, seen)
        return loss

    def _bind(self, sums: Tensor) -> None:
        """Keep views of the slots: making them anew costs as much as adding to them."""
        self._loss_sum, self._denominators = sums[0], sums[1]
        pieces = [(accumulator, sums[start:stop]) for accumulator, start, stop in self._layout]
        self._adders = [(piece.add, view[0] if view.numel() == 1 else view) for piece, view in pieces]
        self._bound = sums

    def read(self, sums: F64) -> dict[str, Value]:
        """Return "loss" and every metric from sums copied to the host; over no samples they are NaN."""
        named = {accumulator.key: sums[start:stop] for accumulator, start, stop in self._layout}
        if self.loss.counts_positions:
            named["positions"] = sums[1:2]
        named["loss"] = sums[0:1]
        named["classes"] = np.array([self.task == "classes"], dtype=np.float64)
        values: dict[str, Value] = {"loss": ratio(sums[0], sums[1])}
        for metric in self.metrics:
            values[metric.name] = metric.read(named)
        return values

    def predictions(self, output: Any) -> Tensor:
        """Return class indices, 0/1 per label (-1/+1 for soft_margin), the order of a pair, or the values themselves.

        A loss without a threshold (multi_label_margin) and a callable whose targets are not class indices give the
        output as it is.
        """
        return predict(self.loss, self.task, output)

    def probabilities(self, output: Any) -> Any:
        """Return probabilities by the loss's own link: softmax, exp, sigmoid; otherwise the output as it is."""
        link = "identity" if self.loss.kind is None else self.loss.kind.link
        if link == "softmax":
            return output.softmax(min(1, output.ndim - 1))
        if link == "exp":
            return output.exp()
        return output.sigmoid() if link == "sigmoid" else output


def _guess_task(output: Any, target: Any) -> Task:
    """Say what the targets of a callable loss are: class indices, or numbers in the output's shape, or unknown."""
    if not isinstance(output, Tensor) or not isinstance(target, Tensor):
        return "other"
    if target.dtype is torch.int64 and output.ndim >= 2 and target.shape == output.shape[:1] + output.shape[2:]:
        return "classes"
    if target.is_floating_point() and target.shape == output.shape:
        return "regression"
    return "other"


def make_objective(loss: Any, metrics: Sequence[Metric | str] = (), device: torch.device | str = "cpu") -> Objective:
    """Build an objective from what a recipe or a caller holds, with the loss's tensors on `device`."""
    return Objective(make_loss(loss).to(device), metrics)
