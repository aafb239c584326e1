"""Batches of a stored set that are read from disk as they are needed, some of them ahead."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, final

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from danlu.data.bad import BadSamples
from danlu.data.batch import Mate, Served, ServedBatches
from danlu.data.columns import Batch, Convert
from danlu.data.dataset import Samples
from danlu.data.fetching import FetchedBatches
from danlu.data.resident import assemble
from danlu.data.sampling import Order
from danlu.data.source import Ids
from danlu.data.store_reader import Reader
from danlu.data.store_source import Stored
from danlu.data.store_windows import Windows

AHEAD_BYTES = 64 << 20  # batches that are read ahead take so much at most, but two of them always may be
AHEAD = 4  # batches that are read ahead at most
THREADS = 2  # more take more memory, and the system is told of all rows of a batch before the first is read

Raw = list[Tensor]  # a batch as it is stored, column by column


@final
class StoredBatches(ServedBatches):
    """Batches of a stored set, read by threads. What a batch holds follows from its address and the files alone.

    Samples in damaged blocks are bad; a batch that has some is made up by `FetchedBatches`, sample by sample, so that
    they are treated as those of a `Dataset` are.

    Cost: memory for two windows of a block shuffle, else for the batches that are read ahead; 64-KiB blocks are
    checked when they are first read.
    """

    bad: BadSamples

    def __init__(self, source: Stored, order: Order, samples: int, *, batch_size: int, device: torch.device) -> None:
        super().__init__(samples, batch_size, device)
        source.check_whole()
        self._source, self._order, self._reader = source, order, source.folder.reader
        self._pinned = device.type == "cuda" and torch.cuda.is_available()
        self._finish = _finisher(source, device)
        single = Samples(_Rows(self._reader), collate_fn=partial(_collated, _finisher(source, torch.device("cpu"))))
        single.policy = source.policy
        single.rows, single._length = source.rows, len(source)  # type: ignore[assignment]  # a range is never copied
        self._mending = FetchedBatches(single, order, samples, batch_size=batch_size, device=device, workers=0)
        self.bad = self._mending.bad

    def serve_one(self, epoch: int, ids: Ids, *, position: int | None = None, mate: Mate | None = None) -> Served:
        """Return a batch of any samples, and which samples these are."""
        raw = self._read(ids)
        if self._has_bad(ids):
            return self._mending.serve_one(epoch, ids, position=position, mate=mate)
        return Served(self._finish(raw), ids)

    def serve(
        self, epoch: int, lists: Iterable[Ids], *, start: int = 0, mate: Mate | None = None
    ) -> Iterator[Served | None]:
        """Yield a batch of each list of sample ids, some read ahead, and which samples these are."""
        read = self._ahead(lists) if self._order.blocks is None else self._in_windows(epoch, lists, start)
        for position, (ids, raw) in enumerate(read, start):
            if self._has_bad(ids):
                yield from self._mending.serve(epoch, [ids], start=position, mate=mate)
            else:
                yield Served(self._finish(raw), ids)

    def close(self) -> None:
        """Do nothing: threads end with the iterators that use them."""

    def _read(self, ids: Ids) -> Raw:
        return self._reader.read(self._source.rows_of(ids), pinned=self._pinned)

    def _has_bad(self, ids: Ids) -> bool:
        """Return whether a batch that was read has bad samples."""
        if not self._reader.damaged and not self.bad.rows:
            return False
        rows = self._source.rows_of(ids)
        return self._reader.bad_among(rows) is not None or not self.bad.rows.isdisjoint(rows.tolist())

    def _ahead(self, lists: Iterable[Ids]) -> Iterator[tuple[Ids, Raw]]:
        """Yield lists with what was read for them; threads read some lists ahead."""
        depth = max(2, min(AHEAD, AHEAD_BYTES // (self.batch_size * self._source.row_bytes)))
        waiting: deque[tuple[Ids, Future[Raw]]] = deque()
        pool = ThreadPoolExecutor(THREADS, "danlu rows")
        try:
            for ids in lists:
                waiting.append((ids, pool.submit(self._read, ids)))
                if len(waiting) >= depth:
                    ids, reading = waiting.popleft()
                    yield ids, reading.result()
            while waiting:
                ids, reading = waiting.popleft()
                yield ids, reading.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _in_windows(self, epoch: int, lists: Iterable[Ids], start: int) -> Iterator[tuple[Ids, Raw]]:
        """Yield lists with what is read for them; where they are the epoch's own, a thread reads windows ahead."""
        blocks, last = self._order.blocks, max(0, self.samples - 1)
        assert blocks is not None
        with Windows(self._source, blocks, seed=self._order.seed, epoch=epoch, pinned=self._pinned) as windows:
            for position, ids in enumerate(lists, start):
                first = min(position * self.batch_size, last)
                yield ids, windows.read(ids, first, min(first + self.batch_size, self.samples))


@final
class _Row:
    """A sample as it is stored; its own type, so that nobody looks into it."""

    def __init__(self, columns: Raw) -> None:
        self.columns = columns


@final
class _Rows(Dataset[_Row]):
    """Single rows of a stored set; one of a damaged block raises."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def __len__(self) -> int:
        return self._reader.schema.samples

    def __getitem__(self, row: int) -> _Row:
        columns = self._reader.read(np.array([row], dtype=np.int64))
        damage = self._reader.damaged.get(int(row) // self._reader.schema.block_rows)
        if damage is not None:
            raise damage
        return _Row(columns)


def _collated(finish: Callable[[Raw], Batch], rows: list[_Row]) -> Any:
    """Return rows as a batch that needs no more than to be moved."""
    inputs, target = finish([torch.cat(column) for column in zip(*(row.columns for row in rows), strict=True)])
    return (inputs,) if target is None else (inputs, target)


def _finisher(source: Stored, device: torch.device) -> Callable[[Raw], Batch]:
    """Return what makes a batch of stored numbers: moved, then converted by the columns' rules, then put together."""
    columns = zip(source.columns.tensors, source.columns.rules, strict=True)
    converters = [rule.converter(empty.dtype, device) for empty, rule in columns]
    parts: list[Callable[[Any], Tensor]] = [
        partial(_converted, index, convert, device) for index, convert in enumerate(converters)
    ]
    return assemble(parts, source.keys, source.has_target)


def _converted(index: int, convert: Convert | None, device: torch.device, raw: Raw) -> Tensor:
    moved = raw[index].to(device, non_blocking=True)
    return moved if convert is None else convert(moved)
