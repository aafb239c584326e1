"""Batches of a `Dataset`, fetched sample by sample, in this process or by PyTorch's worker processes."""

import signal
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, final

import torch
from torch.utils.data import DataLoader, Sampler

from danlu import keyed
from danlu.data.addressed import own_randomness
from danlu.data.bad import BadSamples
from danlu.data.batch import Batches, first_sample, span
from danlu.data.canonical import pair, settle
from danlu.data.columns import Batch
from danlu.data.dataset import Samples
from danlu.data.fetcher import Delivered, Fetcher, Request, unpacked
from danlu.data.sampling import Order
from danlu.data.source import Ids
from danlu.errors import DataError


@final
class FetchedBatches(Batches):
    """Batches of a `Dataset`. The samples and their order are the same for any number of workers.

    A batch depends on the bad samples that were known when it was fetched, besides its address. Iterating makes those
    that it meets known; a single `batch` makes nothing known. Where bad samples are skipped a batch that would be
    empty is left out, unless the source's policy asks for a least number of samples.

    Cost: about 30 us per sample to seed its random numbers and look for NaN, besides what the dataset does itself.
    """

    bad: BadSamples

    def __init__(
        self, source: Samples, order: Order, samples: int, *, batch_size: int, device: torch.device, workers: int
    ) -> None:
        super().__init__(samples, batch_size, device)
        self._order, self._target, self._workers = order, source.target, workers
        self.bad = BadSamples(source.policy, len(source))
        self._fetcher = Fetcher(source, order)
        self._plan = Plan(order, self.bad, samples, batch_size=batch_size)
        self._fetching: Iterator[Any] | None = None  # PyTorch's iterator over worker processes, once they run
        self._ending: weakref.finalize[..., Any] | None = None
        self._turn = 0  # counts calls of iterate: workers can serve one epoch at a time

    def ids(self, epoch: int, position: int) -> Ids:
        """Return the sample ids of one batch."""
        return self._order.ids(epoch, *span(self, position))

    def batch(self, epoch: int, position: int) -> Batch:
        """Return one batch, fetched in this process; one that would be empty gets a sample in place of a bad one."""
        self._settle_form()
        request = self._plan.request(epoch, self.ids(epoch, position))
        made = self._fetch(request._replace(least=max(1, request.least)), position)
        if made.collated is None:
            raise self._nothing_good(epoch, position)
        return settle(pair(made.collated, self._target), self.device)

    def iterate(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from position `start` on."""
        first = first_sample(self, start)
        self._settle_form()
        return self._from_workers(epoch, first) if self._workers else self._from_here(epoch, start)

    def close(self) -> None:
        """End the worker processes."""
        if self._ending is not None:
            self._ending()
        self._fetching = self._ending = None
        self._turn += 1

    def _settle_form(self) -> None:
        """Find out how the samples look, where they have to look alike and nobody knows it yet."""
        if self.bad.form is None:
            with own_randomness():
                self.bad.form = self._fetcher.probe(self.bad.rows)

    def _fetch(self, request: Request, position: int, *, record: bool = False) -> Delivered:
        with self._named(request.epoch, position), own_randomness():
            made = self._fetcher.fetch(request)
            self._refuse_fault(made, request.epoch, position, record=record)
        return made

    def _refuse_fault(self, made: Delivered, epoch: int, position: int, *, record: bool) -> None:
        if made.fault is not None:
            place = f"batch {position} of epoch {epoch}"
            self.bad.refuse(made.fault.culprit, unpacked(made.fault.cause), place=place, record=record)

    def _from_here(self, epoch: int, start: int) -> Iterator[Batch]:
        for position in range(start, len(self)):
            made = self._fetch(self._plan.request(epoch, self.ids(epoch, position)), position, record=True)
            yield from self._accepted(made, epoch, position)

    def _accepted(self, made: Delivered, epoch: int, position: int) -> Iterator[Batch]:
        """Make the batch's bad samples known, and yield what is left of it."""
        with self._named(epoch, position):
            self.bad.note(made.culprits)
        self.bad.stand_ins += made.stand_ins
        if made.collated is not None:
            yield settle(pair(made.collated, self._target), self.device)
        elif self.bad.policy.least:
            raise self._nothing_good(epoch, position)

    def _nothing_good(self, epoch: int, position: int) -> DataError:
        return DataError(
            where=f"{self.bad.name}, batch {position} of epoch {epoch}",
            got=f"bad samples only, and as many drawn in their place; {len(self.bad.rows)} are known to be bad",
            want="samples that can be fetched",
            fix='see what is wrong with them: bad_samples = "raise"',
        )

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
            yield from self._accepted(self._next(epoch, position), epoch, position)

    def _next(self, epoch: int, position: int) -> Delivered:
        assert self._fetching is not None
        try:
            with self._named(epoch, position):
                made: Delivered = next(self._fetching)
                self._refuse_fault(made, epoch, position, record=True)
                return made
        except BaseException:
            self.close()  # whatever the workers still hold belongs to an epoch that ended here
            raise

    def _start(self) -> None:
        self._loader = DataLoader(
            self._fetcher,
            batch_size=None,  # each of its samples is a whole batch
            sampler=self._plan,
            num_workers=self._workers,
            persistent_workers=True,
            collate_fn=_as_it_is,
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
class Plan(Sampler[Request]):
    """What the workers are to fetch, from sample `first` of `epoch` on; the bad ones that are known are read anew."""

    def __init__(self, order: Order, bad: BadSamples, samples: int, *, batch_size: int) -> None:
        self.order, self.bad, self.samples, self.batch_size = order, bad, samples, batch_size
        self.epoch = self.first = 0

    def __len__(self) -> int:
        """Return how many batches an epoch has."""
        return -(-self.samples // self.batch_size)

    def __iter__(self) -> Iterator[Request]:
        """Yield the request for each batch."""
        return self._requests(self.epoch, self.first)

    def request(self, epoch: int, ids: Ids) -> Request:
        """Return the request for one batch, as things stand now."""
        return Request(epoch, ids, self.bad.rows, self.bad.form, self.bad.policy.least)

    def _requests(self, epoch: int, first: int) -> Iterator[Request]:
        for chunk in self.order.chunks(epoch, first, self.samples, batch_size=self.batch_size):
            for start in range(0, len(chunk), self.batch_size):
                yield self.request(epoch, chunk[start : start + self.batch_size])


def _as_it_is(delivered: Any) -> Any:
    """Stand for the collate function: the batch is collated."""
    return delivered


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
