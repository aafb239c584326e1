"""One way's own process, `python -m bench.scaling danlu`: it trains a block of updates for every line that comes in.

A line is JSON: {"build": {...}} makes a network and its batches, {"seconds": 0.2} trains for so long,
{"share": "cnn"} says how much of the machine's products a network's updates make use of.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

import danlu
from bench.models import MODELS, mlp
from bench.peers.bare import floats
from danlu.device import limits
from danlu.measure import pin
from danlu.measure.bench import bench
from danlu.measure.cost import cost
from danlu.train import prepare, run
from danlu.train.training import Training

LEAST_SAMPLES = 8_192
WARM_UPS = 3
ENDLESS = 10**9


def arrays(samples: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return made pictures, uint8 (N, 1, 28, 28), and their classes."""
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (samples, 1, 28, 28), dtype=np.uint8), generator.integers(0, 10, samples)


def trained(model: nn.Module, batch_size: int, limit_s: float) -> Training:
    """Return a training without an end, under the plan that a search finds in so many seconds."""
    data = danlu.data.arrays(*arrays(max(LEAST_SAMPLES, 2 * batch_size)))
    recipe = danlu.Recipe(
        optim=danlu.Optim("sgd", lr=0.01),
        updates=ENDLESS,
        epochs="off",
        batch_size=batch_size,
        validate_every=ENDLESS,
        validate_per="update",
        checkpoints="off",
        device="cpu",
        replan=True,
        plan_without=["compile"],
    )
    training = prepare(model, data, recipe)
    pin(training, limit_s=limit_s)
    return training


def bare(model: nn.Module, batch_size: int) -> Iterator[Any]:
    """Train with the bare loop over resident tensors, an update at a time."""
    inputs, target = map(torch.from_numpy, arrays(max(LEAST_SAMPLES, 2 * batch_size)))
    loss_function, optimizer = nn.CrossEntropyLoss(), torch.optim.SGD(model.parameters(), lr=0.01)
    while True:
        for ids in torch.randperm(len(inputs)).split(batch_size):
            optimizer.zero_grad()
            loss = loss_function(model(floats(inputs.index_select(0, ids))), target.index_select(0, ids))
            loss.backward()
            optimizer.step()
            yield loss


class Way:
    """What one process trains now."""

    def __init__(self, name: str) -> None:
        self._name, self._usual = name, torch.get_num_threads()
        self._updates: Iterator[Any] = iter(())

    def build(self, width: int, batch: int, threads: int, limit_s: float) -> dict[str, Any]:
        """Begin to train an MLP of that width, and end what was before; return the plan and what an update costs."""
        self._end()
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        model, said = mlp(width), dict[str, Any]()
        if self._name == "danlu":
            training = trained(model, batch, limit_s)
            said = {"threads": training.plan.threads, "ways": training.plan.ways, **products(training)}
            self._updates = run(training)
        else:
            self._updates = bare(model, batch)
        for _ in range(WARM_UPS):
            next(self._updates)
        return said

    def _end(self) -> None:
        close = getattr(self._updates, "close", None)
        if close is not None:
            close()

    def seconds(self, seconds: float) -> dict[str, Any]:
        """Train for so long; return seconds of an update."""
        done, start_s = 0, time.perf_counter()
        while not done or time.perf_counter() - start_s < seconds:
            next(self._updates)
            done += 1
        return {"update_s": (time.perf_counter() - start_s) / done, "updates": done}

    def share(self, model: str, batch: int, threads: int, limit_s: float, seconds: float) -> dict[str, Any]:
        """Return how much of the machine's products danlu's updates make use of."""
        self._end()
        self._updates = iter(())
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        training = trained(MODELS[model](), batch, limit_s)
        try:
            found = bench(training, seconds)
            return {**found.figures(), "shape": found.limits.shape, "ways": training.plan.ways}
        finally:
            training.close()


def products(training: Training) -> dict[str, Any]:
    """Return the operations of an update's products, None where nobody can count them, and what the machine does."""
    with training.learner.session():
        spent, best = cost(training), limits(training.plan.device, samples=2)
    return {"flops": None if spent.why else spent.flops, "flops_per_s": best.flops_per_s}


def main(name: str) -> None:
    """Answer line by line."""
    way = Way(name)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["DANLU_CACHE"] = cache  # plans that were found on another day do not count
        _answer(way)


def _answer(way: Way) -> None:
    for line in sys.stdin:
        (action, given), *_ = json.loads(line).items()
        answer = way.seconds(given) if action == "seconds" else getattr(way, action)(**given)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
