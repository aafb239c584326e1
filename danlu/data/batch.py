"""What every kind of batches promises: random access, so that resuming costs nothing and no batch comes twice."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch

from danlu.data.bad import BadSamples
from danlu.data.columns import Batch
from danlu.data.source import Ids


class Batches(ABC):
    """The batches of a source; `batch(epoch, position)` is the same whoever asks, and when. Abstract.

    Fields:
        batch_size: samples in every batch but perhaps the last.
        samples: samples served in an epoch.
        device: where the tensors are.
        bad: the bad samples met so far; None where samples are never bad.
    """

    bad: BadSamples | None = None

    def __init__(self, samples: int, batch_size: int, device: torch.device) -> None:
        self.samples, self.batch_size, self.device = samples, batch_size, device

    def __len__(self) -> int:
        """Return how many batches an epoch has."""
        return -(-self.samples // self.batch_size)

    @abstractmethod
    def ids(self, epoch: int, position: int) -> Ids:
        """Return the sample ids of one batch."""

    @abstractmethod
    def batch(self, epoch: int, position: int) -> Batch:
        """Return one batch, whatever was iterated before."""

    @abstractmethod
    def iterate(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from position `start` on."""

    @abstractmethod
    def close(self) -> None:
        """End worker processes, if there are any; the next `iterate` starts new ones."""


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
