"""The usual loop over `DataLoader(TensorDataset(...))`.

Settings: float32 tensors made beforehand, num_workers=0 (for data in memory workers are slower), loss and hits summed
on the device; nothing is logged or saved.
"""

from time import perf_counter
from typing import final

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from bench.task import Competitor, Epoch, Fit, Task, as_floats, load, make_loss, make_model, make_optimizer, means


@final
class Trainer(Competitor):
    def prepare(self, task: Task) -> None:
        self._task = task
        self._train_loader, self._valid_loader = loaders(task)

    def run(self, epochs: int) -> Fit:
        model, loss_function = make_model(self._task), make_loss(self._task)
        optimizer = make_optimizer(self._task, model)
        fit = Fit(perf_counter())
        for _ in range(epochs):
            model.train()
            train = self._pass(self._train_loader, model, loss_function, optimizer)
            trained_s = perf_counter()
            model.eval()
            with torch.no_grad():
                valid = self._pass(self._valid_loader, model, loss_function, None)
            fit.epochs.append(Epoch(trained_s, perf_counter(), train[0], valid[0], train[1], valid[1]))
        return fit

    def _pass(
        self,
        loader: DataLoader[tuple[torch.Tensor, ...]],
        model: nn.Module,
        loss_function: nn.Module,
        optimizer: torch.optim.Optimizer | None,
    ) -> tuple[float, float | None]:
        loss_sum, hits, samples = torch.zeros(()), torch.zeros((), dtype=torch.int64), 0
        for x, y in loader:
            output = model(x)
            loss = loss_function(output, y)
            if optimizer is not None:
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            samples += len(y)
            loss_sum += loss.detach() * len(y)
            if self._task.classifies:
                hits += (output.argmax(1) == y).sum()
        return means(self._task, loss_sum, hits, samples)


def loaders(task: Task) -> tuple[DataLoader[tuple[torch.Tensor, ...]], DataLoader[tuple[torch.Tensor, ...]]]:
    """Return the training and the validation loader that this and every library peer uses."""
    inputs, target, valid_inputs, valid_target = load(task)
    train = TensorDataset(as_floats(inputs), torch.from_numpy(target))
    valid = TensorDataset(as_floats(valid_inputs), torch.from_numpy(valid_target))
    return DataLoader(train, task.batch_size, shuffle=True), DataLoader(valid, task.batch_size)
