"""Batches of a ready `DataLoader`, iterated as it stands."""

from collections.abc import Iterator
from itertools import islice
from typing import final

import torch
from torch.utils.data import DistributedSampler

from danlu import keyed
from danlu.data.batch import Batches, first_sample, span
from danlu.data.canonical import converter, pair, settle
from danlu.data.columns import Batch
from danlu.data.dataset import Loader
from danlu.data.sampling import Sampler
from danlu.data.source import Ids
from danlu.errors import DataError


@final
class LoaderBatches(Batches):
    """The batches that a `DataLoader` gives; `batch(epoch, position)` iterates up to there."""

    def __init__(self, source: Loader, device: torch.device, seed: int, *, sampler: Sampler) -> None:
        if not isinstance(sampler, str) or sampler == "balanced":
            raise DataError(
                where="sampler",
                got="balanced" if isinstance(sampler, str) else "weights",
                want="a DataLoader's own order",
                fix="give the DataLoader a WeightedRandomSampler, or pass loader.dataset instead",
            )
        self._loader, self._target, self._seed = source.dataloader, source.target, seed
        self._convert = converter(source.normalise, device)
        self._count = len(self._loader)
        size = self._loader.batch_size or getattr(self._loader.batch_sampler, "batch_size", None)
        if not isinstance(size, int):
            size = -(-len(source) // self._count)
        super().__init__(min(_drawn(source), self._count * size), size, device)

    def __len__(self) -> int:
        """Return how many batches an epoch has, as the loader says."""
        return self._count

    def ids(self, epoch: int, position: int) -> Ids:
        """Raise a DataError: a ready loader does not say which samples it took."""
        raise _no_ids("a question for sample ids")

    def fetch(self, epoch: int, ids: Ids) -> Batch:
        """Raise a DataError: a ready loader has no random access."""
        raise _no_ids("a batch of samples by their ids")

    def batch(self, epoch: int, position: int) -> Batch:
        """Return one batch; fetches and drops all that come before it."""
        span(self, position)
        return next(self.iterate(epoch, position))

    def iterate(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from position `start` on; fetches and drops those before."""
        first_sample(self, start)
        self._seed_epoch(epoch)
        batches = islice(self._loader, start, None)
        return (settle(pair(collated, self._target), self.device, self._convert) for collated in batches)

    def close(self) -> None:
        """Do nothing: the workers belong to the loader, which ends them."""

    def _seed_epoch(self, epoch: int) -> None:
        seed = keyed.number("loader", self._seed, epoch)
        samplers = [self._loader.sampler, getattr(self._loader.batch_sampler, "sampler", None)]
        generators = [self._loader.generator, *(getattr(sampler, "generator", None) for sampler in samplers)]
        own = [generator for generator in generators if isinstance(generator, torch.Generator)]
        for generator in own or [torch.default_generator]:
            generator.manual_seed(seed)
        for sampler in samplers:
            if isinstance(sampler, DistributedSampler):
                sampler.set_epoch(epoch)


def _no_ids(got: str) -> DataError:
    return DataError(
        where="DataLoader",
        got=got,
        want="arrays or a map-style Dataset, whose order danlu keeps",
        fix="pass loader.dataset instead of the loader",
    )


def _drawn(source: Loader) -> int:
    """Return how many samples the loader's sampler draws in an epoch, or how many there are if it does not say."""
    try:
        return len(source.dataloader.sampler)  # type: ignore[arg-type]
    except TypeError:
        return len(source)
