"""Which batch sizes fit into memory, and which trains fastest.

Memory is asked for with care: on a CPU a size is tried only where what the sizes before it took says that there is
room, and under a limit that makes an allocation fail before the machine begins to swap or to end processes.
"""

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import final

import torch

from danlu import device
from danlu.errors import DanluError
from danlu.measure.bench import feed, timed, warm_up
from danlu.train import Training

FIRST = 8
BLOCKS = 3
LONGEST_S = 10.0  # an update that would take longer is not tried
CAUTION = 1.1  # on what a larger size is expected to need
NEAR = 8  # the largest that fits is found to an eighth

Bind = Callable[[int], Training]


@final
@dataclass(frozen=True)
class Tried:
    """One batch size.

    Fields:
        batch_size, accumulate: samples in a micro-batch, micro-batches in an update.
        update_s, samples_per_s: of the quickest block; None where it did not run.
        memory_bytes: the most that was taken beyond what was taken before the first; None where it did not run.
        verdict: what is to be said of it; of one that did not run, why.
        over: it did not run for want of memory.
    """

    batch_size: int
    accumulate: int
    update_s: float | None = None
    samples_per_s: float | None = None
    memory_bytes: int | None = None
    verdict: str = ""
    over: bool = False

    @property
    def ran(self) -> bool:
        """Say whether it was measured."""
        return self.update_s is not None


def doubled(most: int, total: int | None = None) -> list[int]:
    """Return the sizes to try: doubling up to `most`; of an update that stays `total` samples large, its divisors."""
    if total is None:
        sizes = [FIRST << n for n in range(64) if FIRST << n < most]
        return [*sizes, most]
    sizes = []
    for size in range(1, min(most, total) + 1):
        if total % size == 0 and (not sizes or size >= 2 * sizes[-1] or size == total):
            sizes.append(size)
    return sizes


@final
class Search:
    """Tries batch sizes on this machine.

    Args:
        bind: gives a prepared training of a batch size, with a model of its own that nobody needs afterwards.
        place: the device, such as "cpu".
        seconds: of measuring for each size.
    """

    def __init__(self, bind: Bind, place: str, seconds: float = 0.6) -> None:
        self._bind, self._place, self._seconds = bind, torch.device(place), seconds
        self._base_bytes = device.used_bytes()
        self._tried: dict[int, Tried] = {}

    def each(self, sizes: Sequence[int]) -> list[Tried]:
        """Try all of these sizes; what memory says of one is all that keeps it from running."""
        for size in sorted(set(sizes)):
            self._try(size)
        return self._told()

    def largest(self, sizes: Sequence[int], *, between: bool) -> list[Tried]:
        """Try growing sizes until one does not run.

        Args:
            sizes: in ascending order.
            between: then look for the largest that fits between that one and the one before it.
        """
        fits, over = 0, 0
        for size in sizes:
            tried = self._slow(size) or self._try(size)
            if not tried.ran:
                over = size if tried.over else 0
                break
            fits = size
        while between and fits and over - fits > max(fits // NEAR, 1):
            middle = (fits + over) // 2
            fits, over = (middle, over) if self._try(middle).ran else (fits, middle)
        return self._told()

    def _told(self) -> list[Tried]:
        return [self._tried[size] for size in sorted(self._tried)]

    def _slow(self, size: int) -> Tried | None:
        """Refuse a size whose update would take too long."""
        before = max((one for one in self._tried.values() if one.update_s), key=lambda o: o.batch_size, default=None)
        if before is None or before.update_s is None:
            return None
        update_s = before.update_s / before.accumulate / before.batch_size * size
        if update_s <= LONGEST_S:
            return None
        self._tried[size] = Tried(size, before.accumulate, verdict=f"not tried: about {update_s:.0f} s for a batch")
        return self._tried[size]

    def _try(self, size: int) -> Tried:
        if not self._tried:  # the first loads libraries, whose memory is no batch's
            self._measured(size)
            self._base_bytes = device.used_bytes()
        if size not in self._tried:
            self._tried[size] = self._refused(size) or self._measured(size)
        return self._tried[size]

    def _refused(self, size: int) -> Tried | None:
        """Refuse a size that, by what the largest one so far took, has no room."""
        ran = [one for one in self._tried.values() if one.memory_bytes]
        if self._place.type != "cpu" or not ran:
            return None
        last = max(ran, key=lambda one: one.batch_size)
        need, room = int((last.memory_bytes or 0) / last.batch_size * size * CAUTION), self._room()
        verdict = f"not tried: about {need / 1e9:.1f} GB, of which {room / 1e9:.1f} GB can be had"
        return Tried(size, last.accumulate, verdict=verdict, over=True) if need > room else None

    def _room(self) -> int:
        """Return the bytes that may still be taken; what this process holds from sizes before is among them."""
        return device.room_bytes() + max(0, device.used_bytes() - self._base_bytes)

    def _measured(self, size: int) -> Tried:
        gc.collect()
        training = None
        try:
            with self._limited():
                training = self._bind(size)
                return self._run(training, size)
        except Exception as error:
            if device.is_exhausted(error) or device.is_exhausted(error.__context__ or error):
                return Tried(size, 1, verdict="no memory", over=True)
            if isinstance(error, DanluError):
                return Tried(size, 1, verdict=f"not possible: {error.got}")
            raise
        finally:
            if training is not None:
                training.close()
            if self._place.type == "cuda":
                torch.cuda.empty_cache()

    def _limited(self) -> AbstractContextManager[None]:
        return device.capped(self._room()) if self._place.type == "cpu" else nullcontext()

    def _run(self, training: Training, size: int) -> Tried:
        self._forget()
        with training.learner.session():
            batches = feed(training)
            try:
                first_s = warm_up(training, batches)
                blocks = BLOCKS if first_s < self._seconds else 1
                found = [timed(training, batches, self._seconds / BLOCKS) for _ in range(blocks)]
            finally:
                batches.close()
        update_s = min(one[0] for one in found)  # what else runs here only slows one down, and not all sizes alike
        samples_per_s = max(samples / spent_s for spent_s, samples, _ in found)
        return Tried(size, training.recipe.accumulate, update_s, samples_per_s, self._peak())

    def _forget(self) -> None:
        device.forget_peak()
        if self._place.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._place)

    def _peak(self) -> int:
        if self._place.type == "cuda":
            return torch.cuda.max_memory_allocated(self._place)
        return max(1, device.peak_bytes() - self._base_bytes)


def fastest(tried: Sequence[Tried]) -> Tried | None:
    """Return the size with the most samples per second."""
    return max((one for one in tried if one.ran), key=lambda one: one.samples_per_s or 0.0, default=None)


def largest(tried: Sequence[Tried]) -> Tried | None:
    """Return the largest size that ran."""
    return max((one for one in tried if one.ran), key=lambda one: one.batch_size, default=None)


def verdicts(tried: Sequence[Tried]) -> Iterator[str]:
    """Yield what is to be said of each size."""
    quick, big = fastest(tried), largest(tried)
    for one in tried:
        words = [one.verdict] if one.verdict else []
        words += ["fastest"] if one is quick else []
        words += ["largest that fits"] if one is big and any(other.over for other in tried) else []
        yield ", ".join(words)
