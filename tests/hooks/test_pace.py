"""A run whose updates become much slower says so once, and changes its threads only where it may."""

import dataclasses
import time
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import danlu
from danlu.data import Arrays, Data
from danlu.hooks import Pace
from danlu.train import prepare, run


class Slowing(nn.Module):
    """Takes a little time, and after some calls four times as long."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.layer, self.after, self.calls = nn.Linear(3, 1), after, 0

    def forward(self, inputs: Tensor) -> Tensor:
        self.calls += 1
        time.sleep(0.02 if self.calls < self.after else 0.08)
        return self.layer(inputs)


def watched(after: int, *, alike: bool = False, retime: bool = False) -> tuple[Any, list[int]]:
    rng = np.random.default_rng(0)
    x = rng.random((64, 3), np.float32)
    settings: dict[str, Any] = {"loss": "mse", "batch_size": 8, "epochs": 15, "validate_every": 15}
    recipe = danlu.Recipe(**settings, threads=2, retime=retime, plan="eager", checkpoints="off")
    training = prepare(Slowing(after), Data(Arrays(x, x[:, :1])), recipe)
    training.plan = training.learner.plan = dataclasses.replace(training.plan, threads_alike=alike)
    threads = [torch.get_num_threads() for _ in run(training, [Pace(0.1)])]
    return training, threads


def notices(training: Any) -> list[str]:
    return [text for _, kind, text in training.store.events() if kind == "notice"]


def test_a_steady_run_says_nothing() -> None:
    training, threads = watched(10_000)
    assert notices(training) == []
    assert set(threads) == {2}


@pytest.mark.parametrize(("alike", "retime", "last"), [(False, False, 2), (True, False, 1), (False, True, 1)])
def test_a_slower_run_says_so_once(alike: bool, retime: bool, last: int, capsys: pytest.CaptureFixture[str]) -> None:
    training, threads = watched(60, alike=alike, retime=retime)
    assert len(notices(training)) == 1
    assert "times as long as before" in notices(training)[0]
    assert capsys.readouterr().err.count("times as long as before") == 1
    assert (threads[0], threads[-1]) == (2, last)
    assert ("1 thread from here on" in notices(training)[0]) == (last == 1)
