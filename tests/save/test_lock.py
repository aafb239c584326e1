"""Who holds a run folder, and what is believed of an owner that is gone."""

import fcntl
import json
import multiprocessing
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from danlu.errors import RunError
from danlu.save import locked

HOLD = """
import sys, time
from pathlib import Path
from danlu.save import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def hold(folder: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", HOLD, str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_living_owner_is_named_and_a_killed_one_leaves_a_notice(tmp_path: Path):
    process = hold(tmp_path)
    words = rf"process {process.pid} on {platform.node()}, since 20\d\d-.*, trains in"
    with pytest.raises(RunError, match=words), locked(tmp_path):
        pass
    process.kill()
    process.communicate()
    with locked(tmp_path) as notice:
        assert notice is not None
        assert f"left by process {process.pid} on {platform.node()}" in notice
    with locked(tmp_path) as notice:
        assert notice is None


def test_a_second_run_of_the_same_process_is_refused_and_does_not_free_the_folder(tmp_path: Path):
    with locked(tmp_path):
        with pytest.raises(RunError, match=f"process {os.getpid()} on"), locked(tmp_path / "." / ""):
            pass
        done = subprocess.run([sys.executable, "-c", HOLD, str(tmp_path)], capture_output=True, text=True)
        assert f"process {os.getpid()} on" in done.stderr
    with locked(tmp_path) as notice:
        assert notice is None


def test_a_child_process_does_not_keep_the_lock(tmp_path: Path):
    context, event = multiprocessing.get_context("fork"), multiprocessing.get_context("fork").Event()
    with locked(tmp_path):
        child = context.Process(target=event.wait)
        child.start()
    process = hold(tmp_path)
    process.communicate("")
    event.set()
    child.join()
    assert process.returncode == 0


def owner(**other: Any) -> dict[str, Any]:
    started = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    me = {"pid": os.getpid(), "host": platform.node(), "boot": boot, "started": started, "since": "2026-01-01 00:00:00"}
    return {**me, **other}


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="this system has no /proc")
@pytest.mark.parametrize(
    ("other", "believed"),
    [
        ({}, True),
        ({"started": "1"}, False),  # the number was used again
        ({"pid": 2**22 + 1}, False),
        ({"boot": "another"}, False),
        ({"host": "another"}, True),  # nobody here can know
    ],
)
def test_where_a_disk_has_no_locks_a_living_owner_is_believed(
    other: dict[str, Any], believed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: object) -> None:
        raise OSError(37, "No locks available")

    (tmp_path / ".lock").write_text(json.dumps(owner(**other)))
    monkeypatch.setattr(fcntl, "lockf", refuse)
    if believed:
        with pytest.raises(RunError, match="trains in"), locked(tmp_path):
            pass
    else:
        with locked(tmp_path) as notice:
            assert "ended without closing it" in str(notice)


@pytest.mark.parametrize("content", ["{", "[1]", '{"pid": 3}', "\0\0"])
def test_a_damaged_owner_file_is_an_unknown_process(content: str, tmp_path: Path):
    (tmp_path / ".lock").write_text(content)
    with locked(tmp_path) as notice:
        assert notice == "the run was left by an unknown process, which ended without closing it"
