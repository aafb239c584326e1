"""`danlu data` and `danlu recipes`."""

from rich.console import Console
from rich.table import Table

from danlu import recipes
from danlu.recipe_text import read, write


def table(*columns: str) -> Table:
    """Return a plain table with these column titles."""
    made = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    for column in columns:
        made.add_column(column, overflow="fold")
    return made


def recipes_list() -> None:
    """Print names and what each is about."""
    shown = table("recipe", "about")
    for name in recipes.names():
        shown.add_row(name, recipes.about(name))
    Console(highlight=False).print(shown, markup=False)


def recipes_show(name: str, overrides: list[str]) -> None:
    """Print a recipe as TOML, every default written out."""
    print(write(read(recipes.find(name), overrides)), end="")


def data_list() -> None:
    """Print the names of the data sets and what each is."""
    from danlu import data

    shown = table("data set", "about")
    for name, about in data.names().items():
        shown.add_row(name, about)
    Console(highlight=False).print(shown, markup=False)


def data_info(name: str) -> None:
    """Print what a data set holds."""
    from danlu import data

    shown = table("", "")
    shown.show_header = False
    for key, value in data.info(name).items():
        shown.add_row(key, str(value))
    Console(highlight=False).print(shown, markup=False)


def data_fetch(name: str) -> None:
    """Fetch a data set and print where it lies."""
    from danlu import data

    print(data.fetch(name))
