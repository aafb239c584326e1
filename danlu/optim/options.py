"""A part's options, checked against the signature of what its name builds."""

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any

from danlu.errors import RecipeError, unknown_name

REFUSALS = (ValueError, TypeError, RuntimeError, KeyError, ZeroDivisionError, IndexError)  # PyTorch's, for a bad value
_NEVER = {"params", "optimizer", "last_epoch", "verbose", "tensor", "generator"}  # parameters that no recipe sets
_PLAIN: dict[str, tuple[tuple[type, ...], str]] = {
    "int": ((int,), "a whole number"),
    "float": ((int, float), "a number"),
    "bool": ((bool,), "true or false"),
}


def check_options(where: str, target: Callable[..., Any], options: Mapping[str, Any], *, own: Collection[str]) -> None:
    """Check that `target` has every option, that none it needs is missing, and that plain numbers are numbers.

    Args:
        where: the recipe's place, such as "optim".
        target: what will be called with the options.
        options: what the recipe says.
        own: parameters of `target` that are no options: they come from elsewhere.

    Raises:
        RecipeError: with the option as its place; an unknown one names the nearest.
    """
    known = {name: parameter for name, parameter in inspect.signature(target).parameters.items() if name not in own}
    for name, value in options.items():
        if name not in known:
            names = {*known, *(own if name not in own else ())} - _NEVER
            raise unknown_name(RecipeError, f"{where}.{name}", name, names, f"{_title(target)} option")
        _check_type(f"{where}.{name}", value, known[name].annotation)
    for name, parameter in known.items():
        if parameter.default is inspect.Parameter.empty and name not in options:
            place = f"{where}.{name}"
            raise RecipeError(
                where=place, got="nothing", want=f"a value: {_title(target)} needs it", fix=f"set {place}"
            )


def refused(where: str, target: Callable[..., Any], got: object, error: Exception) -> RecipeError:
    """Build the error for a value that PyTorch refused; its own words say what it wants."""
    reason = str(error).strip().rstrip(".") or type(error).__name__
    return RecipeError(where=where, got=got, want=f"what {_title(target)} accepts ({reason})", fix=f"change {where}")


def _check_type(where: str, value: object, annotation: object) -> None:
    """Refuse text where a plain number stands in the signature; anything richer is left to PyTorch."""
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    if text not in _PLAIN:
        return
    kinds, noun = _PLAIN[text]
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise RecipeError(where=where, got=repr(value), want=noun, fix=f"set {where} to {noun}")


def _title(target: Callable[..., Any]) -> str:
    return getattr(target, "__name__", str(target)).rstrip("_")
