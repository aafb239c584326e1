"""Batches of pictures: files read and decoded by threads, ahead of training where cores are free."""

import copy
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import final

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from danlu.data.dataset import Samples
from danlu.data.decode import Pixels
from danlu.data.fetcher import Delivered, Fetcher, Request, is_the_samples_fault
from danlu.data.fresh import fresh
from danlu.data.pictures import Pictures
from danlu.data.sampling import Order
from danlu.data.source import Ids
from danlu.device import cores

RUN = 8  # pictures that a thread takes at a time: to hand over single ones costs what it gains
AHEAD = 3  # batches that are begun before they are asked for

Begun = tuple[Request, Callable[[], Delivered]]


@final
class PictureFetcher:
    """Fetches batches of pictures: all of a batch together where none of them is bad, else one by one."""

    def __init__(self, source: Samples, order: Order, device: torch.device) -> None:
        assert isinstance(source.dataset, Pictures)
        self._pictures, self._rows, self._device = source.dataset, source.rows, device
        self._labels = torch.from_numpy(source.dataset.targets)
        self._held = _Held(source.dataset)
        one_by_one = copy.copy(source)
        one_by_one.dataset = self._held
        self._fetcher = Fetcher(one_by_one, order)

    def probe(self, known: frozenset[int]) -> str | None:
        """Return None: all pictures have one form."""
        return None

    def fetch(self, request: Request, reading: "Reading | None" = None) -> Delivered:
        """Return a batch; `reading` is what has been begun of it."""
        reading = reading or self._reading(request)
        pixels, wrong = reading.finish()
        if not wrong:
            labels = self._labels.index_select(0, torch.from_numpy(reading.rows))
            return Delivered((pixels, labels), request.ids, [])
        rows = reading.rows.tolist()
        self._held.held = {row: wrong.get(place, pixels[place]) for place, row in enumerate(rows)}
        try:
            return self._fetcher.fetch(request)
        finally:
            self._held.held = {}

    def begin(self, requests: Iterable[Request], workers: int) -> Iterator[Begun]:
        """Yield each request and a call that gives its batch.

        A CPU that trains with all its cores decodes between two updates, with all of them as well; cores that training
        leaves free decode ahead. What is read is the same.

        Args:
            requests: read ahead.
            workers: threads that decode ahead; 0: as many as there are cores that PyTorch does not use.
        """
        free = cores() - (torch.get_num_threads() if self._device.type == "cpu" else 1)
        threads = workers or max(0, free)
        pool = ThreadPoolExecutor(threads or max(1, cores() - 1), "danlu-pictures")
        begun: deque[tuple[Request, Reading]] = deque()
        try:
            for request in requests:
                reading = self._reading(request, pool)
                if threads:
                    reading.begin()
                reading.announce()
                begun.append((request, reading))
                if len(begun) > AHEAD:
                    yield self._next(begun)
            while begun:
                yield self._next(begun)
        finally:
            pool.shutdown(cancel_futures=True)

    def _next(self, begun: "deque[tuple[Request, Reading]]") -> Begun:
        request, reading = begun.popleft()
        return request, partial(self.fetch, request, reading)

    def _reading(self, request: Request, pool: ThreadPoolExecutor | None = None) -> "Reading":
        rows = request.ids if self._rows is None else self._rows[request.ids]
        return Reading(self._pictures, rows, request.known, pool=pool, pinned=self._device.type == "cuda")


@final
class Reading:
    """The pictures of one batch on their way into memory.

    Args:
        pictures: which are read.
        rows: of the batch.
        known: rows that are known to be bad; they are not read.
        pool: threads that help; None reads in the thread that asks.
        pinned: whether the memory shall be fit for copies to a GPU that nobody waits for.
    """

    def __init__(
        self, pictures: Pictures, rows: Ids, known: frozenset[int], *, pool: ThreadPoolExecutor | None, pinned: bool
    ) -> None:
        self._pictures, self._cache, self._pool = pictures, pictures.cache, pool
        self.rows, self._known, self._pinned = rows, known, pinned
        self._wrong: dict[int, Exception | None] = {}
        self._runs: list[tuple[Ids, Future[None] | None]] | None = None

    def begin(self) -> None:
        """Hand what the cache does not have to the threads, in runs."""
        count = len(self.rows)
        shape = count, *self._pictures.form
        pinned = torch.empty(shape, dtype=torch.uint8, pin_memory=True) if self._pinned else None
        self._out = fresh(shape, torch.uint8) if pinned is None else pinned
        self._pixels: Pixels = self._out.numpy()
        kept = np.zeros(count, np.bool_) if self._cache is None else self._cache.sure(self.rows)
        bad = np.isin(self.rows, list(self._known)) if self._known else np.zeros(count, np.bool_)
        self._wrong = dict.fromkeys(np.flatnonzero(bad).tolist())
        self._kept, missing = np.flatnonzero(kept), np.flatnonzero(~(kept | bad))
        runs = [missing[first : first + RUN] for first in range(0, len(missing), RUN)]
        self._runs = [(run, self._pool.submit(self._read, run) if self._pool else None) for run in runs]

    def announce(self) -> None:
        """Say which rows the cache will be asked for."""
        if self._cache is not None:
            self._cache.announce(self.rows)

    def finish(self) -> tuple[Tensor, dict[int, Exception | None]]:
        """Return the pixels, and by its place in the batch what is wrong with a picture; None: it was known."""
        if self._runs is None:
            self.begin()
        for run, future in reversed(self._runs or []):  # the threads began with the first ones
            if future is None or future.cancel():
                self._read(run)
        for _, future in self._runs or []:
            if future is not None and not future.cancelled():
                future.result()
        self._gather()
        return self._out, self._wrong

    def _read(self, run: Ids) -> None:
        for place in run.tolist():
            try:
                self._pictures.read(int(self.rows[place]), self._pixels[place])
            except Exception as error:
                if not is_the_samples_fault(error):
                    raise
                self._wrong[place] = error

    def _gather(self) -> None:
        """Copy what the cache has."""
        if self._cache is None or not len(self._kept):
            return
        if len(self._kept) == len(self.rows):
            self._cache.take(self.rows, self._out)
        else:
            part = torch.empty((len(self._kept), *self._pictures.form), dtype=torch.uint8)
            self._cache.take(self.rows[self._kept], part)
            self._out.index_copy_(0, torch.from_numpy(self._kept), part)


@final
class _Held(Dataset[tuple[Tensor, int]]):
    """The pictures of one batch that have been read, or what is wrong with them; others are read when asked for."""

    def __init__(self, pictures: Pictures) -> None:
        self._pictures, self.paths = pictures, pictures.paths
        self.held: dict[int, Tensor | Exception | None] = {}

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        found = self.held.get(row)
        if isinstance(found, Exception):
            raise found
        return self._pictures[row] if found is None else (found, int(self._pictures.targets[row]))
