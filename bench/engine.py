"""One engine's own process, `python -m bench.engine zero cnn`: it imports no other engine, and sleeps between orders.

Both engines build the same network from the same code, since their names are the same.
"""

import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ENGINES = {"zero": "danlu.zero", "torch": "torch"}
WARM_UPS = 5


@dataclass(frozen=True)
class Task:
    """A network and its batches.

    Fields:
        build: makes the network from an engine's `nn`.
        classes: how many; 0 for the regression of one number.
        limit: how many times PyTorch's time an update may take.
        updates: how many a round has.
    """

    about: str
    build: Callable[[Any], Any]
    shape: tuple[int, ...]
    classes: int
    limit: float
    updates: int
    lr: float = 0.1


def _line(nn: Any) -> Any:
    return nn.Linear(2, 1)


def _small(nn: Any) -> Any:
    return nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 2))


def _mlp(nn: Any) -> Any:
    return nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))


def _lenet(nn: Any) -> Any:
    first = (nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2))
    second = (nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
    return nn.Sequential(
        *first, *second, nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)
    )


def _cnn(nn: Any) -> Any:
    first = (nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2))
    second = (nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2))
    return nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(64 * 49, 10))


TASKS = {
    "line": Task("Linear(2, 1), batch 10, squared error", _line, (10, 2), 0, 1.0, 1000, 0.03),
    "small": Task("MLP 2-16-2, batch 32, cross-entropy", _small, (32, 2), 2, 1.0, 500),
    "mlp": Task("MLP 784-256-10, batch 256", _mlp, (256, 784), 10, 1.5, 30),
    "lenet": Task("LeNet, batch 256 of 28 x 28", _lenet, (256, 1, 28, 28), 10, 3.0, 6, 0.05),
    "cnn": Task("CNN (2 x conv-BN-ReLU-pool, linear), batch 128", _cnn, (128, 1, 28, 28), 10, 3.0, 4, 0.01),
}


def updater(engine: str, task: Task) -> Callable[[], Any]:
    """Return a function that does one update and returns the loss; weights and batches come from one seed."""
    t: Any = importlib.import_module(ENGINES[engine])
    if engine == "torch":
        t.set_num_threads(os.cpu_count() or 1)
    generator = np.random.default_rng(0)
    model = task.build(t.nn)
    for value in model.parameters():
        if value.ndim > 1:
            size = float(np.prod(value.shape[1:])) ** -0.5
            value.data = t.from_numpy(generator.uniform(-size, size, tuple(value.shape)).astype(np.float32))
        elif value.shape[0] != 0:
            value.data = t.from_numpy(generator.uniform(0.5, 1, tuple(value.shape)).astype(np.float32))
    inputs = t.from_numpy(generator.standard_normal(task.shape, np.float32))
    if task.classes:
        target, loss_of = t.from_numpy(generator.integers(0, task.classes, task.shape[0])), t.nn.CrossEntropyLoss()
    else:
        target, loss_of = t.from_numpy(generator.standard_normal((task.shape[0], 1), np.float32)), t.nn.MSELoss()
    optimizer = t.optim.SGD(model.parameters(), lr=task.lr)

    def update() -> Any:
        optimizer.zero_grad()
        loss = loss_of(model(inputs), target)
        loss.backward()
        optimizer.step()
        return loss

    return update


def serve(engine: str, name: str) -> None:
    """Print the losses of the first updates, then, for every line that comes in, seconds per update and peak memory."""
    task = TASKS[name]
    update = updater(engine, task)
    print(json.dumps([update().item() for _ in range(WARM_UPS)]), flush=True)
    for _ in sys.stdin:
        start_s = time.perf_counter()
        for _ in range(task.updates):
            update()
        seconds = (time.perf_counter() - start_s) / task.updates
        print(json.dumps({"update_s": seconds, "memory_mb": memory_peak_mb()}), flush=True)


def memory_peak_mb() -> float:
    """Return the most memory this process ever held, in units of 1e6 bytes."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e6


if __name__ == "__main__":
    serve(*sys.argv[1:])
