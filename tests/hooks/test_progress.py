"""Progress: said in a terminal and in a pipe, and never in the way."""

import io
import math
import os
import pty
import re
import subprocess
import sys
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import danlu
from danlu import hooks
from danlu.data import Arrays, Data
from danlu.hooks.progress import HEAD_EVERY, Pace, block, progress, share
from danlu.train import prepare


def small() -> Data:
    x = np.random.default_rng(0).standard_normal((40, 4)).astype(np.float32)
    every = Arrays(x, np.arange(40) % 3)
    return Data(every, {"valid": every}, test=every, name="small")


def said(capsys: pytest.CaptureFixture[str], **given: Any) -> tuple[str, danlu.Run]:
    torch.manual_seed(0)
    run = danlu.fit(nn.Linear(4, 3), small(), danlu.Recipe(**{"epochs": 2, "batch_size": 10, **given}))
    return capsys.readouterr().out, run


@pytest.mark.parametrize("validate", [("epoch", 1), ("update", 3)])
def test_every_evaluation_is_said_with_its_figures(validate: tuple[str, int], capsys: pytest.CaptureFixture[str]):
    metrics = ["accuracy", "confusion_matrix"]
    text, run = said(capsys, metrics=metrics, validate_per=validate[0], validate_every=validate[1])
    assert "small" in text
    assert "40 train, 40 valid, 40 test samples" in text
    assert "15 parameters" in text
    assert "matrix" not in text
    for loss in [*run.history["valid/loss"].to_list(), run.summary["final"]["test/loss"]]:
        assert f"{loss:.4f}" in text
    assert "all 2 epochs done" in text
    assert "best valid/accuracy" in text


def test_notices_are_said(capsys: pytest.CaptureFixture[str]):
    danlu.fit(nn.Sequential(nn.Linear(4, 3), nn.Softmax(1)), small(), danlu.Recipe(epochs=1, batch_size=10))
    assert "note: train: the model seems to end in softmax" in capsys.readouterr().out


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]):
    danlu.fit(nn.Linear(4, 3), small(), danlu.Recipe(epochs=1, batch_size=10), quiet=True)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("hook", [hooks.PlainProgress, hooks.LiveProgress])
def test_a_failure_is_said(hook: type[danlu.Hook], capsys: pytest.CaptureFixture[str]):
    def fail(training: object) -> None:
        raise ZeroDivisionError

    given = [hook(), danlu.Every(fail, steps=3)]
    with pytest.raises(ZeroDivisionError):
        danlu.fit(nn.Linear(4, 3), small(), danlu.Recipe(batch_size=10), hooks=given, quiet=True)
    assert capsys.readouterr().out.splitlines()[-1] == "failed in update 3: ZeroDivisionError"


@pytest.mark.parametrize("hook", [hooks.PlainProgress, hooks.LiveProgress])
@pytest.mark.parametrize("given", [{"epochs": "off", "updates": 3}, {"epochs": "off", "minutes": 0.001}])
def test_runs_without_a_known_number_of_epochs(
    hook: type[danlu.Hook], given: dict[str, Any], capsys: pytest.CaptureFixture[str]
):
    recipe = danlu.Recipe(batch_size=10, validate_every=10**6, **given)
    danlu.fit(nn.Linear(4, 3), small(), recipe, hooks=[hook()], quiet=True)
    text = capsys.readouterr().out
    assert ("all 3 updates done" if "updates" in given else "0.001 minutes are over") in text


SCRIPT = """
import torch, danlu
from torch import nn
torch.manual_seed(0)
danlu.fit(nn.Linear(4, 3), danlu.data.load("iris"), danlu.Recipe(epochs=2, batch_size=20, metrics=["accuracy"]))
"""


def test_the_live_block_in_a_terminal():
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    shown = b""
    while True:
        try:
            shown += os.read(ours, 65536)
        except OSError:  # Linux says so when the other side is closed
            break
    os.close(ours)
    assert process.wait(timeout=60) == 0
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode())
    assert "120 train, 30 valid samples" in text
    assert re.search(r"accuracy +0\.\d{4} +0\.\d{4}", text)
    assert re.search(r"best valid/accuracy 0\.\d+ at update \d+", text)
    assert "all 2 epochs done" in text
    assert "\x1b[1A" in shown.decode()  # redrawn in place


def test_the_pace_counts_what_was_done_lately():
    training, pace = prepare(nn.Linear(4, 3), small(), danlu.Recipe(epochs=25, batch_size=10)), Pace()
    pace.mark(training)
    assert math.isnan(pace.samples_per_s())
    assert math.isnan(pace.left_s(training))
    pace._marks = [(0.0, 0, 0), (2.0, 400, 40)]
    training.state.updates_done = 40
    assert pace.samples_per_s() == 200
    assert pace.left_s(training) == (100 - 40) * 2 / 40


def test_rows_stand_under_their_heads(capsys: pytest.CaptureFixture[str]):
    text, run = said(capsys, metrics=["accuracy"], epochs=3)
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if "loss" in line)
    sets, names, *rows = lines[start - 1 : start + 4]
    assert sets.split() == ["train", "valid"]
    assert names.split() == ["epoch", "loss", "accuracy", "loss", "accuracy", "left"]
    ends = [match.end() for match in re.finditer(r"\S+", names)]
    for row, (epoch, values) in zip(rows, enumerate(run.history.to_dicts(), 1), strict=True):
        cells = [row[: ends[0]].strip(), *(row[a:b].strip() for a, b in pairwise(ends))]
        figures = [values[f"{group}/{name}"] for group in ("train", "valid") for name in ("loss", "accuracy")]
        assert cells[:5] == [f"{epoch}/3", *(f"{figure:.4f}" for figure in figures)]
    assert rows[0].endswith("best")
    assert max(map(len, lines)) <= 80


def test_the_head_comes_again_in_a_long_log(capsys: pytest.CaptureFixture[str]):
    text, _ = said(capsys, epochs=HEAD_EVERY + 1)
    assert sum(line.split() == ["train", "valid"] for line in text.splitlines()) == 2


def test_the_test_set_names_its_weights(capsys: pytest.CaptureFixture[str]):
    text, run = said(capsys)
    assert f"test, last weights: loss {run.summary['final']['test/loss']:.4f}" in text
    text, run = said(capsys, early_stop=danlu.EarlyStop(patience=5))
    assert f"test, best weights: loss {run.summary['final']['test/loss']:.4f}" in text


def test_a_limit_is_said(capsys: pytest.CaptureFixture[str]):
    assert "only 2 batches of every set, as limit_batches says" in said(capsys, limit_batches=2)[0]


class Screen(io.StringIO):
    """A terminal that remembers what was written to it."""

    def isatty(self) -> bool:
        return True


def drawn(training: danlu.train.Training, width: int, height: int = 24) -> list[str]:
    from rich.console import Console

    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    pace = Pace()
    pace.mark(training)
    pace._marks.append((pace._marks[0][0] + 2.0, 400, 40))
    console.print(block(training, pace))
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_no_line_of_the_block_wraps(width: int):
    training = prepare(nn.Linear(4, 3), small(), danlu.Recipe(epochs=20000, batch_size=10, metrics=["accuracy"]))
    training.figures = {f"{group}/{name}": 1.5 for group in ("train", "valid") for name in ("loss", "accuracy")}
    training.state.best = {"step": 1234567, "metric": "valid/accuracy", "value": 0.5}
    lines = drawn(training, width)
    assert len(lines) == 8  # bar, where, nothing, head, loss, accuracy, best, nothing
    assert max(map(len, lines)) <= width
    assert "train" in lines[3]
    assert lines[4].split()[0][:3] == "los"


def test_the_block_before_the_first_evaluation():
    training = prepare(nn.Linear(4, 3), small(), danlu.Recipe(epochs=2, batch_size=10))
    lines = drawn(training, 80)
    assert "0%" in lines[0]
    assert lines[1].startswith("epoch 0/2   update 0/8   lr 0.1")
    assert "no figures yet" in lines[3]


def test_the_share_follows_the_nearest_limit():
    training = prepare(nn.Linear(4, 3), small(), danlu.Recipe(epochs=2, batch_size=10, minutes=1))
    training.begin()
    assert share(training) == pytest.approx(0, abs=0.01)
    training.state.updates_done = 4
    assert share(training) == 0.5
    training.started_s -= 45
    assert share(training) == pytest.approx(0.75, abs=0.01)
    training.started_s -= 100
    assert share(training) == 1.0


@pytest.mark.parametrize(
    ("is_terminal", "term", "kind"),
    [
        (True, "xterm", hooks.LiveProgress),
        (True, "dumb", hooks.PlainProgress),
        (False, "xterm", hooks.PlainProgress),
    ],
)
def test_which_progress_where(is_terminal: bool, term: str, kind: type, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TERM", term)
    monkeypatch.setattr(sys, "stdout", Screen() if is_terminal else io.StringIO())
    assert type(progress()) is kind


def test_no_output_at_all_is_no_terminal(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert type(progress()) is hooks.PlainProgress
    danlu.fit(nn.Linear(4, 3), small(), danlu.Recipe(epochs=1, batch_size=10))


class Gone(io.StringIO):
    """A pipe whose reader has left."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


def test_a_reader_that_left_ends_no_run(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stdout", Gone())
    run = danlu.fit(nn.Linear(4, 3), small(), danlu.Recipe(epochs=2, batch_size=10))
    assert run.summary["status"] == "finished"
