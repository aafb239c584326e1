"""What every trainer trains: digits of scikit-learn's wheel, a small network with dropout, random augmentation.

The network itself notes which samples each training update sees, and sends the process a SIGKILL in the one that is
asked for: so every trainer is watched, and killed, in the same way.
"""

import hashlib
import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import Dataset

PIXELS, VALID, BATCH, WORKERS, SEED, LR = 64, 297, 50, 2, 0, 1e-3


@dataclass(frozen=True)
class Job:
    """One leg of a run.

    Fields:
        folder: the run's own; what the trainer saves and logs goes there.
        epochs, every: length, and updates between two checkpoints.
        kill: the update in whose forward pass the process dies, counted in this leg from 1; 0 for none.
        stateful: use torchdata's StatefulDataLoader.
    """

    folder: Path
    epochs: int
    every: int
    kill: int = 0
    stateful: bool = False

    @property
    def updates(self) -> int:
        return self.epochs * -(-len(Digits(train=True)) // BATCH)

    @property
    def board(self) -> Path:
        """Where TensorBoard's files go."""
        return self.folder / "tensorboard"

    def model(self) -> "Net":
        """Return the network, with the same first weights for every trainer."""
        torch.manual_seed(SEED)
        return Net(self.folder / "seen.jsonl", self.kill)

    def goes_on_after(self, update: int) -> None:
        """Note where a resumed leg goes on."""
        (self.folder / "resumed.json").write_text(json.dumps(update))

    def keep(self, model: nn.Module) -> None:
        """Write the final weights."""
        arrays = {name: tensor.detach().numpy() for name, tensor in model.state_dict().items()}
        np.savez(self.folder / "final.npz", **arrays)


class Digits(Dataset[tuple[Tensor, int]]):
    """8 x 8 pictures as 64 numbers, the sample's own number behind them; those to train on get random noise."""

    def __init__(self, *, train: bool) -> None:
        pixels, target = load_digits(return_X_y=True)
        part = slice(VALID, None) if train else slice(0, VALID)
        self._inputs = torch.from_numpy(np.float32(pixels[part] / 16))
        self.targets, self._train = target[part].astype(np.int64), train

    def __len__(self) -> int:
        return len(self._inputs)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        pixels = self._inputs[index]
        if self._train:
            pixels = pixels + 0.1 * torch.randn(PIXELS)
        return torch.cat([pixels, torch.tensor([float(index)])]), int(self.targets[index])


class Net(nn.Module):
    """64 pixels to 10 digits; in training mode it notes what it sees, and may kill its process."""

    def __init__(self, seen: Path | None = None, kill: int = 0) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(PIXELS, 64), nn.ReLU(), nn.Dropout(0.3), nn.Linear(64, 10))
        self._seen, self._kill, self._updates = seen, kill, 0

    def forward(self, x: Tensor) -> Tensor:
        if self.training and self._seen is not None:
            self._updates += 1
            if self._updates == self._kill:
                os.kill(os.getpid(), signal.SIGKILL)
            array = x.detach().numpy()
            digest = hashlib.sha256(array.tobytes()).hexdigest()[:16]
            with self._seen.open("a") as file:
                file.write(json.dumps({"ids": np.rint(array[:, PIXELS]).astype(int).tolist(), "digest": digest}) + "\n")
        result: Tensor = self.layers(x[:, :PIXELS])
        return result


def optimizer(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), lr=LR)


def cosine(adam: Any, job: Job) -> torch.optim.lr_scheduler.LRScheduler:
    return torch.optim.lr_scheduler.CosineAnnealingLR(adam, T_max=job.updates)


def loaders(job: Job) -> tuple[Any, Any]:
    """Return the loaders of both sets."""
    from torch.utils.data import DataLoader

    kind: Any = DataLoader
    if job.stateful:
        from torchdata.stateful_dataloader import StatefulDataLoader as kind  # noqa: N813
    options = {"batch_size": BATCH, "num_workers": WORKERS}
    return kind(Digits(train=True), shuffle=True, **options), DataLoader(Digits(train=False), batch_size=BATCH)
