"""Ctrl-C, as a person sends it: to a process."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
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


@pytest.fixture(autouse=True)
def _sigint_is_heard() -> Iterator[None]:
    """A suite that is started in the background ignores SIGINT, and so would what it starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


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


WORKERS = """
import sys
import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset
import danlu
from danlu.data import Arrays, Data, Samples
from danlu.recipe import Checkpoints

class Rows(Dataset):
    def __len__(self):
        return 800
    def __getitem__(self, index):
        return torch.randn(6) + index % 3, index % 3

held = Arrays(np.zeros((8, 6), np.float32), np.arange(8) % 3)
data = Data(Samples(Rows(), workers=2), {"valid": held})
often = Checkpoints(every=1, per="update")
recipe = danlu.Recipe(epochs=int(sys.argv[3]), batch_size=20, checkpoints=often, tensorboard=False)
torch.manual_seed(0)
danlu.fit(nn.Linear(6, 3), data, recipe, out=sys.argv[1], quiet=True, resume=sys.argv[2] == "resume")
"""


def test_sigterm_to_the_whole_group_saves_and_no_worker_is_left(tmp_path: Path):
    """The workers are forked while the thread writes, and get the signal too."""
    command = [sys.executable, "-c", WORKERS, str(tmp_path / "run")]
    process = subprocess.Popen([*command, "new", "50"], stderr=subprocess.PIPE, text=True, start_new_session=True)
    while (save.steps(tmp_path / "run") or [0])[-1] < 30 and process.poll() is None:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    run = danlu.Run(tmp_path / "run")
    assert run.summary["status"] == "interrupted"
    assert save.steps(tmp_path / "run")[-1] == run.summary["updates"]
    assert not list((tmp_path / "run" / "checkpoints").glob(".*"))
    _, state = save.read(save.folder(tmp_path / "run", run.summary["updates"]))
    epochs = str(state["epoch"] + 1)
    for folder, how in ((tmp_path / "run", "resume"), (tmp_path / "whole", "new")):
        command = [sys.executable, "-c", WORKERS, str(folder), how, epochs]
        done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
        assert done.returncode == 0, done.stderr
    ends = [save.read(save.folder(tmp_path / name, save.steps(tmp_path / name)[-1]))[0] for name in ("run", "whole")]
    assert all(ends[0]["model"][name].tobytes() == ends[1]["model"][name].tobytes() for name in ends[1]["model"])


SLOW = """
import os, signal, sys, time
import numpy as np
from torch import nn
import danlu
from danlu.recipe import Checkpoints
from danlu.save import writer

real = writer.write_encoded

def slow(folder, *given, **named):
    if folder.name >= "step-00000004":
        time.sleep(1000)  # a disk that takes its time
    return real(folder, *given, **named)

writer.write_encoded = slow

class Signals(danlu.Hook):
    def on_step_end(self, training, result):
        if training.state.updates_done == 4:
            os.kill(os.getpid(), signal.SIGINT)
            print("asked once", flush=True)

data = (np.zeros((40, 4), np.float32), np.arange(40) % 3)
often = Checkpoints(every=1, per="update", keep=2)
recipe = danlu.Recipe(epochs=5, batch_size=10, checkpoints=often, tensorboard=False, validate_every=9)
print("trains", flush=True)
danlu.fit(nn.Linear(4, 3), data, recipe, hooks=[Signals()], out=sys.argv[1], quiet=True)
"""


def test_a_second_ctrl_c_leaves_a_write_that_takes_too_long(tmp_path: Path):
    command = [sys.executable, "-c", SLOW, str(tmp_path / "run")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "trains\n"
    assert process.stdout.readline() == "asked once\n"
    time.sleep(1)  # it waits for a write now
    assert process.poll() is None
    start_s = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode
    assert time.monotonic() - start_s < 30
    assert err.rstrip().rsplit("\n", 1)[-1].startswith("KeyboardInterrupt")
    last = save.steps(tmp_path / "run")[-1]
    assert last in (0, 1, 2, 3)
    assert save.read(save.folder(tmp_path / "run", last))[1]["updates_done"] == last
