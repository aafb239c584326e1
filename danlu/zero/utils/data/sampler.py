"""Samplers: in which order samples are read."""

from collections.abc import Iterable, Iterator, Sequence, Sized
from itertools import islice
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from danlu.zero.random import Generator, choose
from danlu.zero.tensor import Tensor

T = TypeVar("T", covariant=True)


class Sampler(Generic[T]):
    """Yields numbers of samples, or lists of them; subclass it and write `__iter__` (and `__len__`)."""

    def __iter__(self) -> Iterator[T]:
        raise NotImplementedError(f"{type(self).__name__} has to define __iter__()")


class SequentialSampler(Sampler[int]):
    """From first to last."""

    def __init__(self, data_source: Sized) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(Sampler[int]):
    """A random order; or with replacement, where every draw is from all."""

    def __init__(
        self,
        data_source: Sized,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: Generator | None = None,
    ) -> None:
        self.data_source, self.replacement = data_source, replacement
        self._num_samples, self.generator = num_samples, generator
        _check_positive("num_samples", self.num_samples)

    @property
    def num_samples(self) -> int:
        """How many numbers are drawn."""
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def order(self) -> npt.NDArray[np.int64]:
        """Draw a whole order, as an array."""
        size, wanted, draw = len(self.data_source), self.num_samples, choose(self.generator)
        if self.replacement:
            return draw.integers(size, size=wanted)
        rounds = [draw.permutation(size) for _ in range(-(-wanted // size))]
        return np.concatenate(rounds)[:wanted]

    def __iter__(self) -> Iterator[int]:
        yield from self.order().tolist()

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(Sampler[int]):
    """The given numbers in a random order."""

    def __init__(self, indices: Sequence[int], generator: Generator | None = None) -> None:
        self.indices, self.generator = indices, generator

    def __iter__(self) -> Iterator[int]:
        for i in choose(self.generator).permutation(len(self.indices)).tolist():
            yield self.indices[i]

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(Sampler[int]):
    """Numbers 0..len(weights) - 1, drawn with probabilities proportional to `weights`."""

    def __init__(
        self, weights: Any, num_samples: int, replacement: bool = True, generator: Generator | None = None
    ) -> None:
        _check_positive("num_samples", num_samples)
        self.weights = np.asarray(weights._array if isinstance(weights, Tensor) else weights, np.float64)
        if self.weights.ndim != 1:
            raise ValueError(f"weights should be a 1d sequence but given weights have shape {self.weights.shape}")
        self.num_samples, self.replacement, self.generator = num_samples, replacement, generator

    def __iter__(self) -> Iterator[int]:
        weights, total, possible = self.weights, self.weights.sum(), np.count_nonzero(self.weights)
        if not 0 < total < np.inf or (weights < 0).any():
            raise RuntimeError("weights must be finite, not negative, and not all zero")
        if not self.replacement and self.num_samples > possible:
            raise RuntimeError(f"cannot draw {self.num_samples} of {possible} samples without replacement")
        draw = choose(self.generator)
        yield from draw.choice(len(weights), self.num_samples, self.replacement, weights / total).tolist()

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler[list[int]]):
    """Lists of `batch_size` numbers from another sampler; the last may be shorter, unless `drop_last`."""

    def __init__(self, sampler: Iterable[int], batch_size: int, drop_last: bool) -> None:
        _check_positive("batch_size", batch_size)
        self.sampler, self.batch_size, self.drop_last = sampler, batch_size, drop_last

    def __iter__(self) -> Iterator[list[int]]:
        numbers = iter(self.sampler)
        while batch := list(islice(numbers, self.batch_size)):
            if len(batch) == self.batch_size or not self.drop_last:
                yield batch

    def __len__(self) -> int:
        return self.batches_of(len(self.sampler))  # type: ignore[arg-type]

    def batches_of(self, samples: int) -> int:
        """Return how many batches that many samples make."""
        return samples // self.batch_size if self.drop_last else -(-samples // self.batch_size)


def _check_positive(name: str, value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise ValueError(f"{name} should be a positive integer value, but got {name}={value}")
