"""The thread that writes checkpoints: what it was given at that moment, in order, one at a time, and never silently."""

import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from danlu import save
from danlu.errors import RunError
from danlu.save import checkpoint
from danlu.save import writer as room

ALL = save.Keep(100, frozenset())
AT_ONCE = save.Retry(2, 0.01)


def state(value: float, size: int = 1000) -> dict[str, dict[str, Any]]:
    return {"model": {"w": np.full((size, 3), value, "f4"), "s": np.float32(value)}, "optimizer": {}}


def value_of(run: Path, step: int) -> float:
    return float(save.read(save.folder(run, step))[0]["model"]["w"].min())


class Gate:
    """Holds every write until it is opened, and notes which began."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open, self.began, self.write = threading.Event(), [], checkpoint.write_encoded  # type: ignore[var-annotated]
        monkeypatch.setattr(room, "write_encoded", self)

    def __call__(self, folder: Path, *given: Any, **named: Any) -> Path:
        self.began.append(int(folder.name[5:]))
        assert self.open.wait(20)
        return self.write(folder, *given, **named)


def until(true: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline_s
        time.sleep(0.002)


def test_what_is_written_is_the_state_at_the_moment_of_asking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    gate, writer = Gate(monkeypatch), save.Writer(tmp_path, AT_ONCE)
    tensors, values = state(1.0), {"list": [1], "updates_done": 1}
    writer.save(1, tensors, values, keep=ALL)
    tensors["model"]["w"][:] = 2.0
    values["list"].append(2)  # type: ignore[union-attr]
    gate.open.set()
    writer.wait()
    assert value_of(tmp_path, 1) == 1.0
    assert save.read(save.folder(tmp_path, 1))[1] == {"list": [1], "updates_done": 1}


def test_the_newest_takes_the_place_of_one_that_waits_and_others_wait_for_their_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    gate, writer = Gate(monkeypatch), save.Writer(tmp_path, AT_ONCE)
    for step in (1, 2, 3, 4):
        writer.save(step, state(step), {}, keep=ALL, replaceable=True)
        until(lambda: gate.began == [1])
    writer.save(5, state(5), {}, keep=ALL, replaceable=False)
    later = threading.Thread(target=lambda: writer.save(6, state(6), {}, keep=ALL, replaceable=True))
    later.start()
    later.join(0.1)
    assert later.is_alive()  # 5 waits, and is not to be replaced
    gate.open.set()
    later.join()
    writer.wait()
    assert gate.began == [1, 5, 6]
    assert save.steps(tmp_path) == [1, 5, 6]
    assert [value_of(tmp_path, step) for step in (1, 5, 6)] == [1, 5, 6]


def test_the_buffers_are_kept_and_are_two_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    made: list[room._Snapshot] = []
    snapshot = room._Snapshot
    monkeypatch.setattr(room, "_Snapshot", lambda: made.append(snapshot()) or made[-1])
    writer = save.Writer(tmp_path, AT_ONCE)
    for step in range(1, 30):
        writer.save(step, state(step), {}, keep=ALL, replaceable=bool(step % 3))
    writer.wait()
    assert len(made) <= 2
    first = [one.tensors["model"]["w"] for one in made]
    writer.save(30, state(30), {}, keep=ALL)
    writer.wait()
    assert any(one.tensors["model"]["w"] is first[0] for one in made)
    assert all(value_of(tmp_path, step) == step for step in save.steps(tmp_path))


def test_the_old_one_goes_only_once_the_new_one_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    gate, writer = Gate(monkeypatch), save.Writer(tmp_path, AT_ONCE)
    gate.open.set()
    writer.save(1, state(1), {}, keep=save.Keep(1, frozenset()))
    writer.wait()
    gate.open.clear()
    writer.save(2, state(2), {}, keep=save.Keep(1, frozenset()))
    until(lambda: gate.began == [1, 2])
    assert save.steps(tmp_path) == [1]
    gate.open.set()
    for step in (3, 4, 5, 6):
        writer.save(step, state(step), {}, keep=save.Keep(2, frozenset({3})))
    writer.wait()
    assert save.steps(tmp_path) == [3, 5, 6]
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [f"step-{n:08d}" for n in (3, 5, 6)]


@pytest.mark.parametrize("failures", [0, 1, 2, 3])
def test_a_failed_sync_is_told_and_everything_is_written_anew(
    failures: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    writer, real, synced = save.Writer(tmp_path, AT_ONCE), os.fsync, []
    writer.save(1, state(1), {}, keep=ALL)
    writer.wait()
    left = [failures]

    def sync(descriptor: int) -> None:
        place = os.readlink(f"/proc/self/fd/{descriptor}")
        synced.append((os.fstat(descriptor).st_ino, os.fstat(descriptor).st_ctime_ns, place))
        if left[0] and place.endswith("model.safetensors"):
            left[0] -= 1
            raise OSError(5, "Input/output error")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    writer.save(2, state(2), {}, keep=ALL)
    if failures <= 2:
        writer.wait()
        assert value_of(tmp_path, 2) == 2
    else:
        with pytest.raises(RunError, match=r"Input/output error, 3 times.*last good checkpoint is .*step-00000001\."):
            writer.wait()
        assert save.steps(tmp_path) == [1]
        writer.check()  # it is raised once
    assert len(writer.told()) == min(failures, 2)
    files = [one for one in synced if one[2].endswith("model.safetensors")]
    assert len(set(files)) == len(files) == min(failures, 2) + 1  # each try synced a file of its own
    assert not list((tmp_path / "checkpoints").glob(".*"))
    assert [value_of(tmp_path, step) for step in save.steps(tmp_path)] == save.steps(tmp_path)


def test_a_failure_surfaces_at_the_next_save_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    writer = save.Writer(tmp_path, save.Retry(0, 0))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        writer.save(1, state(1), {}, keep=ALL)
        until(lambda: writer._thread is None)
    with pytest.raises(RunError, match="No space left on device; want"):
        writer.save(2, state(2), {}, keep=ALL)
    with pytest.raises(TypeError, match=r"a\[0\]"):
        writer.save(2, state(2), {"a": [print]}, keep=ALL)  # a value that cannot be written is known at once


def test_giving_up_does_not_wait_for_another_try(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    writer = save.Writer(tmp_path, save.Retry(3, 60))
    monkeypatch.setattr(os, "fsync", refuse)
    writer.save(1, state(1), {}, keep=ALL)
    until(lambda: writer._told.qsize())
    start_s = time.monotonic()
    writer.give_up(within_s=10)
    assert time.monotonic() - start_s < 5
    assert writer._thread is None
    writer.check()


def _open_files(pipe: Any) -> None:
    links = [Path(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")]
    pipe.send([os.readlink(link) for link in links if link.exists()])


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="this system has no /proc")
def test_a_process_forked_meanwhile_inherits_no_file_and_does_not_hang(tmp_path: Path):
    context, writer = multiprocessing.get_context("fork"), save.Writer(tmp_path, AT_ONCE)
    for step in range(1, 9):
        writer.save(step, state(step, 300_000), {}, keep=save.Keep(1, frozenset()))
        here, there = context.Pipe()
        child = context.Process(target=_open_files, args=(there,))
        child.start()
        assert here.poll(20)
        assert not [path for path in here.recv() if str(tmp_path) in path]
        child.join(20)
        assert child.exitcode == 0
    writer.wait()
    assert value_of(tmp_path, 8) == 8


def test_a_disk_without_room_is_noticed(tmp_path: Path):
    assert save.room(tmp_path, 1000, 3) is None
    notice = save.room(tmp_path, 10**15, 3)
    assert notice is not None
    assert "too little for 3 checkpoints of 1,000,000,000.0 MB each" in notice
