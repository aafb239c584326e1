"""Initialisation of a model's parameters, each at its own address."""

import zlib
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from danlu import keyed
from danlu.errors import RecipeError, unknown_name
from danlu.optim.framework import framework_of, is_zero
from danlu.optim.names import Named, named_parameters, no_match
from danlu.optim.options import REFUSALS, check_options
from danlu.recipe import Init

INITIALISERS: dict[str, Callable[..., Tensor]] = {
    "normal": nn.init.normal_,
    "uniform": nn.init.uniform_,
    "constant": nn.init.constant_,
    "zeros": nn.init.zeros_,
    "ones": nn.init.ones_,
    "eye": nn.init.eye_,
    "orthogonal": nn.init.orthogonal_,
    "xavier_uniform": nn.init.xavier_uniform_,
    "xavier_normal": nn.init.xavier_normal_,
    "kaiming_uniform": nn.init.kaiming_uniform_,
    "kaiming_normal": nn.init.kaiming_normal_,
    "trunc_normal": nn.init.trunc_normal_,
    "sparse": nn.init.sparse_,
    "dirac": nn.init.dirac_,
}


def initialise(model: nn.Module, rules: Sequence[Init], *, seed: int) -> list[str]:
    """Give the parameters that the rules choose new values; where several rules choose one, the last one holds.

    A rule chooses by the class of the layer (its own name or that of a class it derives from; none given: every
    layer) and by patterns over the qualified name (none given: the parameters called `weight`).

    Each parameter's values follow from the seed, its name and its shape alone: not from the other parameters, the
    device or the memory format.

    Args:
        model: changed in place.
        rules: the recipe's.
        seed: the run's seed.

    Returns:
        the qualified names of the parameters that were set, in the model's order.

    Raises:
        RecipeError: an unknown name or option, a rule that matches nothing or cannot apply to what it matches.

    Cost:
        each parameter is drawn on the CPU and copied; the default generator is left as it was.
    """
    every = named_parameters(model)
    chosen: dict[str, int] = {}
    for index, rule in enumerate(rules):
        _check(index, rule)
        hits = [entry.name for entry in every if _applies(rule, entry)]
        if not hits:
            raise _nothing(index, rule, every)
        chosen.update(dict.fromkeys(hits, index))
    before = torch.default_generator.get_state()
    try:
        for entry in every:
            if entry.name in chosen:
                _draw(chosen[entry.name], rules[chosen[entry.name]], entry, seed)
    finally:
        torch.default_generator.set_state(before)
    return [entry.name for entry in every if entry.name in chosen]


def _check(index: int, rule: Init) -> None:
    if rule.name not in INITIALISERS:
        raise unknown_name(RecipeError, f"init[{index}].name", rule.name, INITIALISERS, "initialiser")
    check_options(f"init[{index}]", INITIALISERS[rule.name], rule.options, own=("tensor", "generator"))


def _applies(rule: Init, entry: Named) -> bool:
    titles = {cls.__name__ for owner in entry.owners for cls in type(owner).__mro__}
    if rule.layers and titles.isdisjoint(rule.layers):
        return False
    if rule.names:
        return any(fnmatchcase(name, pattern) for name in entry.names for pattern in rule.names)
    return any(name.rpartition(".")[2] == "weight" for name in entry.names)


def _nothing(index: int, rule: Init, every: list[Named]) -> RecipeError:
    """Build the error for a rule that chooses no parameter."""
    where = f"init[{index}]"
    titles = sorted({type(owner).__name__ for entry in every for owner in entry.owners})
    if rule.layers and not any(_applies(Init(layers=rule.layers, names=["*"]), entry) for entry in every):
        want = "a class of layer that the model has"
        return RecipeError(where=f"{where}.layers", got=rule.layers, want=want, fix=f"choose among {', '.join(titles)}")
    patterns = rule.names or ["weight"]
    return no_match(f"{where}.names", patterns[0] if len(patterns) == 1 else patterns, every)


def _draw(index: int, rule: Init, entry: Named, seed: int) -> None:
    """Draw one parameter. The default generator is used because `nn.init.sparse_` knows no other for its zeros."""
    address = keyed.number("init", seed, zlib.crc32(entry.name.encode()))
    torch.default_generator.manual_seed(address)
    parameter = entry.parameter
    ours = is_zero(parameter)  # the same values for either framework
    values = torch.from_numpy(parameter.detach().numpy().copy()) if ours else parameter.detach().to("cpu", copy=True)
    values = values.contiguous()
    options: dict[str, Any] = rule.options
    try:
        INITIALISERS[rule.name](values, **options)
    except REFUSALS as error:
        got = f'"{rule.name}" on {entry.name} of shape {tuple(parameter.shape)}'
        fix = f"change the rule's options, or choose other parameters with layers or names ({error})"
        want = "an initialiser that fits the parameter's shape"
        raise RecipeError(where=f"init[{index}]", got=got, want=want, fix=fix) from error
    if ours:
        parameter.detach().copy_(framework_of(parameter).from_numpy(values.numpy()))
        return
    with torch.no_grad():
        parameter.copy_(values)
