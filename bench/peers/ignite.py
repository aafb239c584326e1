"""Ignite as its quick start shows it: `create_supervised_trainer` and `create_supervised_evaluator` with metrics.

Settings: the trainer gives (prediction, target, loss) without `.item()`, so that training accuracy and mean loss come
from the training pass itself instead of a second pass over the training set; no logger, no checkpoints.
"""

from time import perf_counter
from typing import Any, final

from ignite.engine import Events, create_supervised_evaluator, create_supervised_trainer
from ignite.metrics import Accuracy, Average, Loss, Metric

from bench.peers.dataloader import loaders
from bench.task import Competitor, Epoch, Fit, Task, make_loss, make_model, make_optimizer


@final
class Trainer(Competitor):
    def prepare(self, task: Task) -> None:
        self._task = task
        self._train_loader, self._valid_loader = loaders(task)

    def run(self, epochs: int) -> Fit:
        task, model, loss_function = self._task, make_model(self._task), make_loss(self._task)
        trainer = create_supervised_trainer(
            model,
            make_optimizer(task, model),
            loss_function,
            device="cpu",
            output_transform=lambda x, y, prediction, loss: (prediction.detach(), y, loss.detach()),
        )
        Average(output_transform=lambda output: output[2]).attach(trainer, "loss")
        metrics: dict[str, Metric] = {"loss": Loss(loss_function)}
        if task.classifies:
            Accuracy(output_transform=lambda output: output[:2]).attach(trainer, "accuracy")
            metrics["accuracy"] = Accuracy()
        evaluator = create_supervised_evaluator(model, metrics=metrics, device="cpu")
        fit = Fit(0.0)

        @trainer.on(Events.STARTED)
        def begin() -> None:
            fit.begun_s = perf_counter()

        @trainer.on(Events.EPOCH_COMPLETED)
        def validate() -> None:
            trained_s = perf_counter()
            train: dict[str, Any] = dict(trainer.state.metrics)
            valid = evaluator.run(self._valid_loader).metrics
            accuracies = train.get("accuracy"), valid.get("accuracy")
            fit.epochs.append(Epoch(trained_s, perf_counter(), train["loss"], valid["loss"], *accuracies))

        trainer.run(self._train_loader, max_epochs=epochs)
        return fit
