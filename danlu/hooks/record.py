"""The run folder's own papers: recipe, environment and plan before the first update, summary and curves at the end."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

from danlu import save
from danlu.device import describe, environment
from danlu.errors import RunError
from danlu.recipe_text import write
from danlu.track import draw
from danlu.train.finite import KIND
from danlu.train.hook import Hook
from danlu.train.training import Training


@final
class Papers(Hook):
    """Write recipe.toml, environment.json and plan.json before the first checkpoint, which is worth nothing alone.

    A run without a folder is not written.
    """

    def on_fit_start(self, training: Training) -> None:
        """Write them; a resumed run keeps the last two."""
        folder = training.folder
        if folder is None:
            return
        with _writing(folder):
            if training.saved is None:
                started = {} if training.weights is None else {"weights": training.weights.record()}
                save.write_json(folder / "environment.json", environment() | started)
            if training.saved is None or training.replanned:
                save.write_json(folder / "plan.json", dataclasses.asdict(training.plan))
            write_recipe(training, folder)
            (folder / "summary.json").unlink(missing_ok=True)  # of the part before, where a run goes on


def write_recipe(training: Training, folder: Path) -> None:
    """Write recipe.toml; raise `RunError` where the disk refuses."""
    with _writing(folder):
        save.write_atomic(folder / "recipe.toml", write(training.recipe).encode())


@final
class Record(Hook):
    """Close what another person needs to trust and repeat the run. A run without a folder is not written."""

    def __init__(self) -> None:
        self._begun = False

    def on_fit_start(self, training: Training) -> None:
        """Know that the run goes on: one that could not be taken up again keeps the record that it had."""
        self._begun = True

    def on_fit_end(self, training: Training, error: BaseException | None) -> None:
        """Write summary.json and curves.png; the metric store becomes one plain file."""
        if training.folder is None:
            return
        if training.saved is not None and not self._begun:
            training.store.close()
            return
        with _writing(training.folder):
            save.write_json(training.folder / "summary.json", summary(training, error))
        store = training.folder / "metrics.sqlite"
        training.store.close()
        draw(store, training.folder / "curves.png", training.folder.name)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        got, fix = error.strerror or str(error), "free some space or mend the disk, then resume the run"
        raise RunError(where=str(folder), got=got, want="a folder that can be written to", fix=fix) from None


def summary(training: Training, error: BaseException | None = None) -> dict[str, Any]:
    """Return how a run ended, as plain values."""
    state, stop, plan = training.state, training.stop, training.plan
    seconds = training.seconds
    failed = error is not None
    return {
        "status": "failed" if failed else stop.status if stop is not None else "stopped",
        "reason": f"{type(error).__name__}: {error}" if failed else stop.reason if stop is not None else "",
        "epochs": training.epochs_done,
        "updates": state.updates_done,
        "samples_seen": state.samples_seen,
        "bad_updates": state.bad_updates,
        "first_bad_update": _first_bad(training) if state.bad_updates else None,
        "seconds": seconds,
        "samples_per_s": state.samples_seen / seconds if seconds else 0.0,
        **training.share_of_limit,
        "measured_on": describe(plan.device, plan.engine, plan.threads),
        "best": state.best,
        "final": {name: value for name, value in training.figures.items() if isinstance(value, float | int)},
    }


def _first_bad(training: Training) -> int | None:
    """Return the first update whose loss or gradient was NaN or infinite; it may be noticed some updates later."""
    return min((update for update, kind, _ in training.store.findings() if kind == KIND), default=None)
