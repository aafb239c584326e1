"""A folder like a newcomer's: a recipe, a file of models and data, and three finished runs."""

import contextlib
from pathlib import Path

import pytest

from danlu.cli import run

RECIPE = """
epochs = 2
batch_size = 16
metrics = ["accuracy"]
data = "iris"
tensorboard = false

[model]
build = "softmax_regression"
inputs = 4
outputs = 3

[optim]
name = "adam"
lr = 0.05
"""

CODE = """
import numpy as np
import torch
from torch import nn

import danlu


class Net(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.first = nn.Linear(4, width)
        self.last = nn.Linear(width, 3)

    def forward(self, x):
        return self.last(self.first(x).relu())


class Misfit(Net):
    def forward(self, x):
        return self.last(x)


class Buggy(Net):
    def forward(self, x):
        return self.last(self.first(x)) + undefined_name


class BuggyLater(Net):
    def forward(self, x):
        return self.last(self.first(x)) + (undefined_name if self.training else 0)


class Blank:
    pass


number = 3


def a_text(depth=1):
    return "a model"


def flowers(n=48, scale=1.0):
    x = np.random.default_rng(0).normal(size=(n, 4)).astype("f4") * scale
    return x, np.arange(n) % 3


def with_nan():
    x, y = flowers()
    x[3, 2] = np.nan
    return x, y


def empty():
    return np.zeros((0, 4), "f4"), np.zeros(0, "i8")


def few():
    return flowers(5)


def five_labels():
    return flowers()[0], np.arange(48) % 5


def too_few_labels():
    return flowers()[0], np.arange(47) % 3


def forty_two():
    return 42


def key_error():
    return {}["no such key"]


def yes_or_no():
    x, _ = flowers()
    return danlu.data.arrays(x, (x[:, :1] > 0).astype("f4"), valid=0.5)


def two_values():
    x, _ = flowers()
    return danlu.data.arrays(x, x[:, :2].copy(), valid=0.5)


def idx_folder():
    return danlu.data.idx("idx")
"""

TRAINED = (
    ["train", "base.toml", "--out", "runs/iris", "-q"],
    ["train", "digits", "--out", "runs/digits", "-q", "--set", "tensorboard=false", "--set", "epochs=2"],
    ["train", "linear-regression", "--out", "runs/linear", "-q", "--set", "tensorboard=false", "--set", "epochs=3"],
)


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder; tests read it, and write elsewhere."""
    folder = tmp_path_factory.mktemp("scene")
    (folder / "base.toml").write_text(RECIPE)
    (folder / "net.py").write_text(CODE)
    (folder / "syntax.py").write_text("x = (\n")
    (folder / "imports.py").write_text("import a_module_that_is_not_there\n")
    (folder / "idx").mkdir()
    for part in ("images", "labels"):
        (folder / "idx" / f"train-{part}").write_bytes(b"\x00\x00\x08")
    with contextlib.chdir(folder):
        for arguments in TRAINED:
            assert run(arguments) == 0
    return folder


@pytest.fixture
def here(scene: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in the folder."""
    monkeypatch.chdir(scene)
    monkeypatch.delenv("COLUMNS", raising=False)
    return scene
