"""Decoded pictures on disk: a file with one row of pixels for each, filled in any order, and never trusted blindly."""

import contextlib
import errno
import hashlib
import json
import mmap
import os
import shutil
import weakref
import zlib
from pathlib import Path
from typing import final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from danlu.data.decode import Form, Pixels, decoder
from danlu.data.picture_files import PictureFiles
from danlu.data.source import Ids

PAGE = 4096
SPARE_BYTES = 256 << 20  # left free on the disk
_MARK = np.dtype([("stamp", "<u8"), ("sum", "<u8")])  # which file a row was made of, and the checksum of its pixels


@final
class PictureCache:
    """Rows of pixels in a file. A row counts where its mark fits the picture file of today and its checksum is right.

    Pixels are written before their mark, so a row that a killed process was writing does not count; what a crash of
    the machine left half-written is found by its checksum when it is first read. Several processes may fill one file:
    they write the same bytes to the same places.

    Args:
        path: of the file; made where it is missing, made anew where it is none of this form.
        head: what the first page says; another head is another file.
        stamps: one number other than 0 for each row, which changes with its picture file.
        form: of the pixels.

    Raises:
        OSError: the disk is too full, or the file cannot be made.
    """

    def __init__(self, path: Path, head: bytes, stamps: npt.NDArray[np.uint64], form: Form) -> None:
        self.path = path
        self._stamps, self._row_bytes = stamps, form.channels * form.height * form.width
        self._first = -(-(PAGE + len(stamps) * _MARK.itemsize) // PAGE) * PAGE
        size = self._first + len(stamps) * self._row_bytes
        self._handle = _opened(path, head, size)
        self._large = size > os.sysconf("SC_PHYS_PAGES") * mmap.PAGESIZE // 2  # it may not stay in memory
        weakref.finalize(self, os.close, self._handle)
        self._map = mmap.mmap(self._handle, 0)
        self._marks = np.frombuffer(self._map, _MARK, len(stamps), PAGE)
        pixels = torch.frombuffer(self._map, dtype=torch.uint8, offset=self._first)
        self._pixels = pixels.view(len(stamps), *form)
        self._claimed = self._marks["stamp"] == stamps  # rows that are there, or so the file says
        self._sure = np.zeros(len(stamps), np.bool_)  # rows whose checksum was looked at

    def sure(self, rows: Ids) -> npt.NDArray[np.bool_]:
        """Return for each row whether `take` can give it."""
        return self._sure[rows]

    def announce(self, rows: Ids) -> None:
        """Have the system read rows that will be taken soon, where the file may be larger than what stays in memory."""
        if not self._large:
            return
        for row in rows.tolist():
            first = self._first + row * self._row_bytes
            start = first // mmap.PAGESIZE * mmap.PAGESIZE
            self._map.madvise(mmap.MADV_WILLNEED, start, first + self._row_bytes - start)

    def take(self, rows: Ids, out: Tensor) -> None:
        """Copy rows that are sure to be there into `out`, uint8 (rows, C, H, W)."""
        torch.index_select(self._pixels, 0, torch.from_numpy(rows), out=out)

    def find(self, row: int) -> Pixels | None:
        """Return one row, shape (C, H, W), to be read only; None where it is not there or is damaged."""
        if not self._claimed[row]:
            return None
        pixels: Pixels = self._pixels[row].numpy()
        if not self._sure[row]:
            self._claimed[row] = self._sure[row] = zlib.crc32(pixels.data) == int(self._marks["sum"][row])
        return pixels if self._sure[row] else None

    def put(self, row: int, pixels: Pixels) -> None:
        """Keep one row, contiguous (C, H, W); may be called by several threads. Raises OSError where the disk is full.

        Cost: a copy into the page cache and a checksum; the disk is written to by the system, when it likes.
        """
        mark = np.array((self._stamps[row], zlib.crc32(pixels.data)), _MARK)
        _write(self._handle, pixels.data, self._first + row * self._row_bytes)
        _write(self._handle, mark.tobytes(), PAGE + row * _MARK.itemsize)
        self._claimed[row] = self._sure[row] = True

    def kept(self) -> int:
        """Return how many rows the file says it has."""
        return int(self._claimed.sum())


def cache_of(files: PictureFiles, key: str, form: Form, folder: Path) -> PictureCache:
    """Return the cache of some picture files in `folder`; caches of the same key with other files are deleted.

    Raises:
        OSError: the disk is too full, or the folder cannot be written to.
    """
    listed = b"\0".join(os.fsencode(name) for name in files.names)
    own = _digest(os.fsencode(files.folder.resolve()), key.encode(), repr(form).encode())
    head = {"danlu": "pictures", "files": _digest(listed), "form": form, "decoder": decoder(), "rows": len(files.names)}
    text = json.dumps(head).encode()
    path = folder / f"{own}-{_digest(text)}.pixels"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(f"{own}-*.pixels"):
        if old != path:
            with contextlib.suppress(OSError):
                old.unlink()
    return PictureCache(path, text, _stamps(files.stamps), form)


def _opened(path: Path, head: bytes, size: int) -> int:
    """Return the handle of the cache file, made where there is none, anew where it is another's."""
    page = head.ljust(PAGE, b"\0")
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if os.fstat(handle).st_size and (os.fstat(handle).st_size != size or os.pread(handle, PAGE, 0) != page):
            os.close(handle)
            path.unlink()  # a process that still has it open keeps it
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        missing, free = size - os.fstat(handle).st_blocks * 512, shutil.disk_usage(path.parent).free
        if missing > free - SPARE_BYTES:
            raise OSError(errno.ENOSPC, f"{missing >> 20:,} MiB are wanted, {free >> 20:,} MiB are free on its disk")
        if not os.fstat(handle).st_size:
            os.ftruncate(handle, size)
            _write(handle, page, 0)
    except OSError:
        os.close(handle)
        raise
    return handle


def _write(handle: int, data: bytes | memoryview, offset: int) -> None:
    if os.pwrite(handle, data, offset) != memoryview(data).nbytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _stamps(stamps: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """Return one number other than 0 for each size and time."""
    size, time = (stamps[:, column].astype(np.uint64) for column in (0, 1))
    mixed = (time ^ (size * np.uint64(0x9E3779B97F4A7C15))) * np.uint64(0xBF58476D1CE4E5B9)
    return (mixed ^ (mixed >> np.uint64(31))) | np.uint64(1)


def _digest(*parts: bytes) -> str:
    return hashlib.blake2b(b"\0\0".join(parts), digest_size=8).hexdigest()
