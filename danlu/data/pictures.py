"""Pictures as a `Dataset`: decoded when they are asked for, kept in a cache where there is one."""

import os
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from danlu.data.decode import Form, PictureError, Pixels, decode, size_of
from danlu.data.picture_cache import PictureCache
from danlu.data.picture_files import PictureFiles
from danlu.data.source import Arrays
from danlu.errors import DataError

LOOKED_AT, SHOWN = 256, 3  # files whose size is looked at, and sizes that are named

_ending = threading.Lock()


@final
class Pictures(Dataset[tuple[Tensor, int]]):
    """Picture files in one size: (uint8 tensor (C, H, W), class number) for each; it depends on the file alone.

    Args:
        files: which there are.
        form: of the pixels.
        cache: where decoded pictures are kept; None decodes them each time.

    Fields:
        folder: where they lie.
        paths: of each file.
        targets: class number of each, int64.
    """

    def __init__(self, files: PictureFiles, form: Form, cache: PictureCache | None) -> None:
        self.folder = str(files.folder)
        self.paths = [os.path.join(files.folder, name) for name in files.names]
        self.targets: npt.NDArray[np.int64] = files.labels
        self.form, self.cache = form, cache

    def __len__(self) -> int:
        """Return how many pictures there are."""
        return len(self.paths)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        """Return one picture and its class; raise OSError or PictureError where the file cannot be read."""
        pixels = torch.empty(self.form, dtype=torch.uint8)
        self.read(row, pixels.numpy())
        return pixels, int(self.targets[row])

    def read(self, row: int, out: Pixels) -> None:
        """Write one picture to `out`, contiguous (C, H, W), from the cache or its file; several threads may call it."""
        kept = None if self.cache is None else self.cache.find(row)
        if kept is not None:
            np.copyto(out, kept)
            return
        with open(self.paths[row], "rb") as file:
            pixels = decode(file.read(), self.form)
        for channel in range(self.form.channels):  # faster than all at once
            out[channel] = pixels[:, :, channel]
        self._keep(row, out)

    def bytes(self) -> int:
        """Return how many bytes all of them have, decoded."""
        return len(self) * self.form.channels * self.form.height * self.form.width

    def kept(self) -> str:
        """Return how many pictures the cache has, and where it lies."""
        return "" if self.cache is None else f"{self.cache.kept():,} of {len(self):,} decoded, in {self.cache.path}"

    def sizes(self) -> str:
        """Return the commonest heights and widths of the files as they are. Cost: looks into at most `LOOKED_AT`."""
        rows = np.unique(np.linspace(0, len(self) - 1, LOOKED_AT).astype(np.int64))
        found = Counter(self._size(row) for row in rows.tolist())
        shown = [f"{size} ({count})" for size, count in found.most_common(SHOWN)]
        more = f" and {len(found) - SHOWN} other sizes" if len(found) > SHOWN else ""
        return next(iter(found)) if len(found) == 1 else f"{', '.join(shown)}{more}, of {len(rows)} looked at"

    def file(self, path: Path) -> Arrays:
        """Return one picture file as inputs like these; raise a DataError where it cannot be read."""
        try:
            pixels = decode(path.read_bytes(), self.form)
        except (OSError, PictureError) as error:
            got = error.strerror or str(error) if isinstance(error, OSError) else str(error)
            want, fix = "a picture or an .npy file", "check the file"
            raise DataError(where=str(path), got=got, want=want, fix=fix) from None
        return Arrays(np.ascontiguousarray(pixels.transpose(2, 0, 1))[None])

    def extremes(self) -> Arrays:
        """Return a black and a white picture as inputs like these."""
        return Arrays(np.stack([np.full(self.form, level, np.uint8) for level in (0, 255)]))

    def _size(self, row: int) -> str:
        try:
            with open(self.paths[row], "rb") as file:
                return " x ".join(map(str, size_of(file)))
        except (OSError, PictureError):
            return "unreadable"

    def _keep(self, row: int, pixels: Pixels) -> None:
        cache = self.cache
        if cache is None:
            return
        try:
            cache.put(row, pixels)
        except OSError as error:
            with _ending:
                ended, self.cache = self.cache, None
            if ended is not None:  # no other thread has said so
                tell(error)


def tell(error: OSError) -> None:
    """Say on standard error that pictures are decoded again in every epoch from now on."""
    line = f"pictures: decoded anew in every epoch, because they cannot be kept ({error.strerror or error})"
    print(f"danlu: {line}", file=sys.stderr, flush=True)
