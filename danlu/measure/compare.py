"""Whether a candidate computes what plain eager PyTorch computes.

A sum in another order moves its last bits, and that may carry a value across the kink of a ReLU, or make another
entry the largest of a max-pooling window: then a gradient takes another path, and differs far more than rounding
does. So a comparison that finds too much is repeated with these functions replaced by smooth ones, in both.
"""

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from danlu.device import Plan
from danlu.measure.trial import one_update
from danlu.measure.untouched import State, copied
from danlu.train import Training
from danlu.train.captured import WARM_UPS
from danlu.train.learner import Array

TO_REPLAY = WARM_UPS + 3  # updates: the first makes what the optimizer remembers, and the last two are replayed
FLOOR = 1e-2  # a tensor with less than this share of the whole norm is measured against it: its own may be rounding
WRONG = 1e-2  # no single tensor may differ by more: what is reordered differs by less, what is wrong by more


RELUS = ("relu", "relu_", "relu6", "hardtanh", "leaky_relu", "prelu", "rrelu")
POOLS = {name: name.replace("max", "avg") for name in ("max_pool1d", "max_pool2d", "max_pool3d")}
ADAPTIVE_POOLS = {f"adaptive_{name}": f"adaptive_{other}" for name, other in POOLS.items()}


@dataclass(frozen=True)
class Outcome:
    """What the first updates of a run come to, without dropout.

    Fields:
        loss, gradients: of the first update.
        weights: after the last.
    """

    loss: Array
    gradients: dict[str, Array]
    weights: dict[str, Array]


def outcome(
    training: Training, plan: Plan, state: State, batches: list[Any], *, updates: int, smooth: bool = False
) -> Outcome:
    """Run the first updates of a training under a plan, from a state, and return what they come to.

    Args:
        training: prepared.
        plan: under which they run.
        state: from which they start.
        batches: the micro-batches of each of them.
        updates: how many.
        smooth: without kinks.
    """
    learner, gradients = training.learner, list[dict[str, Array]]()
    learner.load(*state)
    learner.use(plan)
    learner.after_backward = lambda: gradients.append(learner.gradients()) if not gradients else None
    try:
        with learner.session(), _without_dropout(training), Smooth() if smooth else contextlib.nullcontext():
            losses = [one_update(training, number, batches).loss for number in range(updates)]
            weights = copied(learner.state())[0]["model"]
    finally:
        learner.after_backward = None
    return Outcome(np.asarray(learner.array(losses[0])), gradients[0], weights)


def replayed(training: Training, plan: Plan, state: State, batches: list[Any], *, replay: bool) -> Outcome:
    """Run the first updates of a training under a plan that captures them, and return what they come to.

    They run as in training, dropout included.

    Args:
        training, plan, state, batches: as for `outcome`.
        replay: whether updates are replayed; else the same is computed without that.

    Raises:
        RuntimeError: they cannot be captured.
    """
    learner = training.learner
    learner.load(*state)
    learner.use(plan)
    learner.said.clear()
    learner.after_backward = None if replay else lambda: None
    try:
        with learner.session():
            losses = [one_update(training, number, batches).loss for number in range(TO_REPLAY)]
            weights = copied(learner.state())[0]["model"]
    finally:
        learner.after_backward = None
    if learner.said:
        raise RuntimeError(learner.said.pop().rpartition(": ")[2])
    return Outcome(np.asarray(learner.array(losses[-1])), {}, weights)


def same(one: Outcome, other: Outcome) -> bool:
    """Say whether two outcomes have the same bits."""
    pairs = [(one.gradients, other.gradients), (one.weights, other.weights), ({"": one.loss}, {"": other.loss})]
    return all(left.keys() == right.keys() for left, right in pairs) and all(
        left[name].tobytes() == right[name].tobytes() for left, right in pairs for name in left
    )


@dataclass(frozen=True)
class Difference:
    """How far two outcomes are apart, relative to the second.

    Fields:
        loss: of the losses.
        joint: the norm of what all gradients differ by together, over the norm of all gradients; likewise of weights.
        worst: of any single tensor, over its own norm, or over `FLOOR` of the joint norm where that is more.
    """

    loss: float
    joint: float
    worst: float

    @property
    def most(self) -> float:
        """The larger of what a tolerance is for: loss, and gradients together."""
        return float(np.max([self.loss, self.joint]))

    def within(self, tolerance: float) -> bool:
        """Say whether loss and gradients agree, and no single tensor is far off; NaN is not."""
        return self.most <= tolerance and self.worst <= (WRONG if tolerance else 0.0)


def difference(one: Outcome, other: Outcome, *, weights: bool) -> Difference:
    """Return how far two outcomes are apart; their weights count where it is asked for."""
    found = [_between(one.gradients, other.gradients)]
    found += [_between(one.weights, other.weights)] if weights else []
    joint, worst = (float(np.max(column)) for column in zip(*found, strict=True))
    return Difference(_between({"": one.loss}, {"": other.loss})[0], joint, worst)


def _between(one: Mapping[str, Array], other: Mapping[str, Array]) -> tuple[float, float]:
    if one.keys() != other.keys():
        return math.inf, math.inf
    norms = {name: _norm(array.astype(np.float64)) for name, array in other.items()}
    whole = math.hypot(*norms.values())
    apart = {
        name: 0.0 if array.tobytes() == other[name].tobytes() else _norm(array.astype(np.float64) - other[name])
        for name, array in one.items()
    }
    worst = [gap / (max(norms[name], FLOOR * whole) or 1.0) for name, gap in apart.items()]
    return math.hypot(*apart.values()) / (whole or 1.0), float(np.max([0.0, *worst]))


def _norm(array: Array) -> float:
    return float(np.linalg.norm(array.ravel()))


@contextlib.contextmanager
def _without_dropout(training: Training) -> Iterator[None]:
    """Hold dropout layers in evaluation mode: another order of numbers in memory draws another mask."""
    modules = training.learner.objects().values()
    dropouts = [one for one in modules if isinstance(one, nn.modules.dropout._DropoutNd) and one.training]
    for layer in dropouts:
        layer.training = False
    try:
        yield
    finally:
        for layer in dropouts:
            layer.training = True


class Smooth(TorchFunctionMode):
    """Replaces ReLU and its relatives by softplus, and the largest of a window by its mean."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call what stands in for a function, or the function itself."""
        name, given = getattr(func, "__name__", ""), kwargs or {}
        if name in RELUS:
            return F.softplus(args[0])
        if name in POOLS:
            wanted = {key: given[key] for key in ("stride", "padding", "ceil_mode") if key in given}
            return getattr(F, POOLS[name])(*args, **wanted)
        if name in ADAPTIVE_POOLS:
            return getattr(F, ADAPTIVE_POOLS[name])(args[0], args[1] if len(args) > 1 else given["output_size"])
        return func(*args, **given)
