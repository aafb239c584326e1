"""Lightning as its documentation shows it: a `LightningModule` with `self.log`, and `Trainer.fit`.

Settings: default logger (TensorBoard) and default checkpoints, log_every_n_steps at its default; training figures are
logged per epoch only (on_step=False); accuracy is a mean of hits, which is faster than a torchmetrics object; no
progress bar, no model summary, no sanity check. The last, smaller batch is weighted by `batch_size=`.
"""

import logging
import warnings
from time import perf_counter
from typing import Any, final

import lightning
import torch

from bench.peers.dataloader import loaders
from bench.task import Competitor, Epoch, Fit, Task, make_loss, make_model, make_optimizer

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", ".*does not have many workers.*")


@final
class Trainer(Competitor):
    def prepare(self, task: Task) -> None:
        self._task, self._loaders = task, loaders(task)

    def run(self, epochs: int) -> Fit:
        clock = Clock()
        trainer = lightning.Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            devices=1,
            default_root_dir=self._task.folder,
            callbacks=[clock],
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        trainer.fit(Module(self._task), *self._loaders)
        return clock.fit


class Module(lightning.LightningModule):
    def __init__(self, task: Task) -> None:
        super().__init__()
        self._task, self.model, self.loss_function = task, make_model(task), make_loss(task)

    def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
        return self._step("train", batch)

    def validation_step(self, batch: list[torch.Tensor], index: int) -> None:
        self._step("valid", batch)

    def _step(self, name: str, batch: list[torch.Tensor]) -> torch.Tensor:
        x, y = batch
        output = self.model(x)
        loss: torch.Tensor = self.loss_function(output, y)
        self.log(f"{name}_loss", loss, on_step=False, on_epoch=True, batch_size=len(y))
        if self._task.classifies:
            accuracy = (output.argmax(1) == y).float().mean()
            self.log(f"{name}_accuracy", accuracy, on_step=False, on_epoch=True, batch_size=len(y))
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return make_optimizer(self._task, self.model)


class Clock(lightning.Callback):
    """Reads the clock. An epoch's training figures exist once the next one, or the end, begins."""

    def on_train_start(self, trainer: Any, module: Any) -> None:
        self.fit, self.trained_s = Fit(perf_counter()), 0.0

    def on_validation_start(self, trainer: Any, module: Any) -> None:
        self.trained_s = perf_counter()

    def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
        if trainer.current_epoch:
            self._note(trainer)

    def on_train_end(self, trainer: Any, module: Any) -> None:
        self._note(trainer)

    def _note(self, trainer: Any) -> None:
        ended_s = perf_counter()
        found = {name: float(value) for name, value in trainer.callback_metrics.items()}
        accuracies = found.get("train_accuracy"), found.get("valid_accuracy")
        self.fit.epochs.append(Epoch(self.trained_s, ended_s, found["train_loss"], found["valid_loss"], *accuracies))
