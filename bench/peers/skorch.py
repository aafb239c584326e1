"""skorch as its documentation shows it: `NeuralNetClassifier(...).fit(X, y)` on arrays.

Settings: the validation set by `predefined_split`, training accuracy by its own `EpochScoring(on_train=True)` (which
reuses the predictions of the training pass), the default callbacks and loaders, nothing printed.
"""

from time import perf_counter
from typing import Any, final

import torch
from skorch import NeuralNetClassifier, NeuralNetRegressor
from skorch.callbacks import Callback, EpochScoring
from skorch.dataset import Dataset
from skorch.helper import predefined_split

from bench.task import Competitor, Epoch, Fit, Task, as_floats, load, make_loss, make_model


@final
class Trainer(Competitor):
    def prepare(self, task: Task) -> None:
        inputs, target, valid_inputs, valid_target = load(task)
        self._task, self._train = task, (as_floats(inputs).numpy(), target)
        self._valid = Dataset(as_floats(valid_inputs).numpy(), valid_target)

    def run(self, epochs: int) -> Fit:
        task, clock = self._task, Clock()
        scoring = [("train_acc", EpochScoring("accuracy", lower_is_better=False, on_train=True, name="train_acc"))]
        net = (Classifier if task.classifies else Regressor)(
            make_model(task),
            criterion=type(make_loss(task)),
            optimizer=torch.optim.SGD,
            optimizer__momentum=task.momentum,
            lr=task.lr,
            batch_size=task.batch_size,
            max_epochs=epochs,
            iterator_train__shuffle=True,
            train_split=predefined_split(self._valid),
            callbacks=[*(scoring if task.classifies else []), ("clock", clock)],
            verbose=0,
        )
        net.clock = clock
        net.fit(*self._train)
        for epoch, row in zip(clock.fit.epochs, net.history, strict=True):
            epoch.train_loss, epoch.valid_loss = float(row["train_loss"]), float(row["valid_loss"])
            if task.classifies:
                epoch.train_accuracy, epoch.valid_accuracy = float(row["train_acc"]), float(row["valid_acc"])
        return clock.fit


class Timed:
    """Notes when a pass over the training set is over, which no callback is told."""

    clock: "Clock"

    def run_single_epoch(self, iterator: Any, training: bool, prefix: str, step_fn: Any, **options: Any) -> None:
        super().run_single_epoch(iterator, training, prefix, step_fn, **options)  # type: ignore[misc]
        if training:
            self.clock.trained_s = perf_counter()


class Classifier(Timed, NeuralNetClassifier):
    pass


class Regressor(Timed, NeuralNetRegressor):
    pass


class Clock(Callback):
    def on_train_begin(self, net: Any, **_: Any) -> None:
        self.fit, self.trained_s = Fit(perf_counter()), 0.0

    def on_epoch_end(self, net: Any, **_: Any) -> None:
        self.fit.epochs.append(Epoch(self.trained_s, perf_counter(), 0.0, 0.0))
