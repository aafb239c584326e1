"""A PyTorch learner's state as arrays and JSON values, by name, and back by copying.

Files: "model" is the `state_dict` that anybody can load; "buffers" what PyTorch leaves out of it; "ema" the average;
"optimizer" its state by parameter name. Tied tensors are stored once.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from danlu.errors import ModelError
from danlu.optim import export_state, import_state
from danlu.train.learner import Array, Tensors

if TYPE_CHECKING:
    from danlu.train.step import Parts

Arrays = dict[str, Array]


def as_array(tensor: Tensor) -> Array:
    """Return a tensor as an array on the host; what NumPy has no type for (bfloat16, float8) widens to float32."""
    tensor = tensor.detach().cpu()
    return (tensor.float() if _widens(tensor) else tensor).numpy()  # exact: every such value is a float32


def _widens(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.dtype not in (torch.float16, torch.float32, torch.float64)


def export_parts(parts: "Parts") -> tuple[Tensors, dict[str, Any]]:
    """Return arrays by file and name, and JSON values. The arrays may share memory with the live tensors."""
    weights, ties = _export_module(parts.model)
    optimizer, groups = export_state(parts.optimizer, parts.model)
    widened = {name: str(t.dtype).removeprefix("torch.") for name, t in optimizer.items() if _widens(t)}
    kept = set(parts.model.state_dict())
    tensors: Tensors = {
        "model": weights,
        "buffers": {name: as_array(b) for name, b in parts.model.named_buffers() if name not in kept},
        "ema": _export_module(parts.ema.module)[0] if parts.ema is not None else {},
        "optimizer": {name: as_array(tensor) for name, tensor in optimizer.items()},
    }
    values = {
        "ties": ties,
        "frozen": [name for name, p in parts.model.named_parameters() if not p.requires_grad],
        "optimizer": groups,
        "widened": widened,
        "schedule": parts.schedule.state_dict() if parts.schedule is not None else None,
        "scaler": parts.scaler.state_dict() if parts.scaler is not None else None,
        "ema_updates": parts.ema.updates_done if parts.ema is not None else None,
    }
    return tensors, values


def import_parts(parts: "Parts", tensors: Tensors, values: dict[str, Any]) -> None:
    """Copy arrays and values into live parts made by the same recipe."""
    load_module(parts.model, tensors["model"])
    buffers = dict(parts.model.named_buffers())
    for name, array in tensors.get("buffers", {}).items():
        buffers[name].copy_(torch.from_numpy(array))
    for name, parameter in parts.model.named_parameters():
        parameter.requires_grad_(name not in values["frozen"])
    slots = _as_tensors(tensors.get("optimizer", {}))
    slots |= {name: slots[name].to(getattr(torch, dtype)) for name, dtype in values["widened"].items()}
    import_state(parts.optimizer, parts.model, slots, values["optimizer"])
    if parts.schedule is not None:
        parts.schedule.load_state_dict(values["schedule"])
    if parts.scaler is not None:
        parts.scaler.load_state_dict(values["scaler"])
    if parts.ema is not None:
        load_module(parts.ema.module, tensors["ema"])
        parts.ema.updates_done = values["ema_updates"]


def load_module(module: nn.Module, arrays: Arrays) -> None:
    """Copy arrays into a module by name; every name must be there, in its shape, tied tensors under one name.

    Raises:
        ModelError: names are missing, foreign, or of another shape.
    """
    live = module.state_dict(keep_vars=True)
    first = _first_names(live)
    missing = sorted({first[name] for name in live} - set(arrays))
    foreign = sorted(set(arrays) - set(live))
    misshapen = sorted(n for n in arrays if n in live and tuple(live[n].shape) != arrays[n].shape)
    if missing or foreign or misshapen:
        got = f"missing {missing[:3]}, foreign {foreign[:3]}, of another shape {misshapen[:3]}"
        raise ModelError(where="weights", got=got, want="this model's own names and shapes", fix="build the same model")
    with torch.no_grad():
        for name, array in arrays.items():
            live[name].copy_(torch.from_numpy(array))


def _export_module(module: nn.Module) -> tuple[Arrays, dict[str, str]]:
    live = module.state_dict(keep_vars=True)
    first = _first_names(live)
    arrays = {name: as_array(tensor) for name, tensor in live.items() if first[name] == name}
    return arrays, {name: kept for name, kept in first.items() if kept != name}


def _first_names(tensors: dict[str, Tensor]) -> dict[str, str]:
    """Return, for every name, the first name under which the same tensor is stored."""
    seen: dict[int, str] = {}
    return {name: seen.setdefault(id(tensor), name) for name, tensor in tensors.items()}


def _as_tensors(arrays: Arrays) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}
