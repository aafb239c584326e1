"""The loop of most introductions to PyTorch.

Settings: a `Dataset` that makes a PIL image of each sample and a tensor of the image (the steps of torchvision's
MNIST classes with `ToTensor`, written out because torchvision is not installed), the default `DataLoader`
(num_workers=0), and `.item()` on loss and hits in every step.
"""

from time import perf_counter
from typing import final

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from bench.task import Array, Competitor, Epoch, Fit, Task, load, make_loss, make_model, make_optimizer

Pairs = tuple[Tensor, int]


@final
class Pictures(Dataset[Pairs]):
    def __init__(self, images: Array, labels: Array) -> None:
        self._images, self._labels = torch.from_numpy(images).squeeze(1), torch.from_numpy(labels)

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> Pairs:
        image = Image.fromarray(self._images[index].numpy(), mode="L")
        return to_tensor(image), int(self._labels[index])


def to_tensor(image: Image.Image) -> Tensor:
    """Do what torchvision's ToTensor does."""
    pixels = torch.from_numpy(np.array(image, np.uint8, copy=True))
    pixels = pixels.view(image.size[1], image.size[0], len(image.getbands()))
    return pixels.permute((2, 0, 1)).contiguous().to(torch.float32).div(255)


@final
class Trainer(Competitor):
    def prepare(self, task: Task) -> None:
        inputs, target, valid_inputs, valid_target = load(task)
        self._task = task
        self._train_loader = DataLoader(Pictures(inputs, target), task.batch_size, shuffle=True)
        self._valid_loader = DataLoader(Pictures(valid_inputs, valid_target), task.batch_size)

    def run(self, epochs: int) -> Fit:
        model, loss_function = make_model(self._task), make_loss(self._task)
        optimizer = make_optimizer(self._task, model)
        fit = Fit(perf_counter())
        for _ in range(epochs):
            model.train()
            train = run_epoch(self._train_loader, model, loss_function, optimizer)
            trained_s = perf_counter()
            model.eval()
            with torch.no_grad():
                valid = run_epoch(self._valid_loader, model, loss_function, None)
            fit.epochs.append(Epoch(trained_s, perf_counter(), train[0], valid[0], train[1], valid[1]))
        return fit


def run_epoch(
    loader: DataLoader[Pairs], model: nn.Module, loss_function: nn.Module, optimizer: torch.optim.Optimizer | None
) -> tuple[float, float]:
    loss_sum, hits, samples = 0.0, 0, 0
    for x, y in loader:
        output = model(x)
        loss = loss_function(output, y)
        if optimizer is not None:
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        loss_sum += loss.item() * len(y)
        hits += (output.argmax(1) == y).sum().item()
        samples += len(y)
    return loss_sum / samples, hits / samples
