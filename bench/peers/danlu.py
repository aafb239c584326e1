"""danlu as its README shows it: `danlu.fit` with every default hook, so TensorBoard, metric store and checkpoints.

Settings: an output folder, no progress on the terminal, device "cpu"; everything else is the default, `deterministic`
among it. It gets the arrays as they are (uint8 pictures). The plan is what `danlu plan` finds for the same recipe and
data: `find` searches it once, before the rounds, and every fit is told to take it, because fits of fewer than a
thousand updates search none of their own.
"""

import json
import os
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any, final

import danlu
from bench.task import Competitor, Epoch, Fit, Task, load, make_model
from danlu.device import Plan
from danlu.measure import pin
from danlu.train import prepare
from danlu.train.learner import Result
from danlu.train.training import Training


@final
class Trainer(Competitor):
    def prepare(self, task: Task) -> None:
        self._task, self._data = task, data_of(task)

    def run(self, epochs: int) -> Fit:
        task, clock = self._task, Clock()
        recipe = recipe_of(task, epochs, str(place(task)))
        danlu.fit(make_model(task), self._data, recipe, out=task.folder / "run", quiet=True, hooks=[clock])
        return clock.fit


def data_of(task: Task) -> danlu.data.Data:
    inputs, target, *valid = load(task)
    return danlu.data.arrays(inputs, target, valid=tuple(valid))


def recipe_of(task: Task, epochs: int, plan: str) -> danlu.Recipe:
    """Return the recipe of a task, under a plan: "auto", or a file."""
    options: dict[str, Any] = {"momentum": task.momentum} if task.optimizer == "sgd" else {}
    return danlu.Recipe(
        seed=task.seed,
        loss="cross_entropy" if task.classifies else "mse",
        metrics=["accuracy"] if task.classifies else [],
        optim=danlu.Optim(task.optimizer, lr=task.lr, **options),
        epochs=epochs,
        batch_size=task.batch_size,
        device="cpu",
        plan=plan,
    )


def place(task: Task) -> Path:
    """Return the file of the plan that was found for a task."""
    return task.found / f"{task.name}.json"


def find(task: Task, epochs: int, limit_s: float) -> dict[str, Any]:
    """Search the plan as `danlu plan` does; return it, and seconds of the search."""
    os.environ["DANLU_CACHE"] = str(task.found / "cache")  # empty: what was found on another day does not count
    training = prepare(make_model(task), data_of(task), recipe_of(task, epochs, "auto"))
    try:
        start_s = perf_counter()
        pin(training, limit_s=limit_s)
        seconds = perf_counter() - start_s
        place(task).write_text(json.dumps(asdict(training.plan)), encoding="utf-8")
        return {**asdict(training.plan), "search_s": seconds, "words": words(training.plan)}
    finally:
        training.close()


def words(plan: Plan) -> str:
    """Say a plan in a few words."""
    threads = "1 thread" if plan.threads == 1 else f"{plan.threads} threads"
    return ", ".join([*(plan.ways or ["plain eager"]), threads, f"evaluation by {plan.eval_batch_size}"])


class Clock(danlu.Hook):
    """The last hook: what the others do for an event is over when it is called."""

    def on_fit_start(self, training: Training) -> None:
        self.fit, self.trained_s = Fit(perf_counter()), 0.0

    def on_step_end(self, training: Training, result: Result) -> None:
        if training.state.position == 0:
            self.trained_s = perf_counter()

    def on_eval_end(self, training: Training, figures: dict[str, Any]) -> None:
        losses = figures["train/loss"], figures["valid/loss"]
        accuracies = figures.get("train/accuracy"), figures.get("valid/accuracy")
        self.fit.epochs.append(Epoch(self.trained_s, perf_counter(), *losses, *accuracies))
