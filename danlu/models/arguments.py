"""Checks of what the builders are given: a mistake is one line, before any layer is made."""

from collections.abc import Iterable, Sequence

import numpy as np

from danlu.errors import RecipeError, unknown_name


def whole(where: str, value: object, least: int = 1) -> int:
    """Return `value` as an int that is at least `least`."""
    if isinstance(value, int | np.integer) and not isinstance(value, bool) and value >= least:
        return int(value)
    raise RecipeError(where=where, got=value, want=f"a whole number >= {least}", fix=f"set {where} to one")


def wholes(where: str, values: object) -> tuple[int, ...]:
    """Return `values` as whole numbers of at least 1; a single number is not a sequence."""
    if isinstance(values, Sequence) and not isinstance(values, str):
        return tuple(whole(f"{where}[{index}]", value) for index, value in enumerate(values))
    raise RecipeError(where=where, got=values, want="a sequence of whole numbers >= 1", fix=f"write it as [{values}]")


def share(where: str, value: object) -> float:
    """Return `value` as a float in [0, 1)."""
    if isinstance(value, int | float | np.floating) and not isinstance(value, bool) and 0 <= value < 1:
        return float(value)
    raise RecipeError(where=where, got=value, want="a number in [0, 1)", fix=f"set {where} to one; 0 turns it off")


def choice(where: str, name: object, known: Iterable[str], noun: str) -> str:
    """Return `name` if it is one of `known`."""
    names = list(known)
    if not isinstance(name, str):
        raise RecipeError(where=where, got=name, want=f"the name of a {noun}", fix=f"choose one of: {', '.join(names)}")
    if name not in names:
        raise unknown_name(RecipeError, where, name, names, noun)
    return name


def image_size(where: str, value: object) -> tuple[int, int]:
    """Return (height, width) in pixels from one number, for a square, or from a pair."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        side = whole(where, value)
        return side, side
    if len(value) != 2:
        raise RecipeError(where=where, got=value, want="one number or (height, width)", fix=f"set {where} to a pair")
    height, width = wholes(where, value)
    return height, width


def large_enough(where: str, size: tuple[int, int], least: int, because: str) -> None:
    """Raise RecipeError where a side of an image has fewer than `least` pixels."""
    if min(size) < least:
        got = f"{size[0]}x{size[1]} pixels"
        want = f"at least {least}x{least}, because {because}"
        raise RecipeError(where=where, got=got, want=want, fix="use larger images, or fewer layers that shrink them")
