"""From a recipe's optimizer to `torch.optim.Optimizer`."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from danlu.errors import RecipeError, unknown_name
from danlu.optim.framework import framework_of
from danlu.optim.groups import as_tuple, param_groups, trainable_parameters
from danlu.optim.names import named_parameters
from danlu.optim.options import REFUSALS, check_options, refused
from danlu.recipe import Optim

Factory = Callable[[list[nn.Parameter]], Optimizer]

OPTIMIZERS: dict[str, type[Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adagrad": torch.optim.Adagrad,
    "rmsprop": torch.optim.RMSprop,
    "adam": torch.optim.Adam,
    "adamax": torch.optim.Adamax,
    "sparse_adam": torch.optim.SparseAdam,
    "adamw": torch.optim.AdamW,
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
    "adadelta": torch.optim.Adadelta,
    "asgd": torch.optim.ASGD,
    "rprop": torch.optim.Rprop,
}


def make_optimizer(spec: Optim | Factory, model: nn.Module) -> Optimizer:
    """Build the optimizer of the trainable parameters of `model`.

    Args:
        spec: the recipe's optimizer, or `params -> Optimizer`: a class or another callable, given the list of
            trainable parameters, each once.
        model: its parameters are shared, not copied.

    Returns:
        a plain optimizer of the model's own framework; each of its groups also holds its parameters'
            qualified names, under "names".

    Raises:
        RecipeError: an unknown name or option, a value that PyTorch refuses, a pattern that matches nothing.
        ModelError: nothing can be trained.
    """
    if not isinstance(spec, Optim):
        return _from_factory(spec, model)
    target = _target(spec.name, framework_of(model))
    options = _options(spec, target)
    _check_groups(spec, target, options)
    build: Callable[..., Optimizer] = target
    groups = param_groups(spec, model)
    try:
        return build(groups, **options)
    except REFUSALS as error:
        raise refused("optim", target, spec.name, error) from error


def _target(name: str, framework: Any = torch) -> type[Optimizer]:
    """Return a framework's class for a name."""
    if name == "lbfgs":
        want = "an optimizer whose update takes one gradient (lbfgs evaluates the loss several times per update)"
        raise RecipeError(where="optim.name", got=name, want=want, fix='use "adam" or "sgd"')
    offered = {key: vars(framework.optim).get(kind.__name__) for key, kind in OPTIMIZERS.items()}
    kind = offered.get(name)
    if kind is None and name in OPTIMIZERS:
        there = ", ".join(key for key, one in offered.items() if one is not None)
        want = f"an optimizer that {framework.__name__} has: {there}"
        raise RecipeError(where="optim.name", got=name, want=want, fix='use one of them, or engine="torch"')
    if kind is None:
        raise unknown_name(RecipeError, "optim.name", name, OPTIMIZERS, "optimizer")
    return kind  # type: ignore[no-any-return]


def _options(spec: Optim, target: type[Optimizer]) -> dict[str, Any]:
    """Return the checked options for all groups, lr among them."""
    check_options("optim", target, spec.options, own=("params", "lr"))
    options = {"lr": spec.lr, **{key: as_tuple(value) for key, value in spec.options.items()}}
    _try_out("optim", target, options, options)
    return options


def _check_groups(spec: Optim, target: type[Optimizer], options: Mapping[str, Any]) -> None:
    """Check the options of every table of `groups`: PyTorch itself checks only those that hold for all groups."""
    for index, table in enumerate(spec.groups):
        where = f"optim.groups[{index}]"
        own = {key: as_tuple(value) for key, value in table.items() if key != "names"}
        check_options(where, target, own, own=("params",))
        _try_out(where, target, {**options, **own}, own)
    if spec.no_decay:
        check_options("optim.no_decay", target, {"weight_decay": 0.0}, own=("params",))


def _try_out(where: str, target: Callable[..., Any], options: Mapping[str, Any], blame: Mapping[str, Any]) -> None:
    """Build the optimizer of one number; where PyTorch refuses, find the option among `blame` that it refuses alone."""
    error = _refusal(target, options)
    if error is None:
        return
    for name, value in blame.items():
        alone = _refusal(target, {name: value})
        if alone is not None:
            raise refused(f"{where}.{name}", target, repr(value), alone) from alone
    raise refused(where, target, dict(blame), error) from error


def _refusal(target: Callable[..., Any], options: Mapping[str, Any]) -> Exception | None:
    framework = framework_of(target)
    try:
        target([framework.nn.Parameter(framework.zeros(1))], **options)
    except REFUSALS as error:
        return error
    return None


def _from_factory(factory: Factory, model: nn.Module) -> Optimizer:
    """Call a caller's own factory and check what it gives back."""
    parameters = [entry.parameter for entry in trainable_parameters(model)]
    if not callable(factory):
        raise RecipeError(where="optim", got=factory, want="a name or `params -> Optimizer`", fix='write Optim("sgd")')
    built: object = factory(parameters)
    kind = framework_of(model).optim.Optimizer
    if not isinstance(built, kind):
        got, want = f"a {type(built).__name__} from the factory", f"a {kind.__module__.rpartition('.')[0]}.Optimizer"
        raise RecipeError(where="optim", got=got, want=want, fix="return the optimizer itself")
    if isinstance(built, torch.optim.LBFGS):
        _target("lbfgs")
    for group in built.param_groups:
        group["names"] = _names_of(group["params"], model)
    return built  # type: ignore[no-any-return]


def _names_of(parameters: Iterable[torch.Tensor], model: nn.Module) -> list[str]:
    names = {id(entry.parameter): entry.name for entry in named_parameters(model)}
    found = [(names.get(id(parameter)), tuple(parameter.shape)) for parameter in parameters]
    for name, shape in found:
        if name is None:
            got = f"a parameter of shape {shape} that the model does not have"
            raise RecipeError(where="optim", got=got, want="parameters of the model", fix="use the list that is given")
    return [name for name, _ in found if name is not None]
