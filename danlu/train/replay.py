"""One update of a run once more: from the nearest checkpoint before it, with the same batches, seeds and bits.

The run's folder is only read: a run that still trains may be replayed as well.
"""

import contextlib
import math
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np

from danlu import save
from danlu.errors import RunError
from danlu.save.checkpoint import Checkpoint
from danlu.track import Run
from danlu.train.finite import sample_ids
from danlu.train.hook import Hook
from danlu.train.learner import Array, Figures, Result
from danlu.train.loop import run
from danlu.train.resume import ANOTHER_RECIPE, check_data
from danlu.train.training import Training

NEVER = 2**62
WIDTH = 100


@final
@dataclass(frozen=True)
class Layer:
    """One parameter in one update: its gradient's norm before clipping, and how far it moved.

    Fields:
        gradient_norm: NaN where the parameter got no gradient.
        change: norm of the change over the norm of the weight before it.
    """

    name: str
    gradient_norm: float
    change: float


@final
@dataclass(frozen=True)
class Replayed:
    """What one update was; `str` of it is the report that the command line prints.

    Fields:
        epoch, batches: where its batches lie, counted from 0.
        sample_ids: of the training set; None where the data set cannot say. rows: the same in the whole data set,
            where the training set is a part of it.
        loss: the mean over the batch; figures: metrics, and what an own step names.
        gradient_norm: of all gradients together, before clipping.
        layers: the parameters, in the model's order.
        notes: what else should be known, such as an earlier update that went wrong.
    """

    update: int
    epoch: int
    batches: list[int]
    sample_ids: list[int] | None
    rows: list[int] | None
    loss: float
    figures: dict[str, float]
    lr: float
    gradient_norm: float
    layers: list[Layer]
    notes: list[str]

    def __str__(self) -> str:
        first, last = self.batches[0], self.batches[-1]
        batch = f"batch {first}" if first == last else f"batches {first} to {last}"
        lines = [f"update {self.update:,}: epoch {self.epoch}, {batch}, counted from 0"]
        lines += _numbers("sample ids", self.sample_ids) if self.sample_ids is not None else []
        lines += _numbers("rows of the whole data set", self.rows) if self.rows is not None else []
        lines += ["", f"loss {self.loss:.9g}"]
        lines += [f"  {name} {value:.9g}" for name, value in self.figures.items()]
        lines += [f"gradient norm {self.gradient_norm:.6g}", f"lr {self.lr:.6g}", ""]
        width = max(len("parameter"), *(len(layer.name) for layer in self.layers))
        lines.append(f"{'parameter':<{width}}  {'gradient norm':>13}  {'change':>10}")
        lines += [f"{row.name:<{width}}  {row.gradient_norm:>13.6g}  {row.change:>10.4g}" for row in self.layers]
        return "\n".join([*lines, "", *self.notes] if self.notes else lines)


def _numbers(title: str, numbers: list[int]) -> list[str]:
    return textwrap.wrap(f"{title}: {', '.join(map(str, numbers))}", WIDTH, subsequent_indent="  ")


def nearest(folder: Path, update: int, *, rebuilt: bool = False) -> tuple[int, Checkpoint | None]:
    """Return the newest sound checkpoint from before an update.

    Args:
        folder: the run's.
        update: counted from 1.
        rebuilt: the model will be built from the recipe, as it was when the run began: None can be the checkpoint.

    Raises:
        RunError: the run has no such update; there is no checkpoint, or it went on with another recipe since.
    """
    check_update(folder, update, None)
    changed = max((step for step, kind, text in Run(folder).events if _is_change(kind, text)), default=0)
    fit = [step for step in save.steps(folder) if changed <= step < update]
    why = "no checkpoint from before it"
    for step in reversed(fit):
        try:
            return step, save.read(save.folder(folder, step))
        except RunError as error:  # damaged, or removed by a run that still trains
            why = f"no sound checkpoint from before it; {error.got} in {error.where}"
    if rebuilt and not changed:
        return 0, None
    left = [step for step in save.steps(folder) if step >= changed and step not in fit]
    known = f"replay update {left[0] + 1:,} or a later one" if left else "train it anew"
    if changed:
        why += f" and after update {changed:,}, where the run went on with another recipe"
    fix = f"{known}, or keep more checkpoints (checkpoints.keep)"
    raise RunError(where=f"update {update}", got=why, want="a checkpoint to start from", fix=fix)


def _is_change(kind: str, text: str) -> bool:
    return kind == "notice" and text.startswith(ANOTHER_RECIPE)


def check_update(folder: Path, update: int, planned: int | None) -> None:
    """Raise `RunError` for an update that the run has not got.

    Args:
        folder: the run's.
        update: counted from 1.
        planned: how many updates its recipe asks for; None where time limits it.
    """
    ended = Run(folder).summary
    last = planned if not ended else ended["updates"] + (1 if ended["status"] == "failed" else 0)
    if update < 1 or (last is not None and update > last):
        want = "a whole number >= 1" if last is None else f"one of the run's updates, 1 to {last:,}"
        raise RunError(where="update", got=update, want=want, fix="choose one of them")


def cost(start: int, update: int) -> str:
    """Say how many updates a replay trains."""
    before = "the start" if start == 0 else f"the checkpoint of update {start:,}"
    return f"replaying update {update:,}: {update - start:,} to train from {before} on"


def replay(training: Training, start: Checkpoint | None, update: int, *, debug: Any = None) -> Replayed:
    """Go on from a checkpoint until an update is done, and say what it was.

    Args:
        training: prepared with the run's own recipe, plan, model and data; its model is left as after the update.
        start: a checkpoint from before the update; None, where the model is as it was when the run began.
        update: counted from 1.
        debug: the model in whose `forward` Python's debugger stops; None does not stop.

    Raises:
        RunError: the checkpoint is of other data.

    Cost: all updates since the checkpoint, and the evaluations among them only if the schedule follows one; a host
        sync for each.
    """
    if start is not None:
        check_data(training, start[1])
        training.saved = [start]
    _ask_for_nothing_else(training)
    witness = Witness(training, update)
    training.learner.after_backward = witness.after_backward
    try:
        watched = contextlib.nullcontext() if debug is None else _debugging(debug, training, update)
        with watched:
            for result in run(training, [witness]):
                if training.state.updates_done == update:
                    return witness.report(result)
                if training.state.updates_done == update - 1:
                    training.learner.train_figures()  # the next sums are those of the update alone
    finally:
        training.learner.after_backward = None
    raise RunError(where="update", got=update, want="one that the run reached", fix="choose an earlier one")


def _ask_for_nothing_else(training: Training) -> None:
    """Leave out whatever does not decide the numbers of an update: ends, checkpoints, evaluations nobody follows."""
    recipe = training.recipe
    recipe.epochs = recipe.updates = recipe.minutes = "off"
    recipe.checkpoints = recipe.early_stop = "off"
    recipe.on_nan = "skip" if recipe.on_nan == "skip" else "record"
    if training.learner.schedule_per != "evaluation":
        recipe.validate_every, recipe.validate_per = NEVER, "update"


@final
class Witness(Hook):
    """Takes down what one update is made of."""

    def __init__(self, training: Training, update: int) -> None:
        self._training, self._update = training, update
        self._first_bad: int | None = None
        self._before: dict[str, Array] = {}
        self._after: dict[str, Array] = {}
        self._gradients: dict[str, Array] = {}
        self._lr = math.nan
        self._started_bad = False
        self._figures: Figures = {}

    def on_fit_start(self, training: Training) -> None:
        """Look at the weights of the checkpoint; start new sums where the update comes next."""
        self._started_bad = not training.learner.weights_finite()
        if training.state.updates_done == self._update - 1:
            training.learner.train_figures()

    def after_backward(self) -> None:
        """Take down gradients, and weights before they move."""
        learner = self._training.learner
        number = self._training.state.updates_done + 1
        if self._first_bad is None and not learner.gradients_finite():
            self._first_bad = number
        if number == self._update:
            self._gradients, self._lr = learner.gradients(), learner.lr()
            self._before = self._weights()

    def on_step_end(self, training: Training, result: Result) -> None:
        """Take down the weights after it."""
        if training.state.updates_done == self._update:
            self._after, self._figures = self._weights(), training.learner.train_figures()

    def _weights(self) -> dict[str, Array]:
        tensors, _ = self._training.learner.state()
        return {name: array.astype(np.float64) for name, array in tensors["model"].items()}

    def report(self, result: Result) -> Replayed:
        """Return what the update was."""
        training = self._training
        epoch, batches = training.place_of(self._update)
        ids = sample_ids(training, epoch, batches)
        rows = getattr(training.data.train, "rows", None)
        squares = [float((g.astype(np.float64) ** 2).sum()) for g in self._gradients.values()]
        names = [name for name in self._before if name in self._gradients]
        return Replayed(
            update=self._update,
            epoch=epoch,
            batches=batches,
            sample_ids=ids,
            rows=None if rows is None or ids is None else [int(rows[one]) for one in ids],
            loss=float(training.learner.array(result.loss)) if result.skipped else self._figures["loss"],
            figures={} if result.skipped else {name: f for name, f in self._figures.items() if _is_shown(name, f)},
            lr=self._lr,
            gradient_norm=math.sqrt(sum(squares)),
            layers=[Layer(name, _norm(self._gradients[name]), self._change(name)) for name in names],
            notes=self._notes(result),
        )

    def _change(self, name: str) -> float:
        moved, size = _norm(self._after[name] - self._before[name]), _norm(self._before[name])
        return moved / size if size else math.inf if moved else 0.0

    def _notes(self, result: Result) -> list[str]:
        notes = ["the update was skipped: its loss or a gradient is NaN or infinite"] if result.skipped else []
        if self._started_bad:
            return [*notes, "the weights of the checkpoint that it started from are NaN or infinite already"]
        if self._first_bad == self._update:
            return [*notes, "this is the first update since the checkpoint with a gradient that is NaN or infinite"]
        if self._first_bad is not None and self._training.recipe.on_nan != "skip":
            text = f"a gradient was NaN or infinite in update {self._first_bad:,} before it; replay that one"
            return [*notes, text]
        return notes


def _is_shown(name: str, figure: object) -> bool:
    return name != "loss" and isinstance(figure, float | int)


def _norm(array: Array) -> float:
    return float(np.sqrt((array.astype(np.float64) ** 2).sum()))


def _debugging(model: Any, training: Training, update: int) -> contextlib.AbstractContextManager[None]:
    from danlu.train.debugger import stopping

    return stopping(model, lambda: model.training and training.state.updates_done == update - 1)
