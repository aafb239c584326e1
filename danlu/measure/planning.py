"""Which plan a run gets: searched, remembered, another run's, or plain eager PyTorch."""

import contextlib
import hashlib
import json
import re
import time
from dataclasses import asdict, replace
from pathlib import Path

import torch

from danlu import device, save
from danlu.data import cache_folder
from danlu.device import Others, Plan
from danlu.errors import DanluError, RecipeError, RunError
from danlu.measure.candidates import capture_refusal
from danlu.measure.evaluation import adopt_size, with_evaluation
from danlu.measure.search import ALL_TAKEN, BUSY_CORES, LEAST_UPDATES, LIMIT_S, TOGETHER, TOO_SHORT, search, update_s
from danlu.measure.trial import shapes
from danlu.optim import ways_of
from danlu.train import Training
from danlu.train.resume import read_plan
from danlu.train.step import TorchLearner

SLOWER = 2.0  # so many times as long as when the plan was found: something else holds the cores


def pin(training: Training, *, limit_s: float | None = None) -> None:
    """Give a training that is prepared and not begun the plan that its recipe asks for, and say which that is.

    Args:
        training: of any engine; danlu.zero has one plan.
        limit_s: seconds that a search may take, however short the run; the default is 2 % of the run and at most 20.

    Raises:
        RecipeError: the recipe names a plan that cannot run here.
    """
    recipe, updates = training.recipe, training.updates_total
    if recipe.plan == "eager" or not isinstance(training.learner, TorchLearner):
        return
    if recipe.plan != "auto" and _repeated(training, Path(recipe.plan)):
        return
    if limit_s is None and updates is not None and updates < LEAST_UPDATES:
        return
    path = place_of(training)
    known = None if recipe.replan else _remembered(path, training)
    if known is None or (limit_s is not None and not _whole(known)):
        _find(training, path, limit_s)
    else:
        adopt(training, known)
        if tried_any(known):
            _say(training, ", as found before")
            _look_again(training)


def keep_plan(training: Training, plan: Plan, now: Plan, *, where: str, replan: bool) -> str | None:
    """Let a run that goes on keep the plan that it began with; return why it gets another one, if it does.

    Args:
        training: prepared, on this machine's own device.
        plan: the run's. now: what this machine would begin with.
        where: the plan's file.
        replan: take another plan where this one cannot run.

    Raises:
        RunError: the plan cannot run here, and another one was not asked for.
    """
    if not isinstance(training.learner, TorchLearner):
        return None
    misfits = _misfits(training, plan, now)
    if not misfits:
        return None
    why = "; ".join(misfits)
    if not replan:
        want, fix = "a plan that this machine can run", "pass --replan: the bits are others from there on"
        raise RunError(where=where, got=why, want=want, fix=fix)
    adopt(training, now)
    training.replanned = True
    pin(training)
    return f"the run's own cannot run here ({why})"


def adopt(training: Training, plan: Plan) -> None:
    """Let a training that has not begun run by a plan."""
    training.plan = plan = replace(plan, data=training.plan.data)
    training.learner.use(plan)
    adopt_size(training, plan.eval_batch_size)


def place_of(training: Training) -> Path:
    """Return the file under which the plan of such a run is remembered.

    It goes by whatever decides which plan is fastest: model, shapes, optimizer, length of the run, machine, versions.
    """
    learner, recipe = training.learner, training.recipe
    assert isinstance(learner, TorchLearner)
    model, optimizer = learner.parts.model, learner.parts.optimizer
    facts = {
        "model": re.sub(r"0x[0-9a-f]+", "", repr(model)),
        "parameters": [(name, tuple(p.shape), str(p.dtype)) for name, p in model.named_parameters() if p.requires_grad],
        "batch": shapes(training.train.batch(0, 0)),
        "sets": {name: batches.samples for name, batches in training.sets().items()},
        "optimizer": f"{type(optimizer).__module__}.{type(optimizer).__name__}",
        "options": [sorted(key for key, value in group.items() if value) for group in optimizer.param_groups],
        "recipe": [recipe.batch_size, recipe.accumulate, recipe.minutes, recipe.precision, recipe.plan_without],
        "rest": [recipe.eval_batch_size, recipe.ema != "off", recipe.on_nan, recipe.optim.clip_norm != "off"],
        "updates": training.updates_total,
        "plan": [training.plan.device, training.plan.threads, training.plan.deterministic, device.cores()],
        "machine": device.describe(training.plan.device),
        "torch": torch.__version__,
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()
    return cache_folder("plans") / f"{digest[:32]}.json"


def _whole(plan: Plan) -> bool:
    """Say whether a search was not cut short."""
    return tried_any(plan) and not any(one.verdict.startswith(TOO_SHORT) for one in plan.tried)


def tried_any(plan: Plan) -> bool:
    """Say whether anything was timed beside plain eager."""
    return any(one.ratio is not None for one in plan.tried[1:])


def _find(training: Training, path: Path, limit_s: float | None) -> None:
    """Search, adopt and remember."""
    others, begun_s = Others(), time.perf_counter()
    plan = search(training, limit_s=limit_s)
    spent_s = time.perf_counter() - begun_s
    plan = with_evaluation(training, plan, min(spent_s, LIMIT_S - spent_s))
    adopt(training, plan)
    busy = others.cores() > BUSY_CORES  # then a plan is good for now, and not remembered
    if not busy:
        with contextlib.suppress(OSError, DanluError):  # it cannot be written to: the next run searches again
            path.parent.mkdir(parents=True, exist_ok=True)
            save.write_json(path, asdict(plan))
    if not tried_any(plan):  # the run is too short for the search to say anything
        return
    took = f", found in {time.perf_counter() - begun_s:.1f} s"
    _say(training, f"{took} while other processes were at work: not remembered" if busy else took)


def _look_again(training: Training) -> None:
    """Where updates are far slower than when the plan was found, try other numbers of threads, for this run alone."""
    plan = training.plan
    if plan.update_s is None or plan.device != "cpu" or plan.threads == 1 or training.recipe.threads != "auto":
        return
    now_s = update_s(training)
    if now_s <= SLOWER * plan.update_s:
        return
    found = search(training, only_threads=True)
    if found.threads != plan.threads:
        adopt(training, replace(found, tried=[*plan.tried, *found.tried]))
        text = f"updates take {now_s / plan.update_s:.1f} times as long as when the plan was found: "
        text += f"{found.threads} instead of {plan.threads} threads for this run, which changes the last bits"
        training.notices.append(text)


def _repeated(training: Training, path: Path) -> bool:
    """Adopt the plan of a file; return whether it can run here."""
    now = training.plan
    plan = read_plan(path, now)
    plan = replace(plan, deterministic=now.deterministic, generators=now.generators)
    misfits = _misfits(training, plan, now)
    if not misfits:
        adopt(training, plan)
        _say(training, f", as in {path}")
        return True
    if not training.recipe.replan:
        want = "a plan that this machine can run"
        raise RecipeError(where=f"plan = {path}", got="; ".join(misfits), want=want, fix="pass --replan to search anew")
    training.notices.append(f"the plan of {path} cannot run here ({'; '.join(misfits)}); another one is searched")
    return False


def _misfits(training: Training, plan: Plan, now: Plan) -> list[str]:
    """Return why a plan cannot run here, in words; `now` is this machine's own."""
    learner, recipe = training.learner, training.recipe
    assert isinstance(learner, TorchLearner)
    cores, model = max(device.cores(), now.threads), learner.parts.model  # a recipe may ask for more than there are
    allowed = ("float32", "tf32", "bf16") if recipe.precision == "auto" else (recipe.precision,)
    found = [] if plan.device == now.device else [f"it is for {plan.device}, and this run is on {now.device}"]
    found += [] if plan.precision in allowed else [f"{plan.precision}, which the recipe does not allow"]
    found += [] if plan.threads <= cores else [f"{plan.threads} threads on {cores} cores"]
    if plan.memory_format != "as given" and not device.can_lie_otherwise(model):
        found.append(f"{plan.memory_format} for a model without kernels of 4 dimensions")
    if plan.optimizer != "as given" and plan.optimizer not in ways_of(learner.parts.optimizer):
        found.append(f"a {plan.optimizer} {type(learner.parts.optimizer).__name__}, which there is not")
    if plan.captured and (refusal := capture_refusal(training)):
        found.append(f"captured updates: {refusal}")
    found += ["kept memory, which takes glibc"] if plan.keep_memory and not device.can_keep_memory() else []
    return found


def _remembered(path: Path, training: Training) -> Plan | None:
    """Return the plan that an earlier search found, if it is there and whole."""
    try:
        plan = read_plan(path, training.plan)
    except DanluError:
        return None
    return None if _misfits(training, plan, training.plan) else plan


def _say(training: Training, how: str) -> None:
    """Add the one line that a user reads of a plan."""
    plan = training.plan
    threads = "1 thread" if plan.threads == 1 else f"{plan.threads} threads"
    what = ", ".join([*(plan.ways or ["plain eager PyTorch"]), *([threads] if plan.device == "cpu" else [])])
    gain = next((one.ratio for one in plan.tried if one.name == TOGETHER and one.verdict == ALL_TAKEN), None)
    faster = "" if gain is None or gain > 0.97 else f", {1 / gain:.2f} x as fast as plain eager"
    training.notices.append(f"plan: {what}{faster}{how}")
