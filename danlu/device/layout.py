"""The order in which a module's numbers lie in memory."""

import torch
from torch import Tensor, nn

FORMATS = {"as given": torch.contiguous_format, "channels_last": torch.channels_last}


def can_lie_otherwise(module: nn.Module) -> bool:
    """Say whether a module has pictures' kernels (4 dimensions), all of them in PyTorch's usual order."""
    kernels = [parameter for parameter in module.parameters() if parameter.ndim == 4]
    return bool(kernels) and all(kernel.is_contiguous() for kernel in kernels)


def lay_out(module: nn.Module, memory_format: str) -> None:
    """Let the 4-dimensional parameters and buffers of a module lie in memory as a plan says; in place, same objects."""
    module.to(memory_format=FORMATS[memory_format])  # type: ignore[call-overload]


def like(parameter: Tensor, tensor: Tensor) -> Tensor:
    """Return a tensor with a parameter's strides, where it has its shape: kernels read the two side by side."""
    if tensor.shape != parameter.shape or tensor.stride() == parameter.stride():
        return tensor
    return torch.empty_like(parameter, dtype=tensor.dtype, device=tensor.device, requires_grad=False).copy_(tensor)
