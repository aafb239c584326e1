"""Where a run can be killed: functions of danlu and of what it writes with, wrapped so that they count their calls.

A point is a name, and a time of it: `replace.before:3` is the moment before the third `os.replace`. At a point the
process sends itself a real SIGKILL. `torn` and `half` first leave behind what a kill within the call would have left.
`call:n` is the n-th call of any function of danlu, and `after_s:0.2` a moment that the parent chooses.
"""

import builtins
import functools
import io
import os
import shutil
import signal
import sqlite3
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.numpy
import torch
from tensorboard.summary.writer.record_writer import RecordWriter

import danlu
from danlu import zero
from danlu.hooks import record
from danlu.track import TensorBoard
from danlu.train.state import TrainState
from danlu.train.step import TorchLearner
from danlu.train.zero_learner import ZeroLearner

HOME = str(Path(danlu.__file__).parent)
WRITING = set("wax+")
Call = Callable[..., Any]


class Points:
    """Counts how often each point is passed, and kills the process at one of them.

    Args:
        kill: "name:n", or "" to count only.
    """

    def __init__(self, kill: str) -> None:
        name, _, number = kill.partition(":")
        self.name, self.number = name, int(number or 0) if name != "after_s" else 0
        self.counts: Counter[str] = Counter()
        self._main, self._lock = os.getpid(), threading.Lock()

    def passed(self, name: str, leave: Call | None = None) -> None:
        """Count; at the point, leave behind what a kill in the middle leaves, and die."""
        with self._lock:
            self.counts[name] += 1
            reached = name == self.name and self.counts[name] == self.number
        if reached:
            if leave is not None:
                leave()
            os.kill(self._main, signal.SIGKILL)  # from a worker process, too, it is the run that dies

    def wrap(self, owner: Any, name: str, point: str) -> None:
        """Put a function in place of `owner.name` that passes `point.before` and `point.after`."""
        original = getattr(owner, name)

        @functools.wraps(original)
        def wrapped(*args: Any, **options: Any) -> Any:
            self.passed(f"{point}.before")
            result = original(*args, **options)
            self.passed(f"{point}.after")
            return result

        setattr(owner, name, wrapped)

    def count_calls(self) -> None:
        """Let every call of a function of danlu count as the point `call`."""
        if self.name != "call" and self.name:
            return  # it makes a run slower

        def profile(frame: Any, event: str, _: object) -> None:
            if event == "call" and frame.f_code.co_filename.startswith(HOME):
                self.passed("call")

        threading.setprofile(profile)
        sys.setprofile(profile)


def install(kill: str) -> Points:
    """Wrap everything in this process that a run passes through; it is killed at `kill`."""
    points = Points(kill)
    for learner in (TorchLearner, ZeroLearner):
        for method in ("update", "evaluate", "step_schedule", "state", "load", "train_figures"):
            points.wrap(learner, method, method)
    points.wrap(torch.Tensor, "backward", "backward")
    points.wrap(zero.Tensor, "backward", "backward")
    points.wrap(TrainState, "advance", "advance")
    points.wrap(TensorBoard, "rewrite", "rewrite")
    record.draw = lambda *_: points.passed("draw")  # type: ignore[assignment,return-value]
    for name in ("replace", "rename", "unlink", "mkdir", "rmdir"):
        points.wrap(os, name, name)
    _install_files(points)
    _install_store(points)
    _install_records(points)
    points.count_calls()
    return points


def _install_files(points: Points) -> None:
    """Opening a file to write it, fsync with its content half there, safetensors, folders half removed."""
    opened, rmtree, save_file = io.open, shutil.rmtree, safetensors.numpy.save_file

    def open_(file: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
        writes = bool(WRITING & set(mode)) and not isinstance(file, int)
        if writes:
            points.passed("open.before")
        stream = opened(file, mode, *args, **options)
        if writes:
            points.passed("open.after")
        return stream

    def fsync_(descriptor: int) -> None:
        place = f"/proc/self/fd/{descriptor}"
        if os.path.isfile(place):
            points.passed("fsync.torn", lambda: os.truncate(place, os.path.getsize(place) // 2))
        points.passed("fsync.before")  # and nothing more: what a kill leaves does not depend on it
        points.passed("fsync.after")

    def rmtree_(path: Any, *args: Any, **options: Any) -> None:
        inside = sorted(child for child in Path(path).glob("*") if child.is_file())
        points.passed("rmtree.before")
        if inside:
            points.passed("rmtree.half", lambda: [os.remove(child) for child in inside[: len(inside) // 2 + 1]])
        rmtree(path, *args, **options)
        points.passed("rmtree.after")

    def save_file_(tensors: Any, path: Any, *args: Any, **options: Any) -> None:
        points.passed("tensors.before")
        save_file(tensors, path, *args, **options)
        points.passed("tensors.torn", lambda: os.truncate(path, os.path.getsize(path) // 2))
        points.passed("tensors.after")

    builtins.open, io.open, os.fsync = open_, open_, fsync_
    shutil.rmtree, safetensors.numpy.save_file = rmtree_, save_file_


def _install_store(points: Points) -> None:
    """Every statement of SQLite, and the end of every transaction."""
    connect = sqlite3.connect

    class Connection(sqlite3.Connection):
        def execute(self, statement: str, *args: Any) -> Any:
            name = next((word for word in ("DELETE FROM", "wal_checkpoint", "journal_mode") if word in statement), "")
            point = {"DELETE FROM": "cut", "wal_checkpoint": "log", "journal_mode": "journal"}.get(name, "statement")
            points.passed(f"{point}.before")
            result = super().execute(statement, *args)
            points.passed(f"{point}.after")
            return result

        def executemany(self, *args: Any) -> Any:
            points.passed("rows.before")
            result = super().executemany(*args)
            points.passed("rows.after")
            return result

        def __exit__(self, *error: Any) -> Any:
            points.passed("commit.before")
            result = super().__exit__(*error)
            points.passed("commit.after")
            return result

    def connect_(*args: Any, **options: Any) -> sqlite3.Connection:
        return connect(*args, factory=Connection, **options)

    sqlite3.connect = connect_  # type: ignore[assignment]


def _install_records(points: Points) -> None:
    """TensorBoard's records, whole and torn."""
    write = RecordWriter.write

    def write_(self: Any, data: bytes) -> None:
        points.passed("record.before")
        stream = self._writer
        self._writer = whole = io.BytesIO()
        write(self, data)
        self._writer = stream
        content = whole.getvalue()

        def tear() -> None:
            stream.write(content[: len(content) // 2])
            stream.flush()

        points.passed("record.torn", tear)
        stream.write(content)
        points.passed("record.after")

    RecordWriter.write = write_


def on_batches(see: Callable[[Any, int], None]) -> None:
    """Tell `see` the micro-batches of every update, once it is counted, and its number."""
    latest: list[Any] = []
    for learner in (TorchLearner, ZeroLearner):
        _note_batches(learner, latest)
    advance = TrainState.advance

    def advance_(self: Any, *args: Any, **options: Any) -> None:
        advance(self, *args, **options)
        see(latest[-1], self.updates_done)
        latest.clear()

    TrainState.advance = advance_  # type: ignore[method-assign]


def _note_batches(learner: Any, latest: list[Any]) -> None:
    update = learner.update

    def update_(self: Any, batches: Any, *args: Any, **options: Any) -> Any:
        latest.append(batches)
        return update(self, batches, *args, **options)

    learner.update = update_
