"""`danlu resume`: going on with a run that was killed, and everything that keeps it from going on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import danlu
from danlu import save
from danlu.cli import run

SHORT = ["--set", "epochs=6", "--set", "checkpoints.every=1", "--set", "checkpoints.per=update"]
SHORT += ["--set", "checkpoints.keep=2", "--set", "schedule=off", "--quiet"]
PLACE = str(Path(danlu.__file__).parents[1])


def kill_in_training(out: Path) -> None:
    """Train digits in another process, and kill it as soon as a few updates are saved."""
    environment = {**os.environ, "PYTHONPATH": PLACE}
    command = [sys.executable, "-m", "danlu", "train", "digits", "--out", str(out), *SHORT]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        while process.poll() is None and (save.steps(out) or [0])[-1] < 7:
            time.sleep(0.002)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (out / "summary.json").exists()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("resume")


@pytest.fixture(scope="module")
def killed(home: Path) -> Path:
    kill_in_training(home / "killed")
    return home / "killed"


def fails(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert run(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("danlu: ")
    assert err.count("\n") == 1
    return err


def test_a_killed_run_ends_as_if_it_had_not_been(killed: Path, home: Path, capsys: pytest.CaptureFixture[str]):
    assert run(["train", "digits", "--out", str(home / "whole"), *SHORT]) == 0
    capsys.readouterr()
    assert run(["resume", str(killed)]) == 0
    out, err = capsys.readouterr()
    assert "goes on after update" in out + err
    runs = danlu.Run(home / "whole"), danlu.Run(killed)
    assert runs[0].history.equals(runs[1].history)
    steps = [save.steps(one.folder or Path())[-1] for one in runs]
    assert steps[0] == steps[1]
    states = [save.read(save.folder(home / name, steps[0])) for name in ("whole", "killed")]
    for group, arrays in states[0][0].items():
        for name, array in arrays.items():
            assert array.tobytes() == states[1][0][group][name].tobytes(), (group, name)
    assert run(["resume", str(killed)]) == 0
    assert capsys.readouterr().out == "nothing to do: all 6 epochs done\n"
    assert run(["resume", str(killed), "--set", "epochs=7", "--quiet"]) == 0
    assert danlu.Run(killed).summary["epochs"] == 7


def test_what_keeps_a_run_from_going_on(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert "holds no run" in fails(["resume", str(tmp_path)], capsys)
    assert "holds no run" in fails(["resume", str(tmp_path / "nowhere")], capsys)
    out = home / "other"
    kill_in_training(out)
    said = fails(["resume", str(out), "--set", "optim.lr=0.5"], capsys)
    assert "optim.lr: " in said
    assert "--accept-changes" in said
    newest = save.folder(out, save.steps(out)[-1])
    (newest / "state.json").write_text("{}")
    assert "cannot be used" in fails(["resume", str(out), "--strict"], capsys)
    assert run(["resume", str(out), "--set", "optim.lr=0.5", "--accept-changes", "--quiet"]) == 0
    events = [text for _, kind, text in danlu.Run(out).events if kind == "notice"]
    assert any("optim.lr: " in text for text in events)
    assert any("cannot be used" in text for text in events)
