"""`danlu eval`, `danlu predict` and `danlu runs`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console

import danlu
from danlu.cli.catalogue import table
from danlu.cli.inputs import draw, read_inputs
from danlu.data import Data, Source
from danlu.errors import DataError
from danlu.recipe import Settled
from danlu.track import Run, compare, list_runs
from danlu.train.build import build_data

Array = npt.NDArray[Any]


def evaluate(folder: Path, on: str, at: str) -> None:
    """Print loss and metrics of a run's weights on one of its sets."""
    recipe, data = _open(folder)
    on = on or _default_set(data)
    figures = danlu.evaluate(danlu.load_model(folder, at=at), data, recipe, on=on)
    shown = table("", on)
    for name, value in figures.items():
        shown.add_row(name, f"{value:.6g}" if isinstance(value, float) else "\n".join(map(str, value)))
    Console(highlight=False).print(shown)


def predict(folder: Path, source: Path | None, *, on: str, at: str, count: int, picture: Path | None) -> None:
    """Print predictions for samples of a set, for a picture, or for an array of inputs."""
    recipe, data = _open(folder)
    inputs = read_inputs(source, data.train) if source is not None else _some(data, on, count)
    predicted = danlu.predict(danlu.load_model(folder, at=at), inputs, recipe)
    truth = inputs.targets()
    console = Console(highlight=False)
    console.print(_table(predicted, truth, data.classes))
    if picture is not None:
        draw(picture, inputs, predicted, truth, data.classes)
        console.print(f"picture: {picture}", markup=False)


def runs_list(folder: Path) -> None:
    """Print the runs in a folder, the newest last."""
    runs = list_runs(folder)
    if not runs:
        print(f"no runs in {folder}")
        return
    shown = table("run", "status", "epochs", "best", "", "seconds")
    for run in runs:
        summary, best = run.summary, run.best
        metric, value = (best["metric"], f"{best['value']:.4g}") if best else ("", "")
        seconds = f"{summary['seconds']:.1f}" if summary else ""
        epochs = f"{summary['epochs']:.4g}" if summary else ""
        shown.add_row(str(run.folder), summary.get("status", "unfinished"), epochs, metric, value, seconds)
    Console(highlight=False).print(shown, markup=False)


def runs_compare(folders: Sequence[Path]) -> None:
    """Print a row for each quantity and each recipe key that differs, a column for each run."""
    frame = compare([Run(folder) for folder in folders])
    rows = frame.to_dicts()
    shown = table("", *(str(folder) for folder in folders))
    for name in frame.columns:
        values = [row[name] for row in rows]
        shown.add_row(name, *(f"{v:.6g}" if isinstance(v, float) else "" if v is None else str(v) for v in values))
    Console(highlight=False).print(shown, markup=False)


def _open(folder: Path) -> tuple[Settled, Data]:
    Run(folder)  # refuses a folder that holds no run
    recipe = danlu.load_recipe(folder)
    return recipe, build_data(recipe.data, recipe.seed)


def _default_set(data: Data) -> str:
    return "test" if data.test is not None else next(iter(data.valid), "train")


def _some(data: Data, on: str, count: int) -> Source:
    sets = data.sets()
    on = on or _default_set(data)
    if on not in sets:
        raise DataError(where="--on", got=on, want=f"one of {', '.join(sets)}", fix="name a set that the run has")
    return sets[on].take(np.arange(min(count, len(sets[on]))))


def _table(predicted: Array, truth: Array | None, classes: tuple[str, ...]) -> Any:
    """Return a table of probabilities with the likeliest class, or of values."""
    wide = predicted.reshape(len(predicted), -1)
    is_classes = predicted.ndim == 2 and predicted.shape[1] > 1 and (truth is None or truth.ndim == 1)
    names = list(classes) if len(classes) == wide.shape[1] else [str(index) for index in range(wide.shape[1])]
    head = ["", *(["truth"] if truth is not None else []), *(["predicted"] if is_classes else []), *names]
    shown = table(*head)
    for index, row in enumerate(wide):
        cells = [str(index)]
        if truth is not None:
            cells.append(names[int(truth[index])] if is_classes else _values(truth[index]))
        if is_classes:
            cells.append(names[int(row.argmax())])
        shown.add_row(*cells, *(f"{value:.3f}" for value in row))
    return shown


def _values(truth: Any) -> str:
    return " ".join(f"{value:.4g}" for value in np.atleast_1d(truth).ravel())
