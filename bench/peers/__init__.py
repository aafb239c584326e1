"""The competitors, one file each, and the command that runs them side by side.

A competitor is the class `Trainer` of its file.
"""

import importlib
import importlib.util

from bench.task import Competitor

# name: the package it needs, and what it is
PEERS: dict[str, tuple[str, str]] = {
    "danlu": ("danlu", "danlu.fit, default hooks, by the plan that it found before the rounds"),
    "bare": ("torch", "hand-written loop over resident tensors, plain eager"),
    "by_hand": ("torch", "the bare loop with the settings that timed best before the rounds"),
    "dataloader": ("torch", "hand-written loop, DataLoader(TensorDataset)"),
    "textbook": ("torch", "per-sample Dataset of PIL images, DataLoader, .item() every step"),
    "accelerate": ("accelerate", "Accelerate, DataLoader(TensorDataset)"),
    "ignite": ("ignite", "Ignite engines, DataLoader(TensorDataset)"),
    "keras": (
        "keras",
        "Keras 3 on its torch backend, model.fit on arrays, channels first, jit_compile left at its default, off",
    ),
    "lightning": ("lightning", "Lightning Trainer, DataLoader(TensorDataset)"),
    "skorch": ("skorch", "skorch net.fit on arrays"),
    "transformers": (
        "transformers",
        "Hugging Face Trainer on a torch Dataset of dicts, constant lr, no clipping, no saves, no reports, "
        "no training accuracy",
    ),
}
LIBRARIES = ("accelerate", "ignite", "keras", "lightning", "skorch", "transformers")
OTHERS = ("dataloader", "textbook", *LIBRARIES)  # whoever trains otherwise than the bare loop
SHARED = ("mlp", "cnn", "line")  # what all of them do; the other tasks are for danlu and the bare loop


def competes(name: str, task: str) -> bool:
    """Say whether a competitor does a task."""
    if name == "by_hand":
        return task.startswith("resnet")
    if name == "textbook":
        return task in ("mlp", "cnn")  # it is about pictures
    return name in ("danlu", "bare") or task in SHARED


def missing(name: str) -> str | None:
    """Return why a competitor cannot run here, or None."""
    package = PEERS[name][0]
    found = importlib.util.find_spec(package) is not None
    return None if found else f"{package} is not installed: pip install -r requirements/bench.txt"


def competitor(name: str) -> Competitor:
    """Return a fresh competitor."""
    trainer: Competitor = importlib.import_module(f"bench.peers.{name}").Trainer()
    return trainer
