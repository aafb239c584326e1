"""Rows of a stored set, read by number into memory of the caller's; every block is checked when it is first read."""

import errno
import math
import mmap
import os
import weakref
import zlib
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from danlu.data.source import Ids
from danlu.data.store_schema import DTYPES, Schema, plain_file
from danlu.errors import DataError

Bytes = npt.NDArray[np.uint8]
GAP_BYTES = 1 << 14  # neighbours this close are read in one piece, with what lies between
PIECE_BYTES = 1 << 23  # bytes that are read in one piece at most, where they are sorted out afterwards
_ADVISE: Any = getattr(os, "posix_fadvise", None)  # macOS has none
_MACHINE = (errno.ENOMEM, errno.EMFILE, errno.ENFILE)  # out of memory or files: no block's fault


@final
class DamagedBlockError(OSError):
    """A block whose checksum differs, or that cannot be read. `filename` is its column's file."""

    def __init__(self, path: Path, text: str) -> None:
        super().__init__(text)
        self.filename, self.text = str(path), text

    def __str__(self) -> str:
        return self.text


@final
class Reader:
    """The files of a stored set. Threads may share it.

    Args:
        folder: the set's.
        schema: what it says of itself.

    Fields:
        damaged: what is wrong with the blocks that were found damaged so far, by block number.
        damaged_in: the same, column by column.

    Raises:
        DataError: a file is missing, unreadable, no plain file, or longer than it should be.
    """

    def __init__(self, folder: Path, schema: Schema) -> None:
        self.folder, self.schema = folder, schema
        self.damaged: dict[int, DamagedBlockError] = {}
        self.damaged_in: list[dict[int, DamagedBlockError]] = [{} for _ in schema.columns]
        self._descriptors: list[int] = []
        self._closing = weakref.finalize(self, _close, self._descriptors)
        for column in schema.columns:
            self._descriptors.append(_open(folder / column.file))
        self.short = [c.file for c in schema.columns if self._size(c.file) < schema.samples * c.row_bytes]
        self._checksums = [_checksums(folder / f"{c.file}.crc32", schema.blocks) for c in schema.columns]
        self._sound = np.zeros((len(schema.columns), schema.blocks), dtype=bool)

    def empty(self, rows: int, index: int, *, pinned: bool = False) -> Tensor:
        """Return memory for so many rows of a column."""
        column = self.schema.columns[index]
        return torch.empty(rows, *column.shape, dtype=DTYPES[column.dtype], pin_memory=pinned)

    def mapped(self, rows: int, index: int) -> Tensor:
        """Return memory as `empty` does, for a great many rows; all of it goes back to the system at its end."""
        column = self.schema.columns[index]
        memory = mmap.mmap(-1, rows * column.row_bytes)
        return torch.frombuffer(memory, dtype=torch.uint8).view(DTYPES[column.dtype]).view(rows, *column.shape)

    def read(self, rows: Ids, *, pinned: bool = False) -> list[Tensor]:
        """Return rows of every column; rows of damaged blocks hold anything, see `bad_among`."""
        made = [self.empty(len(rows), index, pinned=pinned) for index in range(len(self.schema.columns))]
        for index, tensor in enumerate(made):
            self.read_into(index, rows, tensor)
        return made

    def read_into(self, index: int, rows: Ids, out: Tensor) -> None:
        """Read rows of one column into contiguous memory for as many."""
        pieces = self._pieces(rows)
        if pieces is None:
            self._scattered(index, rows, as_bytes(out))
            return
        for places, numbers in pieces:
            self._gather(index, numbers, places, as_bytes(out))

    def bad_among(self, rows: Ids) -> npt.NDArray[np.bool_] | None:
        """Return which of some rows that were read lie in damaged blocks; None where none does."""
        if not self.damaged:
            return None
        bad = np.isin(rows // self.schema.block_rows, list(self.damaged))
        return bad if bad.any() else None

    def verify(self, blocks: range) -> list[str]:
        """Read and check blocks again; return what is wrong with each that is damaged, column by column."""
        first = blocks.start * self.schema.block_rows
        count = min(blocks.stop * self.schema.block_rows, self.schema.samples) - first
        self._sound[:, blocks.start : blocks.stop] = False
        found = []
        for index, column in enumerate(self.schema.columns):
            self._fill(index, first, np.empty((count, column.row_bytes), np.uint8))
            found += [damage.text for block, damage in self.damaged_in[index].items() if block in blocks]
        return found

    def close(self) -> None:
        """Close the files."""
        self._closing()

    def _size(self, name: str) -> int:
        return plain_file(self.folder / name)

    def _pieces(self, rows: Ids) -> list[tuple[slice | Ids, Ids]] | None:
        """Return rows in pieces that are read at once, in rising order, each with the places where its rows belong.

        None where the rows lie so far apart that most of them would be a piece of their own.
        """
        if len(rows) and rows[-1] - rows[0] == len(rows) - 1 and (len(rows) < 3 or bool((np.diff(rows) == 1).all())):
            return [(slice(0, len(rows)), rows)]
        order = np.argsort(rows, kind="stable")
        ordered = rows[order]
        gap = max(1, GAP_BYTES // self.schema.row_bytes)
        longest = max(1, PIECE_BYTES // self.schema.row_bytes)
        breaks = np.flatnonzero((np.diff(ordered) > gap) | (np.diff(ordered // longest) > 0)) + 1
        if 2 * len(breaks) > len(rows):
            return None
        return list(zip(np.split(order, breaks), np.split(ordered, breaks), strict=True))

    def _scattered(self, index: int, rows: Ids, into: Bytes) -> None:
        """Read rows one by one, after telling the system of all of them; a block that was never read is read whole."""
        size, width = self.schema.block_rows, into.shape[1]
        blocks = rows // size
        sound, descriptor = self._sound[index, blocks], self._descriptors[index]
        places = np.flatnonzero(sound).tolist()
        offsets, memory = (rows * width).tolist(), into.reshape(-1).data
        if _ADVISE is not None:
            for offset in offsets:
                _ADVISE(descriptor, offset, width, os.POSIX_FADV_WILLNEED)
        for place in places:
            begin = place * width
            try:
                complete = os.preadv(descriptor, [memory[begin : begin + width]], offsets[place]) == width
            except OSError:
                complete = False  # said of its block below
            if not complete:
                self._fill(index, int(rows[place]), into[place : place + 1])
        for block in np.unique(blocks[~sound]).tolist():
            first = block * size
            whole = np.empty((min(size, self.schema.samples - first), width), np.uint8)
            self._fill(index, first, whole)
            here = np.flatnonzero(blocks == block)
            into[here] = whole[rows[here] - first]

    def _gather(self, index: int, numbers: Ids, places: slice | Ids, into: Bytes) -> None:
        """Read one piece of a column and put its rows where they belong."""
        first, count = int(numbers[0]), int(numbers[-1] - numbers[0]) + 1
        if isinstance(places, slice):
            self._fill(index, first, into[places])
        elif len(places) == 1:
            self._fill(index, first, into[int(places[0]) : int(places[0]) + 1])
        else:
            piece = np.empty((count, into.shape[1]), np.uint8)
            self._fill(index, first, piece)
            into[places] = piece[numbers - first]

    def _fill(self, index: int, first: int, into: Bytes) -> None:
        """Read neighbouring rows, and check what was not checked before; `into` is contiguous."""
        size, stop = self.schema.block_rows, first + len(into)
        blocks = range(first // size, (stop - 1) // size + 1)
        if self._sound[index, blocks.start : blocks.stop].all():
            if not self._read_at(index, first, into):
                self._by_block(index, first, into, blocks)
            return
        low, high = blocks.start * size, min(blocks.stop * size, self.schema.samples)
        whole = into if (low, high) == (first, stop) else np.empty((high - low, into.shape[1]), np.uint8)
        if self._read_at(index, low, whole):
            for block in blocks:
                begin = block * size - low
                self._check(index, block, whole[begin : begin + size])
        else:
            self._by_block(index, low, whole, blocks)
        if whole is not into:
            into[:] = whole[first - low : stop - low]

    def _by_block(self, index: int, first: int, into: Bytes, blocks: range) -> None:
        """Read block by block, because together they could not be read; those that cannot are damaged."""
        size, stop = self.schema.block_rows, first + len(into)
        for block in blocks:
            low, high = max(first, block * size), min(stop, (block + 1) * size)
            part = into[low - first : high - first]
            if not self._read_at(index, low, part):
                self._condemn(index, block, "the file ends before it, or it cannot be read")
            elif not self._sound[index, block]:
                self._check(index, block, part)

    def _read_at(self, index: int, first: int, into: Bytes) -> bool:
        """Read rows from `first` on; return whether all of them were there."""
        offset, rest = first * into.shape[1], into.data.cast("B")
        try:
            while len(rest):
                count = os.preadv(self._descriptors[index], [rest], offset)
                if not count:
                    return False
                offset, rest = offset + count, rest[count:]
        except OSError as error:
            if error.errno in _MACHINE:
                raise
            return False
        return True

    def _check(self, index: int, block: int, rows: Bytes) -> None:
        if self._sound[index, block]:
            return
        checksums = self._checksums[index]
        if block < len(checksums) and zlib.crc32(rows.data) == int(checksums[block]):
            self._sound[index, block] = True
        else:
            self._condemn(index, block, "its checksum is another one")

    def _condemn(self, index: int, block: int, why: str) -> None:
        size, column = self.schema.block_rows, self.schema.columns[index]
        last = min((block + 1) * size, self.schema.samples) - 1
        text = f"block {block} of {column.file}, rows {block * size} to {last}, is damaged: {why}"
        damage = self.damaged_in[index].setdefault(block, DamagedBlockError(self.folder / column.file, text))
        self.damaged.setdefault(block, damage)


def as_bytes(tensor: Tensor) -> Bytes:
    """Return a contiguous tensor's memory as bytes, (rows, bytes of a row)."""
    width = math.prod(tensor.shape[1:]) * tensor.element_size()
    flat: Any = tensor.flatten()  # dimensions of one entry may have any stride, and PyTorch refuses to look at them
    return flat.view(torch.uint8).numpy().reshape(len(tensor), width)  # type: ignore[no-any-return]


def _open(path: Path) -> int:
    plain_file(path)
    try:
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        got, want, fix = str(error.strerror), "a file that can be read", "make it readable"
        raise DataError(where=str(path), got=got, want=want, fix=fix) from None


def _checksums(path: Path, blocks: int) -> npt.NDArray[np.uint32]:
    plain_file(path)
    try:
        return np.fromfile(path, dtype="<u4", count=blocks)
    except OSError as error:
        got, want, fix = str(error.strerror), "a file that can be read", "make it readable"
        raise DataError(where=str(path), got=got, want=want, fix=fix) from None


def _close(descriptors: list[int]) -> None:
    while descriptors:
        os.close(descriptors.pop())
