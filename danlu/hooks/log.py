"""Rows: to the metric store, which is the truth, and to TensorBoard, which is a view of it."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, final

import numpy as np
import numpy.typing as npt

from danlu.device import kept_generators
from danlu.hooks.notice import tell
from danlu.recipe_text import write
from danlu.save import Retry
from danlu.track import MetricStore, TensorBoard
from danlu.train.hook import Hook
from danlu.train.learner import Batch, Result
from danlu.train.training import Training

PICTURES = 32  # in the grid of inputs with predictions


@final
class Log(Hook):
    """Write `running/loss` every so many updates, and every figure of every evaluation.

    Args:
        every: updates between two rows of the running loss. Cost: one copy from the device each.
        tensorboard: also write the run folder's `tensorboard/`.
        retry: what to do when the disk refuses the rows; training waits meanwhile.
    """

    def __init__(self, every: int, *, tensorboard: bool = True, retry: Retry | None = None) -> None:
        self._every, self._wants_board, self._retry = every, tensorboard, retry or Retry()
        self._board: TensorBoard | None = None
        self._read: npt.NDArray[np.float64] = np.zeros(2)
        self._mark: dict[str, int] = {}  # the last rows that a checkpoint knows of
        self._store: MetricStore | None = None
        self._is_held = False

    def on_fit_start(self, training: Training) -> None:
        """Note what the check found; write recipe, graph and pictures. A resumed run cuts what it will write again."""
        self._store = training.store
        for notice in training.notices:
            training.store.event(training.state.updates_done, "notice", notice)
        if training.saved is not None:
            self._go_on(training)
            return
        if training.folder is None or not self._wants_board:
            return
        self._board = TensorBoard(training.folder / "tensorboard")
        with self._drawing(training), kept_generators():  # a ready DataLoader draws from them
            self._board.text("recipe", "    " + write(training.recipe).replace("\n", "\n    "))
            self._draw_graph(training)
            self._draw_inputs(training)

    def _go_on(self, training: Training) -> None:
        """Cut the rows after the checkpoint in the store, and make TensorBoard's points anew from what is left."""
        assert training.folder is not None
        training.store.cut({**self._mark, "events": training.store.mark()["events"]})  # what happened stays
        training.store.event(training.state.updates_done, "resumed", "")
        if self._wants_board:
            self._board = TensorBoard(training.folder / "tensorboard")
            with self._drawing(training):
                self._board.rewrite(row for row in training.store.rows() if row[1] != "epoch")

    def on_step_end(self, training: Training, result: Result) -> None:
        """Write the mean loss since the last such row, when it is time for one."""
        step = training.state.updates_done
        self._bad_samples(training)
        if step % self._every:
            return
        sums = training.learner.train_sums()[:2]
        loss, weight = sums - self._read
        self._read = sums
        row = {"running/loss": float(loss / weight) if weight else math.nan, "lr": training.learner.lr()}
        self._rows(training, row)

    def on_eval_end(self, training: Training, figures: dict[str, Any]) -> None:
        """Write every figure; what is no single number is kept as a document."""
        step = training.state.updates_done
        rows = {name: value for name, value in figures.items() if isinstance(value, float | int)}
        for name in [name for name in figures if name not in rows]:
            training.store.document(step, name, figures[name])
        if "train/loss" in figures:  # the training sums have started anew; what no row has shown yet goes on
            self._read = self._read - training.sums_closed[:2]
            rows["epoch"] = training.epochs_done
            if step % self._every:  # else it has its row already
                rows["lr"] = training.learner.lr()
        self._rows(training, rows)
        self._bad_samples(training)
        training.store.timing(step, {"seconds": training.seconds})
        self._flush(training)

    def on_checkpoint(self, training: Training) -> None:
        """Rows come before the checkpoint that they belong to; where another program keeps them back it is said."""
        held, store = not self._flush(training, durable=True), training.store
        if held and not self._is_held:
            text = "another program holds it; its newest rows are not safe on the disk before that one lets it go"
            tell(training, f"{store.path}: {text}")
        self._is_held = held

    def on_fit_end(self, training: Training, error: BaseException | None) -> None:
        """Write the last rows."""
        step = training.state.updates_done
        self._bad_samples(training)
        if training.stop is not None:
            training.store.event(step, training.stop.status, training.stop.reason)
        if error is not None and self._store is not None:  # else the run could not be taken up again
            training.store.event(step, "failed", f"{type(error).__name__}: {error}")
        training.store.flush()
        with self._drawing(training):
            if self._board is not None and error is None and training.figures:
                with kept_generators():
                    self._draw_inputs(training)
            if self._board is not None:
                self._board.close()
        self._board = None

    def state(self) -> dict[str, Any]:
        """Return the sums at the last row of the running loss, and which rows are the last."""
        mark = self._mark if self._store is None else self._store.mark()
        return {"read": self._read.tolist(), "rows": {name: row for name, row in mark.items() if name != "events"}}

    def load(self, state: dict[str, Any]) -> None:
        """Take them back."""
        self._read, self._mark = np.array(state.get("read", [0.0, 0.0])), dict(state.get("rows", {}))

    def _bad_samples(self, training: Training) -> None:
        for name, bad in training.state.bad.items():
            for culprit in bad.fresh():
                training.store.bad_sample(training.state.updates_done, name, culprit)

    def _flush(self, training: Training, *, durable: bool = False) -> bool:
        done: list[bool] = []
        self._retry(lambda: done.append(training.store.flush(durable=durable)), lambda notice: tell(training, notice))
        return done[-1]

    def _rows(self, training: Training, rows: dict[str, float]) -> None:
        training.store.log(training.state.updates_done, rows)
        if self._board is not None:
            shown = {name: value for name, value in rows.items() if name != "epoch"}
            with self._drawing(training):
                self._board.scalars(training.state.updates_done, shown)

    @contextmanager
    def _drawing(self, training: Training) -> Iterator[None]:
        """Go on without TensorBoard where the disk refuses: the rows are in the store, and a resumed run draws them."""
        try:
            yield
        except OSError as error:
            tell(training, f"tensorboard: {error.strerror or error}; nothing more is written there")
            self._board = None

    def _draw_graph(self, training: Training) -> None:
        assert training.folder is not None
        try:
            training.learner.draw_graph(training.folder / "tensorboard" / "graph", training.train.batch(0, 0))
        except Exception as error:  # a model that cannot be traced trains all the same
            training.store.event(0, "notice", f"no graph: {_line(error)}")

    def _draw_inputs(self, training: Training) -> None:
        """Draw the first pictures of the first validation set with what the model says of them."""
        batches = next(iter(training.valid.values()), training.train)
        batch = batches.batch(0, 0)
        pixels = pictures(training, batch)
        if pixels is None or self._board is None:
            return
        step, captions, good = training.state.updates_done, None, None
        try:
            said = _classes(training, batch)
        except Exception as error:  # an own step may call its model in ways that nobody else knows
            said = None
            training.store.event(step, "notice", f"pictures without predictions: {_line(error)}")
        if said is not None:
            truth = training.learner.array(batch[1])[:PICTURES]
            good = [bool(s == t) for s, t in zip(said, truth, strict=True)]
            captions = [_caption(training.data.classes, int(s), int(t)) for s, t in zip(said, truth, strict=True)]
        self._board.images(step, "inputs with predictions", pixels, captions=captions, good=good)


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"


def _classes(training: Training, batch: Batch) -> npt.NDArray[np.int64] | None:
    """Return the class that the model names for each picture, or None where the targets are no classes."""
    target = batch[1]
    if target is None or len(target.shape) != 1:
        return None
    with training.learner.evaluating():
        predicted = training.learner.predict(batch)[:PICTURES]
    return predicted.argmax(axis=1) if predicted.ndim == 2 and predicted.shape[1] > 1 else None


def pictures(training: Training, batch: Batch) -> npt.NDArray[np.uint8] | None:
    """Return the batch's inputs as pictures, uint8 (N, H, W, C), or None where they are none."""
    inputs = batch[0]
    if isinstance(inputs, tuple | dict) or len(inputs.shape) != 4 or inputs.shape[1] not in (1, 3):
        return None
    array = training.learner.array(inputs)[:PICTURES].transpose(0, 2, 3, 1).astype(np.float64)
    low, high = min(0.0, float(array.min())), max(1.0, float(array.max()))  # [0, 1] stays; normalised pixels are spread
    return np.round((array - low) / (high - low) * 255).astype(np.uint8)


def _caption(names: tuple[str, ...], said: int, was: int) -> str:
    shown = [names[index] if index < len(names) else str(index) for index in (said, was)]
    return shown[0] if said == was else f"{shown[0]}\nnot {shown[1]}"
