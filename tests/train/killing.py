"""Runs that are killed, in this process or in another, and all of a run's record that is promised to be equal."""

import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import danlu
from danlu import save


class Killed(BaseException):
    """Nothing is cleaned up after it: the hooks' last event is cut off as well."""


class Kill(danlu.Hook):
    """Ends the run after an update as a kill would, in this process."""

    def __init__(self, update: int) -> None:
        self._update = update

    def on_step_end(self, training: Any, result: Any) -> None:
        if training.state.updates_done == self._update:
            training.store._pending = {table: [] for table in training.store._pending}
            training.folder = None  # whatever is written from now on is lost, as it would be
            raise Killed


def last_state(folder: Path) -> tuple[int, dict[str, bytes], dict[str, Any]]:
    """Return the update of a run's last checkpoint, its arrays' bytes by group and name, and its plain values."""
    step = save.steps(folder)[-1]
    tensors, state = save.read(save.folder(folder, step))
    arrays = {f"{group}/{name}": array.tobytes() for group, named in tensors.items() for name, array in named.items()}
    return step, arrays, state


def rows(folder: Path, table: str = "metrics") -> list[tuple[Any, ...]]:
    """Return a table of a run's store with the rows' own numbers, in their order."""
    with sqlite3.connect(folder / "metrics.sqlite") as store:
        return store.execute(f"SELECT rowid, * FROM {table} ORDER BY rowid").fetchall()


def summary(folder: Path) -> dict[str, Any]:
    """Return a run's summary."""
    found: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return found


LOADED = """
import importlib.util, os, signal, sys, time
sys.path[:0] = {paths!r}
spec = importlib.util.spec_from_file_location("loaded", {file!r})
module = importlib.util.module_from_spec(spec)
sys.modules["loaded"] = module
spec.loader.exec_module(module)
"""
DYING = """
from danlu import save

class Die(module.danlu.Hook):
    def on_step_end(self, training, result):
        if training.state.updates_done == 11:
            while (save.steps(training.folder) or [0])[-1] < 8:  # a checkpoint that knows all the bad ones
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)

data = module.pictures(module.Path({folder!r}), 2)
module.danlu.fit(module.network(), data, module.recipe("replace"), out={out!r}, quiet=True, hooks=[Die()])
"""


def started(file: str, text: str) -> "subprocess.Popen[str]":
    """Start a process that loads a test file as `module`, and runs a text."""
    paths = [str(Path(danlu.__file__).parents[1]), str(Path(__file__).parents[1])]
    command = [sys.executable, "-c", LOADED.format(paths=paths, file=file) + text]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def die_in_training(file: str, pictures: Path, out: Path) -> tuple[int, str]:
    """Train a test file's network on its pictures in another process, which kills itself; return code and error."""
    process = started(file, DYING.format(folder=str(pictures), out=str(out)))
    _, told = process.communicate(timeout=60)
    return process.returncode, told
