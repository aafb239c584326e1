"""danlu as its README shows it: `danlu.fit` with every default hook, so TensorBoard, metric store and checkpoints.

Settings: an output folder, no progress on the terminal, device "cpu"; everything else is the default, `deterministic`
among it. It gets the arrays as they are (uint8 pictures).
"""

from time import perf_counter
from typing import Any, final

import danlu
from bench.task import Competitor, Epoch, Fit, Task, load, make_model
from danlu.train.learner import Result
from danlu.train.training import Training


@final
class Trainer(Competitor):
    def prepare(self, task: Task) -> None:
        inputs, target, *valid = load(task)
        self._task, self._data = task, danlu.data.arrays(inputs, target, valid=tuple(valid))

    def run(self, epochs: int) -> Fit:
        task, clock = self._task, Clock()
        recipe = danlu.Recipe(
            seed=task.seed,
            loss="cross_entropy" if task.classifies else "mse",
            metrics=["accuracy"] if task.classifies else [],
            optim=danlu.Optim("sgd", lr=task.lr, momentum=task.momentum),
            epochs=epochs,
            batch_size=task.batch_size,
            device="cpu",
        )
        danlu.fit(make_model(task), self._data, recipe, out=task.folder / "run", quiet=True, hooks=[clock])
        return clock.fit


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
