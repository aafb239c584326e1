"""The share of the machine's limit at the end of a run: quoted where it is worth it, and nothing depends on it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import danlu
from danlu.cli import run
from danlu.device import Limits
from danlu.measure import share

RECIPE = {"batch_size": 10, "epochs": 12, "metrics": ["accuracy"], "optim": danlu.Optim("adam", lr=0.01)}


def trained(out: Path | None = None, **given: Any) -> tuple[danlu.Run, nn.Module]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, 3))
    inputs = np.random.default_rng(0).standard_normal((40, 4)).astype("f4")
    data = danlu.data.arrays(inputs, np.arange(40) % 3, valid=0.25)
    return danlu.fit(model, data, danlu.Recipe(**{**RECIPE, **given}), out=out, quiet=out is not None), model


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run is long enough, however short it is; no picture of its curves is drawn."""
    monkeypatch.setattr("danlu.hooks.record.draw", lambda *given: None)
    monkeypatch.setattr("danlu.hooks.limit.LEAST_S", 0.0)
    monkeypatch.setattr("danlu.hooks.limit.LEAST_UPDATES", 1)
    monkeypatch.setattr(share, "limits", lambda *given: Limits(1e12, 1e12, 1e-6, 1024, "float32"))


def test_a_short_run_says_nothing(capsys: pytest.CaptureFixture[str]):
    made, _ = trained()
    assert not {"limit", "percent_of_limit"} & made.summary.keys()
    assert "limit" not in capsys.readouterr().out


def test_measuring_changes_no_bit(monkeypatch: pytest.MonkeyPatch):
    _, plain = trained()
    monkeypatch.setattr("danlu.hooks.limit.LEAST_S", 0.0)
    monkeypatch.setattr("danlu.hooks.limit.LEAST_UPDATES", 1)
    drawn = []
    for _ in range(2):
        made, model = trained()
        drawn.append(torch.rand(3))
        assert made.summary["percent_of_limit"] > 0
        assert all(map(torch.equal, plain.state_dict().values(), model.state_dict().values()))
    assert torch.equal(*drawn)


@pytest.mark.usefixtures("measured")
def test_the_record_and_the_last_lines_quote_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    trained()
    (first,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("share of the limit: ")]
    assert first.endswith("at best")
    made, _ = trained(tmp_path / "run")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    limit = summary["limit"]
    assert limit["update_flops"] == 2 * 10 * (2 * 4 * 8 + 3 * 8 * 3)
    assert limit["floor_s"] == max(limit["update_flops"], limit["update_bytes"]) / 1e12
    assert summary["percent_of_limit"] == pytest.approx(100 * limit["floor_s"] / limit["update_s"])
    assert limit["update_s"] < summary["seconds"] / 36  # its evaluations are not counted
    assert run(["runs", "show", str(tmp_path / "run")]) == 0
    assert "1,000 GFLOP/s of a 1024 x 1024 x 1024 product in float32, 1,000.0 GB/s of a copy" in capsys.readouterr().out
    assert made.summary["measured_on"] == summary["measured_on"]


@pytest.mark.usefixtures("measured")
def test_more_than_the_limit_is_called_under_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(share, "limits", lambda *given: Limits(1.0, 1.0, 1e-6, 1024, "float32"))
    made, _ = trained()
    assert made.summary["percent_of_limit"] > 100
    assert "share of the limit: peak under-measured; " in capsys.readouterr().out


@pytest.mark.usefixtures("measured")
def test_a_run_that_goes_on_quotes_its_own_part(tmp_path: Path):
    trained(tmp_path / "run", epochs=4)
    inputs = np.random.default_rng(0).standard_normal((40, 4)).astype("f4")
    data = danlu.data.arrays(inputs, np.arange(40) % 3, valid=0.25)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, 3))
    seen: dict[str, float] = {}

    def asked(training: Any, samples: int, seconds: float) -> dict[str, Any]:
        seen.update(samples=samples, seconds=seconds)
        return {}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("danlu.hooks.limit.share_of_limit", asked)
        recipe = danlu.Recipe(**{**RECIPE, "epochs": 6})
        made = danlu.fit(model, data, recipe, out=tmp_path / "run", resume=True, quiet=True)
    assert seen["samples"] == 2 * 30
    assert made.summary["samples_seen"] == 6 * 30
    assert 0 < seen["seconds"] < made.summary["seconds"]


@pytest.mark.usefixtures("measured")
def test_a_measurement_that_fails_fails_no_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def broken(*given: object) -> Limits:
        raise ZeroDivisionError("nothing there")

    monkeypatch.setattr(share, "limits", broken)
    made, _ = trained()
    assert made.summary["status"] == "finished"
    assert made.summary["percent_of_limit"] is None
    assert "share of the limit: not countable: ZeroDivisionError: nothing there" in capsys.readouterr().out
