"""A training batch of one sample: BatchNorm has no spread to divide by where a channel has one value in all."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from danlu.train.learner import Batch


def first_sample(batch: Batch) -> Batch:
    """Return the batch's first sample as a batch of one."""
    inputs, target = batch
    return _first(inputs), _first(target)


def _first(part: Any) -> Any:
    if isinstance(part, dict):
        return {name: tensor[:1] for name, tensor in part.items()}
    if isinstance(part, tuple):
        return tuple(tensor[:1] for tensor in part)
    return part[:1] if isinstance(part, Tensor) else part


def batch_norms(model: nn.Module) -> dict[str, nn.Module]:
    """Return the BatchNorm layers that are in training mode, by name."""
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, _BatchNorm) and layer.training}


@contextlib.contextmanager
def one_value_per_channel(layers: Mapping[str, nn.Module]) -> Iterator[list[str]]:
    """Collect the names of the layers that get an input with one value per channel."""
    found: list[str] = []

    def watch(name: str, layer: nn.Module) -> Any:
        def look(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            if inputs and inputs[0].numel() == inputs[0].size(1):
                found.append(name)

        return layer.register_forward_pre_hook(look)

    handles = [watch(name, layer) for name, layer in layers.items()]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
