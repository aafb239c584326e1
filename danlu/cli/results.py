"""`danlu eval` and `danlu predict`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import danlu
from danlu import save
from danlu.cli.inputs import draw, read_inputs
from danlu.cli.text import counted, number, table
from danlu.cli.training import telling
from danlu.data import Data, Stored
from danlu.errors import DataError, RunError
from danlu.objectives import LossFunction, make_loss
from danlu.recipe import Settled
from danlu.track import Run
from danlu.train import build_data

Array = npt.NDArray[Any]

LIKELIEST = 3  # classes that are shown of each sample
YES_OR_NO = ("bce", "bce_with_logits")  # one probability for each sample
MOST_VALUES = 6  # numbers that are shown of each sample


def evaluate(folder: Path, on: str, at: str) -> None:
    """Print loss and metrics of a run's weights on one of its sets."""
    recipe, data = _open(folder)
    on = _known_set(data, on)
    figures = danlu.evaluate(danlu.load_model(folder, at=at), data, recipe, on=on)
    print(f"{folder}, {_weights(folder, at)}, on {on}: {counted(len(data.sets()[on]), 'sample')}\n")
    print(table([(name, number(figure)) for name, figure in figures.items() if not isinstance(figure, list)]))
    for name, figure in figures.items():
        if isinstance(figure, list):
            print(f"\n{name}, a row for each true class\n{_matrix(figure, data.classes)}")


def _matrix(rows: Sequence[Any], classes: Sequence[str]) -> str:
    lines = [row if isinstance(row, list) else [row] for row in rows]
    names = list(classes) if len(classes) == len(lines) else [str(index) for index in range(len(lines))]
    cells = [(name, *(f"{item:g}" for item in line)) for name, line in zip(names, lines, strict=True)]
    head = ("", *names) if len(lines[0]) == len(lines) else ()
    return table(cells, head=head, right=range(1, len(lines[0]) + 1))


def predict(folder: Path, source: Path | None, *, on: str, at: str, count: int, picture: Path | None) -> None:
    """Print predictions for samples of a set, for a picture, or for an array of inputs."""
    recipe, data = _open(folder)
    if source is None:
        on = _known_set(data, on)
        whole = data.sets()[on]
        inputs, notes = whole.take(np.arange(min(count, len(whole)))), list[str]()
        inputs = inputs.in_memory() if isinstance(inputs, Stored) else inputs
        what = f"the first {len(inputs)} of {counted(len(whole), 'sample')} of {on}"
    else:
        inputs, notes = read_inputs(source, data.train)
        what = str(source)
    with telling("predicting"):
        predicted = danlu.predict(danlu.load_model(folder, at=at), inputs, recipe)
    answer = _answer(make_loss(recipe.loss), predicted, inputs.targets(), data.classes)
    if picture is not None:
        draw(picture, inputs, answer.captions, answer.good)
    print(f"{folder}, {_weights(folder, at)}, on {what}\n")
    print(answer.table)
    if answer.good is not None:
        print(f"\n{sum(answer.good)} of {len(answer.good)} right")
    print("".join(f"{note}\n" for note in notes), end="")
    if picture is not None:
        print(f"picture: {picture}")


def _open(folder: Path) -> tuple[Settled, Data]:
    Run(folder)  # refuses a folder that holds no run
    recipe = danlu.load_recipe(folder)
    if recipe.model is None or recipe.data is None:
        missing = " and no ".join(key for key in ("model", "data") if getattr(recipe, key) is None)
        want, fix = "a run of a recipe that names both", "call danlu.evaluate or danlu.predict from Python"
        raise RunError(where=str(folder), got=f"a recipe that names no {missing}", want=want, fix=fix)
    with telling("loading the run's data"):
        return recipe, build_data(recipe.data, recipe.seed)


def _known_set(data: Data, on: str) -> str:
    on = on or ("test" if data.test is not None else next(iter(data.valid), "train"))
    if on not in data.sets():
        want, fix = f"one of {', '.join(data.sets())}", "name a set that this run has"
        raise DataError(where="--on", got=on, want=want, fix=fix)
    return on


def _weights(folder: Path, at: str) -> str:
    """Say which weights these are."""
    step = save.checkpoint_at(folder, at)
    return f"{at} weights (update {step:,})" if at in ("best", "last") else f"weights of update {step:,}"


@dataclass
class Answer:
    """Predictions as people read them.

    Fields:
        captions: one for each sample, to stand below its picture.
        good: whether each is right; None where nobody knows, or where no answer is simply right or wrong.
    """

    table: str
    captions: list[str]
    good: list[bool] | None


def _answer(loss: LossFunction, predicted: Array, truth: Array | None, classes: Sequence[str]) -> Answer:
    if loss.task == "classes" and predicted.ndim == 2:
        return _classes(predicted, truth, classes)
    if loss.name in YES_OR_NO and predicted[0].size == 1:
        return _yes_or_no(predicted.reshape(-1), truth, classes)
    return _values(predicted.reshape(len(predicted), -1), truth)


def _classes(probabilities: Array, truth: Array | None, classes: Sequence[str]) -> Answer:
    """Return the likeliest classes of each sample."""
    names = dict(enumerate(classes))
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :LIKELIEST]
    good = None
    if truth is not None and truth.ndim == 1:
        good = [int(best[0]) == int(was) for best, was in zip(order, truth, strict=True)]
    rows, captions = [], []
    for index, (row, best) in enumerate(zip(probabilities, order, strict=True)):
        said = [(names.get(int(one), str(one)), f"{row[one]:.1%}") for one in best]
        was = [] if good is None or truth is None else [names.get(int(truth[index]), str(truth[index]))]
        mark = "" if good is None or good[index] else "wrong"
        rows.append((str(index), *was, *(text for pair in said for text in pair), mark))
        captions.append(f"{said[0][0]}, {row[best[0]]:.0%}" + (f"\nnot {was[0]}" if mark else ""))
    shown = ["predicted", "", "next", "", "then", ""][: 2 * order.shape[1]]
    head = ("", *([] if good is None else ["truth"]), *shown, "")
    first = 2 if good is None else 3
    return Answer(table(rows, head=head, right=(0, *range(first, len(head) - 1, 2))), captions, good)


def _yes_or_no(probabilities: Array, truth: Array | None, classes: Sequence[str]) -> Answer:
    """Return the probability of class 1."""
    names = list(classes) if len(classes) == 2 else ["0", "1"]
    said = probabilities > 0.5
    good = None if truth is None else [bool(s == (t > 0.5)) for s, t in zip(said, truth.reshape(-1), strict=True)]
    rows, captions = [], []
    for index, probability in enumerate(probabilities):
        was = [] if truth is None else [names[int(truth.reshape(-1)[index] > 0.5)]]
        mark = "" if good is None or good[index] else "wrong"
        rows.append((str(index), *was, names[int(said[index])], f"{probability:.1%}", mark))
        captions.append(f"{names[1]}, {probability:.0%}" + (f"\nnot {was[0]}" if mark else ""))
    truth_head = [] if truth is None else ["truth"]
    head = ("", *truth_head, "predicted", f"probability of {names[1]}", "")
    return Answer(table(rows, head=head, right=(0, len(head) - 2)), captions, good)


def _values(values: Array, truth: Array | None) -> Answer:
    """Return each sample's values; where there is one, its difference from the truth as well."""
    was = None if truth is None or truth.size != values.size else truth.reshape(values.shape)
    rows = []
    for index, row in enumerate(values):
        cells = [_few(row)] if was is None else [_few(was[index]), _few(row)]
        if was is not None and len(row) == 1:
            difference = float(row[0] - was[index][0])
            cells.append(("+" if difference > 0 else "") + number(difference))
        rows.append((str(index), *cells))
    head = ("", "predicted") if was is None else ("", "truth", "predicted", "difference")[: len(rows[0])]
    return Answer(table(rows, head=head, right=range(len(head))), [_few(row) for row in values], None)


def _few(row: Array) -> str:
    shown = "  ".join(map(number, row[:MOST_VALUES].tolist()))
    return shown if len(row) <= MOST_VALUES else f"{shown}  ... of {len(row)}"
