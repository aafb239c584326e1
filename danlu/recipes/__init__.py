"""The built-in recipes, as TOML files beside this one.

This room must never know how a recipe is run: it is only asked for names and paths.
"""

import tomllib
from pathlib import Path

from danlu.errors import RecipeError, unknown_name

HOME = Path(__file__).parent


def names() -> list[str]:
    """Return the names of the built-in recipes, in alphabetical order."""
    return sorted(path.stem for path in HOME.glob("*.toml"))


def about(name: str) -> str:
    """Return the one line that a built-in recipe says of itself."""
    return str(tomllib.loads((HOME / f"{name}.toml").read_text(encoding="utf-8")).get("about", ""))


def find(name: str) -> Path:
    """Return the path of a built-in recipe, or of a recipe file.

    Raises:
        RecipeError: there is neither.
    """
    path = Path(name)
    if path.suffix == ".toml" or len(path.parts) > 1:
        return path
    if name not in names():
        raise unknown_name(RecipeError, "recipe", name, names(), "recipe (or a path to a .toml file)")
    return HOME / f"{name}.toml"
