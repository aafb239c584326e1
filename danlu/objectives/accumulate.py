"""What is summed over batches: each accumulator owns some float64 slots of one flat tensor on the device.

Every slot is a plain sum over samples, so that two spans of batches join by adding their slots. Nothing here reads a
number back to the host. Shapes: N samples, C classes or labels, D regression columns, P positions scored.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor

from danlu.objectives.losses import LossFunction, Task, pair


@final
class Seen:
    """One batch as the accumulators see it; what several of them need is computed once, when first asked for."""

    __slots__ = ("_predicted", "_truth", "_valid", "loss", "output", "target", "task")

    def __init__(self, loss: LossFunction, task: Task, output: Any, target: Tensor) -> None:
        self.loss, self.task = loss, task
        self.output: Any = output.detach() if isinstance(output, Tensor) else output
        self.target = target.detach() if target.requires_grad else target
        self._predicted: Tensor | None = None
        self._truth: Tensor | None = None
        self._valid: Tensor | None = None

    @property
    def predicted(self) -> Tensor:
        """Predictions in the form of `truth`."""
        if self._predicted is None:
            if self.task in ("binary", "labels"):
                self._predicted = self.output > threshold(self.loss)
            else:
                self._predicted = predict(self.loss, self.task, self.output)
        return self._predicted

    @property
    def truth(self) -> Tensor:
        """Class indices, booleans of labels, or signs of a ranking."""
        if self._truth is None:
            if self.task == "classes":
                self._truth = self.target.argmax(1) if self.target.is_floating_point() else self.target
            elif self.loss.kind is not None and self.task in ("binary", "labels"):
                self._truth = self.target > self.loss.kind.positive_above
            else:
                self._truth = self.target
        return self._truth

    @property
    def valid(self) -> Tensor:
        """Which positions are scored, booleans in the shape of `truth`."""
        if self._valid is None:
            ignored = self.loss.ignore_index
            if ignored is None or self.target.is_floating_point():
                self._valid = torch.ones_like(self.truth, dtype=torch.bool)
            else:
                self._valid = self.target != ignored
        return self._valid

    def may_ignore_a_class(self) -> bool:
        """Whether a prediction could equal an ignored target; a negative one equals no class index."""
        ignored = self.loss.ignore_index
        return ignored is not None and ignored >= 0 and not self.target.is_floating_point()


def threshold(loss: LossFunction) -> float:
    """Return the output above which a binary prediction is positive."""
    if loss.kind is None or loss.kind.threshold is None:
        raise ValueError(f"{loss.name} has no threshold")
    return loss.kind.threshold


def predict(loss: LossFunction, task: Task, output: Any) -> Tensor:
    """Return class indices, 0/1 (or -1/+1 where the loss takes those), signs of a ranking, or the values themselves."""
    if task == "classes":
        return output.argmax(min(1, output.ndim - 1))  # type: ignore[no-any-return]
    if task == "ranking":
        first, second = pair(output)
        return (first - second).sign().long()
    if loss.kind is not None and loss.kind.threshold is not None:
        positive: Tensor = (output > loss.kind.threshold).long()
        return positive * 2 - 1 if loss.kind.positive_above == 0.0 else positive
    return output  # type: ignore[no-any-return]


@final
@dataclass(frozen=True)
class Sizes:
    """What the slots depend on.

    Fields:
        classes: C, the classes or the labels.
        columns: D, the columns of a regression.
        shift: float64 (D,), a typical target of each column.
    """

    classes: int
    columns: int
    shift: Tensor


@final
@dataclass(frozen=True)
class Accumulator:
    """A named group of sums.

    Fields:
        key: two metrics that need the same key share its slots.
        slots: how many slots it owns.
        add: adds one batch into its slots, a float64 view.
        start: fills its slots before the first batch; None leaves them 0.
    """

    key: str
    slots: Callable[[Sizes], int]
    add: Callable[[Tensor, Seen], None]
    start: Callable[[Tensor, Sizes], None] | None = None


def measure(task: Task, output: Any, target: Any) -> Sizes:
    """Return the sizes that one batch shows. Cost: one sync for a regression."""
    shape = target.shape if isinstance(target, Tensor) else torch.Size()
    if task == "classes" and isinstance(output, Tensor):
        return Sizes(int(output.size(min(1, output.ndim - 1))), 1, torch.zeros(1, dtype=torch.float64))
    classes = int(shape[1]) if len(shape) == 2 or len(shape) >= 4 else 1
    if task != "regression" or not isinstance(target, Tensor) or not target.numel():
        return Sizes(classes, 1, torch.zeros(1, dtype=torch.float64))
    columns = _columns(target.detach().cpu().double())
    middle = torch.nan_to_num(columns.median(0).values, nan=0.0, posinf=0.0, neginf=0.0)
    return Sizes(classes, columns.size(1), middle)


def _columns(values: Tensor) -> Tensor:
    return values.reshape(values.size(0), -1) if values.ndim > 1 else values.reshape(-1, 1)


def _by_label(flags: Tensor) -> Tensor:
    """Return (P, C): dimension 1 holds the labels in 2-d and from 4-d on; otherwise there is one label."""
    if flags.ndim == 2 or flags.ndim >= 4:
        return flags.movedim(1, -1).reshape(-1, flags.size(1))
    return flags.reshape(-1, 1)


def _positions(sums: Tensor, seen: Seen) -> None:
    if seen.task == "classes" and seen.loss.ignore_index is not None:
        sums.add_(seen.valid.count_nonzero())
    else:
        sums.add_(seen.truth.numel())


def _correct(sums: Tensor, seen: Seen) -> None:
    hits = seen.predicted.eq(seen.truth)
    if seen.task == "classes" and seen.may_ignore_a_class():
        hits = hits & seen.valid
    sums.add_(hits.count_nonzero())


def top_k(k: int) -> Accumulator:
    """Count the targets that are among the `k` highest outputs."""

    def add(sums: Tensor, seen: Seen) -> None:
        hits = seen.output.topk(k, dim=1).indices.eq(seen.truth.unsqueeze(1)).any(1)
        if seen.may_ignore_a_class():
            hits = hits & seen.valid
        sums.add_(hits.count_nonzero())

    return Accumulator(f"top{k}", lambda _: 1, add)


def _counts(sums: Tensor, seen: Seen) -> None:
    """Rows of (3, C): true positives, predictions, targets."""
    rows = sums.view(3, -1)
    if seen.task != "classes":
        predicted, truth = _by_label(seen.predicted), _by_label(seen.truth)
        rows[0].add_((predicted & truth).sum(0))
        rows[1].add_(predicted.sum(0))
        rows[2].add_(truth.sum(0))
        return
    valid = seen.valid.reshape(-1)
    predicted, truth = seen.predicted.reshape(-1), seen.truth.reshape(-1)
    inside = truth.masked_fill(~valid, 0)
    rows[0].index_add_(0, predicted, ((predicted == truth) & valid).double())
    rows[1].index_add_(0, predicted, valid.double())
    rows[2].index_add_(0, inside, valid.double())


def _confusion(sums: Tensor, seen: Seen) -> None:
    """Rows are targets, columns predictions, flattened."""
    valid, width = seen.valid.reshape(-1), 2
    truth, predicted = seen.truth.reshape(-1), seen.predicted.reshape(-1)
    if seen.task == "classes":
        width = seen.output.size(1)
    cells = (truth.long() * width + predicted.long()).masked_fill(~valid, 0)
    sums.index_add_(0, cells, valid.double())


def _absolute(sums: Tensor, seen: Seen) -> None:
    sums.add_(F.l1_loss(seen.output.double(), seen.target.double(), reduction="sum"))


def _squared(sums: Tensor, seen: Seen) -> None:
    sums.add_(F.mse_loss(seen.output.double(), seen.target.double(), reduction="sum"))


def _moments(sums: Tensor, seen: Seen) -> None:
    """One count, then rows of (4, D): shift s, sum of (t - s), sum of (t - s)^2, sum of (t - output)^2.

    The shift keeps the digits of targets whose mean is far from 0. It stays in its slots, so that it is restored with
    the sums; the variance read from them is the same for any shift.
    """
    sums[0].add_(seen.target.size(0))
    rows = sums[1:].view(4, -1)
    target = _columns(seen.target.double())
    centred = target - rows[0]
    rows[1].add_(centred.sum(0))
    rows[2].add_(centred.square().sum(0))
    rows[3].add_((target - _columns(seen.output.double())).square().sum(0))


def _shifted(sums: Tensor, sizes: Sizes) -> None:
    sums[1 : 1 + sizes.columns].copy_(sizes.shift)


def _token_nll(sums: Tensor, seen: Seen) -> None:
    """Sum of -log p(target), without class weights or smoothing."""
    negative_log = F.nll_loss if seen.loss.kind is not None and seen.loss.kind.link == "exp" else F.cross_entropy
    ignored = seen.loss.ignore_index
    if ignored is None or seen.target.is_floating_point():
        nll = negative_log(seen.output, seen.target, reduction="none")
    else:
        nll = negative_log(seen.output, seen.target, reduction="none", ignore_index=ignored)
    sums.add_(nll.sum(dtype=torch.float64))


ACCUMULATORS: dict[str, Accumulator] = {
    "positions": Accumulator("positions", lambda _: 1, _positions),
    "correct": Accumulator("correct", lambda _: 1, _correct),
    "counts": Accumulator("counts", lambda sizes: 3 * sizes.classes, _counts),
    "confusion": Accumulator("confusion", lambda sizes: max(2, sizes.classes) ** 2, _confusion),
    "absolute": Accumulator("absolute", lambda _: 1, _absolute),
    "squared": Accumulator("squared", lambda _: 1, _squared),
    "moments": Accumulator("moments", lambda sizes: 1 + 4 * sizes.columns, _moments, _shifted),
    "token_nll": Accumulator("token_nll", lambda _: 1, _token_nll),
}
