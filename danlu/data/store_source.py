"""A stored set as a source: its samples lie in a folder, and are read into memory whole, or as they are needed."""

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from danlu.data.bad import BadPolicy
from danlu.data.block_order import WINDOW
from danlu.data.columns import Columns
from danlu.data.given import as_data
from danlu.data.sets import Data
from danlu.data.source import Arrays, Ids, Source, checked_ids, normalised_columns
from danlu.data.split import Share, Stratify
from danlu.data.store_reader import DamagedBlockError, Reader
from danlu.data.store_schema import read_schema
from danlu.device import memory_available
from danlu.errors import DataError
from danlu.recipe import Normalise

MEMORY_SHARE = 0.5  # a set that takes no more than this share of the memory that is to be had is read whole
WINDOW_BYTES = 128 << 20  # what a block shuffle shuffles together; two of these are in memory
RANDOM_BYTES = 1 << 16  # rows this large are as fast to read one by one, so that no block shuffle is needed
TARGET_BYTES = 1 << 28  # targets up to this size are known without fetching samples
PIECE_ROWS = 1 << 16  # rows that are read at once where all are read


@final
class Folder:
    """An open stored set, which its parts share, and whether it fits in memory, decided once for each device."""

    def __init__(self, reader: Reader, memory_bytes: int | None) -> None:
        self.reader, self._memory_bytes = reader, memory_bytes
        self._fits: dict[str, bool] = {}

    def fits(self, device: torch.device) -> bool:
        """Return whether the whole set may be read into the memory of a device.

        The rule: it takes at most `memory_bytes`, or where none are given half of what is to be had there now.
        """
        schema = self.reader.schema
        if str(device) not in self._fits:
            limit = self._memory_bytes
            limit = int(MEMORY_SHARE * memory_available(device)) if limit is None else limit
            self._fits[str(device)] = schema.samples * schema.row_bytes <= limit
        return self._fits[str(device)]


@final
class Stored(Source):
    """Samples of a stored set. `danlu.data.stored` opens one.

    Fields:
        folder: the set's files, shared by its parts.
        columns: no rows, but names, types, shapes and rules.
        rows: the rows that these samples are; a range where they lie side by side.
        policy: what becomes of samples in damaged blocks.
        normalise: what `normalised` added to the rules.
    """

    def __init__(self, folder: Folder, rows: range, *, window_bytes: int = WINDOW_BYTES) -> None:
        schema = folder.reader.schema
        self.folder, self.columns = folder, schema.template()
        self.keys, self.has_target = schema.input_keys(), schema.has_target
        self.rows: range | Ids = rows
        self.policy = BadPolicy()
        self.normalise: Normalise | None = None
        self._window_bytes = window_bytes
        self._held: dict[str, Any] = {}  # what was read once, shared by copies of the same samples

    def __len__(self) -> int:
        """Return how many samples there are."""
        return len(self.rows)

    @property
    def row_bytes(self) -> int:
        """Return the bytes of one sample on disk."""
        return self.folder.reader.schema.row_bytes

    def rows_of(self, ids: Ids) -> Ids:
        """Return the rows of the files that samples are."""
        return ids + self.rows.start if isinstance(self.rows, range) else self.rows[ids]

    def targets(self) -> npt.NDArray[Any] | None:
        """Return the targets as stored, where there is one number for each sample and they take at most 256 MiB.

        Raises:
            DataError: a block of them is damaged.
        """
        column = self.folder.reader.schema.columns[-1]
        if not self.has_target or column.row_bytes * len(self) > TARGET_BYTES or int(np.prod(column.shape)) != 1:
            return None
        if "targets" not in self._held:
            tensor = self._column(len(self.columns.names) - 1)
            self._held["targets"] = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
        return self._held["targets"]  # type: ignore[no-any-return]

    def take(self, ids: npt.ArrayLike) -> "Stored":
        """Return the samples `ids`; nothing is read."""
        numbers = checked_ids(ids, len(self))
        side_by_side = len(numbers) == numbers[-1] - numbers[0] + 1 and bool((np.diff(numbers) == 1).all())
        rows: range | Ids = self.rows_of(numbers)
        if side_by_side and isinstance(self.rows, range):
            rows = self.rows[int(numbers[0]) : int(numbers[-1]) + 1]
        return self._copy(rows=rows, _held={})

    def block_samples(self) -> int:
        """Return how many neighbours a block shuffle keeps together."""
        return max(1, self._window_bytes // WINDOW // self.row_bytes)

    def needs_blocks(self, device: torch.device) -> bool:
        """Return whether a shuffle of single samples would be slow: they are small, and do not fit in memory."""
        return self.row_bytes < RANDOM_BYTES and not self.folder.fits(device)

    def resident(self, device: torch.device) -> Arrays | None:
        """Return these samples as arrays; None where they do not fit, or where damaged ones have to be passed over.

        Raises:
            DataError: a damaged block, and no sample may be bad.
        """
        if not self.folder.fits(device):
            return None
        if "arrays" not in self._held:
            arrays = self._read_all(range(len(self)))
            damaged = self._damaged()
            if damaged is not None and self.policy.action != "raise":
                return None
            self._refuse(damaged)
            self._held["arrays"] = arrays
        held: Arrays = self._held["arrays"]
        return held if self.normalise is None else held.normalised(self.normalise)

    def in_memory(self, start: int = 0, stop: int | None = None) -> Arrays:
        """Return samples [start, stop) as arrays; a DataError where a block is damaged."""
        arrays = self._read_all(range(len(self))[start:stop])
        self._refuse(self._damaged(slice(start, stop)))
        return arrays if self.normalise is None else arrays.normalised(self.normalise)

    def normalised(self, by: Normalise) -> "Stored":
        """Return the same samples with their inputs normalised, after whatever their rule does already."""
        return self._copy(normalise=by, columns=normalised_columns(self.columns, self.keys, by))

    def refusing(self) -> "Stored":
        """Return the same samples, none of which may be bad."""
        return self._copy(policy=BadPolicy())

    def skipping(self) -> "Stored":
        """Return the same samples, of which the bad ones are left out where others would take their place."""
        kept = self.policy.action == "raise"
        return self._copy(policy=self.policy if kept else replace(self.policy, action="skip", least=0))

    def with_policy(self, policy: BadPolicy) -> "Stored":
        """Return the same samples under another policy for those in damaged blocks."""
        return self._copy(policy=policy)

    def check_whole(self) -> None:
        """Raise a DataError where a file was cut off and no sample may be bad."""
        reader = self.folder.reader
        if reader.short and self.policy.action == "raise":
            path, column = reader.folder / reader.short[0], {c.file: c for c in reader.schema.columns}[reader.short[0]]
            rows = path.stat().st_size // column.row_bytes
            raise DataError(
                where=str(path),
                got=f"a file that was cut off after row {rows - 1} of {reader.schema.samples}",
                want="the whole file",
                fix="restore it from a copy, or convert again; to use what is left, set bad_samples and bad_quota",
            )

    def _copy(self, **changed: Any) -> "Stored":
        part = copy.copy(self)
        for name, value in changed.items():
            setattr(part, name, value)
        return part

    def _column(self, index: int) -> Tensor:
        """Return one column of all samples; a DataError where a block is damaged."""
        tensor = self.folder.reader.empty(len(self), index)
        for ids in np.array_split(np.arange(len(self)), -(-len(self) // PIECE_ROWS)):
            self.folder.reader.read_into(index, self.rows_of(ids), tensor[int(ids[0]) : int(ids[-1]) + 1])
        self._refuse(self._damaged(found=self.folder.reader.damaged_in[index]))
        return tensor

    def _read_all(self, ids: range) -> Arrays:
        """Read samples whole, a piece at a time, whether they are damaged or not."""
        reader, pieces = self.folder.reader, -(-len(ids) // PIECE_ROWS)
        tensors = [reader.empty(len(ids), index) for index in range(len(self.columns.names))]
        for part in np.array_split(np.arange(ids.start, ids.stop), max(1, pieces)):
            place = slice(int(part[0]) - ids.start, int(part[-1]) + 1 - ids.start)
            for index, tensor in enumerate(tensors):
                reader.read_into(index, self.rows_of(part), tensor[place])
        rules = reader.schema.template().rules
        columns = Columns(self.columns.names, tuple(tensors), rules)
        return Arrays.made(columns, self.keys, has_target=self.has_target)

    def _damaged(
        self, part: slice = slice(None), found: Mapping[int, DamagedBlockError] | None = None
    ) -> DamagedBlockError | None:
        """Return the first block that was found damaged and holds some of these samples, or None."""
        rows, size = self.rows[part], self.folder.reader.schema.block_rows
        found = self.folder.reader.damaged if found is None else found
        for block in sorted(found):
            low, high = block * size, (block + 1) * size
            if isinstance(rows, range):
                hit = rows.start < high and low < rows.stop
            else:
                hit = bool(((rows >= low) & (rows < high)).any())
            if hit:
                return found[block]
        return None

    def _refuse(self, damage: DamagedBlockError | None) -> None:
        if damage is not None:
            fix = "restore it from a copy, or convert again; `danlu data verify FOLDER` looks through all of it"
            raise DataError(where=damage.filename, got=damage.text, want="sound blocks", fix=fix)


def stored(
    folder: str | Path,
    *,
    valid: Share = "default",
    stratify: Stratify = "default",
    seed: int = 0,
    memory_bytes: int | None = None,
    window_bytes: int = WINDOW_BYTES,
) -> Data:
    """Return `Data` of a folder that `convert` wrote. Nothing is read but its schema, and targets to stratify by.

    Args:
        folder: the set's.
        valid: a share of the training samples to hold out, where the set has no validation set of its own.
        stratify: as for `as_data`.
        seed: another seed, another cut.
        memory_bytes: a larger set is read from disk as it is needed; None: half of the memory that is to be had.
        window_bytes: what a block shuffle shuffles together.

    Raises:
        DataError: no stored set, a newer format, a file that is missing or cannot be read.
    """
    _checked_bytes(memory_bytes=memory_bytes, window_bytes=window_bytes)
    schema = read_schema(Path(folder))
    shared = Folder(Reader(Path(folder), schema), memory_bytes)
    sets = {name: Stored(shared, range(*span), window_bytes=window_bytes) for name, span in schema.sets.items()}
    train, test = sets.pop("train"), sets.pop("test", None)
    data = Data(train, {**sets}, test, schema.name, tuple(schema.classes), {}, schema.about)
    return as_data(data, valid=valid, stratify=stratify, seed=seed)


def _checked_bytes(**given: int | None) -> None:
    for name, number in given.items():
        if number is not None and (not isinstance(number, int) or isinstance(number, bool) or number < 0):
            raise DataError(where=name, got=number, want="a number of bytes >= 0", fix=f"set {name} to a whole number")
