"""An optimizer whose whole update lies on a CUDA device, so that it can be recorded and replayed.

What the host would do in it otherwise is count updates (`capturable` counts on the device) and pass the learning rate
on: that has to be a tensor, which is filled before each replay. The fused kernels of CUDA read a float32 from it, the
others take either, and SGD without `fused` would wait for its value.

Source: torch/optim/{sgd,adam,...}.py of 2.13; ATen/native/cuda/{FusedSgdKernel,fused_adam_impl}.cu.
"""

import contextlib
from collections.abc import Iterator
from typing import final

import torch
from torch import Tensor
from torch.optim import Optimizer

from danlu.optim.kernels import ways_of


def not_capturable(optimizer: Optimizer) -> str:
    """Return why an optimizer's update cannot be recorded, or ""."""
    kind = type(optimizer).__name__
    if type(optimizer).__module__.partition(".")[0] != "torch":
        return f"{kind} is not PyTorch's"
    if optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks:
        return "the optimizer has hooks of its own"
    groups = optimizer.param_groups
    if any(isinstance(value, Tensor) for group in groups for value in group.values()):
        return "an option of the optimizer is a tensor"
    if any(group.get("differentiable") for group in groups):
        return "the optimizer is differentiable"
    if all("capturable" in group for group in groups):
        return ""
    if not isinstance(optimizer, torch.optim.SGD):
        return f"{kind} waits for the host in every update"
    fused = all(group["fused"] for group in groups) or "fused" in ways_of(optimizer)
    return "" if fused else "SGD waits for the host in every update, unless it is fused"


def way_to_capture(optimizer: Optimizer) -> dict[str, str]:
    """Return what a plan has to say of how an optimizer computes, for its update to be recorded."""
    chosen = isinstance(optimizer, torch.optim.SGD) and "fused" in ways_of(optimizer)
    return {"optimizer": "fused"} if chosen else {}


def count_on_device(optimizer: Optimizer) -> None:
    """Let an optimizer count its updates beside the parameters, from here on."""
    for group in [*optimizer.param_groups, optimizer.defaults]:  # a group that is added later begins with these
        if "capturable" in group:
            group["capturable"] = True
    for parameter, slots in optimizer.state.items():
        if isinstance(parameter, Tensor):
            numbers = {key: one for key, one in slots.items() if isinstance(one, Tensor) and one.ndim == 0}
            slots.update({key: one.to(parameter.device) for key, one in numbers.items()})


@final
class Rates:
    """The learning rates of an optimizer as tensors; outside an update its groups hold the plain numbers."""

    def __init__(self, optimizer: Optimizer, device: torch.device) -> None:
        self._groups, self._device = optimizer.param_groups, device
        self._tensors: list[Tensor] = []
        self._filled: list[float] = []

    def fill(self) -> None:
        """Take over the rates as they are now. Cost: a small kernel for each that has changed; no sync."""
        rates = [group["lr"] for group in self._groups]
        while len(self._tensors) < len(rates):
            self._tensors.append(torch.zeros((), dtype=torch.float32, device=self._device))
            self._filled.append(0.0)
        for index, (tensor, rate) in enumerate(zip(self._tensors, rates, strict=True)):
            if rate != self._filled[index]:
                tensor.fill_(rate)
                self._filled[index] = rate

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Let the optimizer compute by the tensors."""
        rates = [group["lr"] for group in self._groups]
        try:
            for group, tensor in zip(self._groups, self._tensors, strict=True):
                group["lr"] = tensor
            yield
        finally:
            for group, rate in zip(self._groups, rates, strict=True):
                group["lr"] = rate
