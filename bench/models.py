"""The networks that are measured, in plain PyTorch."""

from collections.abc import Callable
from typing import final

import torch
from torch import Tensor, nn

from danlu.models import resnet18


def line() -> nn.Module:
    """Return a line through two numbers: (B, 2) to (B, 1)."""
    return nn.Linear(2, 1)


def mlp(width: int = 256) -> nn.Module:
    """Return an MLP with one hidden layer: pictures (B, 1, 28, 28) to logits (B, 10)."""
    return nn.Sequential(nn.Flatten(), nn.Linear(784, width), nn.ReLU(), nn.Linear(width, 10))


def cnn() -> nn.Module:
    """Return two convolutions with batch norm and pooling, and a linear layer: (B, 1, 28, 28) to logits (B, 10)."""
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(64 * 7 * 7, 10)),
    )


@final
class LSTM(nn.Module):
    """Reads a picture (B, 1, 28, 28) row by row: an LSTM of 128 units, and a linear layer on its last output."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(28, 128, batch_first=True), nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, 10)."""
        output_BTH, _ = self.lstm(x.flatten(1, 2))
        logits: Tensor = self.head(output_BTH[:, -1])
        return logits


@final
class Transformer(nn.Module):
    """Takes the rows of a picture (B, 1, 28, 28) as 28 tokens: two encoder layers of width 128, mean, linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.places = nn.Linear(28, 128), nn.Parameter(torch.randn(28, 128) * 0.02)
        layer = nn.TransformerEncoderLayer(128, 4, dim_feedforward=256, batch_first=True)
        self.encoder, self.head = nn.TransformerEncoder(layer, 2), nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, 10)."""
        logits: Tensor = self.head(self.encoder(self.embed(x.flatten(1, 2)) + self.places).mean(1))
        return logits


def resnet() -> nn.Module:
    """Return ResNet-18 as published, for small pictures (B, 3, 32, 32), to logits (B, 10): 27 GFLOP for 128 of them."""
    return resnet18(10)


def resnet_small() -> nn.Module:
    """Return ResNet-18 with a first layer for small pictures, (B, 3, 32, 32) to (B, 10): 430 GFLOP for 128 of them."""
    return resnet18(10, stem="small")


MODELS: dict[str, Callable[[], nn.Module]] = {
    "line": line,
    "mlp": mlp,
    "cnn": cnn,
    "lstm": LSTM,
    "transformer": Transformer,
    "resnet": resnet,
    "resnet-small": resnet_small,
}
