"""Parameter groups: which parameters share which options."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from danlu.errors import ModelError, RecipeError
from danlu.optim.names import Named, matches, named_parameters, require_match
from danlu.recipe import Optim

Group = dict[str, Any]
_NORMS: tuple[type[nn.Module], ...] = (
    nn.modules.batchnorm._NormBase,  # BatchNorm, SyncBatchNorm and InstanceNorm, in every dimension
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
)
_NORM_TITLES = ("*Norm", "*Norm[123]d")  # a model's own layers: LlamaRMSNorm, LayerNorm2d


def param_groups(spec: Optim, model: nn.Module) -> list[Group]:
    """Share the trainable parameters of `model` out over groups, each parameter once.

    The order is: the parameters that no table of `groups` names, then each table's; within each of these first the
    parameters that decay, then those of `no_decay`. A group without parameters is left out. A pattern matches a
    parameter's qualified name or the path of a module around it. `no_decay` prevails over a table's `weight_decay`.

    Returns:
        dicts for PyTorch's optimizers: "params", "names" (the qualified names) and the options that differ.

    Raises:
        ModelError: nothing can be trained.
        RecipeError: a pattern matches nothing, or a table has no `names`.
    """
    every = named_parameters(model)
    trainable = trainable_parameters(model)
    tables = [_patterns(index, table) for index, table in enumerate(spec.groups)]
    for where, patterns in [*tables, ("optim.no_decay", [p for p in spec.no_decay if p not in ("bias", "norm")])]:
        for pattern in patterns:
            require_match(where, pattern, every)
    shared: dict[tuple[int, bool], list[Named]] = {}
    for entry in trainable:
        table = next((i for i, (_, patterns) in enumerate(tables) if _any(entry, patterns)), -1)
        shared.setdefault((table, _without_decay(entry, spec.no_decay)), []).append(entry)
    _refuse_shadowed(tables, {table for table, _ in shared}, trainable)
    return [_group(spec.groups[key[0]] if key[0] >= 0 else {}, key[1], shared[key]) for key in sorted(shared)]


def trainable_parameters(model: nn.Module) -> list[Named]:
    """Return the parameters of `model` that require a gradient; raise `ModelError` where there is none."""
    every = named_parameters(model)
    trainable = [entry for entry in every if entry.parameter.requires_grad]
    if not trainable:
        got = f"{len(every)} parameters, all of them frozen" if every else "a model without parameters"
        fix = "freeze fewer of them" if every else "give the model a layer with weights"
        raise ModelError(where="model", got=got, want="at least one parameter that can be trained", fix=fix)
    return trainable


def _patterns(index: int, table: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Return the place and the patterns of one table of `groups`."""
    where = f"optim.groups[{index}].names"
    names = table.get("names")
    if isinstance(names, (list, tuple)) and names and all(isinstance(name, str) for name in names):
        return where, list(names)
    got = "nothing" if names is None else repr(names)
    raise RecipeError(where=where, got=got, want="a list of name patterns", fix='write names = ["features.*"]')


def _any(entry: Named, patterns: list[str]) -> bool:
    return any(matches(entry, pattern) for pattern in patterns)


def _without_decay(entry: Named, no_decay: list[str]) -> bool:
    """Whether one of `no_decay`, its two words included, holds for the parameter."""
    if "bias" in no_decay and any(name.rpartition(".")[2] == "bias" for name in entry.names):
        return True
    if "norm" in no_decay and any(_is_norm(owner) for owner in entry.owners):
        return True
    return _any(entry, [pattern for pattern in no_decay if pattern not in ("bias", "norm")])


def _is_norm(module: nn.Module) -> bool:
    titles = [cls.__name__ for cls in type(module).__mro__]
    return isinstance(module, _NORMS) or any(fnmatchcase(title, own) for title in titles for own in _NORM_TITLES)


def _refuse_shadowed(tables: list[tuple[str, list[str]]], used: set[int], trainable: list[Named]) -> None:
    """Refuse a table whose every trainable parameter an earlier table has taken."""
    for index, (where, patterns) in enumerate(tables):
        if index not in used and any(_any(entry, patterns) for entry in trainable):
            want = "a pattern that matches a parameter which no earlier table takes"
            raise RecipeError(where=where, got=patterns, want=want, fix="put this table before the wider one")


def _group(table: Mapping[str, Any], without_decay: bool, entries: list[Named]) -> Group:
    options = {key: as_tuple(value) for key, value in table.items() if key != "names"}
    if without_decay:
        options["weight_decay"] = 0.0
    return {"params": [entry.parameter for entry in entries], "names": [entry.name for entry in entries], **options}


def as_tuple(value: Any) -> Any:
    """Return a list, which is what a recipe file can write, as the tuple that PyTorch takes."""
    return tuple(value) if isinstance(value, list) else value
