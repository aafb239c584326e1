"""`danlu bench`: honest figures, a model that nobody touched, and no folder."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import danlu
from danlu.cli import run
from danlu.cli.bench import report
from danlu.device import Gauge, Limits
from danlu.measure.bench import Bench, bench
from danlu.train import Training, prepare

SHORT = 0.01


def bound(model: nn.Module, **given: Any) -> Training:
    inputs = np.random.default_rng(0).normal(size=(50, 6)).astype("f4")
    data = danlu.data.arrays(inputs, np.arange(50) % 3, valid=0.2)
    return prepare(model, data, danlu.Recipe(**{"batch_size": 16, "rehearse": False, **given}))


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, 3))


@pytest.fixture
def known_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that need not be measured."""
    monkeypatch.setattr(Gauge, "__init__", lambda self, *given: None)
    monkeypatch.setattr(Gauge, "sample", lambda self: Limits(1e14, 1e13, 1e-6, 1024, "float32"))


@pytest.fixture
def slow_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose best was measured far too low."""
    monkeypatch.setattr(Gauge, "__init__", lambda self, *given: None)
    monkeypatch.setattr(Gauge, "sample", lambda self: Limits(1e3, 1e3, 1e-3, 1024, "float32"))


@pytest.mark.usefixtures("known_machine")
def test_a_benched_model_trains_to_the_same_bits():
    weights = []
    for benched in (False, True):
        model = network()
        training = bound(
            model, epochs=2, metrics=["accuracy"], ema=0.9, schedule=danlu.Schedule("cosine", per="update")
        )
        if benched:
            generator = torch.get_rng_state()
            bench(training, SHORT)
            assert torch.equal(torch.get_rng_state(), generator)
            assert training.state.updates_done == 0
            assert all(parameter.grad is None for parameter in model.parameters())
        for _ in danlu.train.run(training):
            pass
        weights.append([tensor.clone() for tensor in model.state_dict().values()])
    assert all(map(torch.equal, *weights))


@pytest.mark.usefixtures("known_machine")
def test_what_is_measured():
    found = bench(bound(network(), metrics=["accuracy"], optim=danlu.Optim("adam", lr=0.01, clip_norm=1.0)), SHORT)
    assert list(found.parts) == ["data", "forward", "backward", "optimizer", "metrics", "logging", "other"]
    assert sum(found.parts.values()) == pytest.approx(found.update_s)
    assert found.blocks >= 3
    assert found.update_s_min <= found.update_s <= found.update_s_max
    assert found.cost.flops == 2 * 16 * (2 * 6 * 8 + 3 * 8 * 3)
    assert found.percent_of_gemm is not None
    assert found.percent_of_floor is not None
    assert found.percent_of_series is not None
    assert 0 < found.percent_of_gemm < found.percent_of_series
    assert found.percent_of_floor <= found.percent_of_series
    assert found.samples_per_s > 0
    assert found.evaluation_samples_per_s > 0
    assert json.loads(json.dumps(found.figures()))["cost"]["samples"] == 16


@pytest.mark.usefixtures("known_machine")
def test_an_own_step_is_measured_too():
    def step(model: nn.Module, batch: Any) -> dict[str, torch.Tensor]:
        return {"a": model(batch[0]).square().mean(), "b": model(batch[0]).abs().mean()}

    inputs = np.zeros((32, 6), "f4")
    training = prepare(
        nn.Linear(6, 3), (inputs, np.arange(32) % 3), danlu.Recipe(accumulate=2, batch_size=8), step=step
    )
    found = bench(training, SHORT)
    assert found.cost.flops == 2 * 2 * (2 * 8 * 6 * 3 * 2)
    assert found.evaluation_samples_per_s > 0  # of the training set: there is no other


@pytest.mark.usefixtures("slow_machine")
def test_more_than_the_limit_is_called_under_measured():
    found = bench(bound(network()), SHORT)
    assert found.percent_of_floor is not None
    assert found.percent_of_floor > 100
    shares = report("a recipe", found)[-1]
    assert shares.count("peak under-measured") == 3
    assert "%" not in shares


@pytest.mark.usefixtures("known_machine")
def test_what_cannot_be_counted_has_no_percentage():
    found: Bench = bench(bound(network()), SHORT)
    text = "\n".join(report("a recipe", replace(found, cost=replace(found.cost, why="a reason"), percent_of_gemm=None)))
    assert "not countable: a reason" in text
    assert "percent of the limit: not countable" in text


def said(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert run(words) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


@pytest.mark.parametrize("engine", ["torch", "zero"])
def test_the_command(engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    out = said(["bench", "digits", "--seconds", "0.2", "--set", "threads=1", "--set", f"engine={engine}"], capsys)
    assert out.startswith("digits: an update of 64 samples\nmeasured on ")
    assert "1 thread, " in out
    assert "of a 1024 x 1024 x 1024 product in float32" in out
    for word in ("products", "memory", "update", "training", "evaluation", "data", "logging", "other", "of the whole"):
        assert word in out
    assert ("not countable" in out) == (engine == "zero")
    assert max(map(len, out.splitlines())) <= (80 if engine == "torch" else 120)
    assert list(tmp_path.iterdir()) == []


def test_the_command_as_json(capsys: pytest.CaptureFixture[str]):
    found = json.loads(said(["bench", "digits", "--seconds", "0.2", "--json"], capsys))
    assert found["batch_size"] == 64
    assert found["cost"]["flops"] == 2 * 64 * (2 * 64 * 256 + 3 * 256 * 10)
    assert found["limits"]["size"] == 1024


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["no-such-recipe"], "want a known recipe"),
        (["digits", "--seconds", "0"], "--seconds"),
        (["digits", "--set", "batch_size=0"], "batch_size"),
        (["digits", "--set", "batch_size=9999"], "at most 1438"),
        (["digits", "--batch-sizes", "8,x"], "want auto, or whole numbers"),
        (["digits", "--batch-sizes", "5000"], "want sizes of at most 1,438 samples"),
        (["digits", "--batch-sizes", "7", "--keep-update"], "that divide 64"),
    ],
)
def test_mistakes_are_one_line(words: list[str], reason: str, capsys: pytest.CaptureFixture[str]):
    assert run(["bench", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert reason in err
    assert err.count("\n") == 1
