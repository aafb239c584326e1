"""Checkpoints written by a thread, so that training waits for no more than a copy in memory.

The state is copied into buffers that are kept (300 MB: 45 ms, into fresh memory 260 ms) and written from there. One
write is in flight at a time and one snapshot may wait for it, so there are at most two sets of buffers.
"""

import os
import shutil
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple, final

import numpy as np

from danlu.errors import RunError
from danlu.save.checkpoint import Tensors, check_names, encoded, folder, remove, steps, write_encoded
from danlu.save.retry import Retry
from danlu.save.tensors import Array

# Held while files are open, and across a fork: a worker process that inherited them would hold on to their space.
_files = threading.RLock()
os.register_at_fork(before=_files.acquire, after_in_parent=_files.release, after_in_child=_files.release)


class Keep(NamedTuple):
    """Which checkpoints stay once a new one is on the disk: the newest few, and those of the updates `also`."""

    newest: int
    also: frozenset[int]


@dataclass
class _Snapshot:
    """A state at one moment, in memory of its own that the next one uses again."""

    tensors: dict[str, dict[str, Array]] = field(default_factory=dict)
    step: int = -1
    state: bytes = b""
    keep: Keep | None = None
    replaceable: bool = True

    def take(self, tensors: Tensors) -> None:
        """Copy the arrays, each in its own layout, so that it is one straight copy."""
        before, self.tensors = self.tensors, {}
        for group, arrays in tensors.items():
            kept = before.get(group, {})
            self.tensors[group] = {name: _copied(array, kept.get(name)) for name, array in arrays.items()}


def _copied(array: Array, into: Array | None) -> Array:
    if into is None or into.shape != array.shape or into.dtype != array.dtype:
        into = np.empty_like(array)
    np.copyto(into, array)
    return into


class _GivenUpError(Exception):
    """Nobody waits for the write any more."""


@final
class Writer:
    """Writes the checkpoints of a run folder, in their order, on a thread that lives while there is one to write.

    Args:
        run: the run folder.
        retry: what to do when the disk refuses; each time everything is written anew from the snapshot.

    Fields:
        durable: the newest checkpoint that is on the disk.

    Cost:
        memory for one snapshot, and for a second where saves are asked for faster than the disk takes them.
    """

    def __init__(self, run: Path, retry: Retry) -> None:
        self._run, self._retry = run, retry
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._waiting: _Snapshot | None = None
        self._spare: list[_Snapshot] = []
        self._failure: BaseException | None = None
        self._told: SimpleQueue[str] = SimpleQueue()
        self._given_up = threading.Event()
        known = steps(run)
        self.durable: Path | None = folder(run, known[-1]) if known else None

    def save(
        self, step: int, tensors: Tensors, state: Mapping[str, Any], *, keep: Keep, replaceable: bool = False
    ) -> None:
        """Take a snapshot now and see that it is written.

        Args:
            step: after how many updates.
            tensors, state: as for `write`; they may change as soon as this returns.
            keep: which other checkpoints stay.
            replaceable: while it waits for a write in flight, a newer one may take its place. One that is not is
                always written, and the next save waits until its turn has come.

        Raises:
            RunError: a write before has failed for good.
            TypeError: a value that is neither array nor plain, by name.

        Cost:
            one copy of all arrays.
        """
        check_names(tensors)
        content = encoded(state)
        snapshot = self._free_snapshot()
        snapshot.take(tensors)
        snapshot.step, snapshot.state, snapshot.keep, snapshot.replaceable = step, content, keep, replaceable
        with self._changed:
            self._waiting = snapshot
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="danlu-checkpoints", daemon=True)
                self._thread.start()

    def check(self) -> None:
        """Raise what has failed for good since the last call."""
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def told(self) -> list[str]:
        """Return what a person should know that was not told yet: tries that failed."""
        return [self._told.get() for _ in range(self._told.qsize())]

    def wait(self) -> None:
        """Wait until everything is on the disk; raise what has failed for good."""
        with self._changed:
            self._changed.wait_for(lambda: self._thread is None)
        self.check()

    def give_up(self, within_s: float) -> None:
        """Start nothing more, and let the write in flight end if it takes no longer than that."""
        self._given_up.set()
        with self._changed:
            self._waiting = None
            self._changed.wait_for(lambda: self._thread is None, timeout=within_s)

    def _free_snapshot(self) -> _Snapshot:
        """Return buffers to fill: those of a snapshot whose place the new one takes, unused ones, or new ones."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting is None or self._waiting.replaceable)
            self.check()
            snapshot, self._waiting = self._waiting, None
            if snapshot is None:
                snapshot = self._spare.pop() if self._spare else _Snapshot()
            return snapshot

    def _work(self) -> None:
        """Write until nothing waits; the thread's own function."""
        while (snapshot := self._next()) is not None:
            try:
                self._write(snapshot)
                self._spare.append(snapshot)
            except BaseException as error:  # the training thread raises it
                with self._changed:
                    self._failure = None if isinstance(error, _GivenUpError) else error
                    self._waiting = self._thread = None
                    self._changed.notify_all()
                return

    def _next(self) -> _Snapshot | None:
        with self._changed:
            snapshot, self._waiting = self._waiting, None
            if snapshot is None:
                self._thread = None
            self._changed.notify_all()
            return snapshot

    def _write(self, snapshot: _Snapshot) -> None:
        try:
            self._retry(lambda: self._try(snapshot), self._told.put, self._pause)
        except RunError as error:
            times = "" if not self._retry.times else f", {self._retry.times + 1} times"
            fix = f"free some space or mend the disk, then resume; the last good checkpoint is {self.durable}"
            raise RunError(where=error.where, got=f"{error.got}{times}", want=error.want, fix=fix) from error.__cause__
        self.durable = folder(self._run, snapshot.step)
        if snapshot.keep is not None:
            self.prune(snapshot.keep)

    def _try(self, snapshot: _Snapshot) -> None:
        with _files:
            write_encoded(folder(self._run, snapshot.step), snapshot.tensors, snapshot.state, overwrite=True)

    def _pause(self, seconds: float) -> None:
        if self._given_up.wait(seconds):
            raise _GivenUpError

    def prune(self, keep: Keep) -> None:
        """Remove what is no longer wanted; what cannot be removed is tried again next time."""
        with _files:
            for step in [step for step in steps(self._run)[: -keep.newest] if step not in keep.also]:
                try:
                    remove(folder(self._run, step))
                except OSError as error:
                    self._told.put(f"{folder(self._run, step)}: not removed: {error.strerror or error}")


def room(run: Path, size_bytes: int, checkpoints: int) -> str | None:
    """Return a notice where a disk has no room for so many checkpoints of a size, else None."""
    free = shutil.disk_usage(run).free
    if free >= size_bytes * checkpoints:
        return None
    sizes = f"{checkpoints} checkpoints of {size_bytes / 1e6:,.1f} MB each"
    return f"{run}: {free / 1e6:,.1f} MB free, too little for {sizes}; on a full disk the run ends"
