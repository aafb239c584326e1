"""How much of what the machine can do a finished run made use of."""

from typing import Any

from danlu.data import Loader
from danlu.device import limits
from danlu.measure.cost import Cost, cost
from danlu.train import Training

READINGS = 3  # of the machine


def share_of_limit(training: Training, samples: int, seconds: float) -> dict[str, Any]:
    """Return what summary.json says of the limit, by name.

    Args:
        training: which has ended; model, sums and generators stay as they are.
        samples: that it trained on.
        seconds: that it trained for, without its evaluations.

    Returns:
        "percent_of_limit", the time that products or memory need at least, whichever is longer, in percent of the time
        that was taken; None where the cost of an update cannot be counted. And "limit", the figures it comes from, or
        under "not_countable" the reason. Above 100 the machine was measured at less than its best.

    Cost: one or two updates without the optimizer's step, and about 0.5 s.
    """
    if isinstance(training.data.train, Loader):
        return _uncounted("a DataLoader's batches are served in turn, and one more would move it")
    with training.learner.session():
        spent = cost(training)
        if spent.why:
            return _uncounted(spent.why)
        best = limits(training.plan.device, training.plan.precision, READINGS)
    update_s, (floor_s, series_s) = seconds * spent.samples / samples, spent.floor_s(best)
    figures = {"update_s": update_s, "floor_s": floor_s, "series_s": series_s}
    return {
        "percent_of_limit": 100 * floor_s / update_s,
        "limit": {**figures, **_counts(spent), **best.figures(), "measured": "after the run"},
    }


def _counts(spent: Cost) -> dict[str, int]:
    return {"update_flops": spent.flops, "update_bytes": spent.bytes, "update_samples": spent.samples}


def _uncounted(why: str) -> dict[str, Any]:
    return {"percent_of_limit": None, "limit": {"not_countable": why}}
