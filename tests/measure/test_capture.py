"""Whether updates are captured: which trainings are left out and why, and that the search compares replays."""

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

import danlu
from danlu.device import Plan
from danlu.errors import RunError
from danlu.measure import pin
from danlu.measure.candidates import candidates, capture_refusal, last_candidates
from danlu.measure.planning import adopt
from danlu.train import Training, prepare
from danlu.train.resume import read_plan

GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DANLU_CACHE", str(tmp_path / "cache"))


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3))


def data(n: int = 70) -> Any:
    rng = np.random.default_rng(0)
    return rng.random((n, 6), np.float32), rng.integers(0, 3, n)


def training_of(given: Any = None, net: nn.Module | None = None, **changed: Any) -> Training:
    settled = {"optim": danlu.Optim("sgd", lr=0.1), "batch_size": 16, "epochs": 2, "rehearse": False}
    return prepare(net or model(), given or data(), danlu.Recipe(**settled | changed))


class Sentences(torch.utils.data.Dataset[Any]):
    """Every batch of them is as long as its longest one."""

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> Any:
        return torch.ones(4 + index), index % 3


class Summing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x.sum(1, keepdim=True))
        return out


def padded(samples: list[Any]) -> Any:
    inputs, targets = zip(*samples, strict=True)
    return nn.utils.rnn.pad_sequence(list(inputs), batch_first=True), torch.tensor(targets)


def test_a_training_that_can_be_captured_has_no_refusal() -> None:
    for optim, per in itertools.product(("sgd", "adamw", "nadam"), ("epoch", "update")):
        schedule = danlu.Schedule("cosine", per=per)
        assert capture_refusal(training_of(optim=danlu.Optim(optim, lr=0.1), schedule=schedule, ema=0.9)) == ""


def test_what_rules_capture_out_is_named() -> None:
    def why(*given: Any, **changed: Any) -> str:
        training = training_of(*given, **changed)
        try:
            return capture_refusal(training)
        finally:
            training.close()

    cycle = danlu.Schedule("one_cycle", per="update", max_lr=0.2)
    momentum = danlu.Optim("sgd", lr=0.1, momentum=0.9)
    assert why(optim=momentum, schedule=cycle) == "the schedule moves the momentum, too, in every update"
    still = danlu.Schedule("one_cycle", per="update", max_lr=0.2, cycle_momentum=False)
    assert why(optim=momentum, schedule=still) == ""
    assert why(on_nan="skip") == 'on_nan = "skip" waits in every update'
    assert why(optim=danlu.Optim("adagrad", lr=0.1)) == "Adagrad waits for the host in every update"
    loader = DataLoader(Sentences(), batch_size=8, shuffle=True, collate_fn=padded)
    assert why(loader, Summing()) == "the shapes of its batches differ"


def test_a_model_that_draws_on_the_host_is_ruled_out() -> None:
    training = training_of()
    training.plan = dataclasses.replace(training.plan, generators="all")
    assert capture_refusal(training) == "the model draws from Python's or NumPy's generator"


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_cpu_captures_nothing_and_has_no_row_for_it() -> None:
    found = [*candidates(training_of(), busy=False, threads_first=True), *last_candidates(training_of(), 100.0)]
    assert "capture" not in {one.way for one in found}


def test_a_plan_that_captures_on_a_cpu_is_damaged(tmp_path: Path) -> None:
    now = training_of(device="cpu").plan
    (tmp_path / "plan.json").write_text(json.dumps(dataclasses.asdict(dataclasses.replace(now, captured=True))))
    with pytest.raises(RunError, match=r"plan\.json"):
        read_plan(tmp_path / "plan.json", now)


def test_a_plan_says_that_it_captures_and_keeps_where_this_machine_has_its_data() -> None:
    training = training_of(device="cpu")
    other: Plan = dataclasses.replace(training.plan, data="host", eval_batch_size=8)
    assert dataclasses.replace(other, captured=True).ways == ["captured updates"]
    adopt(training, other)
    assert (training.plan.data, training.learner.plan.data, training.plan.eval_batch_size) == ("device", "device", 8)


class Waits(nn.Module):
    """Looks at a number of the device in every forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = model()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out if float(out.detach().sum()) > 0 else out * 0.5


@pytest.mark.gpu
@GPU
@pytest.mark.parametrize("optim", ["sgd", "adamw", "rmsprop"])
def test_a_search_compares_replays_and_says_what_came_of_them(optim: str) -> None:
    training = training_of(device="cuda", optim=danlu.Optim(optim, lr=1e-3), epochs=500)
    pin(training, limit_s=20.0)
    (row,) = [one for one in training.plan.tried if one.name == "captured updates"]
    assert row.verdict in ("taken", "slower", "no faster"), row
    assert row.difference is not None
    assert training.learner.said == []


@pytest.mark.gpu
@GPU
def test_a_model_that_waits_is_refused_by_the_search_and_trained_all_the_same() -> None:
    training = training_of(net=Waits(), device="cuda", epochs=500)
    pin(training, limit_s=20.0)
    (row,) = [one for one in training.plan.tried if one.name == "captured updates"]
    assert row.verdict.startswith("refused: RuntimeError: ")
    assert not training.plan.captured
    danlu.fit(Waits(), data(), danlu.Recipe(epochs=1, device="cuda", rehearse=False, plan="eager"), quiet=True)
