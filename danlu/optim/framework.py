"""Whose classes a recipe's names stand for: PyTorch's, or those of danlu.zero, which have the same names."""

import importlib
from types import ModuleType
from typing import Any

import torch

ZERO = "danlu.zero"


def framework_of(thing: object) -> Any:
    """Return `torch` or `danlu.zero`, whichever a class, or the class of an object, comes from."""
    return _zero() if is_zero(thing) else torch


def is_zero(thing: object) -> bool:
    """Say whether a class, or an object's (a model, an optimizer), is danlu.zero's; does not import it."""
    kind = thing if isinstance(thing, type) else type(thing)
    return any(cls.__module__.startswith(ZERO) for cls in kind.__mro__)


def _zero() -> ModuleType:
    return importlib.import_module(ZERO)
