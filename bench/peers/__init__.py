"""The competitors, one file each, and the command that runs them side by side.

A competitor is the class `Trainer` of its file.
"""

import importlib
import importlib.util

from bench.task import Competitor

# name: the package it needs, and what it is
PEERS: dict[str, tuple[str, str]] = {
    "danlu": ("danlu", "danlu.fit, default hooks"),
    "bare": ("torch", "hand-written loop over resident tensors"),
    "dataloader": ("torch", "hand-written loop, DataLoader(TensorDataset)"),
    "textbook": ("torch", "per-sample Dataset of PIL images, DataLoader, .item() every step"),
    "accelerate": ("accelerate", "Accelerate, DataLoader(TensorDataset)"),
    "ignite": ("ignite", "Ignite engines, DataLoader(TensorDataset)"),
    "lightning": ("lightning", "Lightning Trainer, DataLoader(TensorDataset)"),
    "skorch": ("skorch", "skorch net.fit on arrays"),
}
LIBRARIES = ("accelerate", "ignite", "lightning", "skorch")


def missing(name: str) -> str | None:
    """Return why a competitor cannot run here, or None."""
    package = PEERS[name][0]
    found = importlib.util.find_spec(package) is not None
    return None if found else f"{package} is not installed: pip install -r requirements/bench.txt"


def competitor(name: str) -> Competitor:
    """Return a fresh competitor."""
    trainer: Competitor = importlib.import_module(f"bench.peers.{name}").Trainer()
    return trainer
