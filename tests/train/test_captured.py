"""What the host does beside replayed updates: which are recorded, what is counted, when recordings are dropped.

A recorder that runs the recorded function again stands in for the one of CUDA, which replays kernels; that these give
the same bits is in test_replays.py and takes a GPU.
"""

import contextlib
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from train.capturing import arrays, by_plan, came_to, convolutional, dense, training_of

import danlu
from danlu.measure.trial import fetched, one_update
from danlu.measure.untouched import copied
from danlu.train import Training, run
from danlu.train import captured as captured_file
from danlu.train.captured import KINDS_MAX, WARM_UPS, not_captured


class Gradients(danlu.Hook):
    """Looks at gradients, which no replay shows in time."""

    def on_grads_ready(self, training: Training) -> None:
        pass


class Again:
    """Stands in for a recording: runs the function again, and writes what it gives into the first result."""

    made: Any

    def __init__(self, work: Callable[[], Any], restore: Callable[[], None], log: list[str]) -> None:
        self._work, self._log = work, log
        self.made = work()
        restore()
        log.append("record")

    def replay(self) -> None:
        self._log.append("replay")
        new = self._work()
        self.made.numbers.copy_(new.numbers)
        self.made.result.loss.data.copy_(new.result.loss)


class Recorder:
    """Stands in for the recorder of CUDA."""

    log: list[str]
    learner: Any

    def __init__(self, device: torch.device) -> None:
        type(self).log = []

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        yield

    def record(self, work: Callable[[], Any]) -> Again:
        learner = self.learner
        watch, ema = learner._watch, learner.parts.ema

        def undisturbed() -> Any:
            now, done = learner._watch, None if ema is None else ema.updates_done
            learner._watch = watch
            watch.look()
            made = work()
            learner._watch = now
            if ema is not None:
                ema.updates_done = done
            return made

        live = [*learner.parts.model.parameters(), *learner.parts.model.buffers(), *learner._sums.training()]
        live += [t for slots in learner.parts.optimizer.state.values() for t in slots.values() if t is not None]
        live += [] if ema is None else list(ema.tensors().values())
        before, generator = [t.detach().clone() for t in live], torch.get_rng_state()

        def restore() -> None:
            torch.set_rng_state(generator)
            with torch.no_grad():
                for tensor, was in zip(live, before, strict=True):
                    tensor.copy_(was)

        return Again(undisturbed, restore, self.log)

    def wait(self) -> None:
        self.log.append("drop")


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> type[Recorder]:
    monkeypatch.setattr(captured_file, "Recorder", Recorder)
    return Recorder


def captured(training: Training) -> Training:
    Recorder.learner = training.learner
    return by_plan(training, captured=True, optimizer="fused")


def two_losses(model: nn.Module, batch: Any) -> dict[str, Tensor]:
    output = model(batch[0])
    return {"entropy": nn.functional.cross_entropy(output, batch[1]), "size": 0.01 * output.square().mean()}


CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "ema": {"ema": 0.9},
    "accumulate": {"accumulate": 2},
    "clipped": {"optim": danlu.Optim("sgd", lr=0.1, momentum=0.9, clip_norm=0.5, clip_value=0.1)},
    "cosine per update": {"schedule": danlu.Schedule("cosine", per="update")},
    "steps per epoch": {"schedule": danlu.Schedule("step", step_size=1)},
    "without momentum": {"optim": danlu.Optim("sgd", lr=0.1)},
    "groups": {"optim": danlu.Optim("sgd", lr=0.1, groups=[{"names": ["*.bias"], "lr": 0.3}])},
    "one cycle, momentum too": {"schedule": danlu.Schedule("one_cycle", per="update", max_lr=0.2)},
}


@pytest.mark.parametrize("case", CASES)
def test_what_the_host_does_beside_replays_changes_no_bit(case: str, stand_in: type[Recorder]) -> None:
    want = came_to(captured(training_of(convolutional(), **CASES[case])), replay=False)
    assert "replay" not in stand_in.log
    assert came_to(captured(training_of(convolutional(), **CASES[case]))) == want
    assert ("replay" in stand_in.log) is (case != "one cycle, momentum too")


def test_named_losses_of_an_own_step_are_summed_and_begin_anew(stand_in: type[Recorder]) -> None:
    data = arrays(160)  # whole batches, 10 in an epoch, after which the sums begin anew
    want = came_to(captured(training_of(convolutional(), data, step=two_losses)), replay=False)
    assert came_to(captured(training_of(convolutional(), data, step=two_losses))) == want
    assert stand_in.log.count("record") == 5


def test_each_shape_is_recorded_once_after_it_has_warmed_up(stand_in: type[Recorder]) -> None:
    came_to(captured(training_of(convolutional(), optim=danlu.Optim("sgd", lr=0.1))))
    whole, tails = 4 * 5, 5
    assert stand_in.log.count("record") == 2
    assert stand_in.log.count("replay") == whole - WARM_UPS + tails - WARM_UPS


def test_more_shapes_than_that_run_as_they_stand(stand_in: type[Recorder]) -> None:
    training = captured(training_of(dense(), optim=danlu.Optim("sgd", lr=0.1)))
    x, y = fetched(training, 0)[0]
    with training.learner.session():
        for size in range(1, 3 + KINDS_MAX):
            for number in range(WARM_UPS + 1):
                one_update(training, number, [(x[:size], y[:size])])
    assert stand_in.log.count("record") == KINDS_MAX


def test_a_state_that_is_loaded_is_what_goes_on(stand_in: type[Recorder]) -> None:
    def after(training: Training) -> dict[str, bytes]:
        batches = fetched(training, 0)
        with training.learner.session():
            for number in range(8):
                one_update(training, number, batches)
                if number == 5:
                    training.learner.load(*state)
        return {name: a.tobytes() for name, a in copied(training.learner.state())[0]["model"].items()}

    state = copied(training_of(dense()).learner.state())
    replays, plain = captured(training_of(dense())), captured(training_of(dense()))
    plain.learner.after_backward = lambda: None
    assert after(replays) == after(plain)
    assert stand_in.log.count("drop") == 0  # of the second one
    assert "replay" not in stand_in.log


def test_what_changes_an_update_drops_the_recordings(stand_in: type[Recorder]) -> None:
    training = captured(training_of(convolutional()))
    batches, model = fetched(training, 0), training.learner.parts.model
    with training.learner.session():
        for number in range(24):
            if number == 8:
                model[0].weight.requires_grad_(False)
            if number == 16:
                model[1].eval()
            frozen = model[0].weight.detach().clone()
            one_update(training, number, batches)
            assert torch.equal(frozen, model[0].weight) == (number >= 8)
    assert stand_in.log.count("record") == 3
    assert model[1].num_batches_tracked == 16


def test_gradients_after_a_replay_are_those_of_its_shape(stand_in: type[Recorder]) -> None:
    training = captured(training_of(dense(), optim=danlu.Optim("sgd", lr=0.1)))
    (x, y), parameters = fetched(training, 0)[0], list(training.learner.parts.model.parameters())
    seen: list[Tensor | None] = []
    with training.learner.session():
        for number in range(2 * WARM_UPS + 6):  # both shapes take turns
            size = 16 if number % 2 else 6
            one_update(training, number, [(x[:size], y[:size])])
            seen.append(parameters[0].grad)
    assert stand_in.log.count("record") == 2
    assert seen[-1] is seen[-3]
    assert seen[-2] is seen[-4]
    assert seen[-1] is not seen[-2]


class Refused(nn.Module):
    """A model that moves something on the host in every update."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.calls, self.last = how, 0, torch.zeros(())
        self.layer = dense()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x)
        if self.how == "python":
            return out * (1 + 0.1 * random.random())
        if self.how == "numpy":
            return out * (1 + 0.1 * float(np.random.rand()))
        if self.how == "cpu":
            return out * (1 + 0.1 * float(torch.rand(())))
        if self.how == "counts" and self.training:
            self.calls += 1
            return out / (1 + 0.01 * self.calls)
        if self.how == "keeps" and self.training:
            out = out + 0.1 * self.last
            self.last = out.detach().mean()
        return out


REFUSALS = {
    "python": "Python's generator",
    "numpy": "NumPy's generator",
    "cpu": "PyTorch's generator on the CPU",
    "counts": ".calls of the model",
    "keeps": ".last of the model",
}


@pytest.mark.parametrize("how", REFUSALS)
def test_a_model_that_moves_something_on_the_host_is_not_recorded(how: str, stand_in: type[Recorder]) -> None:
    trained = captured(training_of(Refused(how)))
    came_to(trained)
    assert "record" not in stand_in.log
    assert len(trained.learner.said) == 1
    assert REFUSALS[how] in trained.learner.said[0]


def test_a_hook_that_looks_at_gradients_changes_no_bit(stand_in: type[Recorder]) -> None:
    want = came_to(captured(training_of(convolutional())))
    assert "replay" in stand_in.log
    training = captured(training_of(convolutional()))
    assert came_to(training, Gradients())[:3] == want[:3]
    assert "replay" not in stand_in.log
    assert training.learner.said == ["updates run without replays, to the same bits: a hook looks at the gradients"]


def test_a_recording_that_fails_leaves_the_run_as_it_was(
    stand_in: type[Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    want = came_to(captured(training_of(convolutional(), ema=0.9)), replay=False)

    def failing(self: Any, work: Callable[[], Any]) -> Any:
        raise RuntimeError("operation not permitted when stream is capturing\nand much more")

    monkeypatch.setattr(Recorder, "record", failing)
    training = captured(training_of(convolutional(), ema=0.9))
    assert came_to(training) == want
    (said,) = training.learner.said
    assert said.endswith("RuntimeError: operation not permitted when stream is capturing")


def test_the_run_says_why_updates_are_not_replayed(
    stand_in: type[Recorder], capsys: pytest.CaptureFixture[str]
) -> None:
    from danlu.hooks import Pace

    came_to(captured(training_of(convolutional())), Gradients(), Pace())
    assert "danlu: updates run without replays, to the same bits: a hook looks" in capsys.readouterr().err


def test_groups_hold_plain_rates_outside_updates(stand_in: type[Recorder]) -> None:
    training = captured(training_of(dense(), schedule=danlu.Schedule("cosine", per="update")))
    for _ in run(training, []):
        assert all(isinstance(group["lr"], float) for group in training.learner.parts.optimizer.param_groups)
    assert training.learner.parts.optimizer.param_groups[0]["fused"] is None
    assert training.learner.lr() == pytest.approx(0.0, abs=1e-12)


class Mine(torch.optim.SGD):
    pass


def test_what_cannot_be_captured_says_why() -> None:
    def why(model: nn.Module | None = None, *, skips_bad: bool = False, **changed: Any) -> str:
        return not_captured(training_of(model or dense(), **changed).learner.parts, skips_bad=skips_bad)

    assert why() == why(optim=danlu.Optim("adamw", lr=0.1)) == why(optim=danlu.Optim("rmsprop", lr=0.1)) == ""
    assert why(skips_bad=True) == 'on_nan = "skip" waits in every update'
    assert why(optim=danlu.Optim("adagrad", lr=0.1)) == "Adagrad waits for the host in every update"
    assert why(optim=danlu.Optim("sgd", foreach=True)).startswith("SGD waits for the host in every update, unless")
    assert why(optim=danlu.Optim("sgd", fused=True)) == ""
    assert why(optim=lambda params: Mine(params, lr=0.1)) == "Mine is not PyTorch's"
    assert "is a tensor" in why(optim=lambda params: torch.optim.Adam(params, lr=torch.tensor(0.1)))
    hooked = dense()
    hooked[1].register_forward_hook(lambda *given: None)
    assert why(hooked).startswith("the model has hooks of its own")
