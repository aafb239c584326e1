"""docs/course.md: the names that it says are there are there, and so are its lessons and commands."""

import importlib
import re
from functools import reduce
from pathlib import Path

import pytest
import typer

from danlu import course, zero
from danlu.cli.app import app

TEXT = (Path(__file__).parents[2] / "docs" / "course.md").read_text(encoding="utf-8")
PROSE = re.sub(r"```.*?```|``.*?``", "", TEXT, flags=re.DOTALL)
WORDS = sorted(set(re.findall(r"`([^`]+)`", PROSE)))
HOMES = {"nn": "danlu.zero", "optim": "danlu.zero", "utils": "danlu.zero", "zero": "danlu", "danlu": ""}
NAMES = [word for word in WORDS if re.fullmatch(rf"({'|'.join(HOMES)})(\.\w+)+", word)]
COMMANDS = re.findall(r"`danlu ([a-z]+)[^`]*`", PROSE)
LATER = {"tune", "lr", "crossval"}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_there(name):
    first, *rest = name.split(".")
    home = importlib.import_module(".".join(filter(None, (HOMES[first], first))))

    def inner(thing, part):
        try:
            return getattr(thing, part)
        except AttributeError:
            return importlib.import_module(f"{thing.__name__}.{part}")

    assert reduce(inner, rest, home) is not None


def test_names_are_found():
    assert len(NAMES) > 70


def test_a_command_is_there_or_is_said_not_to_be():
    known = set(typer.main.get_command(app).commands)
    named = set(COMMANDS)
    assert named - known == LATER, "the page says of these that they are not yet there"
    for line in TEXT.splitlines():
        if any(f"`danlu {name}`" in line for name in LATER):
            assert "*not yet*" in line


def test_every_lesson_has_a_row():
    rows = re.findall(r"^\| `([a-z-]+)` \|", TEXT, flags=re.MULTILINE)
    assert rows == list(course.LESSONS)


def changed_in_place():
    y = zero.ones(2, requires_grad=True).sigmoid()
    y.add_(1)
    y.sum().backward()


SLIPS = {
    "float class indices": lambda: zero.nn.CrossEntropyLoss()(zero.ones(16, 3), zero.ones(16)),
    "change in place": changed_in_place,
    "float64 input": lambda: zero.nn.Linear(2, 1)(zero.ones(16, 2).double()),
}


@pytest.mark.parametrize("slip", SLIPS)
def test_a_message_of_zero_is_quoted_as_it_is(slip):
    with pytest.raises(RuntimeError) as error:
        SLIPS[slip]()
    assert f"`{error.value}`" in TEXT
