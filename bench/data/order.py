"""What an order costs: to begin an epoch, and to know one batch in its middle; a DataLoader draws all of it first."""

import argparse
import statistics
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from torch.utils.data import RandomSampler

from bench.data import Race, Tell
from danlu.data.sampling import Order

BATCH = 256
MOST_DRAWN = 10**7  # a DataLoader's list of so many numbers takes 400 MB; not more is tried


def measure(options: argparse.Namespace, scratch: Path, tell: Tell) -> list[Race]:
    """Begin epochs of sets from 10,000 to 100,000,000 samples; the order is a pure function of position."""
    rows, sizes = [], [10**power for power in range(4, options.order_powers + 1)]
    for samples in sizes:
        tell(f"order: {samples:,} samples")
        order = Order(samples, 0, "shuffle")
        row: dict[str, Any] = {"samples": samples}
        row["begin"] = _cost(lambda epoch, order=order: next(order.lists(epoch, 0, order.samples, batch_size=BATCH)))
        row["middle"] = _cost(
            lambda epoch, order=order: order.ids(epoch, order.samples // 2, order.samples // 2 + BATCH)
        )
        if samples <= MOST_DRAWN:
            row["drawn"] = _cost(lambda epoch, samples=samples: next(iter(RandomSampler(range(samples)))))
        rows.append(row)
    least, most = rows[0], rows[-1]
    per_sample = [row["begin"]["seconds"] / row["samples"] for row in (least, most)]
    growth = Race("order-growth", "begin an epoch, seconds per sample", f"{least['samples']:,} samples")
    growth.ours, growth.theirs, growth.more = [per_sample[1]], [per_sample[0]], {"rows": rows}
    memory = Race("order-memory", "begin an epoch, most memory in MB", "nothing")
    memory.ours = [max(row[name]["mb"] for row in rows for name in ("begin", "middle"))]
    memory.theirs = [1.0]
    return [growth, memory]


def _cost(begin: Callable[[int], Any], times: int = 3) -> dict[str, float]:
    """Return the median seconds of an action, and the most memory that it holds at a time, in MB.

    Args:
        begin: takes an epoch.
        times: of both measurements.
    """
    seconds, peaks = [], []
    for epoch in range(times):
        start_s = perf_counter()
        begin(epoch)
        seconds.append(perf_counter() - start_s)
    for epoch in range(times):
        tracemalloc.start()
        begin(epoch)
        peaks.append(tracemalloc.get_traced_memory()[1] / 1e6)
        tracemalloc.stop()
    return {"seconds": statistics.median(seconds), "mb": float(np.max(peaks))}
