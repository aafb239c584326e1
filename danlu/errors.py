"""Every error that danlu raises on purpose.

    DanluError
    ├── RecipeError      a recipe's key, type, name or value
    ├── DataError        what was given to learn from: files, shapes, labels, numbers that are not finite
    ├── ModelError       a model whose output, layers or weights do not fit
    ├── RunError         a run folder: occupied, unreadable, unwritable, incomplete
    └── TrainingError    training itself could not go on

An error is built from parts, so one without a remedy cannot be written. The command line prints it as one line and
exits with `exit_code`; from Python it is an ordinary exception.
"""

import difflib
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any


class DanluError(Exception):
    """A mistake that a person can mend.

    Args:
        where: the place: a recipe key, a file, an argument.
        got: what stood there; shown with `repr` when it is not a string.
        want: what would have been right.
        fix: what to do now.
    """

    exit_code = 2

    def __init__(self, *, where: str, got: object, want: str, fix: str) -> None:
        self.where, self.got, self.want, self.fix = where, got, want, fix
        shown = got if isinstance(got, str) and got else repr(got)
        super().__init__(f"{where}: got {shown}; want {want}. Fix: {fix}{'' if fix.endswith('?') else '.'}")

    def __reduce__(self) -> tuple[Callable[[], "DanluError"], tuple[()], dict[str, Any]]:
        parts: dict[str, Any] = {"where": self.where, "got": self.got, "want": self.want, "fix": self.fix}
        return partial(type(self), **parts), (), vars(self)  # so that it crosses from a worker process whole


class RecipeError(DanluError):
    """A recipe's key, type, name or value."""


class DataError(DanluError):
    """What was given to learn from does not hold together."""


class ModelError(DanluError):
    """A model whose output, layers or weights do not fit."""


class RunError(DanluError):
    """A run folder that is occupied, unreadable, unwritable or incomplete."""


class TrainingError(DanluError):
    """Training could not go on."""


def nearest(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """Return up to `count` known names that `name` may have meant, best first; matching ignores case."""
    by_lower = {k.lower(): k for k in known}
    hits = difflib.get_close_matches(name.lower(), by_lower, n=count, cutoff=0.5)
    return [by_lower[hit] for hit in hits]


def unknown_name(error: type[DanluError], where: str, got: str, known: Iterable[str], noun: str) -> DanluError:
    """Build the error for a name that is not in `known`, with the nearest ones that are."""
    names = sorted(known)
    close = nearest(got, names)
    fix = f"did you mean {' or '.join(close)}?" if close else f"choose one of: {', '.join(names)}"
    return error(where=where, got=repr(got), want=f"a known {noun}", fix=fix)
