"""One update of PyTorch's learner in pieces, for measuring: how long each takes, and what it costs.

`TorchLearner.update` stays as it is; what is measured here is the same work without what only a run needs, and the
caller says how the sum of the pieces compares with the whole.
"""

import contextlib
from collections.abc import Callable, Sequence

import torch

from danlu import device
from danlu.optim import clip
from danlu.train import TorchLearner
from danlu.train.learner import Batch
from danlu.train.step import forward

Mark = Callable[[str], None]


def backward(learner: TorchLearner, batches: Sequence[Batch], mark: Mark | None = None) -> None:
    """Add the gradients of an update to what is there: forward and loss, backward, and the metrics' sums.

    Args:
        learner: whose model is run, in the mode that it is in; its own sums are left alone.
        batches: the update's micro-batches.
        mark: called with a piece's name when it is done.
    """
    parts, done = learner.parts, mark or (lambda name: None)
    cast = device.autocast(learner.device, learner.plan.precision) or contextlib.nullcontext
    sums = None if parts.step is not None else parts.objective.zeros(learner.device)
    for batch in batches:
        with cast():
            if parts.step is None:
                output = forward(parts.model, batch[0])
                loss = parts.objective.loss(output, batch[1])
            else:
                output, loss = None, parts.step(parts.model, batch)
                loss = torch.stack(list(loss.values())).sum() if isinstance(loss, dict) else loss
        done("forward")
        (loss if len(batches) == 1 else loss / len(batches)).backward()  # type: ignore[no-untyped-call]
        done("backward")
        if sums is not None:
            parts.objective.add(sums, loss, output, batch[1])
        done("metrics")


def update(learner: TorchLearner, batches: Sequence[Batch], mark: Mark) -> None:
    """Do an update, and say when each of its pieces is done: forward, backward, metrics, optimizer."""
    parts = learner.parts
    parts.optimizer.zero_grad()
    mark("optimizer")
    backward(learner, batches, mark)
    moved = [p for group in parts.optimizer.param_groups for p in group["params"] if p.grad is not None]
    if parts.clip_norm is not None or parts.clip_value is not None:
        clip(moved, norm=parts.clip_norm, value=parts.clip_value)
    parts.optimizer.step()
    if parts.ema is not None:
        parts.ema.update(parts.model)
    mark("optimizer")
