"""Every way to stop: the recipe's limits, a hook, the caller, an error in the model."""

from pathlib import Path
from typing import Any

import pytest
from torch import Tensor, nn
from train.small_job import Note, network, points, recipe

import danlu
from danlu import hooks
from danlu.train import Training, prepare, run


def test_epochs_updates_and_minutes():
    done = {
        "epochs": danlu.fit(network(), points(), recipe(), quiet=True).summary,
        "updates": danlu.fit(network(), points(), recipe(updates=7), quiet=True).summary,
        "minutes": danlu.fit(network(), points(), recipe(epochs="off", minutes=1e-9), quiet=True).summary,
    }
    assert {summary["status"] for summary in done.values()} == {"finished"}
    assert done["epochs"]["updates"] == 15
    assert done["epochs"]["epochs"] == 3
    assert done["updates"]["updates"] == 7
    assert done["updates"]["epochs"] == 1.4
    assert done["updates"]["samples_seen"] == 56
    assert done["updates"]["reason"] == "all 7 updates done"
    assert done["minutes"]["updates"] == 0
    assert "minutes are over" in done["minutes"]["reason"]


def test_minutes_end_with_the_update_that_passes_them():
    note = Note()
    given = recipe(epochs="off", minutes=0.002, validate_every=10**9)
    summary = danlu.fit(network(), points(), given, hooks=[note], quiet=True).summary
    assert 0.12 <= summary["seconds"] < 1.0
    assert summary["updates"] > 5
    assert note.evaluated == [summary["updates"]] * 2  # validation and test, once each


class Stopping(danlu.Hook):
    def __init__(self, event: str, at: int, reason: str) -> None:
        self.event, self.at, self.reason = event, at, reason

    def on_step_end(self, training: Training, result: object) -> danlu.Stop | None:
        return self._wish("step", training)

    def on_eval_end(self, training: Training, figures: dict[str, Any]) -> danlu.Stop | None:
        return self._wish("eval", training)

    def _wish(self, event: str, training: Training) -> danlu.Stop | None:
        return danlu.Stop(self.reason) if self.event == event and training.state.updates_done == self.at else None


def test_a_hook_stops_the_run_and_the_first_reason_counts():
    wishes = [Stopping("step", 7, "enough"), Stopping("step", 7, "never mind")]
    summary = danlu.fit(network(), points(), recipe(), hooks=wishes, quiet=True).summary
    assert (summary["status"], summary["reason"], summary["updates"]) == ("stopped", "enough", 7)
    wishes = [Stopping("eval", 10, "enough"), Stopping("eval", 10, "never mind"), Stopping("step", 12, "late")]
    summary = danlu.fit(network(), points(), recipe(), hooks=wishes, quiet=True).summary
    assert (summary["status"], summary["reason"], summary["updates"]) == ("stopped", "enough", 10)
    wishes = [Stopping("eval", 10, "evaluated"), Stopping("step", 10, "stepped")]
    assert danlu.fit(network(), points(), recipe(), hooks=wishes, quiet=True).summary["reason"] == "stepped"


def test_leaving_steps_early_closes_the_record(tmp_path: Path):
    given, note = recipe(log_every=1), Note()
    training = prepare(network(), points(), given)
    (tmp_path / "run").mkdir()
    training.record_in(tmp_path / "run")
    for result in run(training, [*hooks.defaults(training.recipe, quiet=True), note]):
        assert result.samples == 8
        if training.state.updates_done == 7:
            break
    left = danlu.Run(tmp_path / "run")
    assert left.summary["status"] == "stopped"
    assert left.summary["updates"] == 7
    assert note.reason == "the caller left the loop"
    assert note.ended == [None]
    assert left.metrics("running/loss")["step"].to_list() == [1, 2, 3, 4, 5, 6, 7]
    assert not list((tmp_path / "run").glob("metrics.sqlite-*"))
    assert ("stopped", "the caller left the loop") in [event[1:] for event in left.events]


class Breaking(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.calls = nn.Linear(5, 4), 0

    def forward(self, inputs: Tensor) -> Tensor:
        if self.training:
            self.calls += 1
            if self.calls == 9:
                raise RuntimeError("broken wire")
        return self.layer(inputs)


def test_an_error_in_forward_says_where(tmp_path: Path):
    with pytest.raises(RuntimeError, match="broken wire") as caught:
        danlu.fit(Breaking(), points(), recipe(log_every=1), out=tmp_path / "run", quiet=True)
    assert caught.value.__notes__ == ["danlu: in update 8 (epoch 1, batch 3), rank 0"]
    left = danlu.Run(tmp_path / "run")
    assert left.summary["status"] == "failed"
    assert left.summary["updates"] == 8
    assert left.metrics("running/loss")["step"].to_list() == list(range(1, 9))
    frames = [entry.path for entry in caught.traceback if "/danlu/" in str(entry.path)]
    assert len(frames) <= 4
    assert len(set(frames)) <= 3
