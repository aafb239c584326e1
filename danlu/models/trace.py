"""One forward of a model, watched: what each layer gave and cost, and where it failed."""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from danlu.errors import DanluError, ModelError
from danlu.models.macs import Inputs, macs_of, tensors

REASON_LENGTH = 200  # characters of PyTorch's own message that an error repeats


@final
@dataclass
class Seen:
    """What the calls of one layer showed: how many, the last output's shape (its first tensor's), all MACs."""

    calls: int = 0
    shape: tuple[int, ...] | None = None
    macs: int = 0


@final
@dataclass
class Trace:
    """The layers that were called, by module, and those that are running, outermost first."""

    seen: dict[nn.Module, Seen] = field(default_factory=dict)
    running: list[tuple[nn.Module, Inputs]] = field(default_factory=list)

    def enter(self, layer: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Note that a layer starts."""
        self.running.append((layer, (args, named)))

    def leave(self, layer: nn.Module, args: tuple[Any, ...], named: dict[str, Any], output: object) -> None:
        """Note that a layer ended. Those left above it failed, and it caught that."""
        while self.running and self.running.pop()[0] is not layer:
            pass
        seen = self.seen.setdefault(layer, Seen())
        seen.calls += 1
        seen.shape = next((tuple(tensor.shape) for tensor in tensors(output)), None)
        seen.macs += macs_of(layer, (args, named), output)


def trace(model: nn.Module, inputs: tuple[Any, ...], named_inputs: dict[str, Any]) -> Trace:
    """Call the model once and return what its layers did.

    Raises:
        ModelError: the model failed; names the layer, what it got and, where known, what it wants.
    """
    record = Trace()
    with _uncompiled(), _hooked(model, record):
        try:
            model(*inputs, **named_inputs)
        except (DanluError, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            raise _failure(model, record, error) from error
    return record


def _uncompiled() -> AbstractContextManager[object]:
    """Let a compiled model run as written, since a compiled graph calls no hooks; import nothing if none was."""
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()


@contextmanager
def _hooked(model: nn.Module, record: Trace) -> Iterator[None]:
    handles = []
    try:
        for layer in model.modules():
            handles.append(layer.register_forward_pre_hook(record.enter, with_kwargs=True))
            handles.append(layer.register_forward_hook(record.leave, with_kwargs=True))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _failure(model: nn.Module, record: Trace, error: Exception) -> ModelError:
    layer, inputs = record.running[-1] if record.running else (model, ((), {}))
    names = {module: name for name, module in model.named_modules()}
    name, kind = names.get(layer, ""), type(layer).__name__
    reason = " ".join(str(error).split())[:REASON_LENGTH]
    shapes = ", ".join(described(tensor) for tensor in tensors(inputs)) or "no tensors"
    return ModelError(
        where=f"layer {name} ({kind})" if name else f"the model's own forward ({kind})",
        got=f"{shapes}, and failed ({type(error).__name__}: {reason})",
        want=wanted(layer) or "inputs that it can compute with",
        fix="change this layer to fit what it gets, or change what comes before it",
    )


def described(tensor: Tensor) -> str:
    """Return dtype and shape, and the device where it is not the CPU: `float32 (4, 784)`."""
    place = "" if tensor.device.type == "cpu" else f" on {tensor.device}"
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}{place}"


def wanted(layer: nn.Module) -> str | None:
    """Return dtype and shape of the input that a layer takes, or None where that is not known."""
    if isinstance(layer, nn.Embedding):
        return f"int64 or int32 numbers in [0, {layer.num_embeddings})"
    for kind, sizes in _SIZES.items():
        if isinstance(layer, kind):
            weight = next(layer.parameters(), None)
            dtype = "" if weight is None else str(weight.dtype).removeprefix("torch.") + " "
            place = "" if weight is None or weight.device.type == "cpu" else f" on {weight.device}"
            return f"{dtype}({sizes(layer)}){place}"
    return None


def _convolution_sizes(layer: _ConvNd) -> str:
    axes = ", ".join("DHW"[-len(layer.kernel_size) :]) if len(layer.kernel_size) > 1 else "L"
    return f"B, {layer.in_channels}, {axes}"


_SIZES: dict[type[nn.Module], Callable[[Any], str]] = {
    nn.Linear: lambda layer: f"..., {layer.in_features}",
    _ConvNd: _convolution_sizes,
    _BatchNorm: lambda layer: f"B, {layer.num_features}, ...",
    nn.GroupNorm: lambda layer: f"B, {layer.num_channels}, ...",
    nn.LayerNorm: lambda layer: ", ".join(["...", *map(str, layer.normalized_shape)]),
    nn.RNNBase: lambda layer: f"B, T, {layer.input_size}" if layer.batch_first else f"T, B, {layer.input_size}",
    nn.RNNCellBase: lambda layer: f"B, {layer.input_size}",
    nn.MultiheadAttention: lambda layer: (
        f"B, T, {layer.embed_dim}" if layer.batch_first else f"T, B, {layer.embed_dim}"
    ),
}
