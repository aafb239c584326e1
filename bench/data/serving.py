"""Arrays that lie in memory, served in shuffled batches; nothing is trained."""

import argparse
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

import danlu
from bench.data import Race, Tell

SAMPLES, FEATURES, BATCH = 60_000, 784, 256


def measure(options: argparse.Namespace, scratch: Path, tell: Tell) -> list[Race]:
    """Serve epochs in turn; the other way is a DataLoader with that number of workers which is faster."""
    samples = max(BATCH, round(SAMPLES * options.share))
    generator = np.random.default_rng(0)
    inputs = generator.standard_normal((samples, FEATURES), np.float32)
    target = generator.integers(0, 10, samples)
    batches = danlu.data.batches(danlu.data.Arrays(inputs, target), BATCH, sampler="shuffle")
    dataset = TensorDataset(torch.from_numpy(inputs), torch.from_numpy(target))
    loaders = {
        count: DataLoader(dataset, BATCH, shuffle=True, num_workers=count, persistent_workers=count > 0)
        for count in options.workers
    }
    ours: list[float] = []
    theirs: dict[int, list[float]] = {count: [] for count in options.workers}
    for index in range(options.rounds + 1):
        tell(f"serving: {'warm-up' if not index else f'round {index} of {options.rounds}'}")
        turns: list[Any] = ["danlu", *options.workers]
        for turn in turns[index % len(turns) :] + turns[: index % len(turns)]:
            served_s = _epoch_s(batches.iterate(index) if turn == "danlu" else loaders[turn])
            (ours if turn == "danlu" else theirs[turn]).append(samples / served_s)
    best = max(options.workers, key=lambda count: float(np.median(theirs[count][1:])))
    more = {"theirs_by_workers": theirs, "samples": samples}
    what = f"{samples:,} x {FEATURES} float32 in memory, batches of {BATCH}"
    return [Race("serving", what, f"DataLoader(TensorDataset), {best} workers", ours[1:], theirs[best][1:], more)]


def _epoch_s(batches: Any) -> float:
    start_s = perf_counter()
    for _ in batches:
        pass
    return perf_counter() - start_s
