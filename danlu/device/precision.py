"""The precision of the forward pass, by PyTorch's own autocast."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from danlu.errors import RecipeError

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}

Context = Callable[[], contextlib.AbstractContextManager[Any]]


def autocast(device: torch.device, precision: str) -> Context | None:
    """Return a maker of autocast contexts, or None where nothing is cast.

    Raises:
        RecipeError: "fp16" off CUDA, where its gradients would underflow without a scaler.
    """
    if precision in ("float32", "tf32"):
        return None
    if precision == "fp16" and device.type != "cuda":
        want = "float32 or bf16, because fp16 needs a CUDA device"
        raise RecipeError(where="precision", got="fp16", want=want, fix="pass --set precision=bf16")
    dtype = DTYPES[precision]
    return lambda: torch.autocast(device.type, dtype=dtype)


def grad_scaler(device: torch.device, precision: str) -> torch.amp.GradScaler | None:
    """Return the loss scaler that fp16 needs, or None. Cost: one host sync per update when there is one."""
    return torch.amp.GradScaler(device.type) if precision == "fp16" else None


def has_units(device: torch.device, precision: str) -> bool:
    """Say whether a device has units for a reduced precision; without them it is slower, not faster.

    Args:
        device: where training runs.
        precision: "bf16" or "tf32".
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    return precision == "bf16" and ("avx512_bf16" in flags or "amx_bf16" in flags)
