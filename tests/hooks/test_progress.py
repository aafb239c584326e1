"""Progress: said in a terminal and in a pipe, and never in the way."""

import math
import os
import pty
import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import danlu
from danlu import hooks
from danlu.data import Arrays, Data
from danlu.hooks.progress import Pace
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
