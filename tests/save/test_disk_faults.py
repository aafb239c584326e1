"""What a person sees when a disk fails, and that the last good state goes on from there as if nothing had happened."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import danlu
from danlu import save
from danlu.data import Arrays, Data
from danlu.errors import RunError

FILLER = "filler"


def mounted(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MB of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    if not mounted("mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)):
        pytest.skip("this test mounts a small disk, which this user or this machine may not")
    yield place
    while mounted("umount", "-R", "-l", str(place)):
        pass


def fill(disk: Path, leave: int = 0) -> None:
    """Leave no more than so many bytes free."""
    with (disk / FILLER).open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            if leave:
                file.truncate(max(0, file.tell() - leave))


def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(6, 9000), nn.ReLU(), nn.Linear(9000, 4))  # 400 kB


def points() -> Data:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((64, 6)).astype(np.float32)
    y = (x[:, 0] > 0) + 2 * (x[:, 1] > 0)
    return Data(Arrays(x, y), {"valid": Arrays(x[:9], y[:9])})


def recipe(**given: Any) -> danlu.Recipe:
    part = danlu.recipe.Checkpoints(every=1, per="update", keep=1, best=False, retries=1, retry_s=0.05)
    return danlu.Recipe(
        **{"epochs": 4, "batch_size": 16, "seed": 5, "log_every": 1, "checkpoints": part, "tensorboard": False, **given}
    )


class At(danlu.Hook):
    """Does something to the disk after one update, once everything before is written."""

    def __init__(self, update: int, act: Callable[[], object]) -> None:
        self._update, self._act = update, act

    def on_step_end(self, training: Any, result: Any) -> None:
        if training.state.updates_done == self._update:
            while list((training.folder / "checkpoints").glob(".*")) or len(save.steps(training.folder)) != 1:
                time.sleep(0.002)
            self._act()


def weights(run: Path) -> dict[str, bytes]:
    tensors, _ = save.read(save.folder(run, save.steps(run)[-1]))
    return {name: array.tobytes() for name, array in tensors["model"].items()}


def goes_on_as_if_nothing_had_happened(run: Path, whole: Path) -> None:
    """The last good checkpoint can be loaded, and a resumed run ends as the one that was never disturbed."""
    danlu.load_model(run, at=save.newest(run)[0], model=network())
    danlu.fit(network(), points(), recipe(), out=run, quiet=True, resume=True)
    danlu.fit(network(), points(), recipe(), out=whole, quiet=True)
    assert weights(run) == weights(whole)
    there, here = danlu.Run(run), danlu.Run(whole)
    assert there.summary["status"] == "finished"
    for name in ("train/loss", "valid/loss", "running/loss"):
        assert there.metrics(name).equals(here.metrics(name)), name


@pytest.mark.parametrize(("leave", "words"), [(200_000, "No space left on device, 2 times"), (0, "disk is full")])
def test_a_full_disk(
    leave: int, words: str, disk: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):  # with room for the rows alone; and with none at all
    run = disk / "run"
    with pytest.raises(RunError, match=words) as caught:
        danlu.fit(network(), points(), recipe(), out=run, quiet=True, hooks=[At(5, lambda: fill(disk, leave))])
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    said = capfd.readouterr().err
    assert "trying again in 0.05 s (1 of 1)" in said
    good = f"the last good checkpoint is {save.folder(run, save.steps(run)[-1])}"
    assert good in str(caught.value) or f"danlu: {good}\n" in said
    assert save.steps(run)[-1] <= 6
    (disk / FILLER).unlink()
    goes_on_as_if_nothing_had_happened(run, tmp_path / "whole")


def test_a_disk_that_is_emptied_in_time(disk: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    run, part = disk / "run", danlu.recipe.Checkpoints(every=1, per="update", best=False, retries=50, retry_s=0.1)

    class Empties(danlu.Hook):
        def on_step_end(self, training: Any, result: Any) -> None:
            if training.state.updates_done == 8:
                while "trying again" not in capfd.readouterr().err:
                    time.sleep(0.01)
                    for line in training.hook._writer.told():
                        print(f"danlu: {line}", file=sys.stderr)
                (disk / FILLER).unlink()

        def on_fit_start(self, training: Any) -> None:
            training.hook = next(h for h in training.state.hooks.values() if isinstance(h, danlu.hooks.Checkpoint))

    hooks = [At(5, lambda: fill(disk, 200_000)), Empties()]
    danlu.fit(network(), points(), recipe(checkpoints=part), out=run, quiet=True, hooks=hooks)
    danlu.fit(network(), points(), recipe(), out=tmp_path / "whole", quiet=True)
    assert weights(run) == weights(tmp_path / "whole")


def test_a_folder_that_becomes_read_only(disk: Path, tmp_path: Path):
    run = disk / "run"
    place = str(run / "checkpoints")

    def forbid() -> None:
        assert mounted("mount", "--bind", place, place)
        assert mounted("mount", "-o", "remount,ro,bind", place)

    with pytest.raises(RunError, match=r"Read-only file system, 2 times.*last good checkpoint is .*step-0000000\d\."):
        danlu.fit(network(), points(), recipe(), out=run, quiet=True, hooks=[At(5, forbid)])
    assert mounted("umount", place)
    goes_on_as_if_nothing_had_happened(run, tmp_path / "whole")


def test_a_disk_that_is_read_only_from_the_start(disk: Path):
    assert mounted("mount", "-o", "remount,ro", str(disk))
    with pytest.raises(RunError, match=r"run: got read-only file system; want a folder that can be written to"):
        danlu.fit(network(), points(), recipe(), out=disk / "run", quiet=True)


def test_a_disk_that_is_full_from_the_start(disk: Path):
    fill(disk)
    with pytest.raises(RunError, match=r"(?i)full|no space left") as caught:
        danlu.fit(network(), points(), recipe(), out=disk / "run", quiet=True)
    assert "\n" not in str(caught.value)


def test_too_little_room_is_said_at_the_start(disk: Path):
    fill(disk, 1_000_000)
    run = danlu.fit(network(), points(), recipe(epochs=1), out=disk / "run", quiet=True)
    notices = [text for _, kind, text in run.events if kind == "notice"]
    assert [text for text in notices if "too little for 3 checkpoints of 0.4 MB each" in text]


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_a_call_that_fails(
    call: str, times: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    run, left = tmp_path / "run", [0]
    sync, rename = os.fsync, Path.rename

    def failing_sync(descriptor: int) -> None:
        if left[0] and ".writing-" in os.readlink(f"/proc/self/fd/{descriptor}"):
            left[0] -= 1
            raise OSError(5, "Input/output error")
        sync(descriptor)

    def failing_rename(path: Path, target: Any) -> Path:
        if left[0] and path.name.startswith(".writing-"):
            left[0] -= 1
            raise OSError(5, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", failing_sync)
    monkeypatch.setattr(Path, "rename", failing_rename)
    if call == "fsync":
        monkeypatch.setattr(Path, "rename", rename)
    else:
        monkeypatch.setattr(os, "fsync", sync)
    hooks = [At(5, lambda: left.__setitem__(0, times))]
    if times == 1:  # the second try succeeds, and nothing is lost
        danlu.fit(network(), points(), recipe(), out=run, quiet=True, hooks=hooks)
        assert "Input/output error; trying again in 0.05 s (1 of 1)" in capfd.readouterr().err
        danlu.fit(network(), points(), recipe(), out=tmp_path / "whole", quiet=True)
        assert weights(run) == weights(tmp_path / "whole")
        return
    with pytest.raises(RunError, match=r"Input/output error, 2 times.*last good checkpoint is .*step-0000000\d\."):
        danlu.fit(network(), points(), recipe(), out=run, quiet=True, hooks=hooks)
    assert danlu.Run(run).summary["status"] == "failed"
    goes_on_as_if_nothing_had_happened(run, tmp_path / "whole")


def test_a_checkpoint_from_the_future_is_passed_over_aloud(tmp_path: Path):
    run = tmp_path / "run"

    class Leaves(danlu.Hook):
        def on_step_end(self, training: Any, result: Any) -> None:
            if training.state.updates_done == 7:
                raise ZeroDivisionError

    keep = danlu.recipe.Checkpoints(every=1, per="update", keep=9)
    with pytest.raises(ZeroDivisionError):
        danlu.fit(network(), points(), recipe(checkpoints=keep), out=run, quiet=True, hooks=[Leaves()])
    manifest = save.folder(run, save.steps(run)[-1]) / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"format": 2', '"format": 3'))
    with pytest.raises(RunError, match=r"format 3; want format 2\)"):
        danlu.fit(network(), points(), recipe(), out=run, quiet=True, resume="strict")
    goes_on_as_if_nothing_had_happened(run, tmp_path / "whole")
    assert [text for _, _, text in danlu.Run(run).events if "format 3" in text]


def test_what_the_command_line_says(disk: Path):
    """A real process on a disk that fills up: one line at the end, exit code 2; then it is resumed."""
    run = disk / "run"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    options = ["checkpoints.per=update", "checkpoints.every=1", "checkpoints.retries=1", "checkpoints.retry_s=0.1"]
    options += ["epochs=400", "tensorboard=false"]
    command = [sys.executable, "-m", "danlu", "train", "iris", "--out", str(run), "-q"]
    command += [part for option in options for part in ("--set", option)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while (save.steps(run) or [0])[-1] < 20 and process.poll() is None:
        time.sleep(0.01)
    fill(disk)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2, err
    assert "Traceback" not in err
    assert "trying again in 0.1 s (1 of 1)" in err
    assert f"the last good checkpoint is {save.folder(run, save.steps(run)[-1])}" in err
    (disk / FILLER).unlink()
    resume = [sys.executable, "-m", "danlu", "resume", str(run), "-q", "--set", "checkpoints.per=epoch"]
    resume += ["--set", "checkpoints.every=100", "--set", "epochs=400"]
    done = subprocess.run(resume, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
