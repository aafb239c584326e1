"""The windows of a block shuffle in memory: one is served while a thread reads the next."""

from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import final

import numpy as np
import torch
from torch import Tensor

from danlu.data.block_order import Blocks, Run
from danlu.data.source import Ids
from danlu.data.store_source import Stored


@final
class Windows:
    """Two windows of an epoch. What is asked for and lies in neither is read by itself.

    Args:
        source: the set.
        blocks: how it is cut.
        seed, epoch: whose order it is.
        pinned: hand out memory that a CUDA device can copy from while the program goes on.
    """

    def __init__(self, source: Stored, blocks: Blocks, *, seed: int, epoch: int, pinned: bool) -> None:
        self._source, self._blocks, self._seed, self._epoch, self._pinned = source, blocks, seed, epoch, pinned
        self._reader, self._offset = source.folder.reader, blocks.offset(seed, epoch)
        self._most = blocks.longest
        columns = range(len(self._reader.schema.columns))
        self._memory = [self._reader.mapped(min(2, blocks.windows) * self._most, index) for index in columns]
        self._thread = ThreadPoolExecutor(1, "danlu windows")
        self._loading: dict[int, Future[list[Run]]] = {}
        self._table: tuple[Ids, Ids] = (np.zeros(0, np.int64), np.zeros(0, np.int64))
        self._in_table: tuple[int, ...] = ()

    def __enter__(self) -> "Windows":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the thread, once it has read what it is reading."""
        for loading in self._loading.values():
            loading.cancel()
        self._thread.shutdown(wait=True, cancel_futures=True)

    def read(self, ids: Ids, first: int, stop: int) -> list[Tensor]:
        """Return samples of every column, for the batch at positions [first, stop) of the epoch.

        Positions only say what is in memory by then and what is read next: any samples may be asked for.
        """
        self._settle(self._blocks.window_at(first), self._blocks.window_at(max(first, stop - 1)))
        ring = (ids - self._offset) % self._blocks.samples
        block = ring // self._blocks.size
        known, begins = self._table
        at = np.searchsorted(known, block).clip(max=len(known) - 1)
        here = known[at] == block
        places = torch.from_numpy(begins[at] + ring - block * self._blocks.size)
        if here.all():
            return [self._pick(index, places) for index in range(len(self._memory))]
        return self._mixed(ids, here, places)

    def _pick(self, index: int, places: Tensor) -> Tensor:
        if not self._pinned:
            return self._memory[index].index_select(0, places)
        out = self._reader.empty(len(places), index, pinned=True)
        return torch.index_select(self._memory[index], 0, places, out=out)

    def _mixed(self, ids: Ids, here: np.ndarray[tuple[int], np.dtype[np.bool_]], places: Tensor) -> list[Tensor]:
        """Return samples some of which lie in no window."""
        missing = self._reader.read(self._source.rows_of(ids[~here]))
        made = []
        for index, other in enumerate(missing):
            out = self._reader.empty(len(ids), index, pinned=self._pinned)
            out[torch.from_numpy(~here)] = other
            out[torch.from_numpy(here)] = self._memory[index].index_select(0, places[torch.from_numpy(here)])
            made.append(out)
        return made

    def _settle(self, first: int, last: int) -> None:
        """Let window `first` and perhaps the next be in memory, give up what came before, and read on."""
        wanted = [window for window in (first, first + 1) if window < self._blocks.windows]
        for window in [window for window in self._loading if window not in wanted]:
            self._loading.pop(window).exception()  # it must not write into what others take over
        for window in wanted:
            if window not in self._loading:
                self._loading[window] = self._thread.submit(self._load, window)
        needed = tuple(window for window in wanted if window <= last)
        if needed != self._in_table:
            self._in_table, self._table = needed, self._tabled(needed)

    def _tabled(self, windows: tuple[int, ...]) -> tuple[Ids, Ids]:
        """Return the blocks that windows hold, in rising order, and where each begins in memory; waits for them."""
        firsts, begins = [], []
        for window in windows:
            for index, run in enumerate(self._loading[window].result()):
                firsts.append(run.first // self._blocks.size)
                begins.append(window % 2 * self._most + index * self._blocks.size)
        order = np.argsort(firsts)
        return np.array(firsts, dtype=np.int64)[order], np.array(begins, dtype=np.int64)[order]

    def _load(self, window: int) -> list[Run]:
        """Read a window into its half of the memory."""
        runs = self._blocks.runs(self._seed, self._epoch, window)
        place = window % 2 * self._most
        for run in runs:
            ids = (run.first + self._offset + np.arange(run.length)) % self._blocks.samples
            turn = int(np.argmin(ids)) if ids[0] > ids[-1] else 0  # where the ring closes
            for part in (ids[:turn], ids[turn:]):
                if len(part):
                    self._into(place, part)
                    place += len(part)
        return runs

    def _into(self, place: int, ids: Ids) -> None:
        rows = self._source.rows_of(ids)
        for index, memory in enumerate(self._memory):
            self._reader.read_into(index, rows, memory[place : place + len(ids)])
