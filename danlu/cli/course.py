"""`danlu course`: the lessons, one read or run."""

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

from danlu import course
from danlu.cli.text import span, table
from danlu.errors import RecipeError

if TYPE_CHECKING:
    from danlu.course.page import Cells

ALL = "all"
FIGURE = re.compile(r"[-+]?[\d,]+(\.\d+)?(e[-+]\d+)?|inf|nan|")


def listing() -> None:
    """Print the lessons in the course's order, and how to go on."""
    rows = [(name, f"{seconds} s", course.about(name)) for name, seconds in course.LESSONS.items()]
    print(table(rows, head=("lesson", "time", "what it shows"), right=(1,), wrap=True))
    print("\nto run one, `danlu course mlp`; all, `danlu course all`; to read one, `danlu course mlp --show`")


def show(name: str | None) -> None:
    """Print a lesson's source. Raises RecipeError where none, or all, are asked for."""
    if name in (None, ALL):
        raise RecipeError(
            where="course", got=f"--show {name or 'without a lesson'}", want="one lesson", fix="danlu course mlp --show"
        )
    print(course.find(name).read_text(encoding="utf-8"), end="")


def run(name: str, out: Path, *, quiet: bool) -> None:
    """Run a lesson, or all: print what it says and write its picture.

    Raises:
        RecipeError: there is no lesson of this name.
        RunError: the folder cannot be written to.
    """
    from danlu.course import picture
    from danlu.course.page import Page

    names = list(course.LESSONS) if name == ALL else [name]
    course.find(names[0])
    picture.folder(out)  # a wrong folder shows before a lesson is run
    for index, one in enumerate(names):
        if not quiet:
            print("\n" * bool(index) + f"{one}: {course.about(one)}\n")
        begun = time.perf_counter()
        page = Page(tell=None if quiet else _tell)
        course.teach(one, page)
        for path in picture.save(page, out, one):
            print(path if quiet else f"{'picture' if path.suffix == '.png' else 'drawing'}: {path}")
        if not quiet:
            print(f"time: {span(time.perf_counter() - begun)}")


def _tell(part: "str | Cells") -> None:
    if isinstance(part, str):
        print(table([(part,)], wrap=True), end="\n\n", flush=True)
        return
    head, *rows = part
    figures = [i for i in range(len(head)) if all(FIGURE.fullmatch(row[i]) for row in rows)]
    print(table(rows, head=head, right=figures), end="\n\n", flush=True)
