"""An error in a person's own code keeps its traceback, from their first line on; nobody's else does."""

from pathlib import Path

import pytest

from danlu.cli import run
from danlu.errors import ModelError

TRAIN = ["train", "base.toml", "-q"]

OWN = [
    ("model=net.py:Buggy", "in forward", "NameError: name 'undefined_name' is not defined", "danlu: model: got"),
    ("data=net.py:key_error", "in key_error", "KeyError: 'no such key'", "danlu: while loading the data"),
    ("model=imports.py:Net", "in <module>", "ModuleNotFoundError", "danlu: while building the model"),
    ("model=syntax.py:Net", "syntax.py", "SyntaxError", "danlu: while building the model"),
]


@pytest.mark.parametrize(("override", "place", "error", "note"), OWN, ids=[case[0] for case in OWN])
def test_own_code_keeps_its_traceback(
    override: str,
    place: str,
    error: str,
    note: str,
    here: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    assert run([*TRAIN, "--out", str(tmp_path / "out"), "--set", override]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert place in err
    assert error in err
    assert note in err
    assert "typer" not in err
    assert "danlu/cli" not in err
    assert err.splitlines()[1].strip().startswith('File "') or override.startswith("model=syntax")
    assert list(tmp_path.iterdir()) == []


def test_an_error_in_mid_training_says_in_which_update(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "out"
    assert run([*TRAIN, "--out", str(out), "--set", "model=net.py:BuggyLater"]) == 1
    err = capsys.readouterr().err
    assert "NameError: name 'undefined_name' is not defined" in err
    assert "danlu: in update 0 (epoch 0, batch 0)" in err
    assert (out / "summary.json").exists()
    assert run(["runs", "show", str(out)]) == 0
    assert "failed, NameError" in capsys.readouterr().out


READER = """
from torch.utils.data import Dataset
import torch
class Files(Dataset):
    def __len__(self):
        return 40
    def __getitem__(self, index):
        if index == 39:
            raise {error}
        return torch.ones(4), index % 3
"""


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("error", "code"), [("OSError(5, 'disk')", 2), ("KeyError('x')", 2), ("OSError(24, 'open')", 1)]
)
def test_a_sample_that_cannot_be_fetched_is_one_line(
    error: str, code: int, workers: int, here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (here / "reader.py").write_text(READER.format(error=error))
    sets = ["--set", "data=reader.py:Files", "--set", "data.valid=0", "--set", f"data.workers={workers}"]
    assert run([*TRAIN, "--out", str(tmp_path / "out"), *sets, "--set", "rehearse=false"]) == code
    err = capsys.readouterr().err
    assert (err.count("\n") == 1) == (code == 2)
    if code == 2:
        assert "train sample 39, batch" in err
        assert 'danlu.data.Samples(dataset, bad="skip")' in err


def test_an_error_of_many_lines_becomes_one(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def call(arguments: list[str]) -> int:
        raise ModelError(where="model", got="this\n  and that", want="peace", fix="rest")

    monkeypatch.setattr("danlu.cli.app.call", call)
    assert run([]) == 2
    assert capsys.readouterr().err == "danlu: model: got this and that; want peace. Fix: rest.\n"


def test_an_error_of_the_system_is_reported_whole(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def call(arguments: list[str]) -> int:
        raise OSError(5, "input/output error")

    monkeypatch.setattr("danlu.cli.app.call", call)
    assert run([]) == 1
    assert "OSError: [Errno 5] input/output error" in capsys.readouterr().err
