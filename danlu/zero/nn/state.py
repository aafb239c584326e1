"""A module's state: collected into a dict by path, loaded back, changed in type."""

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from danlu.zero.arguments import require
from danlu.zero.nn.parameter import Parameter
from danlu.zero.tensor import Tensor, wrap

if TYPE_CHECKING:
    from danlu.zero.nn.module import Module


class IncompatibleKeys(NamedTuple):
    """What `load_state_dict` did not find, and what it found and did not expect."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"_IncompatibleKeys(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"


class StateDict(OrderedDict[str, Tensor]):
    """Tensors by path; `_metadata` holds every module's version."""

    _metadata: dict[str, Any]


def places(module: "Module", prefix: str = "") -> dict[str, tuple["Module", str, str]]:
    """Return where every saved tensor stands: {path: (module, "_parameters" or "_buffers", name)}."""
    found = {}
    for path, owner in module.named_modules(None, "", remove_duplicate=False):
        for kind in ("_parameters", "_buffers"):
            for name, tensor in owner.__dict__[kind].items():
                if tensor is not None and name not in owner._non_persistent_buffers_set:
                    found[prefix + (f"{path}.{name}" if path else name)] = (owner, kind, name)
    return found


def collect(module: "Module", destination: Any, prefix: str, keep_vars: bool) -> StateDict:
    """Return all saved tensors by path, detached unless `keep_vars`."""
    collected: StateDict = destination
    if destination is None:
        collected = StateDict()
        collected._metadata = OrderedDict()
    for path, owner in module.named_modules(None, prefix[:-1], remove_duplicate=False):
        collected._metadata[path] = {"version": owner._version}
    for path, (owner, kind, name) in places(module, prefix).items():
        tensor = owner.__dict__[kind][name]
        collected[path] = tensor if keep_vars else tensor.detach()
    return collected


def load(module: "Module", given: Any, strict: bool, assign: bool) -> IncompatibleKeys:
    """Copy a state dict into a module; see `Module.load_state_dict`."""
    require(isinstance(given, dict), "a state dict is wanted", TypeError, state_dict=given)
    wanted = places(module)
    missing = [path for path in wanted if path not in given]
    unexpected = [path for path in given if path not in wanted]
    wrong = []
    for what, paths in (("Missing", missing), ("Unexpected", unexpected)):
        if strict and paths:
            listed = ", ".join(f'"{path}"' for path in paths)
            wrong.append(f"{what} key(s) in state_dict: {listed}. ")
    for path, (owner, kind, name) in wanted.items():
        if path in given:
            wrong += _put(owner, kind, name, given[path], path, assign)
    if wrong:
        listing = "\n\t".join(wrong)
        raise RuntimeError(f"Error(s) in loading state_dict for {type(module).__name__}:\n\t{listing}")
    return IncompatibleKeys(missing, unexpected)


def _put(owner: "Module", kind: str, name: str, value: Any, path: str, assign: bool) -> list[str]:
    """Set one tensor; return what is wrong with it."""
    known: Tensor = owner.__dict__[kind][name]
    if not isinstance(value, Tensor):
        return [f'expected a tensor for "{path}" from checkpoint but received {type(value)}']
    if value._array.shape != known._array.shape:
        text = f"size mismatch for {path}: copying a param with shape {value.shape} from checkpoint"
        return [f"{text}, the shape in current model is {known.shape}."]
    if not assign:
        np.copyto(known._array, value._array, casting="unsafe")
        known._version[0] += 1
    else:
        plain = kind == "_parameters" and not isinstance(value, Parameter)
        setattr(owner, name, Parameter(value, known.requires_grad) if plain else value)
    return []


def cast(module: "Module", kind: "np.dtype[Any]") -> None:
    """Change all floating-point parameters (with their gradients) and buffers of a tree to one type, in place."""
    for parameter in module.parameters():
        for tensor in (parameter, parameter.grad):
            if tensor is not None and tensor._array.dtype.kind == "f":
                tensor._array = tensor._array.astype(kind, copy=False)
    for owner in module.modules():
        for name, buffer in owner._buffers.items():
            if buffer is not None and buffer._array.dtype.kind == "f":
                setattr(owner, name, wrap(buffer._array.astype(kind, copy=False)))
