"""`danlu data` and `danlu recipes`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from danlu import recipes
from danlu.cli.text import bytes_of, table
from danlu.errors import RecipeError
from danlu.recipe_text import read, write


def find_recipe(name: str) -> Path:
    """Return the path of a built-in recipe or of a recipe file.

    Raises:
        RecipeError: there is neither; where a recipe lies close by, the fix names it.
    """
    path, want = Path(name), "a built-in recipe's name, or a .toml file"
    near = path / "recipe.toml" if path.is_dir() else Path(f"{name}.toml")
    if name in recipes.names() or path.is_file() or not (path.is_dir() or near.is_file()):
        return recipes.find(name)
    fix = f"did you mean {near}?" if near.is_file() else "name a file; `danlu recipes` lists what is built in"
    raise RecipeError(where=name, got="a folder" if path.is_dir() else "no recipe", want=want, fix=fix)


def recipes_list() -> None:
    """Print names and what each is about."""
    rows = [(name, recipes.about(name)) for name in recipes.names()]
    print(table(rows, head=("recipe", "about"), wrap=True))


def recipes_show(name: str, overrides: list[str]) -> None:
    """Print a recipe as TOML, every default written out."""
    print(write(read(find_recipe(name), overrides)), end="")


def data_list() -> None:
    """Print the names of the data sets and what each is."""
    from danlu import data

    print(table(list(data.names().items()), head=("data set", "about"), wrap=True))


def data_info(name: str) -> None:
    """Print what a data set holds, by its name or that of a recipe."""
    info = _described(name)
    print(f"{name}: {info['line']}\n")
    rows = [(column, str(tuple(form["shape"])), form["dtype"]) for column, form in info["columns"].items()]
    print(table(rows, head=("column", "shape of a sample", "type")))
    print()
    print(_sets(info))
    print()
    origin = [(info["place"], bytes_of(info["bytes"]))]
    origin += [(key, info[key]) for key in ("found", "kept", "about")]
    print(table([row for row in origin if row[1]], wrap=True))


def _described(name: str) -> dict[str, Any]:
    from danlu import data

    if name in data.names() or not (name in recipes.names() or name.endswith(".toml")):
        return data.info(name)
    from danlu.train import build_data

    recipe = read(find_recipe(name))
    return data.described(build_data(recipe.data, recipe.seed))


def data_fetch(name: str) -> None:
    """Fetch a data set and print where it lies."""
    from danlu import data

    print(data.fetch(name))


def _sets(info: Mapping[str, Any]) -> str:
    """Return a table with a row for each class and a column for each set, or the sets' sizes alone."""
    sizes: dict[str, int] = info["samples"]
    counts: dict[str, dict[str, int] | None] = info["class_counts"]
    total = ("all", *(f"{size:,}" for size in sizes.values()))
    right = range(1, len(sizes) + 1)
    if any(count is None for count in counts.values()):
        return table([("samples", *total[1:])], head=("", *sizes), right=right)
    numbers = list(dict.fromkeys(number for count in counts.values() for number in count or ()))
    names = dict(enumerate(info["classes"]))
    rows = [
        (names.get(int(number), number), *(f"{(counts[part] or {}).get(number, 0):,}" for part in sizes))
        for number in numbers
    ]
    return table([*rows, total], head=("class", *sizes), right=right)
