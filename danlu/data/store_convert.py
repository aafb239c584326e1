"""Writing a stored set, whole or not at all, and going on where a conversion was killed."""

import fcntl
import itertools
import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, final

import msgspec
import numpy as np
from torch import Tensor

from danlu.data.batching import batches
from danlu.data.dataset import Loader, Samples
from danlu.data.download import sync
from danlu.data.given import as_data
from danlu.data.sets import Data
from danlu.data.source import Arrays, Ids, Source
from danlu.data.store_reader import Bytes, Reader, as_bytes
from danlu.data.store_schema import CHECK_BYTES, SCHEMA, VERSION, Column, Schema, described
from danlu.device import version_of
from danlu.errors import DataError

CHUNK_BYTES = 8 << 20  # bytes that are fetched and written at once
PROBES = 5  # samples of an unfinished conversion that are compared with the source
LOCK = "converting.lock"

Progress = Callable[[int, int], None]  # rows that are done, and rows in all


def convert(data: object, folder: str | Path, *, progress: Progress | None = None) -> Path:
    """Write data as a stored set, which `danlu.data.stored` opens; return its folder.

    It is written beside its place, and moved there once it is whole. A conversion that was interrupted goes on when
    it is started again: what is written already is checked against its checksums, and against the source.

    Args:
        data: whatever `danlu.data.as_data` takes, but a `DataLoader`. Each sample of a `Dataset` is fetched once,
            besides a few that are looked at first; a stored set holds what `danlu.data.Arrays` of them would.
        folder: the new set's; there must be nothing yet.
        progress: called with the rows that are done and the rows in all.

    Raises:
        DataError: the folder is taken, samples differ or cannot be fetched, or an unfinished conversion of other data.
    """
    place = Path(folder)
    checked = as_data(data)
    if os.path.lexists(place):
        want, fix = "a folder that is not there yet", "choose another one, or remove it"
        raise DataError(where=str(place), got="something that is there already", want=want, fix=fix)
    schema = _planned(checked, place.name)
    part = place.parent / f".{place.name}.part"
    try:
        part.mkdir(parents=True, exist_ok=True)
        with ExitStack() as held:
            _lock(part, held)
            _write(checked, schema, part, progress or _silent)
            (part / LOCK).unlink()
            part.rename(place)
            sync(place.parent)
    except OSError as error:
        got, want = error.strerror or str(error), "a disk that takes the set"
        fix = "mend it and start again: the conversion goes on where it stopped"
        raise DataError(where=str(error.filename or part), got=got, want=want, fix=fix) from error
    return place


def _silent(done: int, rows: int) -> None:
    """Stand for a progress that nobody shows."""


def _lock(part: Path, held: ExitStack) -> None:
    file = held.enter_context((part / LOCK).open("w"))
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        got, want = "another process that converts into it", "one at a time"
        raise DataError(where=str(part), got=got, want=want, fix="wait for it, or choose another folder") from None


def _planned(data: Data, name: str) -> Schema:
    """Return the schema of what will be written; a DataError where the sets do not fit together."""
    if data.weights is not None:
        want, fix = (
            "data without weights",
            "leave them out, and give them again: dataclasses.replace(data, weights=...)",
        )
        raise DataError(where="weights", got="weights of training samples", want=want, fix=fix)
    first = {part: next(_chunks(source, 0, 1)) for part, source in data.sets().items()}
    columns = described(first["train"])
    for part, other in first.items():
        if described(other) != columns or other.keys != first["train"].keys:
            got, want = _shown(described(other)), f"the training set's columns: {_shown(columns)}"
            raise DataError(where=part, got=got, want=want, fix="give all sets the same shapes, types and scales")
    ends = list(itertools.accumulate(len(source) for source in data.sets().values()))
    keys = first["train"].keys
    return Schema(
        format="danlu stored data",
        version=VERSION,
        danlu=version_of("danlu"),
        name=data.name if data.name != "data" else name,
        about=data.about,
        classes=list(data.classes),
        keys=list(keys) if isinstance(keys, tuple) else keys,
        samples=ends[-1],
        block_rows=max(1, CHECK_BYTES // sum(column.row_bytes for column in columns)),
        sets=dict(zip(data.sets(), zip([0, *ends], ends, strict=False), strict=True)),
        columns=columns,
    )


def _shown(columns: list[Column]) -> str:
    return ", ".join(f"{column.name} ({column.dtype}, {tuple(column.shape)})" for column in columns)


def _write(data: Data, schema: Schema, part: Path, progress: Progress) -> None:
    """Write what is missing in the part, and see to it that all is on the disk."""
    planned = msgspec.json.format(msgspec.json.encode(schema), indent=2) + b"\n"
    note = part / f"{SCHEMA}.planned"
    if note.exists() and note.read_bytes() != planned:
        raise _other(part, "an unfinished conversion of other data")
    if not note.exists():
        note.write_bytes(planned)
        sync(note)
    with ExitStack() as held:
        files = [_ColumnFile(part, column, schema, held) for column in schema.columns]
        blocks = min(file.sound_blocks(progress) for file in files)
        for file in files:
            file.cut(blocks)
        done = min(blocks * schema.block_rows, schema.samples)
        _compare(data, schema, part, done)
        for chunk in _from(data, schema, done):
            for file, tensor in zip(files, chunk, strict=True):
                file.write(as_bytes(tensor.contiguous()))
            done += len(chunk[0])
            progress(done, schema.samples)
        for file in files:
            file.finish()
    note.rename(part / SCHEMA)
    sync(part)


def _other(part: Path, got: str) -> DataError:
    want, fix = "the beginning of this conversion", f"remove {part} to begin anew, or give the same source"
    return DataError(where=str(part), got=got, want=want, fix=fix)


@final
class _ColumnFile:
    """One column's file and that of its checksums, while they grow."""

    def __init__(self, part: Path, column: Column, schema: Schema, held: ExitStack) -> None:
        self._row_bytes, self._block_bytes = column.row_bytes, column.row_bytes * schema.block_rows
        self._all_bytes, self._rows = schema.samples * column.row_bytes, schema.samples
        self._paths = part / column.file, part / f"{column.file}.crc32"
        self._numbers, self._checksums = (held.enter_context(_unbuffered(path)) for path in self._paths)
        self._pending = bytearray()

    def sound_blocks(self, progress: Progress) -> int:
        """Return how many blocks from the first on are written whole, by their checksums."""
        known = np.fromfile(self._paths[1], dtype="<u4")
        done, block = 0, memoryview(bytearray(self._block_bytes))
        self._numbers.seek(0)
        for checksum in known.tolist():
            wanted = min(self._block_bytes, self._all_bytes - done * self._block_bytes)
            if (
                wanted <= 0
                or self._numbers.readinto(block[:wanted]) != wanted
                or zlib.crc32(block[:wanted]) != checksum
            ):
                break
            done += 1
            if done % 1024 == 0:
                progress(min(done * self._block_bytes // self._row_bytes, self._rows), self._rows)
        return done

    def cut(self, blocks: int) -> None:
        """Leave so many blocks, and write on behind them."""
        self._numbers.truncate(min(blocks * self._block_bytes, self._all_bytes))
        self._checksums.truncate(4 * blocks)
        for file in (self._numbers, self._checksums):
            file.seek(0, os.SEEK_END)

    def write(self, rows: Bytes) -> None:
        """Add rows."""
        self._pending += rows.data.cast("B")
        self._put(len(self._pending) // self._block_bytes * self._block_bytes)

    def finish(self) -> None:
        """Add what is left, and wait until all is on the disk."""
        self._put(len(self._pending))
        for file in (self._numbers, self._checksums):
            os.fsync(file.fileno())

    def _put(self, size: int) -> None:
        ready = bytes(memoryview(self._pending)[:size])
        del self._pending[:size]
        parts = (ready[first : first + self._block_bytes] for first in range(0, size, self._block_bytes))
        checksums = np.array([zlib.crc32(part) for part in parts], dtype="<u4").tobytes()
        for file, content in ((self._numbers, ready), (self._checksums, checksums)):
            rest = memoryview(content)
            while len(rest):
                rest = rest[file.write(rest) or 0 :]


def _unbuffered(path: Path) -> Any:
    """Open a file to read and write, whatever it holds; never through a link."""
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644), "r+b", buffering=0)


def _compare(data: Data, schema: Schema, part: Path, done: int) -> None:
    """Refuse to go on behind rows that the source does not have."""
    if not done:
        return
    reader = Reader(part, schema)
    try:
        for row in np.unique(np.linspace(0, done - 1, PROBES).astype(np.int64)).tolist():
            written = reader.read(np.array([row], dtype=np.int64))
            own = next(_from(data, schema, row, size=1))
            if any(as_bytes(a).tobytes() != as_bytes(b).tobytes() for a, b in zip(written, own, strict=True)):
                raise _other(part, f"an unfinished conversion of other data: row {row} is another one")
    finally:
        reader.close()


def _from(data: Data, schema: Schema, row: int, *, size: int | None = None) -> Iterator[list[Tensor]]:
    """Yield the columns of all sets from a row on, in chunks."""
    size = size or max(1, CHUNK_BYTES // schema.row_bytes)
    for part, source in data.sets().items():
        first, stop = schema.sets[part]
        if row < stop:
            for chunk in _chunks(source, max(0, row - first), size):
                _check_form(part, chunk, schema)
                yield list(chunk.stored().values())


def _check_form(part: str, chunk: Arrays, schema: Schema) -> None:
    columns = described(chunk)
    if columns != schema.columns:
        got, want = _shown(columns), f"samples like the first: {_shown(schema.columns)}"
        raise DataError(where=part, got=got, want=want, fix="give all samples the same shape and type")


def _chunks(source: Source, start: int, size: int) -> Iterator[Arrays]:
    """Yield samples from `start` on as arrays, up to `size` at a time."""
    lists = (np.arange(first, min(first + size, len(source))) for first in range(start, len(source), size))
    if isinstance(source, Samples):
        yield from _fetched(source, lists, size)
        return
    if isinstance(source, Loader):
        source.in_memory()  # refuses
    for ids in lists:
        yield source.in_memory(int(ids[0]), int(ids[-1]) + 1)


def _fetched(source: Samples, lists: Iterator[Ids], size: int) -> Iterator[Arrays]:
    """Yield samples of a `Dataset`, none of which may be left out."""
    source = source.refusing() if source.policy.action == "skip" else source
    made = batches(source.unscaled(), min(size, len(source)))
    try:
        for inputs, target in made.visit(0, lists):
            yield Arrays(inputs if not isinstance(inputs, Mapping) else dict(inputs), target)
    finally:
        made.close()
