"""The order of a block shuffle: runs of neighbouring samples in random order, and the samples shuffled within windows.

A set that is read from disk goes fast in long runs only. So its samples are cut into blocks, the blocks are put in
random order, some of them form a window, and all samples of a window are shuffled together. Each epoch cuts at another
place. The order is quasi-random: a sample comes together with its neighbours in storage, in the same window; which
windows these are, when they come, and where in it a sample stands is random.
"""

from dataclasses import dataclass
from typing import NamedTuple, final

import numpy as np
import numpy.typing as npt

from danlu import keyed

Ids = npt.NDArray[np.int64]
WINDOW = 16  # blocks that are shuffled together


class Run(NamedTuple):
    """A block: `length` samples from number `first` on, counted along the epoch's own ring (see `Blocks.offset`)."""

    first: int
    length: int


@final
@dataclass(frozen=True)
class Blocks:
    """How a set is cut, and in which order every epoch visits it; a pure function of (seed, epoch, position).

    An epoch counts the samples around a ring that begins at its own offset. What is left after the last whole block
    belongs to the last window.

    Fields:
        samples: how many the set has.
        size: samples in a block.
    """

    samples: int
    size: int

    @property
    def whole(self) -> int:
        """Return how many whole blocks there are."""
        return self.samples // self.size

    @property
    def windows(self) -> int:
        """Return how many windows an epoch has; their numbers of blocks differ by one at most."""
        return max(1, -(-self.whole // WINDOW))

    @property
    def longest(self) -> int:
        """Return how many samples a window has at most."""
        start, stop = self.span(self.windows - 1)
        return max(stop - start, -(-self.whole // self.windows) * self.size)

    def offset(self, seed: int, epoch: int) -> int:
        """Return the number of the sample that an epoch counts from."""
        return int(keyed.order(keyed.number("offset of blocks", seed), epoch, self.samples, 0, 1)[0])

    def window_at(self, position: int) -> int:
        """Return in which window a position of the epoch lies."""
        if not self.whole:
            return 0
        block = min(position // self.size, self.whole - 1)
        return ((block + 1) * self.windows - 1) // self.whole

    def span(self, window: int) -> tuple[int, int]:
        """Return the positions [start, stop) of the epoch that a window covers."""
        start, stop = self._blocks(window)
        return start * self.size, self.samples if window == self.windows - 1 else stop * self.size

    def runs(self, seed: int, epoch: int, window: int) -> list[Run]:
        """Return the blocks of a window, in the order that its samples are counted in."""
        start, stop = self._blocks(window)
        firsts = []
        if stop > start:
            firsts = keyed.order(keyed.number("order of blocks", seed), epoch, self.whole, start, stop).tolist()
        runs = [Run(block * self.size, self.size) for block in firsts]
        left = self.samples - self.whole * self.size
        return [*runs, Run(self.whole * self.size, left)] if left and window == self.windows - 1 else runs

    def ids(self, seed: int, epoch: int, start: int, stop: int) -> Ids:
        """Return the sample ids at positions [start, stop) of an epoch. Cost: memory O(stop - start)."""
        parts = [np.zeros(0, np.int64)]
        while start < stop:
            window = self.window_at(start)
            first, end = self.span(window)
            until = min(stop, end)
            parts.append(self._within(seed, epoch, window, start - first, until - first))
            start = until
        return np.concatenate(parts)

    def _within(self, seed: int, epoch: int, window: int, start: int, stop: int) -> Ids:
        """Return the ids at positions [start, stop) of a window."""
        first, end = self.span(window)
        drawn = keyed.order(keyed.number("order in a window", seed, window), epoch, end - first, start, stop)
        begins = np.array([run.first for run in self.runs(seed, epoch, window)], dtype=np.int64)
        block = drawn // self.size
        ring: Ids = begins[block] + drawn - block * self.size
        return (ring + self.offset(seed, epoch)) % self.samples

    def _blocks(self, window: int) -> tuple[int, int]:
        return window * self.whole // self.windows, (window + 1) * self.whole // self.windows
