import copy
import itertools
import json
import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.optim import Optimizer
from torch.optim import lr_scheduler as torch_schedules
from torch.optim.lr_scheduler import LRScheduler

from danlu.errors import RecipeError, TrainingError
from danlu.optim import SCHEDULES, changes_with_horizon, make_schedule
from danlu.recipe import Schedule

STEPS = 50
BASES = [0.1, 0.03]


class Falling:
    """A callable object with state of its own."""

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def __call__(self, step: int) -> float:
        return self.rate**step


# name, options as a recipe gives them, options that PyTorch gets beside them
CASES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("step", {"step_size": 7}, {}),
    ("step", {"step_size": 3, "gamma": 0.5}, {}),
    ("multi_step", {"milestones": [5, 20, 20, 31], "gamma": 0.3}, {}),
    ("exponential", {"gamma": 0.97}, {}),
    ("cosine", {}, {"T_max": STEPS}),
    ("cosine", {"T_max": 20, "eta_min": 0.001}, {}),
    ("cosine_restarts", {"T_0": 4, "T_mult": 2, "eta_min": 0.002}, {}),
    ("cosine_restarts", {"T_0": 9}, {}),
    ("linear", {"start_factor": 0.1, "end_factor": 0.8, "total_iters": 30}, {}),
    ("linear", {}, {}),
    ("polynomial", {"total_iters": 40, "power": 2.0}, {}),
    ("constant", {"factor": 0.2, "total_iters": 11}, {}),
    ("one_cycle", {"max_lr": 0.4}, {"total_steps": STEPS}),
    ("one_cycle", {}, {"total_steps": STEPS, "max_lr": BASES}),
    ("one_cycle", {"max_lr": [0.4, 0.2], "epochs": 5, "steps_per_epoch": 12, "three_phase": True}, {}),
    (
        "one_cycle",
        {
            "max_lr": 0.4,
            "total_steps": 60,
            "pct_start": 0.4,
            "anneal_strategy": "linear",
            "cycle_momentum": True,
            "base_momentum": 0.7,
            "max_momentum": 0.9,
            "div_factor": 10.0,
            "final_div_factor": 50.0,
        },
        {},
    ),
    ("lambda", {"lr_lambda": lambda step: 0.9**step}, {}),
    ("lambda", {"lr_lambda": [lambda step: 1 / (step + 1), Falling(0.8)]}, {}),
    ("plateau", {}, {}),
    ("plateau", {"mode": "max", "factor": 0.5, "patience": 1, "threshold": 0.01, "threshold_mode": "abs"}, {}),
    ("plateau", {"patience": 0, "cooldown": 2, "min_lr": [0.01, 0.02], "eps": 1e-4, "factor": 0.3}, {}),
]
IDS = [f"{index}-{case[0]}" for index, case in enumerate(CASES)]


def sgd(bases: list[float] = BASES) -> Optimizer:
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": base} for base in bases]
    return torch.optim.SGD(groups, lr=1.0, momentum=0.5)


def metric(step: int) -> float:
    """Falls, then wavers; one NaN."""
    return math.nan if step == 13 else 1 / (1 + min(step, 9)) + 0.01 * (step % 3)


def rates(optimizer: Optimizer) -> list[tuple[float, float]]:
    return [(group["lr"], group["momentum"]) for group in optimizer.param_groups]


def reference(name: str, options: dict[str, Any], more: dict[str, Any]) -> list[list[tuple[float, float]]]:
    """PyTorch's own class: the rates of step 0 and after each of the steps."""
    optimizer = sgd()
    build: Callable[..., Any] = SCHEDULES[name]
    scheduler = build(optimizer, **options, **more)
    seen = [rates(optimizer)]
    for step in range(STEPS):
        optimizer.step()
        scheduler.step(*([metric(step)] if name == "plateau" else []))
        seen.append(rates(optimizer))
    return seen


@pytest.mark.parametrize(("name", "options", "more"), CASES, ids=IDS)
def test_values_are_those_of_pytorch(name: str, options: dict[str, Any], more: dict[str, Any]) -> None:
    optimizer = sgd()
    schedule = make_schedule(Schedule(name, **options), optimizer, horizon=STEPS)
    seen = [rates(optimizer)]
    for step in range(STEPS):
        schedule.step(metric(step))
        seen.append(rates(optimizer))
        assert schedule.lrs() == [lr for lr, _ in seen[-1]]
    assert seen == reference(name, options, more)
    assert schedule.units_done == STEPS


def test_every_name_is_covered_above() -> None:
    assert {name for name, _, _ in CASES} == set(SCHEDULES)


@pytest.mark.parametrize(("name", "options", "more"), CASES, ids=IDS)
@pytest.mark.parametrize("start", [0.0, 0.25])
def test_after_the_warm_up_comes_the_schedule_from_its_step_0(
    name: str, options: dict[str, Any], more: dict[str, Any], start: float
) -> None:
    expected = reference(name, options, more)
    optimizer = sgd()
    spec = Schedule(name, warmup=4, warmup_start=start, **options)
    schedule = make_schedule(spec, optimizer, horizon=STEPS + 4)
    bases = [lr for lr, _ in expected[0]] if name == "one_cycle" else BASES
    for unit in range(4):
        share = start + (1 - start) * (unit + 1) / 5
        assert schedule.lrs() == pytest.approx([share * base for base in bases], rel=1e-15)
        schedule.step(1e9 if unit else -1e9)  # a plateau must not see these
    seen = [rates(optimizer)]
    for step in range(STEPS):
        schedule.step(metric(step))
        seen.append(rates(optimizer))
    assert seen == expected


@pytest.mark.parametrize(("name", "options", "more"), CASES, ids=IDS)
@pytest.mark.parametrize("warmup", [0, 5])
def test_stopped_and_resumed_anywhere_is_the_same(
    name: str, options: dict[str, Any], more: dict[str, Any], warmup: int
) -> None:
    spec = Schedule(name, warmup=warmup, **options)
    whole, optimizer = make_schedule(spec, sgd(), horizon=STEPS), sgd()
    parts = make_schedule(spec, optimizer, horizon=STEPS)
    for unit in range(STEPS):
        if unit % 3 == 1:
            state = json.loads(json.dumps(parts.state_dict()))
            groups = copy.deepcopy(
                [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
            )
            optimizer = sgd()
            parts = make_schedule(spec, optimizer, horizon=STEPS)
            for group, saved in zip(optimizer.param_groups, groups, strict=True):
                group.update(saved)
            parts.load_state_dict(state)
        whole.step(metric(unit))
        parts.step(metric(unit))
        assert parts.lrs() == whole.lrs()
        assert parts.units_done == whole.units_done == unit + 1
    assert parts.state_dict() == whole.state_dict()


def test_state_holds_progress_and_no_option() -> None:
    schedule = make_schedule(Schedule("cosine"), sgd(), horizon=10)
    for _ in range(3):
        schedule.step()
    state = schedule.state_dict()
    assert state == {"units_done": 3, "lrs": schedule.lrs(), "scheduler": {"last_epoch": 3, "_step_count": 4}}
    longer = make_schedule(Schedule("cosine"), sgd(), horizon=20)
    longer.load_state_dict(state)
    for _ in range(17):
        longer.step()
    assert longer.lrs() == pytest.approx([0.0, 0.0], abs=1e-12)  # the end of the longer curve, not back at its top


def test_a_load_replaces_what_the_schedule_had_done() -> None:
    schedule = make_schedule(Schedule("plateau", patience=0), sgd(), horizon=None)
    fresh = schedule.state_dict()
    before = schedule.lrs()
    for value in (1.0, 2.0, 3.0):
        schedule.step(value)
    schedule.load_state_dict(fresh)
    assert schedule.lrs() == before
    assert schedule.state_dict() == fresh
    schedule.step(5.0)  # worse than the forgotten 1.0, yet the first that counts
    assert schedule.lrs() == before


def test_plateau_names_its_metric_and_passes_over_units_without_a_value() -> None:
    spec = Schedule("plateau", patience=0, monitor="valid/accuracy", mode="max", per="update")
    schedule = make_schedule(spec, sgd([1.0]), horizon=None)
    assert (schedule.monitor, schedule.per) == ("valid/accuracy", "update")
    for value in (None, 0.5, None, None, 0.5, None):
        schedule.step(value)
    assert schedule.lrs() == [0.1]
    assert schedule.units_done == 6
    assert make_schedule(Schedule("step", step_size=1), sgd(), horizon=None).monitor is None


@given(st.integers(1, 20), st.floats(0, 1), st.floats(1e-6, 10))
def test_a_warm_up_rises_from_its_start_and_meets_the_rate(warmup: int, start: float, base: float) -> None:
    spec = Schedule("constant", factor=1.0, warmup=warmup, warmup_start=start)
    schedule = make_schedule(spec, sgd([base]), horizon=None)
    seen = schedule.lrs()
    for _ in range(warmup):
        schedule.step()
        seen += schedule.lrs()
    assert seen[0] == pytest.approx(base * (start + (1 - start) / (warmup + 1)))
    assert seen[0] > 0
    assert seen[-1] == base
    assert all(low <= high * (1 + 1e-15) for low, high in itertools.pairwise(seen))


FACTORIES: list[Callable[[Optimizer], LRScheduler]] = [
    lambda o: torch_schedules.CyclicLR(o, 0.01, 0.1, step_size_up=4, cycle_momentum=False),
    lambda o: torch_schedules.MultiStepLR(o, [3, 6]),
    lambda o: torch_schedules.MultiplicativeLR(o, lambda step: 0.9),
    lambda o: torch_schedules.SequentialLR(
        o, [torch_schedules.LinearLR(o, 0.1, total_iters=4), torch_schedules.CosineAnnealingLR(o, 16)], milestones=[4]
    ),
    lambda o: torch_schedules.ChainedScheduler(
        [torch_schedules.ConstantLR(o, 0.5, total_iters=3), torch_schedules.ExponentialLR(o, 0.9)]
    ),
]


@pytest.mark.parametrize("factory", FACTORIES)
def test_a_factory_steps_per_epoch_and_resumes(factory: Callable[[Optimizer], LRScheduler]) -> None:
    optimizer, whole = sgd(), make_schedule(factory, sgd(), horizon=None)
    scheduler = factory(optimizer)
    parts = make_schedule(factory, sgd(), horizon=None)
    assert (whole.per, whole.monitor) == ("epoch", None)
    for _ in range(20):
        state = json.loads(json.dumps(parts.state_dict()))
        parts = make_schedule(factory, sgd(), horizon=None)
        parts.load_state_dict(state)
        optimizer.step()
        scheduler.step()
        whole.step()
        parts.step()
        assert parts.lrs() == whole.lrs() == [group["lr"] for group in optimizer.param_groups]


def test_a_plateau_from_a_factory_has_a_metric() -> None:
    schedule = make_schedule(lambda o: torch_schedules.ReduceLROnPlateau(o, patience=0), sgd([1.0]), horizon=None)
    assert schedule.monitor == "valid/loss"
    for value in (1.0, 2.0):
        schedule.step(value)
    assert schedule.lrs() == [0.1]


def test_rates_that_are_tensors_are_filled_in_place() -> None:
    rate = torch.tensor(0.1, dtype=torch.float64)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=rate)
    schedule = make_schedule(Schedule("cosine", warmup=2), optimizer, horizon=10)
    plain = make_schedule(Schedule("cosine", warmup=2), sgd([0.1]), horizon=10)
    for _ in range(6):
        schedule.step()
        plain.step()
    assert optimizer.param_groups[0]["lr"] is rate
    assert schedule.lrs() == plain.lrs()
    assert json.loads(json.dumps(schedule.state_dict())) == plain.state_dict()


def test_no_warning_where_pytorch_did_not_see_the_update() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        schedule = make_schedule(Schedule("exponential", gamma=0.5), sgd([1.0]), horizon=None)
        schedule.step()
        schedule.step()
    assert schedule.lrs() == [0.25]


@pytest.mark.parametrize(
    ("spec", "horizon", "where", "said"),
    [
        (Schedule("cosin"), 10, "schedule.name", "cosine"),
        (Schedule("cosine", t_max=5), 10, "schedule.t_max", "T_max"),
        (Schedule("cosine", last_epoch=5), 10, "schedule.last_epoch", "option"),
        (Schedule("cosine"), None, "schedule.T_max", "length in epochs"),
        (Schedule("one_cycle", per="update"), None, "schedule.total_steps", "length in updates"),
        (Schedule("cosine", warmup=10), 10, "schedule.warmup", "shorter than the run"),
        (Schedule("cosine", T_max=0), 10, "schedule.T_max", ">= 1"),
        (Schedule("step"), 10, "schedule.step_size", "needs it"),
        (Schedule("step", step_size=0), 10, "schedule.step_size", ">= 1"),
        (Schedule("step", step_size=2.5), 10, "schedule.step_size", "a whole number"),
        (Schedule("exponential", gamma="half"), 10, "schedule.gamma", "a number"),
        (Schedule("cosine_restarts", T_0=-1), 10, "schedule.T_0", "positive integer T_0"),
        (Schedule("linear", start_factor=3.0), 10, "schedule", "factor"),
        (Schedule("plateau", factor=2.0), 10, "schedule.factor", "Factor should be < 1.0"),
        (Schedule("plateau", mode="up", threshold=0.1), 10, "schedule.mode", "mode up is unknown"),
        (Schedule("plateau", min_lr=[0.1]), 10, "schedule.min_lr", "expected 2 min_lrs"),
        (Schedule("lambda", lr_lambda="0.9**step"), 10, "schedule.lr_lambda", "from Python"),
        (Schedule("lambda", lr_lambda=[abs, abs, abs]), 10, "schedule", "3"),
        (lambda optimizer: None, 10, "schedule", "NoneType from the factory"),
        (5, 10, "schedule", "a name or"),
    ],
)
def test_mistakes_are_named(spec: Any, horizon: int | None, where: str, said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        make_schedule(spec, sgd(), horizon=horizon)
    assert caught.value.where.startswith(where)
    assert said in str(caught.value)


def test_a_cycle_that_has_ended_says_so() -> None:
    schedule = make_schedule(Schedule("one_cycle", total_steps=3), sgd(), horizon=None)
    for _ in range(3):
        schedule.step()
    with pytest.raises(TrainingError, match="total steps is 3"):
        schedule.step()


def test_a_scheduler_that_cannot_be_saved_is_named() -> None:
    class Odd(torch_schedules.ExponentialLR):
        seen: set[int]

        def step(self, epoch: int | None = None) -> None:
            super().step(epoch)
            if self.last_epoch > 0:
                self.seen = {self.last_epoch}

    schedule = make_schedule(lambda optimizer: Odd(optimizer, 0.9), sgd(), horizon=None)
    schedule.step()
    with pytest.raises(TrainingError, match="a set"):
        schedule.state_dict()


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (Schedule("cosine"), True),
        (Schedule("cosine", T_max=5), False),
        (Schedule("one_cycle"), True),
        (Schedule("one_cycle", total_steps=5), False),
        (Schedule("one_cycle", epochs=5, steps_per_epoch=2), False),
        (Schedule("one_cycle", epochs=5), True),
        (Schedule("linear"), False),
        (Schedule("step", step_size=3), False),
        (lambda optimizer: None, False),
    ],
)
def test_whether_the_length_shapes_the_curve(spec: Any, expected: bool) -> None:
    assert changes_with_horizon(spec) is expected
