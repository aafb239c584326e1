"""Binding a recipe to a model, data and this machine, and checking one batch of everything before training."""

from dataclasses import replace
from typing import Any

from danlu.data import (
    BadPolicy,
    Batches,
    Data,
    Loader,
    Sampler,
    Samples,
    Source,
    Stored,
    as_data,
    augmented,
    class_total,
    normalised_sets,
    notes_on_reading,
    statistics,
)
from danlu.device import Plan, choose, plan_for
from danlu.errors import DataError, RecipeError, unknown_name
from danlu.optim.framework import is_zero
from danlu.recipe import Data as DataPart
from danlu.recipe import Recipe, Settled
from danlu.recipe_text import settle
from danlu.train.build import begin, build_learner, load_objects
from danlu.train.learner import Learner
from danlu.train.loaded import Loaded
from danlu.train.memory import too_little_memory
from danlu.train.step import Step
from danlu.train.training import Training


def prepare(
    model: Any, data: Any, recipe: Recipe, *, step: Step | None = None, plan: Plan | None = None, resumed: bool = False
) -> Training:
    """Bind everything a run needs, and check it.

    Args:
        model: trained in place, on the device of the plan.
        data: whatever `danlu.data.as_data` takes.
        recipe: as the caller wrote it; real objects may stand where names do.
        step: the caller's own `(model, batch) -> loss`, or named losses.
        plan: what another start of this run decided; the default is this machine's own.
        resumed: the run goes on from its own weights, not from those that the recipe starts from.

    Raises:
        DanluError: something does not fit together; nothing has been trained.
    """
    settled, given = settle_for(model, recipe)
    objects = load_objects(settled, given)
    _check_limits(settled)
    decided, plan = plan is not None, plan or plan_for(settled)
    if not isinstance(data, Data):  # a `Data` is split already
        data = as_data(data, seed=settled.seed, **_split(settled))
    data = _normalised(settled, data)
    streamed = _streamed(settled, data, plan, decided=decided)
    monitor = _monitor(settled, data, own_step=step is not None)
    loaded, notices = _begun(model, settled, resumed)
    learner = build_learner(model, settled, objects, plan=plan, step=step)
    training = _bind(settled, data, learner, plan, monitor)
    _say_where_data_lie(training)
    training.weights = loaded
    training.notices += notices + streamed
    if settled.augment and settled.overfit_one_batch:
        training.notices.append("overfit_one_batch: the one batch is not augmented")
    with learner.session():
        training.notices += _tried(training)
    if settled.schedule != "off":
        learner.plan_schedule(objects.get("schedule", settled.schedule), _horizon(training))
        if learner.schedule_per == "evaluation":
            _known_row("schedule.monitor", settled.schedule.monitor, _rows(settled, data), own_step=step is not None)
    return training


def _check_limits(recipe: Settled) -> None:
    """Refuse a run without an end, half an update, and best weights that would be gone after a kill."""
    if recipe.epochs == recipe.updates == recipe.minutes == "off":
        want = "a limit on epochs, updates or minutes"
        raise RecipeError(where="epochs", got="no limit at all", want=want, fix="set one of them")
    stop, saves = recipe.early_stop, recipe.checkpoints
    if saves != "off" and saves.per != "minute" and saves.every % 1 > 0:
        want, fix = f"a whole number of {saves.per}s", 'use a whole number, or checkpoints.per = "minute"'
        raise RecipeError(where="checkpoints.every", got=saves.every, want=want, fix=fix)
    if stop != "off" and stop.restore_best and saves != "off" and not saves.best:
        fix = "leave it true, or set early_stop.restore_best = false"
        raise RecipeError(where="checkpoints.best", got="false", want="true, for early_stop.restore_best", fix=fix)


def _begun(model: Any, recipe: Settled, resumed: bool) -> tuple[Loaded | None, list[str]]:
    """Bring a model to where training starts; return what came of its weights, and what the user should be told."""
    notices = []
    if not model.training:
        model.train()  # a root in training mode is left alone: it may hold layers that the caller froze
        notices.append("the model was in evaluation mode; it trains in training mode")
    loaded = begin(model, recipe, resumed=resumed)
    notices += [] if loaded is None else [f"starts from {loaded.line}"]
    return loaded, notices


def settle_for(model: Any, recipe: Recipe) -> tuple[Settled, dict[str, Any]]:
    """Settle a recipe, its engine being the model's.

    Raises:
        RecipeError: the recipe asks for danlu.zero, and the model is PyTorch's.
    """
    settled, given = settle(recipe)
    if is_zero(model):
        settled.engine = "zero"
    elif settled.engine == "zero":
        want = 'a danlu.zero.nn.Module, because the recipe says engine = "zero"'
        fix = "build it from danlu.zero.nn, or leave the engine out"
        raise RecipeError(where="model", got=f"a {type(model).__name__} of PyTorch", want=want, fix=fix)
    return settled, given


def with_policy(source: Source, recipe: Settled, *, least: int = 0) -> Source:
    """Return a source under the recipe's policy for bad samples, where it has none of its own.

    Args:
        source: of one set.
        recipe: settled.
        least: samples that a batch keeps at least.

    Raises:
        RecipeError: the recipe asks a ready `DataLoader` for one.
    """
    part = recipe.data or DataPart()
    if isinstance(source, Samples | Stored):
        return source.with_policy(BadPolicy(part.bad_samples, part.bad_quota, least))
    if isinstance(source, Loader) and part.bad_samples != "raise":
        want, fix = "data with random access", "give the data set itself instead of a DataLoader"
        raise RecipeError(where="data.bad_samples", got=f"{part.bad_samples} for a DataLoader", want=want, fix=fix)
    return source


def _split(recipe: Settled) -> dict[str, Any]:
    """Return what the recipe says of holding out validation data."""
    part = recipe.data
    return {} if part is None else {"valid": part.valid, "stratify": part.stratify}


def _normalised(recipe: Settled, data: Data) -> Data:
    """Return data normalised as the recipe says, which from now on holds the numbers."""
    part = recipe.data
    if part is None or part.normalise is False:
        return data
    if part.normalise is True:
        part.normalise = statistics(with_policy(data.train, recipe), workers=part.workers)
    return normalised_sets(data, part.normalise)


def _streamed(recipe: Settled, data: Data, plan: Plan, *, decided: bool) -> list[str]:
    """Let the recipe say in which order a set is visited that does not fit in memory; return what to tell of it.

    Args:
        recipe: settled; its `data.sampler` may become "block_shuffle".
        data: the run's.
        plan: says on which device it has to fit.
        decided: another start of this run decided it.
    """
    train, device = data.train, choose(plan.device)
    if not isinstance(train, Stored) or recipe.overfit_one_batch:
        return []
    part = recipe.data or DataPart()
    plain = part.sampler == "shuffle" and data.weights is None
    if plain and not decided and train.needs_blocks(device):
        part.sampler, recipe.data = "block_shuffle", part
    return notes_on_reading(train, device, sampler=part.sampler, seed=recipe.seed)


def _bind(recipe: Settled, data: Data, learner: Learner, plan: Plan, monitor: str) -> Training:
    part = recipe.data
    workers = 0 if part is None else part.workers
    sampler: Sampler = "shuffle" if part is None else part.sampler
    if data.weights is not None and not recipe.overfit_one_batch:
        sampler = data.weights

    def train(source: Source, size: int, sampler: Sampler) -> Batches:
        source = with_policy(source, recipe, least=2)  # BatchNorm cannot train on one sample
        return learner.batches(source, size, seed=recipe.seed, sampler=sampler, workers=workers)

    def whole(source: Source) -> Batches:
        source = with_policy(source, recipe)
        return learner.batches(source, plan.eval_batch_size, seed=recipe.seed, sampler="in_order", workers=workers)

    batches = train(data.train, recipe.batch_size, sampler)
    if recipe.overfit_one_batch:
        data = _first_batch(data, batches)
        batches = train(data.train, len(data.train), "in_order")
    elif recipe.augment:
        batches = augmented(batches, recipe.augment, seed=recipe.seed, classes=class_total(data))
    return Training(
        recipe=recipe,
        data=data,
        learner=learner,
        plan=plan,
        train=batches,
        valid={name: whole(source) for name, source in data.valid.items()},
        test=None if data.test is None else whole(data.test),
        monitor=monitor,
    )


def _say_where_data_lie(training: Training) -> None:
    """Note in the plan whether arrays stay in host memory; it changes no number, so a resumed run may differ."""
    hosted = [name for name, batches in training.sets().items() if batches.hosted]
    training.plan = training.learner.plan = replace(training.plan, data="host" if hosted else "device")
    if hosted:
        text = f"larger than half of the free memory of {training.plan.device} less 1 GiB"
        training.notices.append(f"{', '.join(hosted)}: {text}; it stays in host memory, and batches are copied ahead")


def _first_batch(data: Data, batches: Batches) -> Data:
    """Return data whose every set is the first training batch."""
    if isinstance(data.train, Loader):
        want = "data with random access"
        fix = "give the data set itself instead of a DataLoader"
        raise RecipeError(where="overfit_one_batch", got="a DataLoader", want=want, fix=fix)
    one = data.train.take(batches.ids(0, 0))
    batches.close()
    return replace(data, train=one, valid=dict.fromkeys(data.valid or ["valid"], one), test=None)


def _monitor(recipe: Settled, data: Data, *, own_step: bool) -> str:
    """Return the row that decides what is best."""
    known = _rows(recipe, data)
    if recipe.monitor != "auto":
        return _known_row("monitor", recipe.monitor, known, own_step=own_step)
    group = next(iter(data.valid), "train")
    return f"{group}/accuracy" if f"{group}/accuracy" in known and not own_step else f"{group}/loss"


def _rows(recipe: Settled, data: Data) -> list[str]:
    """Return every row of an evaluation that is one number."""
    names = ["loss", *(metric.name for metric in recipe.metrics if metric.name != "confusion_matrix")]
    groups = ["train", *(data.valid or (["valid"] if recipe.overfit_one_batch else []))]
    return [f"{group}/{name}" for group in groups for name in names]


def _known_row(where: str, name: str, known: list[str], *, own_step: bool) -> str:
    group = name.partition("/")[0]
    named = own_step and any(row.startswith(f"{group}/") for row in known)  # own losses have names that nobody knows
    if name not in known and not named:
        raise unknown_name(RecipeError, where, name, known, "figure of this run")
    return name


def _tried(training: Training) -> list[str]:
    """Run first batches, trained on nothing; return what the user should be told."""
    try:
        notices = _check(training)
        _check_lone_sample(training)
    except (RuntimeError, MemoryError) as error:
        if (explained := too_little_memory(error, "the first batch of a set", training.recipe)) is not None:
            raise explained from None
        raise
    return notices


def _check(training: Training) -> list[str]:
    """Run the first batch of every set through model and loss; return what the user should be told."""
    notices = []
    sets = training.sets()
    if training.recipe.augment:  # the targets of a set that is not augmented say what kind they are
        sets["train"] = sets.pop("train")
    for name, batches in sets.items():
        found = training.learner.check(batches.batch(0, 0), name)
        notices += [f"{name}: {notice}" for notice in found]
    training.learner.check_targets({name: source.targets() for name, source in training.data.sets().items()})
    return notices


def _check_lone_sample(training: Training) -> None:
    """Refuse a training batch of one sample where the model has a BatchNorm that it leaves without any spread."""
    batches, size, source = training.train, training.train.batch_size, training.data.train
    whole = training.batches_per_epoch == len(batches)  # limit_batches may leave the last batch out
    if size > 1 and not (batches.samples % size == 1 and whole):
        return
    if isinstance(source, Loader) and source.dataloader.batch_size is None:
        return  # the sizes of its batches are its own
    layer = training.learner.lone_sample_refused(batches.batch(0, 0))
    if layer is None:
        return
    other = next((n for n in range(size + 1, batches.samples + 1) if batches.samples % n != 1), None)
    fix = "give it more samples" if other is None else f"use another batch_size, such as {other}"
    fix += ", or drop_last=True in the DataLoader" if isinstance(source, Loader) else ""
    got = f"{batches.samples} training samples in batches of {size}, one of which has a single sample"
    want = f"at least 2 samples in every batch, for the BatchNorm at {layer}"
    raise DataError(where="batch_size", got=got, want=want, fix=fix)


def _horizon(training: Training) -> int | None:
    """Return the length of the run in the schedule's unit."""
    updates = training.updates_total
    if updates is None or training.recipe.schedule.per == "update":  # type: ignore[union-attr]
        return updates
    return -(-updates // training.updates_per_epoch)
