"""A run, and beside it a folder that nobody may touch; commands that must refuse, or hold."""

import hashlib
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from danlu import save
from danlu.cli import run
from danlu.hooks import record

RECIPE = """
epochs = 1
batch_size = 50
data = "digits"
limit_batches = 2
model = {build = "softmax_regression", inputs = 64, outputs = 10}
"""
TIMEOUT_S = 120  # a run that hangs, and not a busy machine


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two updates; tests work on copies."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "recipe.toml").write_text(RECIPE)
    assert run(["train", str(folder / "recipe.toml"), "--out", str(folder / "RUN"), "-q"]) == 0
    return folder / "RUN"


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def here(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the run; the test stands beside it. What waits, runs, or writes outside fails."""
    shutil.copytree(trained, tmp_path / "RUN")
    monkeypatch.setattr(record, "draw", lambda *_: "")  # curves.png: seconds in a process of its own
    (tmp_path / "outside" / "events").mkdir(parents=True)
    for name in ("notes.txt", "events/events.out.tfevents.1"):
        (tmp_path / "outside" / name).write_text("precious")
    before = contents(tmp_path / "outside")
    monkeypatch.chdir(tmp_path)

    def too_long(*_: object) -> None:
        raise AssertionError("it waits")

    handler = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(TIMEOUT_S)
    yield tmp_path / "RUN"
    signal.alarm(0)
    signal.signal(signal.SIGALRM, handler)
    assert not (tmp_path / "ran").exists(), "it ran what it read"
    assert contents(tmp_path / "outside") == before, "it wrote outside"


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Callable[[list[str]], str]:
    """Run a command that must refuse, and return its line."""

    def call(words: list[str]) -> str:
        capsys.readouterr()
        code, err = run(words), capsys.readouterr().err
        assert code == 2, err
        assert err.startswith("danlu: "), err
        assert err.count("\n") == 1, err
        assert "Fix: " in err
        return err

    return call


@pytest.fixture
def holds(capsys: pytest.CaptureFixture[str]) -> Callable[[list[str]], None]:
    """Run a command that may refuse, in one line, or have no need of what is wrong."""

    def call(words: list[str]) -> None:
        capsys.readouterr()
        code, err = run(words), capsys.readouterr().err
        assert code in (0, 2), err
        assert "Traceback" not in err
        assert code == 0 or err.count("\n") == 1, err

    return call


@pytest.fixture
def seal() -> Callable[..., None]:
    """Write a manifest that is right about itself and about every file there."""

    def call(place: Path, **files: Any) -> None:
        known = {path.name: [path.stat().st_size, save.sha256_of(path)] for path in place.iterdir() if path.is_file()}
        known.pop("manifest.json", None)
        known |= files
        digest = hashlib.sha256(save.to_json(known).encode()).hexdigest()
        (place / "manifest.json").write_text(save.to_json({"format": 2, "files": known, "sha256": digest}))

    return call
