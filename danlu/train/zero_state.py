"""The state of a danlu.zero learner as arrays and JSON values, by name, and its averaged weights.

The files are those of the PyTorch engine: "model" is a `state_dict` that either framework loads.
"""

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, final

import numpy as np

from danlu.errors import ModelError, TrainingError
from danlu.optim.plain import decode, encode
from danlu.train.learner import Array, Tensors

if TYPE_CHECKING:
    from danlu.train.zero_learner import ZeroParts

Arrays = dict[str, Array]


def export_parts(parts: "ZeroParts") -> tuple[Tensors, dict[str, Any]]:
    """Return arrays by file and name, and JSON values. The arrays share memory with the live ones."""
    named = dict(parts.model.named_parameters())
    state = {name: parts.optimizer.state.get(parameter, {}) for name, parameter in named.items()}
    arrays, plain = _apart(state)
    tensors: Tensors = {
        "model": arrays_of(parts.model),
        "buffers": {},
        "ema": {} if parts.ema is None else arrays_of(parts.ema.module),
        "optimizer": arrays,
    }
    values = {
        "frozen": [name for name, parameter in named.items() if not parameter.requires_grad],
        "optimizer": {"slots": plain, "groups": [_group(group) for group in parts.optimizer.param_groups]},
        "schedule": None if parts.schedule is None else parts.schedule.state_dict(),
        "ema_updates": None if parts.ema is None else parts.ema.updates_done,
    }
    return tensors, values


def _apart(state: Mapping[str, Mapping[str, Any]]) -> tuple[Arrays, dict[str, dict[str, Any]]]:
    """Part what the optimizer remembers into arrays, by "<parameter>/<slot>", and plain values."""
    arrays: Arrays = {}
    plain: dict[str, dict[str, Any]] = {}
    for name, slots in state.items():
        for slot, value in slots.items():
            array = value if isinstance(value, np.ndarray) else getattr(value, "_array", None)
            if array is not None:
                arrays[f"{name}/{slot}"] = array
            else:
                plain.setdefault(name, {})[slot] = _encoded(value, f"{name}/{slot}")
    return arrays, plain


def _group(group: Mapping[str, Any]) -> dict[str, Any]:
    options = {key: value for key, value in group.items() if key not in ("params", "names", "param_names")}
    return {"names": group.get("names", []), "options": _encoded(options, "optimizer.param_groups")}


def _encoded(value: object, where: str) -> Any:
    try:
        return encode(value)
    except TypeError as error:
        fix = "keep numbers, text, lists or dicts there"
        raise TrainingError(where=where, got=str(error), want="plain values to save", fix=fix) from None


def import_parts(parts: "ZeroParts", tensors: Tensors, values: dict[str, Any]) -> None:
    """Copy arrays and values into live parts made by the same recipe."""
    load_module(parts.model, tensors["model"])
    named = dict(parts.model.named_parameters())
    for name, parameter in named.items():
        parameter.requires_grad_(name not in values["frozen"])
    _import_optimizer(parts, named, tensors.get("optimizer", {}), values["optimizer"])
    if parts.schedule is not None:
        parts.schedule.load_state_dict(values["schedule"])
    if parts.ema is not None:
        load_module(parts.ema.module, tensors["ema"])
        parts.ema.updates_done = values["ema_updates"]


def _import_optimizer(parts: "ZeroParts", named: Mapping[str, Any], arrays: Arrays, values: Mapping[str, Any]) -> None:
    """Give the optimizer its memory back, as the kind of value that it keeps."""
    from danlu import zero

    optimizer = parts.optimizer
    optimizer.state.clear()
    for name, slots in values["slots"].items():
        for slot, value in slots.items():
            optimizer.state.setdefault(named[name], {})[slot] = decode(value)
    for key, array in arrays.items():
        name, _, slot = key.rpartition("/")
        optimizer.state.setdefault(named[name], {})[slot] = zero.tensor(array)
    for group, saved in zip(optimizer.param_groups, values["groups"], strict=True):
        group.update(decode(saved["options"]))


def arrays_of(module: Any) -> Arrays:
    """Return a module's state as arrays that share its memory, tied tensors under every name they have."""
    return {name: tensor.detach().numpy() for name, tensor in module.state_dict().items()}


def load_module(module: Any, arrays: Mapping[str, Array]) -> None:
    """Copy arrays into a module by name; every name must be there, in its shape.

    Raises:
        ModelError: names are missing, foreign, or of another shape.
    """
    live = arrays_of(module)
    missing, foreign = sorted(live.keys() - arrays.keys()), sorted(arrays.keys() - live.keys())
    misshapen = sorted(name for name in arrays if name in live and live[name].shape != arrays[name].shape)
    if missing or foreign or misshapen:
        got = f"missing {missing[:3]}, foreign {foreign[:3]}, of another shape {misshapen[:3]}"
        raise ModelError(where="weights", got=got, want="this model's own names and shapes", fix="build the same model")
    copied_into(module, arrays)


def copied_into(module: Any, arrays: Mapping[str, Array]) -> None:
    """Copy arrays into a module's own, which stay where they are."""
    for name, array in arrays_of(module).items():
        np.copyto(array, arrays[name])


@final
class Average:
    """An averaged copy of a model, for evaluation: after update 1 the model itself, then decay a + (1 - decay) w.

    Buffers are copied, as in the PyTorch engine's `Ema`.
    """

    def __init__(self, model: Any, decay: float) -> None:
        self.decay, self.updates_done = decay, 0
        self.module = copy.deepcopy(model).requires_grad_(False)

    def update(self, model: Any) -> None:
        """Take the model's present parameters into the average."""
        ours, theirs = arrays_of(self.module), arrays_of(model)
        parameters = {name for name, _ in model.named_parameters()}
        for name, array in ours.items():
            if self.updates_done and name in parameters:
                array += (theirs[name] - array) * array.dtype.type(1 - self.decay)
            else:
                np.copyto(array, theirs[name])
        self.updates_done += 1
