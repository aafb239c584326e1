"""The fastest plain loop we know how to write in eager PyTorch without changing the model or the optimizer.

Settings: the whole set as tensors (pictures stay uint8: measured as fast as float32 and a quarter of the memory), one
`randperm` per epoch, one `index_select` per tensor and batch, loss and hits summed on the device and read once per
epoch; nothing is logged or saved.
"""

from time import perf_counter

import torch
from torch import Tensor, nn

from bench.task import Competitor, Epoch, Fit, Task, load, make_loss, make_model, make_optimizer, means


class Trainer(Competitor):
    def prepare(self, task: Task) -> None:
        self._task = task
        self._inputs, self._target, self._valid_inputs, self._valid_target = map(torch.from_numpy, load(task))

    def build(self) -> tuple[nn.Module, torch.optim.Optimizer]:
        """Return the model and its optimizer."""
        model = make_model(self._task)
        return model, make_optimizer(self._task, model)

    def run(self, epochs: int) -> Fit:
        loss_function, (model, optimizer) = make_loss(self._task), self.build()
        fit = Fit(perf_counter())
        for _ in range(epochs):
            train = self._train(model, loss_function, optimizer)
            trained_s = perf_counter()
            valid = self._evaluate(model, loss_function)
            fit.epochs.append(Epoch(trained_s, perf_counter(), train[0], valid[0], train[1], valid[1]))
        return fit

    def _train(
        self, model: nn.Module, loss_function: nn.Module, optimizer: torch.optim.Optimizer
    ) -> tuple[float, float | None]:
        inputs, target, classifies = self._inputs, self._target, self._task.classifies
        loss_sum, hits = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.int64)
        model.train()
        for ids in torch.randperm(len(inputs)).split(self._task.batch_size):
            x, y = floats(inputs.index_select(0, ids)), target.index_select(0, ids)
            optimizer.zero_grad()
            output = model(x)
            loss = loss_function(output, y)
            loss.backward()
            optimizer.step()
            loss_sum.add_(loss.detach(), alpha=len(ids))
            if classifies:
                hits.add_((output.argmax(1) == y).count_nonzero())
        return means(self._task, loss_sum, hits, len(inputs))

    @torch.no_grad()
    def _evaluate(self, model: nn.Module, loss_function: nn.Module) -> tuple[float, float | None]:
        inputs, target, classifies = self._valid_inputs, self._valid_target, self._task.classifies
        loss_sum, hits = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.int64)
        model.eval()
        size = self._task.batch_size
        for x, y in zip(inputs.split(size), target.split(size), strict=True):
            output = model(floats(x))
            loss_sum.add_(loss_function(output, y), alpha=len(y))
            if classifies:
                hits.add_((output.argmax(1) == y).count_nonzero())
        return means(self._task, loss_sum, hits, len(inputs))


def floats(batch: Tensor) -> Tensor:
    return batch.float().mul_(1 / 255) if batch.dtype == torch.uint8 else batch
