"""Processes that load batches ahead; each has a pipe of its own, and answers in the order in which it was asked."""

import os
import random as python_random
import signal
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import ForkingPickler
from queue import SimpleQueue
from threading import Thread
from time import monotonic
from typing import Any, final

import numpy as np

from danlu.zero import random
from danlu.zero.utils.data.dataset import IterableDataset

GOODBYE_S = 1.0  # how long workers may finish what they are at, before they are ended


@final
class End:
    """In place of a batch: an iterable data set has ended."""


@final
@dataclass(frozen=True)
class WorkerInfo:
    """What a worker process knows of itself."""

    id: int
    num_workers: int
    seed: int
    dataset: Any


_here: list[WorkerInfo] = []  # of this process, where it is a worker


def get_worker_info() -> WorkerInfo | None:
    """Return id, num_workers, seed and dataset of this worker process; None in the main process."""
    return _here[0] if _here else None


@final
@dataclass
class Fetcher:
    """Read samples and collate them: of a data set by numbers, of an iterable one as many as there are numbers."""

    dataset: Any
    batched: bool
    collate_fn: Callable[[Any], Any]
    drop_last: bool
    iterator: Iterator[Any] | None = None

    def start(self) -> "Fetcher":
        """Begin an iterable data set, in the process that reads it."""
        if isinstance(self.dataset, IterableDataset):
            self.iterator = iter(self.dataset)
        return self

    def __call__(self, index: Any) -> Any:
        """Return the next batch (the next sample, where there are no batches), or End."""
        if self.iterator is None:
            return self.collate_fn([self.dataset[i] for i in index] if self.batched else self.dataset[index])
        if not self.batched:
            sample = next(self.iterator, End)
            return End if sample is End else self.collate_fn(sample)
        samples = [sample for _, sample in zip(index, self.iterator, strict=False)]
        if not samples or (self.drop_last and len(samples) < len(index)):
            return End
        return self.collate_fn(samples)


class Shown(str):
    """A text that stays readable where an exception prints its `repr`, as KeyError does."""

    __slots__ = ()
    __repr__ = str.__str__


@final
class Failure:
    """An exception on its way from a worker: its type, or RuntimeError for one that cannot be pickled, and its text."""

    def __init__(self, error: BaseException, worker: int) -> None:
        self.kind, self.text = type(error), f"Caught {type(error).__name__} in DataLoader worker process {worker}.\n"
        self.text += "Original " + "".join(traceback.format_exception(error))
        try:
            ForkingPickler.dumps(self.kind)
        except Exception:
            self.kind = RuntimeError

    def error(self) -> BaseException:
        """Return an exception of the same type, with the worker's traceback in its text."""
        try:
            return self.kind(Shown(self.text))
        except Exception:  # a type that is not made of a text
            return RuntimeError(self.text)


def work(ours: Connection, pipe: Connection, fetcher: Fetcher, info: WorkerInfo, init: Any) -> None:
    """Answer requests until told to stop; what a worker process runs."""
    ours.close()  # the parent's end: as soon as nobody has it any more, there is nobody to work for
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    replies: SimpleQueue[Any] = SimpleQueue()
    Thread(target=_send, args=(pipe, replies), daemon=True).start()
    broken: Failure | None = None
    try:
        _here[:] = [info]
        python_random.seed(info.seed)
        random.manual_seed(info.seed)
        np.random.seed(info.seed % 2**32)
        if init is not None:
            init(info.id)
        fetcher.start()
    except Exception as error:
        broken = Failure(error, info.id)
    with suppress(EOFError, OSError):
        while (request := pipe.recv()) is not None:
            try:
                replies.put(ForkingPickler.dumps(broken or fetcher(request[0])))
            except Exception as error:
                replies.put(ForkingPickler.dumps(Failure(error, info.id)))


def _send(pipe: Connection, replies: "SimpleQueue[Any]") -> None:
    """Send replies from a thread, so that the next batch is loaded while one waits to be taken."""
    with suppress(OSError):
        while True:
            pipe.send_bytes(replies.get())


@final
class Worker:
    """A worker process, seen from here; its random numbers start with `info.seed`."""

    def __init__(self, context: Any, fetcher: Fetcher, info: WorkerInfo, init: Callable[[int], Any] | None) -> None:
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(self.pipe, theirs, fetcher, info, init), daemon=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forking next to NumPy's idle threads
            self.process.start()
        theirs.close()  # so that the worker's end is noticed

    def ask(self, index: Any) -> None:
        """Ask for the batch of an index; None: end."""
        with suppress(OSError):  # that it has died shows when the answer is waited for
            self.pipe.send(index)

    def answer(self, timeout_s: float | None) -> Any:
        """Return the next answer. Raises RuntimeError where none comes in time, or the worker has died."""
        ready = wait([self.pipe, self.process.sentinel], timeout_s)
        if not ready:
            raise RuntimeError(f"DataLoader timed out after {timeout_s} seconds")
        with suppress(EOFError, ConnectionError):
            if self.pipe in ready or self.pipe.poll():
                return self.pipe.recv()
        self.process.join(GOODBYE_S)
        pid, code = self.process.pid, self.process.exitcode
        raise RuntimeError(f"DataLoader worker (pid {pid}) exited unexpectedly, with exit code {code}")


def batches(workers: list[Worker], indices: Iterable[Any], ahead: int, timeout_s: float | None) -> Iterator[Any]:
    """Yield batches from workers, in the order of `indices`, then stop them; each is asked `ahead` times in advance."""
    owner, order, turns = os.getpid(), iter(indices), cycle(workers)
    asked: deque[Worker] = deque()  # who has the next batch, and the one after
    ended: set[Worker] = set()

    def ask_next() -> None:
        for index in order if len(ended) < len(workers) else ():
            asked.append(next(worker for worker in turns if worker not in ended))
            asked[-1].ask((index,))
            break

    try:
        for _ in range(ahead * len(workers)):
            ask_next()
        while asked:
            worker = asked.popleft()
            reply = worker.answer(timeout_s)
            if reply is End:
                ended.add(worker)
            ask_next()
            if isinstance(reply, Failure):
                raise reply.error()
            if reply is not End:
                yield reply
    finally:
        if os.getpid() == owner:  # not in a process that only inherited them
            _stop(workers)


def _stop(workers: list[Worker]) -> None:
    """Stop workers: by word first, then by signal."""
    for worker in workers:
        worker.ask(None)
        worker.pipe.close()
    until = monotonic() + GOODBYE_S
    for worker in workers:
        worker.process.join(max(0.0, until - monotonic()))
        worker.process.terminate()
        worker.process.join()
