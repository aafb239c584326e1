"""Ctrl-C, as a person sends it: to a process."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from torch import nn

import danlu
from danlu import hooks, save
from danlu.data import Arrays, Data
from danlu.train import Training

SCRIPT = """
import os, signal, sys, time
import torch
from torch import nn
import danlu

class Signals(danlu.Hook):
    def on_grads_ready(self, training):
        if training.state.updates_done == 6:
            for _ in range(int(sys.argv[2])):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.01)

data = danlu.data.load("iris")
recipe = danlu.Recipe(epochs=1000, batch_size=20, log_every=1, tensorboard=False)
before = signal.getsignal(signal.SIGINT)
try:
    danlu.fit(nn.Linear(4, 3), data, recipe, hooks=[Signals()], out=sys.argv[1], quiet=True)
finally:
    assert signal.getsignal(signal.SIGINT) is before
"""


@pytest.mark.parametrize("signals", [1, 2])
def test_ctrl_c_closes_the_record_and_ends_the_process(signals: int, tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "run"), str(signals)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode
    assert done.stderr.rstrip().rsplit("\n", 1)[-1].startswith("KeyboardInterrupt")
    run = danlu.Run(tmp_path / "run")
    assert run.summary["status"] == "interrupted"
    done_updates = 7 if signals == 1 else 6  # the first lets the update end, the second does not wait
    assert run.summary["updates"] == done_updates
    assert run.metrics("running/loss")["step"].to_list() == list(range(1, done_updates + 1))
    assert [text for _, kind, text in run.events if kind == "interrupted"]
    assert not list((tmp_path / "run").glob("metrics.sqlite-*"))
    assert save.steps(tmp_path / "run") == [6, 7][: 3 - signals]  # 6 ends an epoch, and is the best so far


def small() -> Data:
    x = np.random.default_rng(0).standard_normal((40, 4)).astype(np.float32)
    every = Arrays(x, np.arange(40) % 3)
    return Data(every, {"valid": every}, test=every)


class Sends(danlu.Hook):
    """Sends the signal in the middle of an update, and has a wish of its own at every evaluation."""

    def __init__(self, update: int) -> None:
        self.update = update

    def on_fit_start(self, training: Training) -> None:
        self.training = training

    def on_grads_ready(self, training: Training) -> None:
        if training.state.updates_done == self.update - 1:
            signal.raise_signal(signal.SIGINT)

    def on_eval_end(self, training: Training, figures: object) -> danlu.Stop:
        return danlu.Stop("evaluated once")


@pytest.mark.parametrize("update", [3, 4])  # in mid-epoch; and the one whose end is an evaluation
def test_the_update_is_finished_and_the_test_set_left_alone(update: int):
    before, sends = signal.getsignal(signal.SIGINT), Sends(update)
    with pytest.raises(KeyboardInterrupt, match="Ctrl-C"):
        danlu.fit(nn.Linear(4, 3), small(), danlu.Recipe(epochs=5, batch_size=10), hooks=[sends], quiet=True)
    training = sends.training
    assert training.stop == danlu.Stop("Ctrl-C", "interrupted")
    assert training.state.updates_done == update
    assert ("valid/loss" in training.figures) == (update == 4)
    assert "test/loss" not in training.figures
    assert signal.getsignal(signal.SIGINT) is before


def test_outside_the_main_thread_signals_are_left_alone():
    before, ended = signal.getsignal(signal.SIGINT), []

    def work() -> None:
        run = danlu.fit(nn.Linear(4, 3), small(), danlu.Recipe(epochs=1, batch_size=10), quiet=True)
        ended.append(run.summary["status"])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert ended == ["finished"]
    assert signal.getsignal(signal.SIGINT) is before


def test_the_handler_comes_back_after_an_error():
    class Fails(danlu.Hook):
        def on_step_end(self, training: Training, result: object) -> None:
            assert signal.getsignal(signal.SIGINT) != before
            raise ZeroDivisionError

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ZeroDivisionError):
        danlu.fit(nn.Linear(4, 3), small(), danlu.Recipe(batch_size=10), hooks=[Fails()], quiet=True)
    assert signal.getsignal(signal.SIGINT) is before
    hooks.Interrupt().on_fit_end(None, None)  # type: ignore[arg-type]
    assert signal.getsignal(signal.SIGINT) is before
