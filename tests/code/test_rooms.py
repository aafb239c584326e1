"""Imports go down the list of rooms, never up; and the check that says so can fail."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINT = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()", "--no-cache"]


def lint(folder):
    quiet = {**os.environ, "NO_COLOR": "1", "COLUMNS": "200", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(LINT, cwd=folder, env=quiet, capture_output=True, text=True, check=False)


@pytest.fixture
def copy(tmp_path):
    shutil.copytree(ROOT / "danlu", tmp_path / "danlu", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_rooms_import_downwards_only():
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Contracts: 2 kept, 0 broken." in done.stdout


def test_every_room_is_in_the_list():
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    (layers,) = [one for one in contract["contracts"] if one["type"] == "layers"]
    assert layers["exhaustive"] is True
    listed = {name.strip() for line in layers["layers"] for name in line.split("|")} | set(layers["exhaustive_ignores"])
    folders = {path.parent.name for path in (ROOT / "danlu").glob("*/__init__.py")}
    files = {path.stem for path in (ROOT / "danlu").glob("*.py")} - {"__init__"}
    assert folders | files == listed


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("errors.py", "from danlu import keyed"),
        ("data/split.py", "import danlu.optim"),
        ("optim/clip.py", "from danlu.models import mlp"),
        ("track/store.py", "def late():\n    from danlu.hooks import Log"),
        ("train/loop.py", "from danlu.api import fit"),
        ("zero/tape.py", "import torch"),
    ],
)
def test_an_import_upwards_or_sideways_is_found(copy, file, line):
    path = copy / "danlu" / file
    path.write_text(path.read_text(encoding="utf-8") + f"\n{line}\n", encoding="utf-8")
    done = lint(copy)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Contracts: 1 kept, 1 broken." in done.stdout
    assert f"danlu.{Path(file).with_suffix('').as_posix().replace('/', '.')} ->" in done.stdout


def test_a_room_that_nobody_listed_is_found(copy):
    (copy / "danlu" / "attic").mkdir()
    (copy / "danlu" / "attic" / "__init__.py").write_text('"""A room."""\n')
    done = lint(copy)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "attic" in done.stdout
