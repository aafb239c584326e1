"""Accelerate as its quick tour shows it: `prepare`, `accelerator.backward`, `gather_for_metrics` in the evaluation.

Settings: Accelerator(cpu=True), no tracker; loss and hits of training summed on the device.
"""

from time import perf_counter
from typing import final

import torch
from accelerate import Accelerator

from bench.peers.dataloader import loaders
from bench.task import Competitor, Epoch, Fit, Task, make_loss, make_model, make_optimizer, means


@final
class Trainer(Competitor):
    def prepare(self, task: Task) -> None:
        self._task, self._loaders = task, loaders(task)

    def run(self, epochs: int) -> Fit:
        accelerator = Accelerator(cpu=True)
        model = make_model(self._task)
        self._loss_function = make_loss(self._task)
        parts = accelerator.prepare(model, make_optimizer(self._task, model), *self._loaders)
        self._model, self._optimizer, self._train_loader, self._valid_loader = parts
        fit = Fit(perf_counter())
        for _ in range(epochs):
            train = self._train(accelerator)
            trained_s = perf_counter()
            valid = self._evaluate(accelerator)
            fit.epochs.append(Epoch(trained_s, perf_counter(), train[0], valid[0], train[1], valid[1]))
        return fit

    def _train(self, accelerator: Accelerator) -> tuple[float, float | None]:
        loss_sum, hits, samples = torch.zeros(()), torch.zeros((), dtype=torch.int64), 0
        self._model.train()
        for x, y in self._train_loader:
            self._optimizer.zero_grad()
            output = self._model(x)
            loss = self._loss_function(output, y)
            accelerator.backward(loss)
            self._optimizer.step()
            samples += len(y)
            loss_sum += loss.detach() * len(y)
            if self._task.classifies:
                hits += (output.argmax(1) == y).sum()
        return means(self._task, loss_sum, hits, samples)

    @torch.no_grad()
    def _evaluate(self, accelerator: Accelerator) -> tuple[float, float | None]:
        loss_sum, hits, samples = torch.zeros(()), torch.zeros((), dtype=torch.int64), 0
        self._model.eval()
        for x, y in self._valid_loader:
            output, target = accelerator.gather_for_metrics((self._model(x), y))
            samples += len(target)
            loss_sum += self._loss_function(output, target) * len(target)
            if self._task.classifies:
                hits += (output.argmax(1) == target).sum()
        return means(self._task, loss_sum, hits, samples)
