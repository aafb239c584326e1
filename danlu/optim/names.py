"""Parameters by their qualified names, and the patterns that choose among them.

A parameter that several modules share is one parameter with several names; the first is its own, and a pattern may
match any of them.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from torch import nn

from danlu.errors import RecipeError, nearest


@dataclass(frozen=True)
class Named:
    """A parameter, every qualified name it has, and the modules that hold it directly."""

    parameter: nn.Parameter
    names: list[str] = field(default_factory=list)
    owners: list[nn.Module] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The name that stands for the parameter, the first one; `model.named_parameters()` gives the same."""
        return self.names[0]


def named_parameters(model: nn.Module) -> list[Named]:
    """Return every parameter of `model` once, in the order of `model.named_parameters()`."""
    found: dict[nn.Parameter, Named] = {}
    for prefix, module in model.named_modules(remove_duplicate=False):
        for last, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            entry = found.setdefault(parameter, Named(parameter))
            entry.names.append(f"{prefix}.{last}" if prefix else last)
            entry.owners.append(module)
    return list(found.values())


def matches(entry: Named, pattern: str) -> bool:
    """Whether `pattern` (shell style, case kept) matches a name of the parameter, or the path of a module around it."""
    return any(fnmatchcase(part, pattern) for name in entry.names for part in _paths(name))


def require_match(where: str, pattern: str, entries: Iterable[Named]) -> None:
    """Raise `RecipeError` when `pattern` matches none of `entries`."""
    entries = list(entries)
    if any(matches(entry, pattern) for entry in entries):
        return
    raise no_match(where, pattern, entries)


def no_match(where: str, got: object, entries: Iterable[Named]) -> RecipeError:
    """Build the error for a pattern, or a list of them, that matches no parameter; it names the nearest that exist."""
    paths = dict.fromkeys(path for entry in entries for path in reversed(_paths(entry.name)))
    close = nearest(str(got), paths) or list(paths)[:3]
    known = f"such as {', '.join(close)}" if close else "but the model has no parameter"
    return RecipeError(where=where, got=repr(got), want="a pattern that matches a parameter", fix=f"name one, {known}")


def _paths(name: str) -> list[str]:
    """Return "a", "a.b" and "a.b.weight" for "a.b.weight"."""
    parts = name.split(".")
    return [".".join(parts[: stop + 1]) for stop in range(len(parts))]
