"""Going on with a run that was stopped or killed: from which state, and with which recipe."""

import json
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_type_hints

import msgspec

from danlu import save
from danlu.data import names
from danlu.device import Plan
from danlu.errors import RecipeError, RunError
from danlu.optim import changes_with_horizon
from danlu.recipe import Data as DataPart
from danlu.recipe import Recipe, Settled
from danlu.recipe_text import read, settle, to_tree
from danlu.save.files import damaged
from danlu.track import Run
from danlu.train.state import COUNTERS, TrainState
from danlu.train.training import Training

SAFE = (
    *("about", "checkpoints", "data.bad_quota", "data.memory_bytes", "data.workers", "log_every", "minutes"),
    *("rehearse", "tensorboard"),
    *("plan", "plan_without", "replan"),  # a resumed run has the plan that it began with
)
IGNORED = ("weights",)  # a resumed run goes on from its own
THREADS_MAX = 4096  # more would not start
ANOTHER_RECIPE = "resumed with another recipe"
LENGTH = ("epochs", "updates")  # safe unless the schedule's curve depends on the run's length
RATES = ("optim", "schedule", *LENGTH)  # what learning rates and their course depend on
DIVIDING = ("seed", "data.stratify")  # what decides which samples are held out
DIVIDED = "the data is divided anew: samples that validated may train now"

Changes = Mapping[str, str]  # a sentence for each key of the recipe


def stored_recipe(folder: Path) -> Settled:
    """Return the recipe of a run that shall go on; raise `RunError` where the folder holds none."""
    if not save.holds_run(folder) or not (folder / "recipe.toml").exists():
        want, fix = "a run's folder", "check the path; `danlu runs` lists what is there"
        raise RunError(where=str(folder), got="a folder that holds no run", want=want, fix=fix)
    return read(save.plain(folder / "recipe.toml", "a run's recipe"))


def as_decided(folder: Path, recipe: Recipe) -> Recipe:
    """Return a recipe with what the run found out itself: input statistics, and that a shuffle goes by blocks."""
    part, known = settle(recipe)[0].data, stored_recipe(folder).data
    if known is None:
        return recipe
    if known.sampler == "block_shuffle" and (part is None or part.sampler == "shuffle"):
        part = part or DataPart()
        part.sampler = known.sampler
    if part is not None and part.normalise is True and known.normalise is not False:
        part.normalise = known.normalise
    return recipe if part is None else msgspec.structs.replace(recipe, data=part)


def pinned_plan(folder: Path, now: Plan) -> Plan:
    """Return the plan that a run began with, whatever this machine would choose today."""
    return read_plan(folder / "plan.json", now)


def read_plan(path: Path, now: Plan) -> Plan:
    """Return the plan of a file; what it does not say is as in `now`.

    Raises:
        RunError: it is missing, damaged, or of the other engine.
    """
    known = save.read_json(path)
    try:
        plan = msgspec.convert({**asdict(now), **known}, Plan)
        sizes_fit = 0 < plan.threads <= THREADS_MAX and 0 < plan.eval_batch_size < 2**63
        captures_fit = not plan.captured or plan.device.startswith("cuda")
        if not (sizes_fit and captures_fit) or plan.engine != now.engine:
            raise ValueError(f"{plan.engine}, {plan.threads} threads, {plan.eval_batch_size} samples, {plan.device}")
    except (TypeError, ValueError) as error:
        raise damaged(path, error, "the plan of a run") from None
    return plan


def check_given(folder: Path, recipe: Settled, call: str, *, model: Any = None, data: Any = None) -> None:
    """Raise `RunError` where neither the caller nor the run's recipe says which model or data.

    Args:
        folder, recipe: the run's.
        call: what to call from Python, where they can be given.
        model, data: as the caller gave them.
    """
    known = {"model": (model, recipe.model), "data": (data, recipe.data)}
    missing = [name for name, ones in known.items() if ones == (None, None)]
    if missing:
        got, want = f"a recipe that names no {' and no '.join(missing)}", "a run of a recipe that names both"
        raise RunError(where=str(folder), got=got, want=want, fix=f"call {call} from Python")


def changes(before: Settled, now: Settled) -> Changes:
    """Return what a recipe says otherwise than the run's own, and cannot without changing what it would have been."""
    old, new = _flat(to_tree(before)), _flat(to_tree(now))
    curve = now.schedule != "off" and changes_with_horizon(now.schedule)
    safe = SAFE + IGNORED if curve else SAFE + IGNORED + LENGTH
    keys = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
    unsafe = [key for key in keys if not _is_of(key, safe)]
    found = {key: f"{key}: {json.dumps(old.get(key))} -> {json.dumps(new.get(key))}" for key in unsafe}
    for key in [key for key in DIVIDING if key in found and _is_divided(now)]:
        found[key] += f" ({DIVIDED})"
    return found


def _is_divided(recipe: Settled) -> bool:
    """Say whether a recipe has samples held out by its seed, as far as it is known without the data."""
    part = recipe.data
    if part is None:
        return False
    return part.name in names() if part.valid == "default" else bool(part.valid or part.options.get("test"))


def _is_of(key: str, parts: Iterable[str]) -> bool:
    return any(key == one or key.startswith(f"{one}.") for one in parts)


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, Mapping):
        return {prefix: tree}
    found: dict[str, Any] = {}
    for key, item in tree.items():
        found |= _flat(item, f"{prefix}.{key}" if prefix else key)
    return found


def check_changes(folder: Path, now: Settled, *, accept: bool) -> Changes:
    """Return the changes, for `go_on`; raise `RecipeError` where there are any and they are not accepted."""
    found = changes(stored_recipe(folder), now)
    if found and not accept:
        fix = "resume with the run's own recipe, or pass --accept-changes: the run is another one from there on"
        raise RecipeError(where="recipe", got="; ".join(found.values()), want=f"the recipe of {folder}", fix=fix)
    return found


def go_on(training: Training, folder: Path, *, strict: bool = False, changed: Changes | None = None) -> str | None:
    """Let a prepared run go on from the newest sound checkpoint of its folder.

    Args:
        training: prepared with the same recipe, data and model.
        folder: the run's.
        strict: refuse, where the newest checkpoint is damaged, to go back to an older one.
        changed: what its recipe says otherwise than the run's own, from `check_changes`.

    Returns:
        why there is nothing left to do, and then nothing was changed; else None.

    Raises:
        RunError: another process trains there; no sound checkpoint, or one of other data.
    """
    training.hold(folder)
    step, checkpoint, notices = save.newest(folder)
    if notices and strict:
        fix = "leave --strict out to go on from an older checkpoint"
        raise RunError(where=str(folder), got=notices[0], want="a sound newest checkpoint", fix=fix)
    check_data(training, checkpoint[1])
    training.saved = [checkpoint]
    _check_state(save.folder(folder, step) / "state.json", checkpoint[1])
    best = checkpoint[1].get("best")
    if best is not None and best["step"] != step and best["step"] in save.steps(folder):
        training.saved.insert(0, save.read(save.folder(folder, best["step"])))
        _check_state(save.folder(folder, best["step"]) / "state.json", training.saved[0][1])
    over = _nothing_left(training, folder)
    if over is not None:
        return over
    _take_rates(training, changed or {})
    for newer in [other for other in save.steps(folder) if other > step]:
        damaged = save.folder(folder, newer)
        damaged.rename(damaged.with_name(f".damaged-{damaged.name}"))
    others = [f"{ANOTHER_RECIPE}: {change}" for change in (changed or {}).values()]
    training.notices += [*others, f"goes on after update {step:,}"]
    training.passed_over = notices
    training.record_in(folder)
    return None


def _take_rates(training: Training, changed: Iterable[str]) -> None:
    """Where a recipe with another optimizer or schedule was accepted, put theirs into the states that will be loaded.

    What the optimizer remembers of every parameter stays, unless it is another optimizer. A schedule stands where it
    would stand had it been there from the start; one that follows a metric begins anew.
    """
    if training.saved is None or not any(_is_of(key, RATES) for key in changed):
        return
    learner, done = training.learner, 0
    for tensors, state in training.saved:  # in the order of their updates
        units = {"update": state["updates_done"], "epoch": state["epoch"]}.get(learner.schedule_per, 0)
        units = min(units, training.updates_total or units)  # after its end nothing is trained
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # PyTorch's: no update came before
            for _ in range(done, units):
                learner.step_schedule()
        done = max(done, units)
        fresh, known = learner.state()[1], state["learner"]
        known["schedule"] = fresh["schedule"]
        known["optimizer"]["groups"] = fresh["optimizer"]["groups"]
        if "optim.name" in changed:
            tensors.pop("optimizer", None)
            known["optimizer"] = fresh["optimizer"]


def _check_state(path: Path, state: Mapping[str, Any]) -> None:
    """Refuse counters that are none, and a learner's state that is none, before anything is done with them."""
    kinds = get_type_hints(TrainState)
    try:
        for name in COUNTERS:
            value = msgspec.convert(state.get(name), kinds[name])
            if isinstance(value, int) and not 0 <= value < 2**63:
                raise ValueError(f"a number for {name} that counts nothing")
        msgspec.convert(state.get("learner"), dict[str, Any])
        msgspec.convert(state["learner"].get("optimizer"), dict[str, Any])
    except ValueError as error:
        raise damaged(path, error, "the state of a run") from None


def check_data(training: Training, state: Mapping[str, Any]) -> None:
    """Raise `RunError` where a checkpoint's state is of another number of training samples."""
    known = state.get("train_samples")
    if known != training.state.train_samples:
        got, want = f"{training.state.train_samples} training samples", f"the {known} that the run began with"
        raise RunError(where="data", got=got, want=want, fix="give it the same data")


def _nothing_left(training: Training, folder: Path) -> str | None:
    """Return why a run is over already, or None where there is something left to train."""
    ended = Run(folder).summary
    if not ended or training.saved is None:
        return None
    values, recipe = training.saved[-1][1], training.recipe
    if ended["status"] == "stopped":
        return str(ended["reason"])
    limits = (recipe.epochs, values["epoch"]), (recipe.updates, values["updates_done"])
    over = any(limit != "off" and done >= limit for limit, done in limits)
    return str(ended["reason"]) if ended["status"] == "finished" and over else None
