"""How a plan is applied to what PyTorch trains: for a while, and everything is as it was given afterwards."""

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from danlu import device
from danlu.device import Plan
from danlu.optim import WAYS, compute_by, count_on_device, ways_of

if TYPE_CHECKING:
    from danlu.train.step import Parts


@contextlib.contextmanager
def as_planned(parts: "Parts", plan: Plan) -> Iterator[None]:
    """Hold the order of numbers in memory, and the way the optimizer computes, that a plan says.

    No parameter, buffer or optimizer becomes another object.
    """
    optimizer, modules = parts.optimizer, [parts.model] + ([] if parts.ema is None else [parts.ema.module])
    keys = (*WAYS, "capturable")
    given = [(group, {key: group[key] for key in keys if key in group}) for group in _groups(optimizer)]
    moves = plan.memory_format != "as given" and device.can_lie_otherwise(parts.model)
    try:
        if moves:
            _lay_out(optimizer, modules, plan.memory_format)
        if plan.optimizer in ways_of(optimizer):
            compute_by(optimizer, plan.optimizer)
        if plan.captured:
            count_on_device(optimizer)
        yield
    finally:
        for group, flags in given:
            group.update(flags)
        if moves:
            _lay_out(optimizer, modules, "as given")


def _groups(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    return [*optimizer.param_groups, optimizer.defaults]  # a group that is added later begins with the defaults


def _lay_out(optimizer: torch.optim.Optimizer, modules: list[nn.Module], memory_format: str) -> None:
    """Let modules lie as a plan says, and what the optimizer remembers of their parameters as these do."""
    for module in modules:
        device.lay_out(module, memory_format)
    for parameter, slots in optimizer.state.items():
        if isinstance(parameter, Tensor):
            slots.update({key: device.like(parameter, one) for key, one in slots.items() if isinstance(one, Tensor)})


def compiled(model: nn.Module) -> Callable[..., Any]:
    """Return a model's forward pass as `torch.compile` makes it; compiled where it is first called.

    Random numbers are drawn by PyTorch's own generator, and every shape of a batch is compiled for itself.
    """
    import torch._inductor.config as inductor

    inductor.fallback_random = True
    return torch.compile(model, dynamic=False)
