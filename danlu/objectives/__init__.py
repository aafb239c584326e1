"""What is minimised and measured: losses, predictions, and metrics as sums that stay on the device.

It must never know where a batch came from, what updates the weights, or what is done with the numbers.
"""

from danlu.objectives.check import check
from danlu.objectives.known import settle_targets
from danlu.objectives.losses import LOSSES, LossFunction, make_loss
from danlu.objectives.metrics import METRICS, MetricFunction, higher_is_better
from danlu.objectives.objective import Objective, make_objective

__all__ = [
    "LOSSES",
    "METRICS",
    "LossFunction",
    "MetricFunction",
    "Objective",
    "check",
    "higher_is_better",
    "make_loss",
    "make_objective",
    "settle_targets",
]
