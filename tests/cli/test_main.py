"""The program as a process: exit codes, streams, signals, and odd surroundings."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import danlu

DANLU = [sys.executable, "-m", "danlu"]
LONG = ["train", "base.toml", "--set", "epochs=100000", "--out"]


def surroundings(**changes: str | None) -> dict[str, str]:
    """Return this process's environment with changes; None takes a name away."""
    given = {**os.environ, "OMP_NUM_THREADS": "1", **changes}
    return {name: value for name, value in given.items() if value is not None}


def call(words: str, cwd: Path, **changes: str | None) -> subprocess.CompletedProcess[str]:
    environment = surroundings(**changes)
    return subprocess.run([*DANLU, *words.split()], cwd=cwd, env=environment, capture_output=True, text=True)


def test_exit_codes_and_streams(scene: Path):
    done = call("recipes", scene)
    assert (done.returncode, done.stderr) == (0, "")
    assert "digits" in done.stdout
    assert "\x1b" not in done.stdout
    wrong = call("train digitz", scene)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.count("\n") == 1
    assert call("train digits --nonsense", scene).returncode == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"HOME": None, "DISPLAY": None, "TERM": None, "COLUMNS": "40"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "COLUMNS": "not a number"},
    ],
    ids=["bare", "ascii"],
)
def test_odd_surroundings(changes: dict[str, str | None], scene: Path, tmp_path: Path):
    (tmp_path / "mine.toml").write_text((scene / "base.toml").read_text(), encoding="utf-8")
    done = call("train mine.toml", tmp_path, **changes)
    assert (done.returncode, done.stderr) == (0, "")
    assert "best valid/accuracy" in done.stdout
    assert (tmp_path / "runs/mine/curves.png").exists()


def test_letters_that_the_terminal_lacks(tmp_path: Path):
    changes = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    wrong = subprocess.run(
        [*DANLU, "train", "丹炉.toml"], cwd=tmp_path, env=surroundings(**changes), capture_output=True
    )
    assert wrong.returncode == 2
    assert wrong.stderr.isascii()
    assert b"No such file" in wrong.stderr


def test_a_reader_that_leaves_ends_nothing(scene: Path, tmp_path: Path):
    for unbuffered in (None, "1"):
        environment = surroundings(PYTHONUNBUFFERED=unbuffered)
        with subprocess.Popen(
            [*DANLU, "runs"], cwd=scene, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            process.stdout.close()
            assert process.stderr.read() == b""
            assert process.wait() == 0
    out = str(tmp_path / "run")
    with subprocess.Popen(
        [*DANLU, "train", "base.toml", "--out", out, "--set", "epochs=3"],
        cwd=scene,
        env=surroundings(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0
    assert danlu.Run(out).summary["status"] == "finished"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_that_cannot_be_written_is_said(scene: Path):
    with open("/dev/full", "w") as full:
        done = subprocess.run([*DANLU, "runs"], cwd=scene, env=surroundings(), stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert done.stderr.decode() == "danlu: standard output: No space left on device\n"


def test_closed_streams(scene: Path):
    for closed in (">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"):
        line = f"{sys.executable} -m danlu runs show runs/iris {closed}"
        assert subprocess.run(["sh", "-c", line], cwd=scene, env=surroundings(), capture_output=True).returncode == 0
    line = f"{sys.executable} -m danlu train nothing 2>&-"
    wrong = subprocess.run(["sh", "-c", line], cwd=scene, env=surroundings(), capture_output=True)
    assert (wrong.returncode, wrong.stdout) == (2, b"")


def test_a_current_folder_that_was_removed(tmp_path: Path):
    line = f"mkdir gone; cd gone; rmdir ../gone; {sys.executable} -m danlu runs"
    environment = surroundings(PYTHONPATH=str(Path(danlu.__file__).parents[1]))
    done = subprocess.run(["sh", "-c", line], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert "current folder: got a folder that was removed" in done.stderr


def test_ctrl_c_before_training_leaves_nothing(scene: Path, tmp_path: Path):
    (tmp_path / "mine.toml").write_text((scene / "base.toml").read_text())
    process = subprocess.Popen(
        [*DANLU, "train", "mine.toml"], cwd=tmp_path, env=surroundings(), stderr=subprocess.PIPE, text=True
    )
    _wait_for_torch(process.pid)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "danlu: interrupted\n"
    assert [path.name for path in tmp_path.iterdir()] == ["mine.toml"]


def _wait_for_torch(pid: int) -> None:
    """Wait until a process has begun to load PyTorch, which takes it another second."""
    while "libtorch" not in Path(f"/proc/{pid}/maps").read_text():
        time.sleep(0.01)


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_in_the_middle_keeps_the_record(times: int, scene: Path, tmp_path: Path):
    out = tmp_path / "run"
    process = subprocess.Popen(
        [*DANLU, *LONG, str(out)],
        cwd=scene,
        env=surroundings(PYTHONUNBUFFERED=None),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for _ in range(10):  # past the first rows, so that a checkpoint is there
        assert process.stdout.readline()
    for _ in range(times):
        process.send_signal(signal.SIGINT)
        time.sleep(0.001)
    said, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "danlu: interrupted\n"
    assert f"run: {out}" in said
    run = danlu.Run(out)
    assert run.summary["status"] == "interrupted"
    assert run.summary["updates"] >= 8
    assert run.history["valid/loss"].to_list()[0] > 0
    danlu.load_model(out, at="best", model=danlu.models.softmax_regression(4, 3))


def test_the_installed_command_is_the_same(scene: Path):
    command = Path(sys.executable).with_name("danlu")
    if not command.exists():
        pytest.skip("danlu is not installed as a command")
    done = subprocess.run([command, "--version"], cwd=scene, env=surroundings(), capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, call("--version", scene).stdout)
