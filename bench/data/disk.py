"""A stored set four times as large as the memory that it is allowed, and a DataLoader over the same rows in a memmap.

Each turn has a fresh process, and begins without the files in the page cache. A machine whose memory is that small
would not keep them there later on, either: so whenever a process has read as much as is allowed from the disk, they
are dropped again, in both ways of serving.
"""

import argparse
import mmap
import multiprocessing
import os
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter
from typing import Any, final

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import danlu
from bench.data import Race, Tell
from bench.rounds import BenchError
from bench.worker import memory_peak_mb

BYTES, PARTS = 1_000_000_000, 4  # of a set; it is so many times as large as what is allowed
KINDS = {"disk-3kb": (3_072, 256), "disk-150kb": (150_528, 64)}  # bytes of a row, batch size
LOOK_EVERY = 256  # rows between two looks at what was read


@final
class Cold:
    """Keeps files out of the page cache: dropped now, and whenever this process has read so many bytes from disk.

    Args:
        files: by path.
        limit: bytes.
        mapped: memory of theirs, which holds pages as long as it refers to them.
    """

    def __init__(self, files: list[Path], limit: int, mapped: mmap.mmap | None = None) -> None:
        self._files, self._limit, self._mapped = files, limit, mapped
        self._rows, self._begun = 0, read_bytes()
        self.drop()

    def drop(self) -> None:
        if self._mapped is not None:
            self._mapped.madvise(mmap.MADV_DONTNEED)
        for path in self._files:
            drop(path)
        self._begun = read_bytes()

    def count(self, rows: int) -> None:
        """Note that rows were served, and look now and then."""
        self._rows += rows
        if self._rows >= LOOK_EVERY:
            self._rows = 0
            if read_bytes() - self._begun >= self._limit:
                self.drop()


def drop(path: Path) -> None:
    """Let the system forget a file that lies on the disk whole."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def read_bytes() -> int:
    """Return how many bytes this process has fetched from disks so far."""
    lines = Path("/proc/self/io").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("read_bytes"))


@final
class Rows(Dataset[tuple[Tensor, int]]):
    """Rows of a memmap, as most loaders of large arrays read them."""

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder, self._limit = folder, limit
        self._target = np.load(folder / "target.npy")
        self._rows: Any = None

    def __len__(self) -> int:
        return len(self._target)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if self._rows is None:  # in the process that reads
            path = self._folder / "inputs.npy"
            self._rows = np.load(path, mmap_mode="r")
            self._cold = Cold([path], self._limit, self._rows._mmap)
        self._cold.count(1)
        return torch.from_numpy(self._rows[index].copy()), int(self._target[index])


def measure(options: argparse.Namespace, scratch: Path, tell: Tell) -> list[Race]:
    """Serve rows of both sizes in turn."""
    races = []
    for name, (row_bytes, _) in KINDS.items():
        race = Race(name, f"{row_bytes / 1e3:.0f} kB rows, {options.bytes / 1e6:,.0f} MB on disk", "")
        races.append(race)
        tell(f"{name}: writing {options.bytes / 1e6:,.0f} MB twice")
        folder = scratch / name
        write(folder, row_bytes, options.bytes)
        _race(race, folder, options, tell)
    memory = Race("disk-memory", "peak memory of serving from disk over what is allowed", "the allowed memory")
    memory.ours = [value for race in races for value in race.more["memory_share"]]
    memory.theirs = [1.0] * len(memory.ours)
    return [*races, memory]


def write(folder: Path, row_bytes: int, size: int) -> None:
    """Write rows of random bytes and their classes, as arrays and as a stored set."""
    rows, generator = max(64, size // row_bytes), np.random.default_rng(0)
    folder.mkdir()
    inputs = np.lib.format.open_memmap(folder / "inputs.npy", "w+", np.uint8, (rows, row_bytes))
    for start in range(0, rows, 4096):
        part = inputs[start : start + 4096]
        part[:] = np.frombuffer(generator.bytes(part.size), np.uint8).reshape(part.shape)
    inputs.flush()
    target = generator.integers(0, 10, rows)
    np.save(folder / "target.npy", target)
    danlu.data.convert(danlu.data.arrays(inputs, target), folder / "stored")
    os.sync()


def _race(race: Race, folder: Path, options: argparse.Namespace, tell: Tell) -> None:
    turns = ("danlu", *options.workers)
    found: dict[Any, list[dict[str, float]]] = {turn: [] for turn in turns}
    for index in range(options.disk_rounds):
        for turn in turns[index % len(turns) :] + turns[: index % len(turns)]:
            row = in_process(turn, folder, KINDS[race.name][1], options.bytes // PARTS, options.seconds)
            found[turn].append(row)
            who = turn if turn == "danlu" else f"DataLoader with {turn} workers"
            tell(f"{race.name}: round {index + 1} of {options.disk_rounds}, {who}: {row['rows_per_s']:,.0f} rows/s")
    rates = {turn: [row["rows_per_s"] for row in rows] for turn, rows in found.items()}
    best = max(options.workers, key=lambda count: float(np.median(rates[count])))
    race.beside = f"DataLoader over np.memmap, {best} workers"
    race.ours, race.theirs = rates["danlu"], rates[best]
    allowed = options.bytes / PARTS / 1e6
    race.more = {"by_turn": {str(turn): rows for turn, rows in found.items()}, "allowed_mb": allowed}
    race.more["memory_share"] = [row["grown_mb"] / allowed for row in found["danlu"]]


def in_process(turn: Any, folder: Path, batch: int, limit: int, seconds: float) -> dict[str, float]:
    """Serve in a fresh process, for so many seconds or an epoch; return what was measured."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_serve, args=(there, turn, folder, batch, limit, seconds)
    )
    process.start()
    there.close()
    try:
        answer: dict[str, float] = here.recv()
    except EOFError:
        raise BenchError(f"serving {folder.name} from disk ended: {turn}") from None
    process.join()
    return answer


def _serve(pipe: Connection, turn: Any, folder: Path, batch: int, limit: int, seconds: float) -> None:
    before_mb = memory_peak_mb() or 0.0
    batches = _danlu(folder / "stored", batch, limit) if turn == "danlu" else _loader(folder, batch, limit, turn)
    rows, start_s = 0, perf_counter()
    for inputs, _ in batches:
        rows += len(inputs)
        if perf_counter() - start_s > seconds:
            break
    rate = rows / (perf_counter() - start_s)
    pipe.send({"rows_per_s": rate, "rows": rows, "grown_mb": (memory_peak_mb() or 0.0) - before_mb})
    pipe.close()


def _danlu(folder: Path, batch: int, limit: int) -> Iterator[Any]:
    """Yield danlu's batches; rows become floats from 0 to 1 in it."""
    opened = danlu.data.stored(folder, memory_bytes=limit, window_bytes=limit // 4)
    order = "block_shuffle" if opened.train.needs_blocks(torch.device("cpu")) else "shuffle"  # as a recipe has it
    cold = Cold([path for path in folder.rglob("*") if path.is_file()], limit)
    for inputs, target in danlu.data.batches(opened.train, batch, sampler=order).iterate(0):
        cold.count(len(inputs))
        yield inputs, target


def _loader(folder: Path, batch: int, limit: int, workers: int) -> Iterator[Any]:
    drop(folder / "inputs.npy")
    rows = Rows(folder, limit // max(1, workers))
    for inputs, target in DataLoader(rows, batch, shuffle=True, num_workers=workers):
        yield inputs.float().mul_(1 / 255), target
