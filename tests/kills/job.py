"""What the killed runs train: small networks on made data, every kind of state that a run can have among them.

A sample carries its own number, in its last feature or its first token, so that whoever sees a batch knows which
samples are in it.
"""

import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

import danlu
from danlu import models, zero
from danlu.data import Arrays, Data, Samples

TRAIN, VALID, TEST, CLASSES, FEATURES = 50, 24, 9, 4, 6
WORDS, LONGEST = 20, 8  # tokens: 0 is padding, below WORDS are words, above them sample numbers
BATCH, EPOCHS = 8, {"1": 3, "4": 6}  # micro-batches, and epochs by how many of them make an update


def vectors() -> tuple[np.ndarray, np.ndarray]:
    """Return inputs (N, 7) whose last column is the sample's number, and classes (N,)."""
    chance, n = np.random.default_rng(0), TRAIN + VALID + TEST
    features = chance.standard_normal((n, FEATURES)).astype(np.float32)
    target = (features[:, 0] > 0) + 2 * (features[:, 1] > 0)
    return np.column_stack([features, np.arange(n, dtype=np.float32) / 100]), target.astype(np.int64)


def sentences() -> tuple[np.ndarray, np.ndarray]:
    """Return tokens (N, 8), the sample's number first and padding last, and classes (N,)."""
    chance, n = np.random.default_rng(1), TRAIN + VALID + TEST
    tokens = chance.integers(1, WORDS, (n, LONGEST))
    lengths = chance.integers(3, LONGEST + 1, n)
    tokens[np.arange(LONGEST) >= lengths[:, None]] = 0
    tokens[:, 0] = WORDS + np.arange(n)
    return tokens, tokens[:, 1] % CLASSES


class Given(Dataset[tuple[Tensor, int]]):
    """Rows fetched one by one; augmented ones draw from every generator that augmentation code uses."""

    def __init__(self, inputs: np.ndarray, target: np.ndarray, *, augmented: bool) -> None:
        self.inputs, self.target, self.augmented = inputs, target, augmented

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        row = self.inputs[index].copy()
        if row.dtype == np.int64:
            row = row[row > 0]
            if self.augmented:
                row[1 + random.randrange(len(row) - 1)] = torch.randint(1, WORDS, ()).item()
        elif self.augmented:
            row[:2] += np.random.standard_normal(2).astype(np.float32) / 10
            row[2:4] += torch.randn(2).numpy() / 10
            row[4] *= random.choice((-1, 1))
        return torch.from_numpy(row), int(self.target[index])


def padded(samples: list[tuple[Tensor, int]]) -> tuple[Tensor, Tensor]:
    """Make a batch of sentences of any lengths."""
    tokens, target = zip(*samples, strict=True)
    return nn.utils.rnn.pad_sequence(list(tokens), batch_first=True), torch.tensor(target)


def data(model: str, data: str, samples: str) -> Data:
    """Return the data of a run, by its settings."""
    inputs, target = sentences() if model == "lstm" else vectors()

    def part(start: int, stop: int, *, augmented: bool, workers: int) -> Arrays | Samples:
        rows = inputs[start:stop], target[start:stop]
        if data == "resident":
            return Arrays(*rows)
        own = padded if model == "lstm" else None
        return Samples(Given(*rows, augmented=augmented), collate_fn=own, workers=workers)

    train = part(0, TRAIN, augmented=samples == "augmented", workers=2 if data == "workers" else 0)
    valid = part(TRAIN, TRAIN + VALID, augmented=False, workers=0)
    test = part(TRAIN + VALID, TRAIN + VALID + TEST, augmented=False, workers=0)
    return Data(train, {"valid": valid}, test=test)


def ids(inputs: Any) -> list[int]:
    """Return the numbers of a batch's samples."""
    array = inputs.detach().cpu().numpy()
    numbers = array[:, 0] - WORDS if array.dtype == np.int64 else np.rint(array[:, -1] * 100)
    return [int(number) for number in numbers]


def network(kind: str) -> nn.Module:
    """Build a model; its first weights come from PyTorch's default generator."""
    if kind == "lstm":
        return models.lstm(WORDS + TRAIN + VALID + TEST, CLASSES, embedding=8, hidden=8, dropout=0.3)
    if kind == "cnn":
        first = [nn.Unflatten(1, (1, FEATURES + 1, 1)), nn.Conv2d(1, 8, (3, 1)), nn.BatchNorm2d(8), nn.ReLU()]
        return nn.Sequential(*first, nn.Conv2d(8, 8, (3, 1)), nn.Dropout(0.3), nn.Flatten(), nn.Linear(24, CLASSES))
    hidden = nn.Linear(FEATURES + 1, 16)
    return nn.Sequential(hidden, nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, CLASSES))


class Wander(torch.optim.Optimizer):
    """An optimizer with every kind of memory: a tensor, a whole number and a float a parameter, a number a group."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, {"lr": lr, "turns": 0})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        wander(self, torch)


class ZeroWander(zero.optim.Optimizer):
    """The same for danlu.zero."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, {"lr": lr, "turns": 0})

    def step(self, closure: Any = None) -> None:
        with zero.no_grad():
            wander(self, zero)


def wander(optimizer: Any, framework: Any) -> None:
    """Move each parameter along an average of its gradients, less and less the larger they once were."""
    for group in optimizer.param_groups:
        group["turns"] += 1
        for parameter in group["params"]:
            if parameter.grad is None:
                continue
            state = optimizer.state[parameter]
            if not state:
                state |= {"average": framework.zeros_like(parameter), "count": 0, "largest": 0.0}
            state["count"] += 1
            state["largest"] = max(state["largest"], float(parameter.grad.abs().max()))
            state["average"].mul_(0.9).add_(parameter.grad)
            rate = group["lr"] / (1 + state["largest"] / group["turns"] + 0.01 * state["count"])
            parameter.sub_(state["average"] * rate)


def custom(params: Any, lr: float = 0.05) -> Any:
    """Build the optimizer above for whichever framework the parameters are of."""
    params = list(params)
    return (Wander if isinstance(params[0], Tensor) else ZeroWander)(params, lr)


def recipe(axes: dict[str, str], *, by_name: bool) -> danlu.Recipe:
    """Return the recipe of a run; `by_name` names model, data and own optimizer as the command line needs them."""
    place = __file__
    optim: Any = {"sgd": danlu.Optim("sgd", lr=0.2, momentum=0.9), "adam": danlu.Optim("adam", lr=0.02)}.get(
        axes["optim"], danlu.Optim(f"{place}:custom", lr=0.05) if by_name else custom
    )
    named = {"model": axes["model"], "data": axes["data"], "samples": axes["samples"]}
    options: dict[str, Any] = {"options": named}
    by: dict[str, Any] = {
        "model": danlu.recipe.Model(f"{place}:network", kind=axes["model"]),
        "data": danlu.recipe.Data(f"{place}:data", **options),
        "engine": axes["engine"],
    }
    every, per = {"update": (1, "update"), "updates": (3, "update"), "epoch": (1, "epoch")}[axes["save"]]
    plateau, cosine = danlu.Schedule("plateau", patience=0, factor=0.5), danlu.Schedule("cosine", per="update")
    per_update = axes["validate"] == "update"
    return danlu.Recipe(
        seed=7,
        metrics=["accuracy"],
        optim=optim,
        schedule=plateau if axes["schedule"] == "plateau" else cosine,
        early_stop=danlu.EarlyStop(patience=3) if axes["stop"] == "best" else "off",
        checkpoints=danlu.recipe.Checkpoints(every=every, per=per, keep=2),
        epochs=EPOCHS[axes["accumulate"]],
        batch_size=BATCH,
        accumulate=int(axes["accumulate"]),
        ema="off" if axes["ema"] == "off" else float(axes["ema"]),
        validate_every=3 if per_update else 1,
        validate_per=axes["validate"],
        threads=1,
        plan=str(Path(__file__).with_name("plan.json")) if axes["plan"] == "chosen" else "eager",
        log_every=2,
        **(by if by_name else {}),
    )


def updates(axes: dict[str, str]) -> int:
    """Return how many updates the run has, if nothing stops it before."""
    batches = math.ceil(TRAIN / BATCH)
    return EPOCHS[axes["accumulate"]] * math.ceil(batches / int(axes["accumulate"]))
