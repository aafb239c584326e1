"""Run a model for a look at it, and leave no trace."""

import random
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from torch import Tensor, nn


@contextmanager
def unchanged(model: nn.Module, inputs: Iterable[Tensor]) -> Iterator[None]:
    """Enter evaluation mode without gradients; on leaving, put modes, buffers and generators back, bit for bit.

    The modes are set module by module, past any `train` or `eval` of the model's own. Generators are those of Python,
    NumPy, the CPU and every device that holds a tensor of the model or an input. Attributes that are not buffers, and
    parameters that a `forward` writes to, stay as it leaves them.

    Cost: a copy of every buffer, and a sync to compare them.
    """
    modes = [(module, module.training) for module in model.modules()]
    buffers = [(module, dict(module._buffers)) for module in model.modules()]
    values = [(buffer, buffer.clone()) for buffer in model.buffers()]
    held = [*model.parameters(), *model.buffers(), *inputs]
    python, numpy, fast_path = random.getstate(), np.random.get_state(), torch.backends.mha.get_fastpath_enabled()
    with ExitStack() as stack:
        for kind, indices in _accelerators(held).items():
            stack.enter_context(torch.random.fork_rng(indices, device_type=kind))
        stack.enter_context(torch.random.fork_rng([]))
        stack.enter_context(torch.no_grad())
        try:
            for module, _ in modes:
                module.training = False
            torch.backends.mha.set_fastpath_enabled(False)  # it would pass over the layers inside an encoder layer
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fast_path)
            for module, training in modes:
                module.training = training
            _put_back(buffers, values)
            random.setstate(python)
            np.random.set_state(numpy)


def _accelerators(held: Iterable[Tensor]) -> dict[str, list[int]]:
    indices: dict[str, set[int]] = {}
    for tensor in held:
        if tensor.device.type not in ("cpu", "meta"):
            indices.setdefault(tensor.device.type, set()).add(tensor.device.index or 0)
    return {kind: sorted(found) for kind, found in indices.items()}


def _put_back(buffers: list[tuple[nn.Module, dict[str, Tensor | None]]], values: list[tuple[Tensor, Tensor]]) -> None:
    """Put the same tensors back under their names, and their values where those changed."""
    for module, named in buffers:
        module._buffers.clear()
        module._buffers.update(named)
    for buffer, value in values:
        if not buffer.is_meta and not torch.equal(buffer, value):  # a write would disturb a backward in progress
            buffer.copy_(value)
