"""An optimizer's state by parameter name, apart into tensors and plain values, and back."""

from collections.abc import Mapping, Set
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from danlu.errors import RunError, TrainingError
from danlu.optim.names import named_parameters
from danlu.optim.plain import decode, encode

Values = dict[str, Any]

_MEMBERS = ("params", "names", "param_names")
_EXECUTION = ("fused", "foreach", "capturable")  # how an update is computed: the plan's choice, not part of the state


def export_state(optimizer: Optimizer, model: nn.Module) -> tuple[dict[str, Tensor], Values]:
    """Return everything the optimizer remembers, keyed by parameter name.

    Returns:
        tensors: "<parameter name>/<slot>" to the tensor itself, detached, not copied.
        values: plain values for JSON: "groups" (each with its parameters' "names" and its "options"), "slots"
            (name, then slot, to what is not a tensor), "shared" (state that belongs to no parameter), "tensors" (the
            keys of `tensors`) and "places" (for parameters on an accelerator: whether a tensor lies on the "cpu" or
            beside its "parameter"). Floats that are not finite stay floats.

    Raises:
        TrainingError: a slot that is neither a tensor nor plain, by parameter and slot.

    Cost:
        no copy; a learning rate that is a tensor on a device is read, which syncs.
    """
    names = {id(entry.parameter): entry.name for entry in named_parameters(model)}
    tensors: dict[str, Tensor] = {}
    places: dict[str, str] = {}
    slots: dict[str, Values] = {}
    shared: Values = {}
    everything: dict[Any, Any] = optimizer.state  # some optimizers keep state that belongs to no parameter there
    for owner, state in everything.items():
        if not isinstance(owner, Tensor):
            shared[owner] = _plain(state, _slot(type(optimizer).__name__, owner))
            continue
        name = _name_of(owner, names)
        for slot, leaf in state.items():
            where = _slot(name, slot)
            if not isinstance(leaf, Tensor) or leaf.layout != torch.strided:
                slots.setdefault(name, {})[slot] = _plain(leaf, where)
                continue
            tensors[where] = leaf.detach()
            if owner.device.type != "cpu":
                places[where] = "cpu" if leaf.device.type == "cpu" else "parameter"
    groups = [_export_group(group, names) for group in optimizer.param_groups]
    return tensors, {"groups": groups, "slots": slots, "shared": shared, "tensors": sorted(tensors), "places": places}


def import_state(
    optimizer: Optimizer, model: nn.Module, tensors: Mapping[str, Tensor], values: Mapping[str, Any]
) -> None:
    """Replace all that the optimizer remembers by what `export_state` gave.

    Parameters and groups are found by name. A group of parameters that this optimizer does not have yet, because it
    was added in mid-run, is added again. How updates are computed (`fused`, `foreach`, `capturable`) stays as it is.

    Args:
        optimizer: changed in place, and only once everything fits.
        model: holds the optimizer's parameters.
        tensors: copied into fresh tensors of the saved dtype; one that is shaped like its parameter gets that
            parameter's strides and device.
        values: see `export_state`.

    Raises:
        RunError: names or tensors are missing or foreign, or the groups are divided otherwise.
    """
    parameters = {entry.name: entry.parameter for entry in named_parameters(model)}
    _check_tensors(tensors, values, parameters)
    current = {_members(group, parameters): group for group in optimizer.param_groups}
    saved = {frozenset(group["names"]): group for group in values["groups"]}
    _check_groups(current.keys(), saved.keys(), parameters)
    for members, group in saved.items():
        if members in current:
            _import_options(current[members], group["options"])
        else:
            added = {"params": [parameters[name] for name in group["names"]], "names": group["names"]}
            optimizer.add_param_group({**added, **{key: decode(v) for key, v in group["options"].items()}})
    _replace_state(optimizer, parameters, tensors, values)


def _name_of(parameter: Tensor, names: Mapping[int, str]) -> str:
    if id(parameter) in names:
        return names[id(parameter)]
    got = f"a parameter of shape {tuple(parameter.shape)} that the model does not have"
    fix = "build the optimizer from this model's parameters, after all layers are in place"
    raise TrainingError(where="optimizer state", got=got, want="parameters of the model", fix=fix)


def _slot(name: str, slot: object) -> str:
    """Return the key of one slot; the name of a slot must be text that can be told from the parameter's."""
    if isinstance(slot, str) and "/" not in slot:
        return f"{name}/{slot}"
    raise TrainingError(where=f"{name}/{slot}", got=repr(slot), want="a slot named by text without /", fix="rename it")


def _plain(leaf: object, where: str) -> Any:
    try:
        if isinstance(leaf, Tensor):
            raise TypeError(f"a tensor of layout {leaf.layout}")
        return encode(leaf)
    except TypeError as error:
        fix = "keep tensors, numbers, text, lists or dicts there"
        want = "a dense tensor or a plain value, which can be saved"
        raise TrainingError(where=f"optimizer state {where}", got=str(error), want=want, fix=fix) from None


def _export_group(group: Mapping[str, Any], names: Mapping[int, str]) -> Values:
    members = [_name_of(parameter, names) for parameter in group["params"]]
    options = {key: value for key, value in group.items() if key not in _MEMBERS and key not in _EXECUTION}
    return {"names": members, "options": {key: _plain_option(key, value) for key, value in options.items()}}


def _plain_option(key: str, value: object) -> Any:
    return _plain(value.item() if isinstance(value, Tensor) and value.numel() == 1 else value, f"group option {key}")


def _members(group: Mapping[str, Any], parameters: Mapping[str, nn.Parameter]) -> frozenset[str]:
    names = {id(parameter): name for name, parameter in parameters.items()}
    return frozenset(_name_of(parameter, names) for parameter in group["params"])


def _check_tensors(
    tensors: Mapping[str, Tensor], values: Mapping[str, Any], parameters: Mapping[str, nn.Parameter]
) -> None:
    """Refuse tensors that are not those written down, and state of parameters that the model does not have."""
    differ = sorted(tensors.keys() ^ set(values["tensors"]))
    if differ:
        raise _mismatch(f"missing or foreign tensors {', '.join(differ[:5])}", "the tensors that were saved")
    owners = {key.rpartition("/")[0] for key in tensors} | set(values["slots"])
    foreign = sorted(owners - parameters.keys())
    if foreign:
        raise _mismatch(f"state of {', '.join(foreign[:5])}", "parameters that this model has")


def _check_groups(
    current: Set[frozenset[str]], saved: Set[frozenset[str]], parameters: Mapping[str, nn.Parameter]
) -> None:
    """Refuse groups that do not fit: every group of the optimizer was saved, and every other saved one is all new."""
    ours, theirs = frozenset().union(*current), frozenset().union(*saved)
    foreign, missing = sorted(theirs - parameters.keys()), sorted(ours - theirs)
    if foreign:
        raise _mismatch(f"foreign parameters {', '.join(foreign[:5])}", "parameters that this model has")
    if missing:
        raise _mismatch(f"no state for {', '.join(missing[:5])}", "every parameter that this optimizer trains")
    for group in saved - current:
        if group & ours:
            got = f"a group of {', '.join(sorted(group)[:5])}, divided otherwise here"
            raise _mismatch(got, "the same parameter groups")


def _mismatch(got: str, want: str) -> RunError:
    return RunError(where="optimizer state", got=got, want=want, fix="resume with the model and recipe that were saved")


def _import_options(group: Values, options: Mapping[str, Any]) -> None:
    """Set a group's hyper-parameters; one that is a tensor is filled, because a captured update reads it in place."""
    for key, value in options.items():
        if isinstance(group.get(key), Tensor):
            group[key].fill_(value)
        else:
            group[key] = decode(value)


def _replace_state(
    optimizer: Optimizer,
    parameters: Mapping[str, nn.Parameter],
    tensors: Mapping[str, Tensor],
    values: Mapping[str, Any],
) -> None:
    """Drop all that the optimizer remembers and fill it anew."""
    optimizer.state.clear()
    for key, value in values["shared"].items():
        optimizer.state[key] = decode(value)
    for name, plain in values["slots"].items():
        optimizer.state[parameters[name]].update({slot: decode(value) for slot, value in plain.items()})
    counted = _counted_on_device(optimizer)
    for key, tensor in tensors.items():
        name, _, slot = key.rpartition("/")
        parameter = parameters[name]
        place = values["places"].get(key, "cpu" if slot == "step" else "parameter")
        on_cpu = place == "cpu" and id(parameter) not in counted
        optimizer.state[parameter][slot] = _placed(tensor, parameter, on_cpu)


def _counted_on_device(optimizer: Optimizer) -> set[int]:
    """Return the ids of the parameters whose update kernel reads the step count on the parameter's own device."""
    groups = [group for group in optimizer.param_groups if group.get("fused") or group.get("capturable")]
    return {id(parameter) for group in groups for parameter in group["params"]}


def _placed(saved: Tensor, parameter: Tensor, on_cpu: bool) -> Tensor:
    """Return a fresh copy; fused kernels read state and parameter side by side, so the strides must be the same."""
    device = torch.device("cpu") if on_cpu else parameter.device
    if saved.shape == parameter.shape:
        fresh = torch.empty_like(parameter, dtype=saved.dtype, device=device, requires_grad=False)
    else:
        fresh = torch.empty(saved.shape, dtype=saved.dtype, device=device)
    return fresh.copy_(saved)
