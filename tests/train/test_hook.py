"""The base of every hook."""

import numpy as np
import pytest
from torch import nn

import danlu
from danlu.train import EVENTS, Hook

RECIPE = danlu.Recipe(loss="mse", batch_size=2, epochs=2)


def test_a_misspelt_event_is_refused_when_the_class_is_made():
    with pytest.raises(TypeError, match="defines 'on_step_ends', which danlu never calls; did you mean on_step_end"):

        class Wrong(Hook):
            def on_step_ends(self) -> None: ...

    with pytest.raises(TypeError, match="hooks are: on_fit_start, "):

        class Foreign(Hook):
            def on_zzz(self) -> None: ...


def test_every_event_does_nothing_by_default():
    hook = Hook()
    for event in EVENTS:
        arguments = [None] * (1 if event in ("on_fit_start", "on_grads_ready", "on_checkpoint") else 2)
        assert getattr(hook, event)(*arguments) is None
    assert hook.state() == {}
    hook.load({"foreign": 1})
    assert hook.state() == {}


@pytest.mark.parametrize("given", [{}, {"steps": 1, "epochs": 1}, {"steps": 0}, {"seconds": -1.0}])
def test_every_wants_exactly_one_unit(given: dict[str, int]):
    with pytest.raises(ValueError, match="one of steps, epochs, seconds, above 0"):
        danlu.Every(lambda training: None, **given)  # type: ignore[arg-type]


def test_every_so_many_seconds():
    calls: list[str] = []
    every = [
        danlu.Every(lambda training: calls.append("often"), seconds=1e-9),
        danlu.Every(lambda training: calls.append("never"), seconds=3600),
    ]
    for _ in danlu.steps(nn.Linear(2, 2), (np.zeros((6, 2)), np.zeros((6, 2))), RECIPE, hooks=every):
        pass
    assert calls == ["often"] * 6
