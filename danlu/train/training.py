"""One run while it runs: what the loop decides by, and what hooks may look at."""

import math
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from danlu.data import Batches, Data
from danlu.device import Plan
from danlu.errors import DanluError, DataError, RunError
from danlu.objectives import higher_is_better
from danlu.recipe import Settled
from danlu.save import locked
from danlu.track import MetricStore
from danlu.train.evaluate import evaluate
from danlu.train.hook import Stop
from danlu.train.learner import Batch, Figures, Learner, Tensors
from danlu.train.loaded import Loaded
from danlu.train.state import TrainState

Saved = list[tuple[Tensors, dict[str, Any]]]  # checkpoints that were read, the one to go on from last


@dataclass
class Training:
    """A recipe bound to data, a learner and a machine, and how far it has come.

    Fields:
        recipe: settled, plain values only.
        train, valid, test: batches of every set; `valid` by name.
        monitor: the row that decides which weights are best, such as "valid/accuracy".
        folder: the run folder, or None for a run that leaves nothing on disk.
        store: where rows and events go; in memory without a folder.
        figures: the newest figure of every name.
        sums_closed: the training sums that the newest evaluation read; the next ones start at 0.
        best_weights, best_figures: of the best evaluation, where the recipe asks for them to be put back.
        improved: whether the newest evaluation is the best so far.
        notices: what the user should be told once, at the start.
        passed_over: the same, of newer checkpoints that a resumed run cannot use; nothing keeps it from being told.
        for_good: whether the checkpoint of this update is to be kept for good.
        stop: why the run ended; None while it runs.
        saved: the state that a resumed run goes on from; None for a new run.
        weights: what came of the weights that the recipe starts from; None where it names none, or the run is resumed.
        replanned: a resumed run has another plan than it began with.
        looked_at: the update after which losses and norms were last looked at.
        evaluations_s: seconds of the validation passes of this part of the run.
        share_of_limit: what a finished run made of the machine, for its summary; empty where it was not measured.
    """

    recipe: Settled
    data: Data
    learner: Learner
    plan: Plan
    train: Batches
    valid: dict[str, Batches]
    test: Batches | None
    monitor: str
    folder: Path | None = None
    store: MetricStore = field(default_factory=lambda: MetricStore(None))
    notices: list[str] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)
    figures: Figures = field(default_factory=dict)
    sums_closed: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(2))
    improved: bool = False
    stop: Stop | None = None
    saved: Saved | None = None
    weights: Loaded | None = None
    best_weights: object | None = None
    best_figures: Figures = field(default_factory=dict)
    started_s: float = field(default_factory=time.monotonic)
    ended_s: float | None = None
    seconds_before: float = 0.0
    saved_s: dict[str, float] = field(default_factory=dict)
    for_good: bool = False
    replanned: bool = False
    looked_at: int = 0
    evaluations_s: float = 0.0
    share_of_limit: Figures = field(default_factory=dict)
    state: TrainState = field(init=False)

    def __post_init__(self) -> None:
        bad = {name: batches.bad for name, batches in self.sets().items() if batches.bad is not None}
        for name, met in bad.items():
            met.name = name
        self.state = TrainState(self.learner, train_samples=self.train.samples, bad=bad)
        self.limit = None if self.recipe.limit_batches == "off" else self.recipe.limit_batches
        self.batches_per_epoch = min(len(self.train), self.limit or len(self.train))
        self._higher = _mode(self.recipe, self.monitor)
        self._held = ExitStack()
        self.learner.skips_bad = self.recipe.on_nan == "skip"

    def sets(self) -> dict[str, Batches]:
        """Return the batches of every set by name: "train", the validation sets, "test"."""
        return {"train": self.train, **self.valid, **({} if self.test is None else {"test": self.test})}

    def hold(self, folder: Path) -> None:
        """Keep other processes out of a run folder; raise `RunError` where one trains there already."""
        notice = self._held.enter_context(locked(folder))
        self.notices += [] if notice is None else [notice]

    def record_in(self, folder: Path) -> None:
        """Keep the record in a run folder, which `hold` has made this run's own."""
        self.folder = folder
        self.store = MetricStore(folder / "metrics.sqlite")

    @property
    def updates_per_epoch(self) -> int:
        """Updates in one epoch; the last of them may have fewer micro-batches."""
        return math.ceil(self.batches_per_epoch / self.recipe.accumulate)

    @property
    def updates_total(self) -> int | None:
        """Updates in the whole run, where epochs or updates limit it."""
        limits = [] if self.recipe.epochs == "off" else [self.recipe.epochs * self.updates_per_epoch]
        limits += [] if self.recipe.updates == "off" else [self.recipe.updates]
        return min(limits, default=None)

    @property
    def epochs_done(self) -> float:
        """Epochs done so far, the running one as a fraction."""
        return self.state.epoch + self.state.position / self.batches_per_epoch

    @property
    def seconds(self) -> float:
        """Seconds of training, evaluations included; what hooks do before and after it is not counted."""
        return (time.monotonic() if self.ended_s is None else self.ended_s) - self.started_s

    def restore(self) -> None:
        """Go on from the saved state of a resumed run; the hooks are known by now."""
        try:
            self._restore()
        except DanluError:
            raise
        except Exception as error:  # what a forged or foreign state may do is not known
            got, want = f"a state that cannot be taken back ({type(error).__name__}: {error})", "the state of this run"
            fix = "resume with the same model and the same hooks, or from a copy"
            raise RunError(where=str(self.folder), got=got, want=want, fix=fix) from error

    def _restore(self) -> None:
        if self.saved is None:
            return
        state, stop = self.state, self.recipe.early_stop
        state.load_state_dict(*self.saved[-1])
        if stop != "off" and stop.restore_best and state.best is not None:
            best = next((one for one in self.saved if one[1]["updates_done"] == state.best["step"]), None)
            if best is None:
                got, fix = f"no checkpoint of update {state.best['step']}", "set early_stop.restore_best = false"
                raise RunError(where="early_stop.restore_best", got=got, want="the best weights", fix=fix)
            self.learner.load(best[0], best[1]["learner"])
            self.best_weights = self.learner.snapshot()
            self.learner.load(self.saved[-1][0], self.saved[-1][1]["learner"])
        self._remember()

    def _remember(self) -> None:
        """Take the newest and the best figures, and the time, from the rows that the resumed run kept."""
        best = None if self.state.best is None else self.state.best["step"]
        for step, name, value in self.store.rows():
            if "/" in name and not name.startswith("running/"):
                self.figures[name] = value
                if step == best:
                    self.best_figures[name] = value
        self.seconds_before = max((value for _, name, value in self.store.timings("seconds")), default=0.0)

    def begin(self) -> None:
        """Start the clock."""
        self.started_s, self.ended_s = time.monotonic() - self.seconds_before, None
        self.saved_s = dict.fromkeys(("newest", "for good"), time.monotonic())
        self.looked_at = self.state.updates_done

    def end(self) -> None:
        """Stop the clock and end worker processes."""
        self.ended_s = time.monotonic()
        self._end_workers()

    def micro_batches(self) -> Iterator[tuple[Batch, ...]]:
        """Yield what is left of this epoch, one update's micro-batches at a time."""
        start, before = self.state.position, self.state.updates_done
        left = islice(self.train.iterate(self.state.epoch, start), self.batches_per_epoch - start)
        if self.recipe.accumulate == 1:
            yield from zip(left)
        while group := tuple(islice(left, self.recipe.accumulate)):
            yield group
        if self.state.position or self.state.updates_done == before:  # else such an epoch would never end
            got = f"an epoch that ended after {self.state.position} batches"
            want = f"{self.batches_per_epoch} batches, as many as the data says it has"
            raise DataError(where="train", got=got, want=want, fix="mend the length of the DataLoader's dataset")

    def place_of(self, update: int) -> tuple[int, list[int]]:
        """Return the epoch of an update that was done, counted from 1, and its batches' positions."""
        state, size = self.state, self.recipe.accumulate
        done = state.epoch * self.updates_per_epoch + math.ceil(state.position / size)
        epoch, index = divmod(done - (state.updates_done - update) - 1, self.updates_per_epoch)
        return epoch, list(range(index * size, min((index + 1) * size, self.batches_per_epoch)))

    def finished(self) -> Stop | None:
        """Return why the recipe says to end here, if it does."""
        recipe, state = self.recipe, self.state
        if recipe.epochs != "off" and state.epoch >= recipe.epochs:
            all_of_them = "1 epoch done" if recipe.epochs == 1 else f"all {recipe.epochs} epochs done"
            more = f"{state.epoch} epochs done, where {recipe.epochs} are asked for"
            return Stop(more if state.epoch > recipe.epochs else all_of_them, "finished")
        if recipe.updates != "off" and state.updates_done >= recipe.updates:
            return Stop(f"all {recipe.updates} updates done", "finished")
        if recipe.minutes != "off" and self.seconds >= recipe.minutes * 60:
            return Stop(f"{recipe.minutes:g} minutes are over", "finished")
        return None

    def save_due(self) -> bool:
        """Say whether a checkpoint falls on this update, whatever it is worth, and note if it stays for good."""
        when = self.recipe.checkpoints
        if when == "off":
            return False
        self.for_good = when.keep_every != "off" and self._falls_due("for good", when.keep_every, when.per)
        return self._falls_due("newest", when.every, when.per) or self.for_good

    def best_due(self) -> bool:
        """Say whether the evaluation of this update is the best so far, and such are saved."""
        return self.improved and (self.recipe.checkpoints == "off" or self.recipe.checkpoints.best)

    def _falls_due(self, what: str, every: float, per: str) -> bool:
        if per == "update":
            return self.state.updates_done % every == 0
        if per == "epoch":
            return self.state.position == 0 and self.state.epoch % every == 0
        now_s = time.monotonic()
        if now_s - self.saved_s[what] < every * 60:
            return False
        self.saved_s[what] = now_s
        return True

    def evaluation_due(self) -> bool:
        """Say whether an evaluation falls on this update."""
        recipe, state = self.recipe, self.state
        if recipe.validate_per == "update":
            return state.updates_done % recipe.validate_every == 0
        return state.position == 0 and state.epoch % recipe.validate_every == 0

    def evaluate(self) -> Figures:
        """Evaluate every validation set now; note what is newest and what is best."""
        self.sums_closed = self.learner.train_sums()  # waits for what was asked for before
        start_s = time.monotonic()
        figures = {f"train/{name}": value for name, value in self.learner.train_figures().items()}
        for name, batches in self.valid.items():
            found = evaluate(self.learner, batches, self.limit)
            figures |= {f"{name}/{metric}": value for metric, value in found.items()}
        self.evaluations_s += time.monotonic() - start_s
        self.figures |= figures
        self._compare(figures)
        return figures

    def restore_best(self) -> None:
        """Put the best weights back, where the recipe asked for them to be kept; their figures are the final ones."""
        if self.best_weights is not None:
            self.learner.restore(self.best_weights)
            self.figures |= self.best_figures

    def evaluate_test(self) -> Figures:
        """Evaluate the test set, once, at the end."""
        if self.test is None:
            return {}
        start_s = time.monotonic()
        found = evaluate(self.learner, self.test, self.limit)
        self.evaluations_s += time.monotonic() - start_s
        figures = {f"test/{metric}": value for metric, value in found.items()}
        self.figures |= figures
        return figures

    def _compare(self, figures: Figures) -> None:
        value, state = figures.get(self.monitor, math.nan), self.state
        delta = 0.0 if self.recipe.early_stop == "off" else self.recipe.early_stop.min_delta
        best = state.best
        gain = math.inf if best is None else (value - best["value"]) * (1 if self._higher else -1)
        self.improved = not math.isnan(value) and gain > delta
        state.evaluations_since_best = 0 if self.improved else state.evaluations_since_best + 1
        if self.improved:
            state.best = {"step": state.updates_done, "metric": self.monitor, "value": value}
            if self.recipe.early_stop != "off" and self.recipe.early_stop.restore_best:
                self.best_weights, self.best_figures = self.learner.snapshot(), figures

    def close(self) -> None:
        """End worker processes, and give the run folder back."""
        self._held.close()
        self._end_workers()

    def _end_workers(self) -> None:
        for batches in self.sets().values():
            batches.close()


def _mode(recipe: Settled, monitor: str) -> bool:
    """Return whether more is better."""
    return higher_is_better(monitor) if recipe.monitor_mode == "auto" else recipe.monitor_mode == "max"
