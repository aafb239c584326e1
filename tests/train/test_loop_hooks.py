"""Hooks in the loop: when they are called, in which order, and what becomes of one that fails."""

from collections.abc import Callable
from pathlib import Path

import pytest
from train.small_job import Failing, Note, network, points, recipe

import danlu
from danlu.train import Training


def test_every_calls_when_it_is_due():
    at: list[tuple[str, int]] = []

    def mark(name: str) -> Callable[[Training], None]:
        return lambda training: at.append((name, training.state.updates_done))

    every = [danlu.Every(mark("steps"), steps=6), danlu.Every(mark("epochs"), epochs=2)]
    danlu.fit(network(), points(), recipe(), hooks=every, quiet=True)
    assert at == [("steps", 6), ("epochs", 10), ("steps", 12)]
    stop = danlu.Every(lambda training: danlu.Stop("six"), steps=6)
    assert danlu.fit(network(), points(), recipe(), hooks=[stop], quiet=True).summary["updates"] == 6


@pytest.mark.parametrize(
    ("event", "place"),
    [
        ("on_fit_start", "update 0 (epoch 0, batch 0)"),
        ("on_grads_ready", "update 6 (epoch 1, batch 1)"),
        ("on_step_end", "update 7 (epoch 1, batch 2)"),
        ("on_eval_end", "update 10 (epoch 2, batch 0)"),
        ("on_checkpoint", "update 15 (epoch 3, batch 0)"),
    ],
)
def test_an_error_in_a_hook_names_hook_and_place_and_closes_the_record(tmp_path: Path, event: str, place: str):
    note = Note()
    with pytest.raises(ZeroDivisionError) as caught:
        danlu.fit(network(), points(), recipe(), hooks=[Failing(event), note], out=tmp_path / "run", quiet=True)
    assert caught.value.__notes__ == [f"danlu: in Failing.{event}", f"danlu: in {place}, rank 0"]
    assert note.ended == [caught.value]
    left = danlu.Run(tmp_path / "run")
    assert left.summary["status"] == "failed"
    assert left.summary["reason"] == "ZeroDivisionError: as told"
    assert ("failed", "ZeroDivisionError: as told") in [found[1:] for found in left.events]
    assert not list((tmp_path / "run").glob("metrics.sqlite-*"))


def test_an_error_at_the_very_end_reaches_the_caller_after_all_hooks():
    note = Note()
    with pytest.raises(ZeroDivisionError) as caught:
        danlu.fit(network(), points(), recipe(), hooks=[Failing("on_fit_end"), note], quiet=True)
    assert caught.value.__notes__ == ["danlu: in Failing.on_fit_end"]
    assert note.ended == [None]

    class Worse(Failing):
        def on_step_end(self, training: Training, result: object) -> None:
            raise KeyError("first")

    with pytest.raises(KeyError) as first:
        danlu.fit(network(), points(), recipe(), hooks=[Worse("on_fit_end"), note], quiet=True)
    assert "afterwards ZeroDivisionError: as told; danlu: in Worse.on_fit_end" in first.value.__notes__[-1]
    assert note.ended == [None, first.value]


def test_hooks_are_called_in_their_order():
    calls: list[str] = []

    class Named(danlu.Hook):
        def __init__(self, name: str) -> None:
            self.name = name

        def on_step_end(self, training: Training, result: object) -> None:
            calls.append(self.name)

    for _ in danlu.steps(network(), points(), recipe(updates=2), hooks=[Named("a"), Named("b")]):
        pass
    assert calls == ["a", "b", "a", "b"]


def test_what_is_no_hook_is_refused_before_anything_is_touched(tmp_path: Path):
    with pytest.raises(TypeError, match=r"must be a danlu\.Hook; got function"):
        danlu.fit(network(), points(), recipe(), hooks=[lambda training: None], out=tmp_path / "a")  # type: ignore[list-item]
    with pytest.raises(TypeError, match="hooks must be a list"):
        danlu.steps(network(), points(), recipe(), hooks=Note(), out=tmp_path / "a")  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
