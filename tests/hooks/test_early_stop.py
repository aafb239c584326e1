"""Early stopping, with the best weights put back."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import danlu
from danlu import save
from danlu.data import Arrays, Data


class Scripted(nn.Module):
    """A model whose validation loss follows a script, one entry for each evaluation; each update moves it by -1."""

    def __init__(self, script: list[float]) -> None:
        super().__init__()
        self.weight, self.script, self.evaluation = nn.Parameter(torch.zeros(())), script, -3  # two are the check's

    def forward(self, inputs: Tensor) -> Tensor:
        if not self.training:
            self.evaluation += 1
            return self.weight * 0 + self.script[max(0, self.evaluation)]
        return self.weight + 1 + 0 * inputs.sum()


def fit(script: list[float], stop: danlu.EarlyStop, **given: Any) -> tuple[danlu.Run, float]:
    one = Arrays(np.zeros((2, 1), np.float32), np.zeros(2, np.float32))
    recipe = danlu.Recipe(
        loss=lambda output, target: output,
        optim=danlu.Optim("sgd", lr=1.0),
        epochs=len(script),
        batch_size=2,
        early_stop=stop,
        monitor_mode=given.pop("mode", "auto"),
    )
    model = Scripted([float(value) for value in script])
    run = danlu.fit(model, Data(one, {"valid": one}), recipe, quiet=True, **given)
    return run, float(model.weight.detach())


@pytest.mark.parametrize(
    ("script", "given", "updates", "weight"),
    [
        ([5, 4, 3, 4, 4, 2], {"patience": 2}, 5, -3),
        ([5, 4, 3, 4, 2, 3, 3, 9], {"patience": 2}, 7, -5),
        ([5, 4, 3, 4, 4, 2], {"patience": 2, "restore_best": False}, 5, -5),
        ([5, 4.9, 4.8, 4.7, 4.6], {"patience": 2, "min_delta": 0.5}, 3, -1),
        ([5, 4.9, 4.8, 4.7, 4.4], {"patience": 4, "min_delta": 0.5}, 5, -5),
        ([1, 2, 3], {"patience": 5}, 3, -1),  # the run ends by itself, and the best weights come back
        ([math.nan, math.nan, math.nan], {"patience": 2}, 2, -2),
        ([math.nan, 4, math.nan, math.nan], {"patience": 2}, 4, -2),
    ],
)
def test_patience_and_the_best_weights(script: list[float], given: dict[str, Any], updates: int, weight: float):
    run, found = fit(script, danlu.EarlyStop(**given))
    assert run.summary["updates"] == updates
    assert found == weight
    assert run.summary["status"] == ("finished" if given["patience"] >= 4 else "stopped")


def test_more_may_be_better():
    assert fit([1, 2, 1, 1, 5], danlu.EarlyStop(patience=2), mode="max")[1] == -2


def test_the_reason_names_metric_value_and_update():
    run, _ = fit([5, 4, 4, 4], danlu.EarlyStop(patience=2))
    assert run.summary["reason"] == "valid/loss no better than 4 at update 2 for 2 evaluations"
    run, _ = fit([math.nan] * 3, danlu.EarlyStop(patience=3))
    assert run.summary["reason"] == "valid/loss has been no number for 3 evaluations"


def digits() -> tuple[nn.Module, Data]:
    data = danlu.data.load("digits")
    small = Data(
        data.train.take(range(300)), {"valid": data.valid["valid"].take(range(100))}, test=data.train.take([1])
    )
    torch.manual_seed(0)
    layers = nn.Flatten(), nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.3), nn.Linear(32, 10)
    return nn.Sequential(*layers), small


@pytest.mark.parametrize("ema", ["off", 0.9])
def test_restored_weights_are_those_of_the_best_checkpoint(ema: Any, tmp_path: Path):
    model, data = digits()
    recipe = danlu.Recipe(
        epochs=12, batch_size=32, optim=danlu.Optim("adam", lr=0.05), early_stop=danlu.EarlyStop(patience=2), ema=ema
    )
    run = danlu.fit(model, data, recipe, out=tmp_path / "run", quiet=True)
    assert run.best is not None
    assert run.best["step"] < run.summary["updates"]
    tensors, _ = save.read(save.folder(tmp_path / "run", run.best["step"]))
    best = tensors["model" if ema == "off" else "ema"]
    state = model.state_dict()
    assert best.keys() == state.keys()
    assert all(np.array_equal(best[name], tensor.numpy()) for name, tensor in state.items())
    found = danlu.evaluate(model, data, recipe, on="valid")
    assert found["loss"] == run.best["value"]
    assert run.summary["final"]["test/loss"] == danlu.evaluate(model, data, recipe)["loss"]
    last, _ = save.read(save.folder(tmp_path / "run", run.summary["updates"]))
    assert not np.array_equal(last["model"]["1.weight"], best["1.weight"])
