"""The lessons: each topic of a deep-learning course twice in one file, from scratch and concise, with one result.

This room must never know how training is organised: a lesson is a script that one reads.
"""

import ast
import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from danlu.errors import RecipeError, unknown_name

if TYPE_CHECKING:
    from danlu.course.page import Page

HOME = Path(__file__).parent
LESSONS = {  # in the order of the course, with seconds on one core, the picture included
    "autograd": 2,
    "graph": 2,
    "activations": 3,
    "linear-regression": 2,
    "softmax-regression": 5,
    "mlp": 7,
    "fitting": 7,
    "weight-decay": 2,
    "dropout": 11,
    "signals": 2,
    "k-fold": 4,
}

__all__ = ["HOME", "LESSONS", "about", "find", "teach"]


def find(name: str) -> Path:
    """Return the file of a lesson, which is meant to be read.

    Raises:
        RecipeError: there is no lesson of this name.
    """
    if name not in LESSONS:
        raise unknown_name(RecipeError, "course", name, LESSONS, "lesson")
    return HOME / f"{name.replace('-', '_')}.py"


def about(name: str) -> str:
    """Return what a lesson shows, in one line: the first of its file, without the topic."""
    words = ast.get_docstring(ast.parse(find(name).read_text(encoding="utf-8"))) or ""
    return words.splitlines()[0].partition(": ")[2].rstrip(".")


def teach(name: str, page: "Page", *, short: bool = False) -> None:
    """Run a lesson: what it says and draws is put on the page.

    Args:
        name: the lesson.
        page: where its sentences, tables and curves go.
        short: run it on less data and for fewer epochs, to see that it runs.

    Raises:
        RecipeError: there is no lesson of this name.
    """
    module = importlib.import_module(f"danlu.course.{find(name).stem}")
    module.lesson(page, short=short)
