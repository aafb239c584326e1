"""A name in a recipe that points into Python: `package.module:name` or `file.py:name`."""

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from danlu.errors import RecipeError, nearest


def is_reference(name: str) -> bool:
    """Say whether a name points into Python instead of a table of known names."""
    return ":" in name


def load_reference(name: str, where: str) -> Callable[..., Any]:
    """Import the class or function that `package.module:name` or `path/file.py:name` points at.

    Args:
        name: the reference; a file is looked for from the current folder.
        where: the recipe's key, for the error.

    Raises:
        RecipeError: no such module, file or name, or something that cannot be called. An error inside the imported
            code itself passes as it is.
    """
    place, _, attribute = name.rpartition(":")
    if attribute.endswith("(...)"):
        want = "a name that can be imported"
        fix = "this run was made in Python with an object of its own: give that object to danlu.evaluate or danlu.fit"
        raise RecipeError(where=where, got=f"an object, {name}", want=want, fix=fix)
    module = _from_file(Path(place), where) if place.endswith(".py") else _from_module(place, where)
    found: Any = module
    for part in attribute.split("."):
        if part not in vars(found):
            close = nearest(part, [n for n in vars(found) if not n.startswith("_")])
            fix = f"did you mean {' or '.join(close)}?" if close else f"define {part} there"
            raise RecipeError(where=where, got=name, want=f"a name that {place} defines", fix=fix)
        found = vars(found)[part]
    if not callable(found):
        got = f"{name}, which is a {type(found).__name__}"
        raise RecipeError(where=where, got=got, want="a class or a function", fix="name what builds it")
    return found  # type: ignore[no-any-return]


def _from_file(path: Path, where: str) -> ModuleType:
    if not path.is_file():
        raise RecipeError(where=where, got=str(path), want="a Python file", fix="check the path; it starts from here")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise RecipeError(where=where, got=str(path), want="a Python file", fix="name a file that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)  # worker processes find its classes by this name
    spec.loader.exec_module(module)
    return module


def _from_module(name: str, where: str) -> ModuleType:
    if name.partition(".")[0] in sys.stdlib_module_names:
        want, fix = "a module of yours or of a package", "name what builds it there"
        raise RecipeError(where=where, got=f"{name}, which is Python's own", want=want, fix=fix)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not name.startswith(error.name):
            raise  # the module is there, and something that it imports is not
        fix = "install it, or check the spelling"
        raise RecipeError(where=where, got=name, want="an importable module", fix=fix) from None
