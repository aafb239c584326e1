"""Hooks are held by types: a name that is never called, or a thing that is no hook, is refused at once."""

import numpy as np
import pytest
from torch import nn

import danlu
from danlu.train import EVENTS

INPUTS, TARGETS = np.zeros((8, 2), dtype=np.float32), np.array([0, 1] * 4)
RECIPE = danlu.Recipe(epochs=1, batch_size=4)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("on_step_ends", "did you mean on_step_end?"),
        ("on_train_start", "did you mean on_fit_start?"),
        ("on_evaluation_end", "did you mean on_eval_end?"),
        ("on_grad_ready", "did you mean on_grads_ready?"),
        ("on_save_checkpoint", "did you mean on_checkpoint?"),
        ("on_xyzzyxyzzyxyzzy", f"hooks are: {', '.join(EVENTS)}"),
    ],
)
def test_a_misspelt_event_is_refused_when_the_class_is_made(name, hint):
    with pytest.raises(TypeError) as caught:
        type("Mine", (danlu.Hook,), {name: lambda self, training: None})
    assert str(caught.value) == f"Mine defines {name!r}, which danlu never calls; {hint}"


def test_a_misspelt_event_of_a_hook_made_from_a_hook_is_refused_too():
    class Base(danlu.Hook):
        def on_step_end(self, training, result):
            return None

    with pytest.raises(TypeError, match="on_stepend"):

        class Mine(Base):
            def on_stepend(self, training, result):
                return None


def test_every_event_is_a_documented_method_that_does_nothing():
    for event in EVENTS:
        assert getattr(danlu.Hook, event).__doc__
    assert [name for name in vars(danlu.Hook) if name.startswith("on_")] == list(EVENTS)


def test_other_names_are_the_hooks_own():
    class Mine(danlu.Hook):
        only = 3

        def once(self):
            return self.only

    assert Mine().once() == 3


class Duck:
    def on_step_end(self, training, result):
        raise AssertionError("never called")


@pytest.mark.parametrize(
    "thing",
    [Duck(), danlu.Hook, lambda training: None, "progress", None],
    ids=["duck", "class", "function", "name", "none"],
)
def test_what_is_no_hook_is_refused_before_anything_is_trained(thing):
    model = nn.Linear(2, 2)
    before = model.weight.detach().clone()
    with pytest.raises(TypeError, match=r"^a hook must be a danlu\.Hook; got "):
        danlu.fit(model, (INPUTS, TARGETS), RECIPE, hooks=[thing], quiet=True)
    with pytest.raises(TypeError, match=r"^a hook must be a danlu\.Hook; got "):
        next(danlu.steps(model, (INPUTS, TARGETS), RECIPE, hooks=[thing]))
    assert model.weight.equal(before)
