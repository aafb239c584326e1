"""Which device trains."""

import torch

from danlu.errors import RecipeError


def choose(name: str) -> torch.device:
    """Return the device that a recipe names.

    Args:
        name: "auto" (the first CUDA device, else the CPU), or what `torch.device` takes: "cpu", "cuda:1", "mps".

    Raises:
        RecipeError: the name is no device, or this machine has no such device.
    """
    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise _no_device(name, "auto, cpu, cuda, cuda:1 or mps") from None
    if device.type == "cuda" and not 0 <= (device.index or 0) < torch.cuda.device_count():
        raise _no_device(name, f"a device of this machine, which has {torch.cuda.device_count()} CUDA devices")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise _no_device(name, "a device of this machine, which has no MPS")
    if device.type not in ("cpu", "cuda", "mps"):
        raise _no_device(name, "auto, cpu, cuda, cuda:1 or mps")
    return torch.device("cuda:0") if name == "cuda" else device


def _no_device(name: str, want: str) -> RecipeError:
    return RecipeError(where="device", got=name, want=want, fix="set device = 'auto', or pass --set device=cpu")
