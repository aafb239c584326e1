"""Batches of a `Dataset`, fetched sample by sample, in this process or by PyTorch's worker processes."""

import random
import signal
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, final

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from danlu import keyed
from danlu.data.batch import Batches, first_sample, span
from danlu.data.canonical import pair, settle
from danlu.data.columns import Batch
from danlu.data.dataset import Samples
from danlu.data.sampling import Order
from danlu.data.source import Ids
from danlu.errors import DataError

Address = tuple[int, int]  # epoch, row of the dataset


@final
class FetchedBatches(Batches):
    """Batches of a `Dataset`. The samples and their order are the same for any number of workers.

    Cost: about 20 us per sample to seed its random numbers, besides what the dataset does itself.
    """

    def __init__(
        self, source: Samples, order: Order, samples: int, *, batch_size: int, device: torch.device, workers: int
    ) -> None:
        super().__init__(samples, batch_size, device)
        self._order, self._target, self._workers = order, source.target, workers
        self._collate: Callable[[list[Any]], Any] = source.collate_fn or default_collate
        self._dataset = AddressedDataset(source.dataset, order.seed)
        self._plan = Plan(order, source.rows, samples, batch_size=batch_size)
        self._fetching: Iterator[Any] | None = None  # PyTorch's iterator over worker processes, once they run
        self._ending: weakref.finalize[..., Any] | None = None
        self._turn = 0  # counts calls of iterate: workers can serve one epoch at a time

    def ids(self, epoch: int, position: int) -> Ids:
        """Return the sample ids of one batch."""
        return self._order.ids(epoch, *span(self, position))

    def batch(self, epoch: int, position: int) -> Batch:
        """Return one batch, fetched in this process."""
        with self._named(epoch, position), own_randomness():
            samples = [self._dataset[address] for address in self._plan.addresses(epoch, self.ids(epoch, position))]
            collated = self._collate(samples)
        return settle(pair(collated, self._target), self.device)

    def iterate(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from position `start` on."""
        first = first_sample(self, start)
        if self._workers:
            return self._from_workers(epoch, first)
        return (self.batch(epoch, position) for position in range(start, len(self)))

    def close(self) -> None:
        """End the worker processes."""
        if self._ending is not None:
            self._ending()
        self._fetching = self._ending = None
        self._turn += 1

    def _from_workers(self, epoch: int, first: int) -> Iterator[Batch]:
        self._turn += 1
        turn = self._turn
        self._plan.epoch, self._plan.first = epoch, first
        if self._fetching is None:
            self._start()
        else:
            self._fetching = iter(self._loader)  # the same workers, with the plan read anew
        for position in range(first // self.batch_size, len(self)):
            if turn != self._turn or self._fetching is None:
                raise DataError(
                    where="iterate",
                    got="an epoch that goes on after another was begun or the batches were closed",
                    want="one epoch at a time from the same worker processes",
                    fix="finish or drop the first iterator, or make a second Batches",
                )
            yield settle(pair(self._next(epoch, position), self._target), self.device)

    def _next(self, epoch: int, position: int) -> Any:
        assert self._fetching is not None
        try:
            with self._named(epoch, position):
                return next(self._fetching)
        except BaseException:
            self.close()  # whatever the workers still hold belongs to an epoch that ended here
            raise

    def _start(self) -> None:
        self._loader = DataLoader(
            self._dataset,
            batch_sampler=self._plan,
            num_workers=self._workers,
            persistent_workers=True,
            collate_fn=self._collate,
            worker_init_fn=_settle_worker,
            pin_memory=self.device.type == "cuda",
            generator=torch.Generator().manual_seed(keyed.number("workers", self._order.seed)),
        )
        self._fetching = iter(self._loader)
        self._ending = weakref.finalize(self, _end_workers, self._fetching)

    @contextmanager
    def _named(self, epoch: int, position: int) -> Iterator[None]:
        """Say of an error in which batch it came up."""
        try:
            yield
        except Exception as error:
            ids = ", ".join(map(str, self.ids(epoch, position).tolist()[:32]))
            error.add_note(f"while fetching batch {position} of epoch {epoch}, sample ids {ids}")
            raise


@final
class AddressedDataset(Dataset[Any]):
    """A dataset whose samples are fetched by (epoch, row), one by one, each with random numbers of its own.

    It has no `__getitems__` on purpose: PyTorch would prefer that one, and samples could not be seeded apart.
    """

    def __init__(self, dataset: Dataset[Any], seed: int) -> None:
        self.dataset, self.seed = dataset, seed

    def __getitem__(self, address: Address) -> Any:
        """Return one sample."""
        epoch, row = address
        seed = keyed.number("sample", self.seed, epoch, row)
        random.seed(seed)
        np.random.seed(seed)
        torch.default_generator.manual_seed(seed)
        try:
            return self.dataset[row]
        except Exception as error:
            error.add_note(f"while fetching dataset[{row}] in epoch {epoch}")
            raise


@final
class Plan(Sampler[list[Address]]):
    """The batch sampler of the workers: what they are to fetch, from `first` of `epoch` on."""

    def __init__(self, order: Order, rows: Ids | None, samples: int, *, batch_size: int) -> None:
        self.order, self.rows, self.samples, self.batch_size = order, rows, samples, batch_size
        self.epoch = self.first = 0

    def __len__(self) -> int:
        """Return how many batches an epoch has."""
        return -(-self.samples // self.batch_size)

    def __iter__(self) -> Iterator[list[Address]]:
        """Yield the addresses of each batch."""
        return self._addresses(self.epoch, self.first)

    def addresses(self, epoch: int, ids: Ids) -> list[Address]:
        """Return the addresses of samples: rows of the whole dataset, so that a part of it draws the same numbers."""
        rows = ids if self.rows is None else self.rows[ids]
        return [(epoch, row) for row in rows.tolist()]

    def _addresses(self, epoch: int, first: int) -> Iterator[list[Address]]:
        for chunk in self.order.chunks(epoch, first, self.samples, batch_size=self.batch_size):
            for start in range(0, len(chunk), self.batch_size):
                yield self.addresses(epoch, chunk[start : start + self.batch_size])


@contextmanager
def own_randomness() -> Iterator[None]:
    """Put the generators of `random`, `numpy.random` and `torch` back where they stood.

    Cost: about 30 us.
    """
    python, legacy, default = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)
        torch.set_rng_state(default)


def _settle_worker(_worker_id: int) -> None:
    """In a worker: one thread, and signals are the main process's business (PyTorch ends a worker with its parent)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    torch.set_num_threads(1)


def _end_workers(fetching: Any) -> None:
    """Ask the workers to end, as PyTorch does; kill those that do not, since they ignore its SIGTERM."""
    workers = list(fetching._workers)
    fetching._shutdown_workers()
    for worker in workers:
        if worker.is_alive():
            worker.kill()
            worker.join()
