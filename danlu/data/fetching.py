"""Batches of a `Dataset`, fetched sample by sample, in this process or by PyTorch's worker processes."""

import signal
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import tee
from typing import Any, final

import torch
from torch.utils.data import DataLoader, Sampler

from danlu import keyed
from danlu.data.addressed import own_randomness
from danlu.data.bad import BadSamples
from danlu.data.batch import Mate, Served, ServedBatches
from danlu.data.canonical import converter, pair, settle
from danlu.data.dataset import Samples
from danlu.data.fetcher import Delivered, Fetcher, Request, unpacked
from danlu.data.reading import Begun, PictureFetcher
from danlu.data.sampling import Order
from danlu.data.source import Ids
from danlu.errors import DataError


@final
class FetchedBatches(ServedBatches):
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
        self._pictures = PictureFetcher(source, order, device) if source.pictures else None
        self._fetcher = self._pictures or Fetcher(source, order)
        self._convert = converter(source.normalise, device, pixels=source.pictures and source.scaled)
        self._plan = Plan(self.bad)
        self._fetching: Iterator[Any] | None = None  # PyTorch's iterator over worker processes, once they run
        self._ending: weakref.finalize[..., Any] | None = None
        self._turn = 0  # counts calls of iterate: workers can serve one epoch at a time

    def serve_one(self, epoch: int, ids: Ids, *, position: int | None = None, mate: Mate | None = None) -> Served:
        """Return a batch of any samples, fetched in this process, and which samples these are."""
        self._settle_form()
        request, place = self._plan.request(epoch, ids, mate), _place(epoch, position)
        fetch = partial(self._fetcher.fetch, request._replace(least=max(1, request.least)))
        made = self._fetch(fetch, ids, place)
        if made.collated is None:
            raise self._nothing_good(place)
        return self._settled(made)

    def serve(
        self, epoch: int, lists: Iterable[Ids], *, start: int = 0, mate: Mate | None = None
    ) -> Iterator[Served | None]:
        """Yield a batch of each list of sample ids, which the workers read ahead, and which samples these are."""
        self._settle_form()
        deliver = self._from_workers if self._workers and self._pictures is None else self._from_here
        return deliver(epoch, lists, start, mate)

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

    def _fetch(self, fetch: Callable[[], Delivered], ids: Ids, place: str, *, record: bool = False) -> Delivered:
        with _named(place, ids), own_randomness():
            made = fetch()
            self._refuse_fault(made, place, record=record)
        return made

    def _refuse_fault(self, made: Delivered, place: str, *, record: bool) -> None:
        if made.fault is not None:
            self.bad.refuse(made.fault.culprit, unpacked(made.fault.cause), place=place, record=record)

    def _accepted(self, made: Delivered, ids: Ids, place: str) -> Served | None:
        """Make the batch's bad samples known, and return what is left of it."""
        with _named(place, ids):
            self.bad.note(made.culprits)
        self.bad.stand_ins += made.stand_ins
        if made.collated is None and self.bad.policy.least:
            raise self._nothing_good(place)
        return None if made.collated is None else self._settled(made)

    def _settled(self, made: Delivered) -> Served:
        return Served(settle(pair(made.collated, self._target), self.device, self._convert), made.ids)

    def _nothing_good(self, place: str) -> DataError:
        return DataError(
            where=f"{self.bad.name}, {place}",
            got=f"bad samples only, and as many drawn in their place; {len(self.bad.rows)} are known to be bad",
            want="samples that can be fetched",
            fix='see what is wrong with them: bad_samples = "raise"',
        )

    def _from_here(self, epoch: int, lists: Iterable[Ids], start: int, mate: Mate | None) -> Iterator[Served | None]:
        for position, (request, fetch) in enumerate(self._begun(epoch, lists, mate), start):
            place = _place(epoch, position)
            made = self._fetch(fetch, request.ids, place, record=True)
            yield self._accepted(made, request.ids, place)

    def _begun(self, epoch: int, lists: Iterable[Ids], mate: Mate | None) -> Iterator[Begun]:
        """Return an iterator over each request and a call that gives its batch; pictures are read ahead."""
        requests = (self._plan.request(epoch, ids, mate) for ids in lists)
        if self._pictures is not None:
            return self._pictures.begin(requests, self._workers)
        return ((request, partial(self._fetcher.fetch, request)) for request in requests)

    def _from_workers(self, epoch: int, lists: Iterable[Ids], start: int, mate: Mate | None) -> Iterator[Served | None]:
        self._turn += 1
        turn = self._turn
        self._plan.lists, asked = tee(lists)
        self._plan.epoch, self._plan.mate = epoch, mate
        if self._fetching is None:
            self._start()
        else:
            self._fetching = iter(self._loader)  # the same workers, with the plan read anew
        for position, ids in enumerate(asked, start):
            if turn != self._turn or self._fetching is None:
                raise DataError(
                    where="iterate",
                    got="an epoch that goes on after another was begun or the batches were closed",
                    want="one epoch at a time from the same worker processes",
                    fix="finish or drop the first iterator, or make a second Batches",
                )
            place = _place(epoch, position)
            yield self._accepted(self._next(ids, place), ids, place)

    def _next(self, ids: Ids, place: str) -> Delivered:
        assert self._fetching is not None
        try:
            with _named(place, ids):
                made: Delivered = next(self._fetching)
                self._refuse_fault(made, place, record=True)
                return made
        except BaseException:
            self.close()  # whatever the workers still hold belongs to an epoch that ended here
            raise

    def _start(self) -> None:
        assert isinstance(self._fetcher, Fetcher)
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


@final
class Plan(Sampler[Request]):
    """What the workers are to fetch, the samples `lists` of `epoch`; the bad ones that are known are read anew."""

    def __init__(self, bad: BadSamples) -> None:
        self.bad, self.epoch = bad, 0
        self.lists: Iterable[Ids] = ()
        self.mate: Mate | None = None

    def __iter__(self) -> Iterator[Request]:
        """Yield the request for each batch."""
        return (self.request(self.epoch, ids, self.mate) for ids in self.lists)

    def request(self, epoch: int, ids: Ids, mate: Mate | None) -> Request:
        """Return the request for one batch, as things stand now."""
        return Request(epoch, ids, self.bad.rows, self.bad.form, self.bad.policy.least, mate)


def _place(epoch: int, position: int | None) -> str:
    return f"{'a batch' if position is None else f'batch {position}'} of epoch {epoch}"


@contextmanager
def _named(place: str, ids: Ids) -> Iterator[None]:
    """Say of an error in which batch it came up."""
    try:
        yield
    except Exception as error:
        error.add_note(f"while fetching {place}, sample ids {', '.join(map(str, ids.tolist()[:32]))}")
        raise


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
