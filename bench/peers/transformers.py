"""Hugging Face `Trainer`: a torch `Dataset` of dicts, a model that returns its loss, `Trainer(...).train()`.

Settings: the task's optimizer with a constant learning rate, no gradient clipping (the default clips at 1, which
nobody else does), evaluation and logging once per epoch, accuracy of the validation set by `compute_metrics`; no
saves, no reports, no progress bar, no pinned memory; the default collator and num_workers=0. The accuracy of the
training pass is not recorded, because the trainer has no place for it.
"""

import logging
from time import perf_counter
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import Trainer as Hugging
from transformers import TrainerCallback, TrainingArguments

from bench.task import Competitor, Epoch, Fit, Task, as_floats, load, make_loss, make_model, make_optimizer

logging.getLogger("transformers").setLevel(logging.ERROR)


@final
class Samples(Dataset[dict[str, Tensor]]):
    def __init__(self, inputs: Tensor, target: Tensor) -> None:
        self._inputs, self._target = inputs, target

    def __len__(self) -> int:
        return len(self._inputs)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"x": self._inputs[index], "labels": self._target[index]}


class Model(nn.Module):
    """A task's model in the form that the trainer wants."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.inner, self.loss_function = make_model(task), make_loss(task)

    def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        output = self.inner(x)
        return {"loss": self.loss_function(output, labels), "logits": output}


@final
class Trainer(Competitor):
    def prepare(self, task: Task) -> None:
        inputs, target, valid_inputs, valid_target = load(task)
        self._task = task
        self._train = Samples(as_floats(inputs), torch.from_numpy(target))
        self._valid = Samples(as_floats(valid_inputs), torch.from_numpy(valid_target))

    def run(self, epochs: int) -> Fit:
        task, model, clock = self._task, Model(self._task), Clock()
        optimizer = make_optimizer(task, model)
        trainer = Hugging(
            model,
            arguments(task, epochs),
            train_dataset=self._train,
            eval_dataset=self._valid,
            compute_metrics=accuracy if task.classifies else None,
            optimizers=(optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)),
            callbacks=[clock],
        )
        trainer.train()
        return clock.fit


def arguments(task: Task, epochs: int) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(task.folder),
        num_train_epochs=epochs,
        per_device_train_batch_size=task.batch_size,
        per_device_eval_batch_size=task.batch_size,
        max_grad_norm=0.0,
        eval_strategy="epoch",
        logging_strategy="epoch",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        seed=task.seed,
        dataloader_pin_memory=False,
        log_level="error",
    )


def accuracy(predicted: Any) -> dict[str, float]:
    return {"accuracy": float((predicted.predictions.argmax(-1) == predicted.label_ids).mean())}


class Clock(TrainerCallback):  # type: ignore[misc]
    """Reads the clock, and the two rows that are logged of an epoch: of its training, then of its evaluation."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.fit, self.trained_s = Fit(perf_counter()), 0.0

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.trained_s = perf_counter()

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any, **_: Any) -> None:
        train = next(row["loss"] for row in reversed(state.log_history) if "loss" in row)
        figures = train, metrics["eval_loss"], None, metrics.get("eval_accuracy")
        self.fit.epochs.append(Epoch(self.trained_s, perf_counter(), *figures))
