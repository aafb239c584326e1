"""What every kind of batches promises: random access, so that resuming costs nothing and no batch comes twice."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import torch

from danlu.data.bad import BadSamples
from danlu.data.columns import Batch
from danlu.data.sampling import Order
from danlu.data.source import Ids

Mate = Callable[[int, Ids], Ids]  # epoch and sample ids to the samples that these are mixed with


class Served(NamedTuple):
    """A batch, and which samples are in it: others than were asked for where some of those are bad."""

    batch: Batch
    ids: Ids


class Batches(ABC):
    """The batches of a source; `batch(epoch, position)` is the same whoever asks, and when. Abstract.

    Fields:
        batch_size: samples in every batch but perhaps the last.
        samples: samples served in an epoch.
        device: where the tensors are.
        bad: the bad samples met so far; None where samples are never bad.
        hosted: whether arrays stay in host memory, because the device has no room for them.
    """

    hosted: bool = False
    bad: BadSamples | None = None

    def __init__(self, samples: int, batch_size: int, device: torch.device) -> None:
        self.samples, self.batch_size, self.device = samples, batch_size, device

    def __len__(self) -> int:
        """Return how many batches an epoch has."""
        return -(-self.samples // self.batch_size)

    @abstractmethod
    def ids(self, epoch: int, position: int) -> Ids:
        """Return the sample ids of one batch."""

    def lists(self, epoch: int, start: int = 0) -> Iterator[Ids]:
        """Return an iterator over the sample ids of each batch of an epoch from position `start` on."""
        return (self.ids(epoch, position) for position in range(start, len(self)))

    @abstractmethod
    def fetch(self, epoch: int, ids: Ids) -> Batch:
        """Return a batch of any samples, as they are in this epoch, in memory of its own."""

    def visit(self, epoch: int, lists: Iterable[Ids], start: int = 0) -> Iterator[Batch]:
        """Return an iterator over a batch of each list of sample ids, in memory of its own; `lists` may be read ahead.

        Where bad samples are skipped there is none for a list of which no sample is left.

        Args:
            epoch: counted from 0.
            lists: any samples, in batches of any size.
            start: the first batch's position, for messages.
        """
        return (self.fetch(epoch, ids) for ids in lists)

    @abstractmethod
    def batch(self, epoch: int, position: int) -> Batch:
        """Return one batch, whatever was iterated before."""

    @abstractmethod
    def iterate(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from position `start` on."""

    @abstractmethod
    def close(self) -> None:
        """End worker processes, if there are any; the next `iterate` starts new ones."""


class NamedBatches(Batches):
    """Batches that name the samples they are made of, which is what augmentation goes by. Abstract.

    With a `mate` a list of sample ids has a batch's samples in its first half, and in its second half those that it
    gives for them. It is asked again for a sample that stands in for another.
    """

    def serve_one(self, epoch: int, ids: Ids, *, position: int | None = None, mate: Mate | None = None) -> Served:
        """Return a batch of any samples, as `fetch` does; `position` is for messages."""
        return Served(self.fetch(epoch, ids), ids)

    def serve(
        self, epoch: int, lists: Iterable[Ids], *, start: int = 0, mate: Mate | None = None
    ) -> Iterator[Served | None]:
        """Return an iterator over a batch of each list, as `visit` does, but None where no sample of a list is left."""
        return (self.serve_one(epoch, ids, mate=mate) for ids in lists)


class ServedBatches(NamedBatches):
    """Batches in an order, made by serving lists of sample ids; one that would be empty gets a stand-in. Abstract."""

    _order: Order

    def ids(self, epoch: int, position: int) -> Ids:
        """Return the sample ids of one batch."""
        return self._order.ids(epoch, *span(self, position))

    def lists(self, epoch: int, start: int = 0) -> Iterator[Ids]:
        """Yield the sample ids of each batch."""
        return self._order.lists(epoch, first_sample(self, start), self.samples, batch_size=self.batch_size)

    def batch(self, epoch: int, position: int) -> Batch:
        """Return one batch; one that would be empty gets a sample in place of a bad one."""
        return self.serve_one(epoch, self.ids(epoch, position), position=position).batch

    def fetch(self, epoch: int, ids: Ids) -> Batch:
        """Return a batch of any samples."""
        return self.serve_one(epoch, ids).batch

    def iterate(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from position `start` on."""
        return self.visit(epoch, self.lists(epoch, start), start)

    def visit(self, epoch: int, lists: Iterable[Ids], start: int = 0) -> Iterator[Batch]:
        """Yield a batch of each list of sample ids; some lists are read ahead."""
        return (served.batch for served in self.serve(epoch, lists, start=start) if served is not None)


def span(batches: Batches, position: int) -> tuple[int, int]:
    """Return the positions [start, stop) in the epoch's order that batch `position` covers."""
    if not 0 <= position < len(batches):
        raise IndexError(f"batch {position} of an epoch of {len(batches)}")
    start = position * batches.batch_size
    return start, min(start + batches.batch_size, batches.samples)


def first_sample(batches: Batches, start: int) -> int:
    """Return where in the epoch's order batch `start` begins; `start` may be one past the last batch."""
    if not 0 <= start <= len(batches):
        raise IndexError(f"start at batch {start} of an epoch of {len(batches)}")
    return min(start * batches.batch_size, batches.samples)
