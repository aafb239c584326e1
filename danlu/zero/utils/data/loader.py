"""The loader: a data set, an order and a batch size make batches."""

import multiprocessing
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from itertools import repeat
from multiprocessing.context import BaseContext
from typing import Any

import numpy as np

from danlu.zero.random import Generator, choose
from danlu.zero.tensor import wrap
from danlu.zero.utils.data.collate import default_collate, default_convert
from danlu.zero.utils.data.dataset import IterableDataset, Subset, TensorDataset
from danlu.zero.utils.data.sampler import BatchSampler, RandomSampler, SequentialSampler
from danlu.zero.utils.data.worker import End, Fetcher, Worker, WorkerInfo, batches

ONE_VALUE = {"persistent_workers": False, "pin_memory_device": "", "in_order": True}


class DataLoader:
    """Batches of a data set; every `for` reads it once.

    Args:
        dataset: samples by number, or an IterableDataset.
        batch_size: samples per batch; None: samples one by one, as they are.
        shuffle: a new random order for every epoch.
        sampler: yields the numbers of samples, in place of `shuffle`.
        batch_sampler: yields lists of numbers, in place of `batch_size`, `shuffle`, `sampler` and `drop_last`.
        num_workers: processes that load ahead; 0: load here.
        collate_fn: makes a batch of a list of samples.
        pin_memory: has no effect, and warns, as there is only the CPU.
        drop_last: leave out a last batch that is not full.
        timeout: seconds to wait for a worker's batch; 0: for ever.
        worker_init_fn: called in every worker first, with its number.
        multiprocessing_context: how processes are started ("fork", "spawn"), or a context.
        generator: where random orders come from.
        prefetch_factor: batches that every worker loads ahead; 2 unless given.
        others: persistent_workers, pin_memory_device and in_order are known, but cannot be changed.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Iterable[Any] | None = None,
        batch_sampler: Iterable[Any] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[Any], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], Any] | None = None,
        multiprocessing_context: str | BaseContext | None = None,
        generator: Generator | None = None,
        *,
        prefetch_factor: int | None = None,
        **others: Any,
    ) -> None:
        for name, value in others.items():
            if name not in ONE_VALUE:
                raise TypeError(f"DataLoader got an unexpected keyword argument '{name}'")
            if value != ONE_VALUE[name]:
                raise NotImplementedError(f"{name}={value!r} is not supported, only {ONE_VALUE[name]!r}")
        _check_order(dataset, batch_size, shuffle, sampler, batch_sampler, drop_last)
        _check_workers(num_workers, timeout, prefetch_factor, multiprocessing_context)
        self.dataset, self.generator = dataset, generator
        self.sampler: Any = _default_sampler(dataset, shuffle, generator) if sampler is None else sampler
        self.batch_size, self.drop_last = None if batch_sampler is not None else batch_size, drop_last
        if batch_size is not None and batch_sampler is None:
            batch_sampler = BatchSampler(self.sampler, batch_size, drop_last)
        self.batch_sampler: Any = batch_sampler
        self.collate_fn = collate_fn or (default_convert if batch_sampler is None else default_collate)
        self.num_workers, self.timeout, self.worker_init_fn = num_workers, timeout, worker_init_fn
        self.prefetch_factor = 2 if num_workers and prefetch_factor is None else prefetch_factor
        self.multiprocessing_context = _context(multiprocessing_context)
        self.pin_memory = pin_memory

    def __len__(self) -> int:
        if not isinstance(self.dataset, IterableDataset):
            return len(self._indices())
        length = len(self.dataset)  # type: ignore[arg-type]
        return length if self.batch_size is None else self.batch_sampler.batches_of(length)

    def __iter__(self) -> Iterator[Any]:
        if self.pin_memory:
            warnings.warn("'pin_memory' argument is set as true but there is no accelerator to pin for", stacklevel=2)
        seed = int(choose(self.generator).integers(2**62))  # drawn in any case: the order is the same without workers
        if self.num_workers:
            return self._from_workers(seed)
        arrays = self._arrays()
        return self._here() if arrays is None else self._gathered(*arrays)

    def _indices(self) -> Any:
        return self.sampler if self.batch_sampler is None else self.batch_sampler

    def _fetcher(self) -> Fetcher:
        return Fetcher(self.dataset, self.batch_sampler is not None, self.collate_fn, self.drop_last)

    def _here(self) -> Iterator[Any]:
        """Yield batches that are loaded in this process."""
        fetch = self._fetcher().start()
        for index in self._indices():
            batch = fetch(index)
            if batch is End:
                return
            yield batch

    def _from_workers(self, seed: int) -> Iterator[Any]:
        count, fetcher = self.num_workers, self._fetcher()
        infos = [WorkerInfo(i, count, seed + i, self.dataset) for i in range(count)]
        workers = [Worker(self.multiprocessing_context, fetcher, info, self.worker_init_fn) for info in infos]
        yield from batches(workers, self._indices(), max(1, self.prefetch_factor or 1), self.timeout or None)

    def _arrays(self) -> tuple[list[Any], Any] | None:
        """Return the arrays, and which rows, of a data set whose batches are rows of tensors, in a usual order."""
        plain = self.collate_fn is default_collate and type(self.batch_sampler) is BatchSampler
        if not plain or type(self.batch_sampler.sampler) not in (SequentialSampler, RandomSampler):
            return None
        dataset, rows = self.dataset, np.arange(len(self.dataset))
        while type(dataset) is Subset:
            dataset, rows = dataset.dataset, np.asarray(dataset.indices, np.int64)[rows]
        if type(dataset) is not TensorDataset or any(tensor.requires_grad for tensor in dataset.tensors):
            return None
        return [tensor._array for tensor in dataset.tensors], rows

    def _gathered(self, arrays: list[Any], rows: Any) -> Iterator[Any]:
        """Yield batches that are taken out of the arrays at once; the same as one by one, and faster."""
        sampler, size = self.batch_sampler.sampler, self.batch_sampler.batch_size
        order = rows[sampler.order()] if type(sampler) is RandomSampler else rows
        for batch in range(len(self.batch_sampler)):
            chosen = order[batch * size : (batch + 1) * size]
            yield [wrap(array.take(chosen, 0)) for array in arrays]


def _default_sampler(dataset: Any, shuffle: bool | None, generator: Generator | None) -> Any:
    if isinstance(dataset, IterableDataset):
        return repeat(None)
    return RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)


def _check_order(
    dataset: Any, batch_size: int | None, shuffle: Any, sampler: Any, batch_sampler: Any, drop_last: bool
) -> None:
    given, own = sampler is not None, batch_sampler is not None
    if isinstance(dataset, IterableDataset) and (shuffle or given or own):
        raise ValueError("an IterableDataset has its own order: leave out shuffle, sampler and batch_sampler")
    if given and shuffle:
        raise ValueError("sampler is mutually exclusive with shuffle")
    if own and (batch_size != 1 or shuffle or given or drop_last):
        raise ValueError("batch_sampler is mutually exclusive with batch_size, shuffle, sampler, and drop_last")
    if batch_size is None and drop_last:
        raise ValueError("batch_size=None disables batching and is mutually exclusive with drop_last")


def _check_workers(count: int, timeout: float, prefetch: int | None, context: Any) -> None:
    for name, value in {"num_workers": count, "timeout": timeout, "prefetch_factor": prefetch or 0}.items():
        if value < 0:
            raise ValueError(f"{name} should not be negative, but is {value}")
    for name, needy in {"prefetch_factor": prefetch, "multiprocessing_context": context}.items():
        if needy is not None and count == 0:
            raise ValueError(f"{name}={needy!r} needs num_workers > 0")


def _context(wanted: Any) -> Any:
    """Return multiprocessing's context: a fork on Linux, where nothing else is wanted."""
    if isinstance(wanted, BaseContext):
        return wanted
    return multiprocessing.get_context("fork" if wanted is None and sys.platform == "linux" else wanted)
