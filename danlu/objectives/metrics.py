"""Metrics by name: which sums each one needs, which tasks it fits, and how it is read from the sums on the host.

Values follow scikit-learn: `precision`, `recall` and `f1` are macro averages with `zero_division=0` over the classes
that occur in the targets or the predictions (over the one positive class of a binary task, over all labels of several);
`r2` is the plain mean over columns. A metric over no samples is NaN.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
import numpy.typing as npt

from danlu.errors import RecipeError, unknown_name
from danlu.objectives.accumulate import ACCUMULATORS, Accumulator, top_k
from danlu.objectives.losses import LossFunction, Task
from danlu.recipe import Metric

F64 = npt.NDArray[np.float64]
Value = float | list[list[int]]
Sums = Mapping[str, F64]
NAN = float("nan")
_TOP_K = re.compile(r"top([1-9][0-9]*)_accuracy")


def ratio(total: float, count: float) -> float:
    """Return total / count, NaN where the count is 0."""
    return float(total) / float(count) if count else NAN


def _mean_of(key: str) -> Callable[[Sums], Value]:
    return lambda sums: ratio(sums[key][0], sums["positions"][0])


def _rmse(sums: Sums) -> Value:
    return float(np.sqrt(ratio(sums["squared"][0], sums["positions"][0])))


def _perplexity(sums: Sums) -> Value:
    with np.errstate(over="ignore"):
        return float(np.exp(ratio(sums["token_nll"][0], sums["positions"][0])))


def _divide(part: F64, whole: F64) -> F64:
    """Divide, 0 where the whole is 0; NaN stays NaN."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole != 0)


def _macro(score: Callable[[F64, F64, F64], F64]) -> Callable[[Sums], Value]:
    """Average a score of (true positives, predictions, targets) over the classes that count."""

    def read(sums: Sums) -> Value:
        if not sums["positions"][0]:
            return NAN
        hits, predicted, actual = sums["counts"].reshape(3, -1)
        scores = score(hits, predicted, actual)
        occurring = (predicted + actual) != 0 if sums["classes"][0] else np.ones(len(hits), dtype=bool)
        return float(scores[occurring].mean())

    return read


def _r2(sums: Sums) -> Value:
    count, rows = sums["moments"][0], sums["moments"][1:].reshape(4, -1)
    if count < 2:
        return NAN
    _, first, second, residual = rows
    spread = np.maximum(second - first * first / count, 0.0)
    explained = 1.0 - _divide(residual, spread)
    constant = np.where(residual == 0, 1.0, np.where(np.isnan(residual), NAN, 0.0))
    return float(np.where(spread == 0, constant, explained).mean())


def _confusion_matrix(sums: Sums) -> Value:
    cells = sums["confusion"]
    width = round(float(np.sqrt(cells.size)))
    return [[int(cell) for cell in row] for row in cells.reshape(width, width)]


@final
@dataclass(frozen=True)
class MetricFunction:
    """One metric.

    Fields:
        name: its name in the record, as the recipe wrote it.
        needs: keys of the sums that `read` takes.
        tasks: the tasks it fits.
        higher: whether more is better; None where values have no order.
        read: turns sums on the host into the value.
        k: how many of the highest outputs count, for top-k accuracy.
    """

    name: str
    needs: tuple[str, ...]
    tasks: tuple[Task, ...]
    higher: bool | None
    read: Callable[[Sums], Value]
    k: int = 0

    def accumulators(self) -> list[Accumulator]:
        """Return what must be summed for it."""
        return [top_k(self.k) if key not in ACCUMULATORS else ACCUMULATORS[key] for key in self.needs]


_SORTED: tuple[Task, ...] = ("classes", "binary", "labels")
_VALUES: tuple[Task, ...] = ("regression",)
_COUNTS = ("counts", "positions")


def _top(name: str, k: int) -> MetricFunction:
    key = f"top{k}"
    return MetricFunction(name, (key, "positions"), ("classes",), True, _mean_of(key), k)


METRICS: dict[str, MetricFunction] = {
    metric.name: metric
    for metric in (
        MetricFunction("accuracy", ("correct", "positions"), (*_SORTED, "ranking"), True, _mean_of("correct")),
        _top("top_k_accuracy", 5),
        MetricFunction(
            "precision", _COUNTS, _SORTED, True, _macro(lambda hits, guessed, actual: _divide(hits, guessed))
        ),
        MetricFunction("recall", _COUNTS, _SORTED, True, _macro(lambda hits, guessed, actual: _divide(hits, actual))),
        MetricFunction(
            "f1", _COUNTS, _SORTED, True, _macro(lambda hits, guessed, actual: _divide(2 * hits, guessed + actual))
        ),
        MetricFunction("mae", ("absolute", "positions"), _VALUES, False, _mean_of("absolute")),
        MetricFunction("rmse", ("squared", "positions"), _VALUES, False, _rmse),
        MetricFunction("r2", ("moments",), _VALUES, True, _r2),
        MetricFunction("perplexity", ("token_nll", "positions"), ("classes",), False, _perplexity),
        MetricFunction("confusion_matrix", ("confusion",), ("classes", "binary"), None, _confusion_matrix),
    )
}


def make_metrics(given: Sequence[Metric | str]) -> list[MetricFunction]:
    """Build metrics from names or recipe parts; `"top3_accuracy"` is `Metric("top_k_accuracy", k=3)` by another name.

    Raises:
        RecipeError: an unknown name or option, or two metrics of one name.
    """
    metrics = [_make(Metric(part) if isinstance(part, str) else part) for part in given]
    names = [metric.name for metric in metrics]
    for name in names:
        if names.count(name) > 1:
            fix = "name each by its k, such as top3_accuracy" if name == "top_k_accuracy" else "leave one out"
            raise RecipeError(where="metrics", got=f"{name} twice", want="each metric once", fix=fix)
    return metrics


def _make(part: Metric) -> MetricFunction:
    numbered = _TOP_K.fullmatch(part.name)
    if part.name not in METRICS and not numbered:
        raise unknown_name(RecipeError, "metrics", part.name, METRICS, "metric")
    allowed = ["k"] if part.name == "top_k_accuracy" else []
    where = f"metrics.{part.name}"
    for key in part.options:
        if key not in allowed and allowed:
            raise unknown_name(RecipeError, f"{where}.{key}", key, allowed, f"option of {part.name}")
        if key not in allowed:
            raise RecipeError(where=f"{where}.{key}", got=key, want="no options", fix=f"leave {key} out")
    if numbered:
        return _top(part.name, int(numbered[1]))
    if "k" not in part.options:
        return METRICS[part.name]
    k: Any = part.options["k"]
    if not isinstance(k, int) or isinstance(k, bool) or k < 1:
        raise RecipeError(where=f"{where}.k", got=k, want="a whole number >= 1", fix="set k, or leave it out for 5")
    return _top(part.name, k)


def fit_to_task(metric: MetricFunction, loss: LossFunction, task: Task) -> MetricFunction:
    """Return the metric if it fits what the loss learns.

    Raises:
        RecipeError: it does not.
    """
    fits = task in metric.tasks
    if loss.kind is not None and task == "labels" and loss.kind.threshold is None:
        fits = False  # the scores of multi_label_margin have an order but no threshold
    if metric.name == "perplexity" and loss.name not in ("cross_entropy", "nll", "nll2d"):
        fits = False
    if fits:
        return metric
    others = sorted(name for name, known in METRICS.items() if task in known.tasks and name != "perplexity")
    no_threshold = loss.kind is not None and loss.kind.threshold is None and task == "labels"
    fix = f"choose from {', '.join(others)}" if others and not no_threshold else "leave metrics empty"
    raise RecipeError(
        where="metrics",
        got=f"{metric.name} with the loss {loss.name}",
        want=f"a metric for {_DESCRIBED[task]}",
        fix=fix,
    )


_DESCRIBED: dict[Task, str] = {
    "classes": "one class per sample",
    "binary": "yes/no targets",
    "labels": "several labels per sample",
    "regression": "numbers",
    "ranking": "pairs in order",
    "other": "a loss whose targets danlu does not know",
}


def needs_of(metric: MetricFunction, loss: LossFunction) -> MetricFunction:
    """Return the metric with what the loss already sums left out: perplexity reads a plain token loss as it stands."""
    plain = loss.counts_positions and not loss.options.get("label_smoothing")
    if metric.name != "perplexity" or not plain:
        return metric
    read = metric.read
    return replace(metric, needs=("positions",), read=lambda sums: read({**sums, "token_nll": sums["loss"]}))


def higher_is_better(name: str) -> bool:
    """Say whether more is better, for `"accuracy"`, `"valid/loss"` and so on.

    Raises:
        RecipeError: an unknown name, or a metric without an order.
    """
    short = name.rsplit("/", 1)[-1]
    if short == "loss":
        return False
    if _TOP_K.fullmatch(short):
        return True
    if short not in METRICS:
        raise unknown_name(RecipeError, "monitor", short, [*METRICS, "loss"], "metric")
    higher = METRICS[short].higher
    if higher is None:
        raise RecipeError(where="monitor", got=short, want="a metric that is one number", fix="monitor valid/loss, say")
    return higher
