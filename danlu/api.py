"""What a caller calls: `fit`, `steps`, `evaluate`, `predict`, `load_model`, `replay`."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from danlu import hooks as hook_room
from danlu import save
from danlu.data import Arrays, Data, Samples, Source, Stored, as_data, normalised, statistics
from danlu.device import plan_for
from danlu.errors import DataError, RunError
from danlu.measure import keep_plan, pin, rehearse
from danlu.recipe import Recipe, Settled
from danlu.recipe_text import read, write
from danlu.track import Run
from danlu.train import replay as replaying
from danlu.train import resume as resuming
from danlu.train.anew import begin_anew, unbegun
from danlu.train.build import build_data, build_evaluator, build_model, load_objects, load_weights
from danlu.train.evaluate import evaluate as evaluate_batches
from danlu.train.evaluate import predict as predict_batches
from danlu.train.hook import Hook, checked_hooks
from danlu.train.learner import Array, Figures, Result
from danlu.train.loop import run
from danlu.train.prepare import prepare, settle_for, with_policy
from danlu.train.step import Step
from danlu.train.training import Training

RESUME = (False, True, "accept changes", "strict", "replan")

Model = Any  # an `nn.Module` of PyTorch, or of danlu.zero


def steps(
    model: Model,
    data: Any,
    recipe: Recipe | None = None,
    *,
    step: Step | None = None,
    hooks: Sequence[Hook] = (),
    out: str | Path | None = None,
) -> Iterator[Result]:
    """Train with the loop in the caller's hands: `for result in danlu.steps(model, data, recipe): ...`.

    Args:
        model: any `nn.Module` of PyTorch or danlu.zero; trained in place.
        data: a data set by `danlu.data`, a pair of arrays, a `Dataset`, a `DataLoader`.
        recipe: the experiment; the default is `Recipe()`.
        step: your own `(model, batch) -> loss`, or a dict of named losses whose sum is minimised.
        hooks: called in this order; by default there are none, so nothing is shown or written.
        out: folder for what the hooks write; it must hold no run.

    Returns:
        an iterator over updates; leaving it early ends the run in good order.

    Raises:
        DanluError: something does not fit together; nothing has been trained.

    Cost:
        no host sync per update; reading `result.loss` waits for the device.
    """
    checked = checked_hooks(hooks)
    return run(_prepare(model, data, recipe, step, out), checked)


def fit(
    model: Model,
    data: Any,
    recipe: Recipe | None = None,
    *,
    step: Step | None = None,
    hooks: Sequence[Hook] = (),
    out: str | Path | None = None,
    quiet: bool = False,
    resume: bool | Literal["accept changes", "strict", "replan"] = False,
) -> Run:
    """Train: `steps` with the default hooks, which show progress, log, keep the best weights and obey Ctrl-C.

    Args:
        model, data, recipe, step, out: as in `steps`.
        hooks: yours; they are called after the rows are written and before the checkpoints are.
        quiet: show no progress.
        resume: go on with the run in `out`, which ends as if it had never been interrupted. The recipe must be the
            run's own but for what changes no number; with "accept changes" it may be another one. A damaged newest
            checkpoint is passed over with a notice, with "strict" refused. A plan that cannot run on this machine is
            refused, with "replan" replaced by another, which gives other bits from there on. Where `out` is empty or
            not there, or its run was killed before the first checkpoint, a new run begins: the same script can be
            started again and again.

    Returns:
        the finished run: `run.best`, `run.history`, `run.summary`. Without `out` it lives in memory only.

    Raises:
        DanluError: something does not fit together; nothing has been trained.
        KeyboardInterrupt: after Ctrl-C, once the update is finished and the record closed; SystemExit after SIGTERM.
    """
    checked = checked_hooks(hooks)
    given = model, data, recipe, step, out
    training = _resumed(*given, resume) if resume else _prepare(*given, tried=True)
    if training is None:
        return Run(Path(out or ""))
    for _ in run(training, hook_room.defaults(training.recipe, checked, quiet=quiet)):
        pass
    return _result(training)


def evaluate(
    model: Model, data: Any, recipe: Recipe | None = None, *, step: Step | None = None, on: str = "test"
) -> Figures:
    """Return loss and metrics of a model over a whole set; the model's weights and modes are as they were.

    Args:
        model: any `nn.Module`.
        data: as in `steps`; of a `danlu.data.Data` the set that `on` names, of anything else all of it.
        recipe: gives loss, metrics, batch size, device and precision.
        step: as in `steps`.
        on: "train", "test", or a validation set's name.

    Returns:
        {"loss": 0.31, "accuracy": 0.89, ...}.
    """
    plain, given = settle_for(model, recipe or Recipe())
    objects = load_objects(plain, given)
    source = _set_of(data, on) if isinstance(data, Data) else as_data(data, valid=0).train
    source = _normalised(source, plain, data.train if isinstance(data, Data) else None)
    plan = plan_for(plain)
    learner = build_evaluator(model, plain, objects, plan=plan, step=step)
    source = with_policy(source, plain)
    batches = learner.batches(source, plan.eval_batch_size, seed=plain.seed, sampler="in_order", workers=0)
    if batches.bad is not None:
        batches.bad.name = on
    with learner.session(), closing(batches):
        learner.check(batches.batch(0, 0), on)
        learner.check_targets({on: source.targets()})
        return evaluate_batches(learner, batches)


def predict(model: Model, inputs: Any, recipe: Recipe | None = None) -> Array:
    """Return what a model predicts, shape (N, ...): probabilities for classes, values in a regression.

    Args:
        model: any `nn.Module`; its weights and modes are as they were.
        inputs: an array (N, ...), a tuple or dict of them, or a `danlu.data` source, none of whose samples may be bad.
        recipe: its loss says how an output becomes a prediction.
    """
    plain, given = settle_for(model, recipe or Recipe())
    objects = load_objects(plain, given)
    source = _normalised(inputs if isinstance(inputs, Source) else Arrays(inputs), plain, None)
    source = source.refusing() if isinstance(source, Samples | Stored) else source  # an output for every sample
    plan = plan_for(plain)
    learner = build_evaluator(model, plain, objects, plan=plan)
    batches = learner.batches(source, plan.eval_batch_size, seed=plain.seed, sampler="in_order", workers=0)
    with learner.session(), closing(batches):
        return predict_batches(learner, batches)


def load_recipe(folder: str | Path) -> Settled:
    """Return the recipe of a run."""
    path = Path(folder) / "recipe.toml"
    return read(save.plain(path, "a run's recipe") if path.exists() else path)


def load_model(folder: str | Path, *, at: str | int = "best", model: Model | None = None) -> Any:
    """Return a run's model with the weights of one of its checkpoints.

    Args:
        folder: the run folder.
        at: "best", "last", or an update's number.
        model: takes the weights; the default is built anew from the run's recipe.

    Raises:
        RunError: the folder holds no such checkpoint, or it is damaged.
        ModelError: the weights do not fit the model.
    """
    folder = Path(folder)
    recipe = load_recipe(folder)
    tensors, _ = save.read(save.folder(folder, save.checkpoint_at(folder, at)))
    model = build_model(recipe.model, recipe.seed, recipe.engine) if model is None else model
    load_weights(model, tensors.get("ema") or tensors["model"])
    return model


def replay(
    folder: str | Path,
    update: int,
    model: Model | None = None,
    *,
    data: Any = None,
    recipe: Recipe | None = None,
    step: Step | None = None,
    pdb: bool = False,
) -> replaying.Replayed:
    """Do one update of a run once more, with the same bits, and return what it was; the run's folder is only read.

    Args:
        folder: the run's; it may still be training.
        update: counted from 1.
        model: as it was given to `fit`, left as after the update; the default is built from the run's recipe.
        data, recipe, step: as they were given to `fit`; the default is what the run's recipe names.
        pdb: stop in the model's `forward` in that update, in Python's debugger.

    Raises:
        RunError: no such update, no checkpoint from before it, or a model and data that must be given here.

    Cost: it trains all updates since the nearest checkpoint before, and prints at first how many these are.
    """
    folder = Path(folder)
    stored = resuming.stored_recipe(folder)
    at, start = replaying.nearest(folder, update, rebuilt=model is None and stored.model is not None)
    call = "danlu.replay(run, update, model, data=data)"
    resuming.check_given(folder, stored, call, model=model, data=data)
    model = build_model(stored.model, stored.seed, stored.engine) if model is None else model
    data = build_data(stored.data, stored.seed) if data is None else data
    training, _ = _as_before(model, data, recipe or stored, step, folder, resumed=start is not None)
    try:
        replaying.check_update(folder, update, training.updates_total)
        print(replaying.cost(at, update), flush=True)
        return replaying.replay(training, start, update, debug=model if pdb else None)
    finally:
        training.close()


def _result(training: Training) -> Run:
    """Return the record of a run that is over; raise what stands for an interruption."""
    if training.stop is not None and training.stop.status == "interrupted":
        raise SystemExit(143) if training.stop.reason == "SIGTERM" else KeyboardInterrupt(training.stop.reason)
    if training.folder is not None:
        return Run(training.folder)
    return Run.of(training.store, hook_room.summary(training), write(training.recipe))


def _resumed(
    model: Model, data: Any, recipe: Recipe | None, step: Step | None, out: str | Path | None, how: bool | str
) -> Training | None:
    """Prepare a run to go on; return None where there is nothing left to do."""
    if out is None:
        raise RunError(where="resume", got="no folder", want="out, the run's folder", fix='write out="runs/..."')
    if how not in RESUME:
        raise RunError(where="resume", got=how, want=f"one of {', '.join(map(repr, RESUME))}", fix="choose one of them")
    folder = Path(out)
    if not folder.exists() or unbegun(folder):
        return _prepare(model, data, recipe, step, out, tried=True, anew=folder.exists())
    recipe = resuming.stored_recipe(folder) if recipe is None else recipe
    training, changed = _as_before(model, data, recipe, step, folder, how=how)
    over = True
    try:
        over = resuming.go_on(training, folder, strict=how == "strict", changed=changed) is not None
    finally:
        if over:
            training.close()
    return None if over else training


def _as_before(
    model: Model,
    data: Any,
    recipe: Recipe,
    step: Step | None,
    folder: Path,
    *,
    how: bool | str = True,
    resumed: bool = True,
) -> tuple[Training, resuming.Changes]:
    """Prepare what a run was, by the plan that it began with; return it and what is otherwise now."""
    recipe = resuming.as_decided(folder, recipe)
    settled, _ = settle_for(model, recipe)
    changed = resuming.check_changes(folder, settled, accept=how == "accept changes")
    now = plan_for(settled)
    plan = resuming.pinned_plan(folder, now)
    training = prepare(model, data, recipe, step=step, plan=replace(plan, device=now.device), resumed=resumed)
    try:
        why = keep_plan(training, plan, now, where=str(folder / "plan.json"), replan=how == "replan")
    except BaseException:
        training.close()
        raise
    return training, {**changed, **({} if why is None else {"plan": f"plan: {why}"})}


def _prepare(
    model: Model,
    data: Any,
    recipe: Recipe | None,
    step: Step | None,
    out: str | Path | None,
    *,
    tried: bool = False,
    anew: bool = False,
) -> Training:
    """Check everything first, so that a mistake leaves no folder behind, and a taken folder leaves the model alone."""
    if out is not None and Path(out).exists() and not anew:
        save.claim(Path(out))
    training = prepare(model, data, recipe or Recipe(), step=step)
    try:
        pin(training)
        if tried and training.recipe.rehearse:
            training.notices += rehearse(training, None if out is None else Path(out))
    except BaseException:
        training.close()
        raise
    if out is not None:
        _begin(training, Path(out), tried=tried, anew=anew)
    return training


def _begin(training: Training, folder: Path, *, tried: bool, anew: bool) -> None:
    """Make a folder the run's own; its recipe comes first, so that a run which is killed at once can be begun anew."""
    try:
        if not anew:
            save.claim(folder)
        training.hold(folder)
        if tried:
            hook_room.write_recipe(training, folder)
        if anew:
            begin_anew(training, folder)
        else:
            training.record_in(folder)
    except BaseException:
        training.close()
        raise


def _normalised(source: Source, recipe: Settled, train: Source | None) -> Source:
    """Return a source normalised as a recipe says; where it holds no numbers they are those of the training set."""
    by = False if recipe.data is None else recipe.data.normalise
    if by is True and train is None:
        want = "the numbers that the run computed"
        fix = "pass recipe=danlu.load_recipe(folder) of the run, or its own mean and std"
        raise DataError(where="data.normalise", got="true", want=want, fix=fix)
    if by is True and train is not None:
        by = statistics(with_policy(train, recipe))
    return source if isinstance(by, bool) else normalised(source, by)


def _set_of(data: Data, name: str) -> Source:
    sets = data.sets()
    if name not in sets:
        raise DataError(where="on", got=name, want=f"one of {', '.join(sets)}", fix="name a set that this data has")
    return sets[name]
