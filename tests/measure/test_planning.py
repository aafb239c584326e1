"""The search for a plan leaves no trace, refuses what computes something else, and every plan can be resumed."""

import dataclasses
import json
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import danlu
from danlu import device, save
from danlu.data import Arrays, Data
from danlu.device import Tried
from danlu.errors import RecipeError, RunError
from danlu.measure import pin
from danlu.measure.compare import Difference, Smooth, difference, outcome
from danlu.measure.planning import place_of
from danlu.measure.search import TOGETHER
from danlu.measure.trial import fetched
from danlu.measure.untouched import copied
from danlu.train import Training, prepare

CHOSEN = {"memory_format": "channels_last", "optimizer": "fused", "keep_memory": True}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DANLU_CACHE", str(tmp_path / "cache"))


def pictures(n: int = 64) -> Data:
    rng = np.random.default_rng(0)
    x, y = rng.random((n + 40, 2, 10, 10), np.float32), rng.integers(0, 4, n + 40)
    return Data(Arrays(x[:n], y[:n]), {"valid": Arrays(x[n:], y[n:])})


def network() -> nn.Module:
    torch.manual_seed(0)
    convolution = [nn.Conv2d(2, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.3)]
    return nn.Sequential(*convolution, nn.Flatten(), nn.Linear(200, 4))


class Viewing(nn.Module):
    """Takes for granted that activations lie in the usual order."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.linear = nn.Conv2d(2, 8, 3, padding=1), nn.Linear(800, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.linear(self.convolution(inputs).view(len(inputs), -1))


class Different(Viewing):
    """Computes something else where its weights lie in another order."""

    def forward(self, inputs: Tensor) -> Tensor:
        sign = 1.0 if self.convolution.weight.is_contiguous() else 1.5
        return self.linear(self.convolution(inputs).flatten(1)) * sign


def recipe(**changed: Any) -> danlu.Recipe:
    given: dict[str, Any] = {"optim": danlu.Optim("adamw", lr=1e-3), "epochs": 2, "batch_size": 16, "rehearse": False}
    return danlu.Recipe(**given | changed)


def everything(training: Training) -> tuple[Any, ...]:
    model, optimizer = training.learner.parts.model, training.learner.parts.optimizer
    tensors, values = copied(training.learner.state())
    return (
        {group: {name: a.tobytes() for name, a in named.items()} for group, named in tensors.items()},
        save.to_json(values),
        [(name, p.stride(), id(p), p.requires_grad) for name, p in model.named_parameters()],
        [module.training for module in model.modules()],
        [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups],
        (random.getstate(), np.random.get_state()[1].tobytes(), torch.get_rng_state().tolist()),
        (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()),
    )


def row(training: Training, name: str) -> Any:
    return next(one for one in training.plan.tried if one.name == name)


@pytest.mark.parametrize("optim", ["sgd", "adamw", "rmsprop", "own"])
def test_a_search_leaves_no_trace(optim: str) -> None:
    spec: Any = danlu.Optim(optim, lr=1e-3)
    if optim == "own":
        spec = lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9)  # noqa: E731
    training = prepare(network(), pictures(), recipe(optim=spec, ema=0.9, schedule="cosine"))
    before = everything(training)
    pin(training, limit_s=20.0)
    assert training.plan.tried
    assert everything(training) == before
    assert row(training, "channels_last").difference <= 1e-4
    training.close()


def test_a_search_tries_what_fits_and_says_what_came_of_it() -> None:
    training = prepare(network(), pictures(), recipe())
    pin(training, limit_s=20.0)
    names = [one.name for one in training.plan.tried if not one.name.startswith("evaluation")]
    assert names[0] == "plain eager"
    assert {"kept memory", "channels_last", "fused optimizer", "torch.compile"} <= set(names)
    taken = [one for one in training.plan.tried if one.verdict == "taken" and one.name != TOGETHER]
    assert all(one.ratio < (1.1 if one.name == "kept memory" else 0.97) for one in taken)
    assert all(row(training, name).difference == 0.0 for name in ("plain eager", "kept memory"))
    assert row(training, "torch.compile").verdict.startswith("not tried: a run of about")
    assert [notice for notice in training.notices if notice.startswith("plan: ")]
    training.close()


@pytest.mark.parametrize(("model", "why"), [(Viewing, "refused: RuntimeError: view size"), (Different, "refused: it")])
def test_a_way_that_the_model_does_not_take_is_dropped_and_training_goes_on(model: Any, why: str) -> None:
    training = prepare(model(), pictures(), recipe())
    pin(training, limit_s=20.0)
    assert row(training, "channels_last").verdict.startswith(why)
    assert training.plan.memory_format == "as given"
    training.close()


def test_a_failing_candidate_leaves_a_run_that_works(tmp_path: Path) -> None:
    long = recipe(epochs=63, batch_size=4, validate_every=63, replan=True)
    run = danlu.fit(Viewing(), pictures(), long, out=tmp_path / "run", quiet=True)
    assert run.summary["status"] == "finished"
    assert json.loads((tmp_path / "run/plan.json").read_text())["tried"]


def test_what_the_recipe_leaves_out_is_not_tried() -> None:
    without = ["keep_memory", "fused", "foreach", "compile", "threads"]
    training = prepare(network(), pictures(), recipe(plan_without=without))
    pin(training, limit_s=20.0)
    names = {one.name for one in training.plan.tried if not one.name.startswith("evaluation")}
    assert names - {TOGETHER} == {"plain eager", "channels_last"}
    training.close()


def test_eager_and_short_runs_are_not_searched() -> None:
    for one in (recipe(plan="eager", epochs=1000), recipe()):
        training = prepare(network(), pictures(), one)
        pin(training)
        assert training.plan.tried == []
        training.close()


def test_an_optimizer_whose_caller_has_chosen_is_left_alone() -> None:
    training = prepare(network(), pictures(), recipe(optim=lambda params: torch.optim.AdamW(params, foreach=True)))
    pin(training, limit_s=20.0)
    assert not [one for one in training.plan.tried if one.name.endswith("optimizer")]
    training.close()


def test_precision_is_tried_where_the_recipe_allows_it() -> None:
    training = prepare(network(), pictures(), recipe(precision="auto"))
    pin(training, limit_s=20.0)
    assert row(training, "tf32").verdict == "not tried: this cpu has no units for tf32"
    assert training.plan.precision in ("float32", "bf16")
    training.close()


def test_a_plan_is_remembered_for_the_same_run_alone(tmp_path: Path) -> None:
    training = prepare(network(), pictures(), recipe(epochs=300))
    place = place_of(training)
    tried = [Tried("plain eager", "the measure"), Tried("fused optimizer", "taken", 0.002, 0.6, 1e-8)]
    plan = dataclasses.replace(training.plan, keep_memory=True, optimizer="fused", tried=tried)
    place.parent.mkdir(parents=True)
    save.write_json(place, dataclasses.asdict(plan))
    pin(training)
    assert training.plan == plan
    assert training.notices[-1].endswith("as found before")
    for other in (recipe(epochs=301), recipe(epochs=300, batch_size=8), recipe(epochs=300, optim="sgd")):
        second = prepare(network(), pictures(), other)
        assert place_of(second) != place
        second.close()
    training.close()


@pytest.mark.parametrize("text", ["", "{", '{"threads": -1}', '{"optimizer": "import os"}', "[]"])
def test_a_damaged_memory_is_searched_anew(text: str) -> None:
    training = prepare(network(), pictures(), recipe(epochs=300))
    place = place_of(training)
    place.parent.mkdir(parents=True)
    place.write_text(text)
    pin(training, limit_s=2.0)
    assert training.plan.tried
    training.close()


def test_a_given_plan_is_repeated(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(CHOSEN))
    run = danlu.fit(network(), pictures(), recipe(plan=str(path)), out=tmp_path / "run", quiet=True)
    stored = json.loads((run.folder / "plan.json").read_text())
    assert {key: stored[key] for key in CHOSEN} == CHOSEN


@pytest.mark.parametrize(
    ("plan", "why"),
    [
        ({"threads": 4000}, "4000 threads"),
        ({"device": "cuda:3"}, "cuda:3"),
        ({"memory_format": "channels_last"}, "channels_last for a model without"),
        ({"optimizer": "fused"}, "a fused RMSprop"),
        ({"precision": "bf16"}, "bf16, which the recipe does not allow"),
    ],
)
def test_a_plan_that_cannot_run_here_says_why_and_is_replaced_only_when_asked(
    plan: dict[str, Any], why: str, tmp_path: Path
) -> None:
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(plan))
    model = nn.Sequential(nn.Flatten(), nn.Linear(200, 4))
    training = prepare(model, pictures(), recipe(plan=str(path), optim="rmsprop"))
    with pytest.raises(RecipeError) as raised:
        pin(training)
    assert why in str(raised.value)
    assert "--replan" in raised.value.fix
    training.recipe.replan = True
    pin(training, limit_s=2.0)
    assert training.plan.tried
    assert why in " ".join(training.notices)
    training.close()


def test_a_plan_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(RunError) as raised:
        danlu.fit(network(), pictures(), recipe(plan=str(tmp_path / "none.json")), out=tmp_path / "run", quiet=True)
    assert "none.json" in str(raised.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("keep", [True, False])
def test_kept_memory_and_foreach_change_no_bit(keep: bool, tmp_path: Path) -> None:
    changed = {"keep_memory": True} if keep else {"optimizer": "foreach"}
    (tmp_path / "plan.json").write_text(json.dumps(changed))
    weights = []
    for name, plan in (("plain", "eager"), ("planned", str(tmp_path / "plan.json"))):
        model = network()
        danlu.fit(model, pictures(), recipe(plan=plan), out=tmp_path / name, quiet=True)
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(*weights)


def test_kinks_are_smoothed_for_both_sides() -> None:
    x = torch.randn(2, 3, 8, 8)
    with Smooth():
        assert torch.equal(nn.ReLU()(x), torch.nn.functional.softplus(x))
        assert torch.equal(nn.MaxPool2d(3, 2, 1)(x), nn.AvgPool2d(3, 2, 1)(x))
        assert torch.equal(nn.AdaptiveMaxPool2d(2)(x), nn.AdaptiveAvgPool2d(2)(x))
        assert torch.equal(torch.relu(x), x.relu())
    assert torch.equal(nn.ReLU()(x), x.clamp(min=0))


def test_a_difference_is_found_however_small_the_tensor() -> None:
    training = prepare(network(), pictures(), recipe())
    state, batches = copied(training.learner.state()), fetched(training, 0)
    one = outcome(training, training.plan, state, batches, updates=1)
    assert difference(one, one, weights=True) == Difference(0.0, 0.0, 0.0)
    assert difference(one, one, weights=True).within(0.0)
    for name in one.gradients:
        wrong = {**one.gradients, name: one.gradients[name] * 2 + 1e-3}
        found = difference(dataclasses.replace(one, gradients=wrong), one, weights=True)
        assert found.loss == 0.0
        assert not found.within(1e-4), name
    lost = {**one.gradients, name: one.gradients[name] * np.nan}
    assert not difference(dataclasses.replace(one, gradients=lost), one, weights=True).within(1.0)
    training.close()


SCRIPT = """
import os, signal, sys
sys.path.insert(0, {tests!r})
import torch, danlu
from test_planning import network, pictures, recipe

class Kill(danlu.Hook):
    def on_step_end(self, training, result):
        if training.state.updates_done == {at}:
            os.kill(os.getpid(), signal.SIGKILL)

checkpoints = danlu.Checkpoints(every=3, per="update")
recipe = recipe(plan={plan!r}, epochs=4, ema=0.9, schedule="cosine", checkpoints=checkpoints, threads=1)
model = network()
danlu.fit(model, pictures(), recipe, out={out!r}, quiet=True, resume={resume}, hooks=[Kill()] if {at} else [])
"""


def _run(tmp_path: Path, out: str, *, at: int = 0, resume: bool = False) -> int:
    given = {"tests": str(Path(__file__).parent), "plan": str(tmp_path / "plan.json"), "out": str(tmp_path / out)}
    script = SCRIPT.format(**given, at=at, resume=resume)
    return subprocess.run([sys.executable, "-c", script], timeout=300).returncode


@pytest.mark.parametrize("plan", [CHOSEN, {"compiled": True}], ids=["chosen", "compiled"])
def test_a_planned_run_killed_and_resumed_equals_one_that_was_not(plan: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    assert _run(tmp_path, "whole") == 0
    assert _run(tmp_path, "killed", at=9) == -signal.SIGKILL
    assert _run(tmp_path, "killed", resume=True) == 0
    states = [save.read(save.folder(tmp_path / name, 16)) for name in ("whole", "killed")]
    for group, named in states[0][0].items():
        assert named.keys() == states[1][0][group].keys()
        for name, array in named.items():
            assert array.tobytes() == states[1][0][group][name].tobytes(), (group, name)
    rows = [danlu.Run(tmp_path / name).metrics("train/loss").rows() for name in ("whole", "killed")]
    assert rows[0] == rows[1]


def test_a_run_whose_plan_cannot_run_here_goes_on_only_with_another_one(tmp_path: Path) -> None:
    class Stop(danlu.Hook):
        def on_step_end(self, training: Any, result: Any) -> danlu.Stop | None:
            return danlu.Stop("far enough", "interrupted") if training.state.updates_done == 5 else None

    out, path = tmp_path / "run", tmp_path / "run/plan.json"
    with pytest.raises(KeyboardInterrupt):
        danlu.fit(network(), pictures(), recipe(), out=out, quiet=True, hooks=[Stop()])
    plan = json.loads(path.read_text())
    for changed, why in (({"device": "cuda:7"}, "it is for cuda:7"), ({"threads": 4000}, "4000 threads")):
        path.write_text(json.dumps(plan | changed))
        with pytest.raises(RunError) as raised:
            danlu.fit(network(), pictures(), recipe(), out=out, quiet=True, resume=True)
        assert why in raised.value.got
        assert "--replan" in raised.value.fix
    run = danlu.fit(network(), pictures(), recipe(), out=out, quiet=True, resume="replan")
    assert run.summary["status"] == "finished"
    assert json.loads(path.read_text())["threads"] == plan["threads"]
    assert [text for _, kind, text in run.events if kind == "notice" and "cannot run here" in text]


def test_a_run_of_more_threads_than_cores_can_be_resumed(tmp_path: Path) -> None:
    many = recipe(threads=device.cores() + 2, epochs=1, plan="eager")
    danlu.fit(network(), pictures(), many, out=tmp_path / "run", quiet=True)
    more = recipe(threads=device.cores() + 2, epochs=2, plan="eager")
    run = danlu.fit(network(), pictures(), more, out=tmp_path / "run", quiet=True, resume=True)
    assert run.summary["epochs"] == 2
