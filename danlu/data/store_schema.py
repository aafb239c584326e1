"""What `schema.json` of a stored set says, and reading and checking it; nothing in the folder can execute.

A stored set is a folder: one raw file for each column (little-endian numbers, sample after sample, nothing else),
beside it a file of checksums (a CRC-32 of each block of `block_rows` rows, 4 bytes each), and `schema.json`.
"""

import json
import math
import stat
from pathlib import Path
from typing import Annotated, Any, Literal, final

import msgspec
import torch
from msgspec import Meta

from danlu.data.columns import Columns, Rule, per_channel
from danlu.data.source import Arrays, Keys
from danlu.errors import DataError

SCHEMA = "schema.json"
FORMAT, VERSION = "danlu stored data", 1
CHECK_BYTES = 1 << 16  # bytes of a block that has one checksum; larger rows have one each
LARGEST = 1 << 26  # bytes of a schema.json that is read
DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        *(torch.uint8, torch.bool, torch.int8, torch.int16, torch.int32, torch.int64),
        *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
    )
}
Count = Annotated[int, Meta(ge=1, lt=2**62)]
Whole = Annotated[int, Meta(ge=0, lt=2**62)]


@final
class Column(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One column: what it is called, where it lies, and the rule that turns stored numbers into a model's.

    Fields:
        name: what messages call it.
        file: its file's name; the checksums are in the file of that name with ".crc32" behind it.
        role: "input" or "target".
        dtype: the type of a number.
        shape: of one row.
        becomes: the type that a model gets.
        scale, mean, std: a model gets (number * scale - mean) / std.
    """

    name: str
    file: str
    role: Literal["input", "target"]
    dtype: str
    shape: list[Count]
    becomes: Literal["float", "int64"]
    scale: float = 1.0
    mean: list[float] | None = None
    std: list[float] | None = None

    @property
    def row_bytes(self) -> int:
        """Return the bytes of one row."""
        return math.prod(self.shape) * DTYPES[self.dtype].itemsize


@final
class Schema(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """All of `schema.json`.

    Fields:
        danlu: the version that wrote it.
        name, about, classes: as in `Data`.
        keys: how input columns form a model's inputs: by name, as a tuple of so many, or alone.
        samples: rows of every column.
        block_rows: rows that share a checksum.
        sets: first row and the row after the last one of "train", the validation sets, and "test".
        columns: the inputs, then the target if there is one.
    """

    format: Literal["danlu stored data"]
    version: int
    danlu: str
    name: str
    about: str
    classes: list[str]
    keys: list[str] | int | None
    samples: Count
    block_rows: Count
    sets: dict[str, tuple[Whole, Whole]]
    columns: list[Column]

    @property
    def row_bytes(self) -> int:
        """Return the bytes of one row of all columns."""
        return sum(column.row_bytes for column in self.columns)

    @property
    def blocks(self) -> int:
        """Return how many blocks a column has."""
        return -(-self.samples // self.block_rows)

    @property
    def has_target(self) -> bool:
        """Return whether the last column is a target."""
        return self.columns[-1].role == "target"

    def input_keys(self) -> Keys:
        """Return `keys` as sources have it."""
        return tuple(self.keys) if isinstance(self.keys, list) else self.keys

    def template(self) -> Columns:
        """Return columns without a row, in the stored types, with their rules."""
        empty = [torch.empty(0, *column.shape, dtype=DTYPES[column.dtype]) for column in self.columns]
        rules = [_rule(*pair) for pair in zip(self.columns, empty, strict=True)]
        return Columns(tuple(column.name for column in self.columns), tuple(empty), tuple(rules))


def described(arrays: Arrays) -> list[Column]:
    """Return how the columns of arrays are stored.

    Raises:
        DataError: a rule or a type that the format does not know, or rows without a number.
    """
    made = []
    for index, (name, tensor, rule) in enumerate(
        zip(arrays.columns.names, arrays.columns.tensors, arrays.columns.rules, strict=True)
    ):
        if not math.prod(tensor.shape[1:]):
            raise DataError(where=name, got="rows without a number", want="at least one", fix="leave the column out")
        letters = "".join(c if c.isascii() and c.isalnum() else "-" for c in name).strip("-")
        made.append(
            Column(
                name=name,
                file=f"{index:02d}-{letters[:40]}.bin",
                role="target" if arrays.has_target and index == len(arrays.columns.names) - 1 else "input",
                dtype=str(tensor.dtype).removeprefix("torch."),
                shape=list(tensor.shape[1:]),
                becomes="float" if rule.dtype is None else "int64",
                scale=rule.scale,
                mean=None if rule.mean is None else rule.mean.flatten().tolist(),
                std=None if rule.std is None else rule.std.flatten().tolist(),
            )
        )
    return made


def is_stored(name: str | Path) -> bool:
    """Return whether there is a folder of that name with a `schema.json`."""
    return (Path(name) / SCHEMA).is_file()


def read_schema(folder: Path) -> Schema:
    """Read and check a folder's `schema.json`.

    Raises:
        DataError: none, unreadable, damaged, of a newer danlu, or one that contradicts itself.
    """
    path = folder / SCHEMA
    if not path.parent.is_dir():
        raise DataError(where=str(folder), got="no such folder", want="a stored data set", fix="check the path")
    if not path.exists():
        fix = "check the path; `danlu data convert SOURCE FOLDER` makes one"
        raise DataError(where=str(folder), got=f"a folder without {SCHEMA}", want="a stored data set", fix=fix)
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError(f"{path.stat().st_size:,} bytes")
        tree = json.loads(path.read_bytes())
        _check_version(path, tree)
        return _checked(msgspec.convert(tree, Schema))
    except (OSError, ValueError, msgspec.ValidationError, RecursionError) as error:
        got = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
        fix = "make it readable" if isinstance(error, PermissionError) else "restore it from a copy, or convert again"
        raise DataError(where=str(path), got=got, want="the schema of a stored set", fix=fix) from None


def plain_file(path: Path) -> int:
    """Return the size of a set's own file; a DataError where it is missing, or no plain file."""
    try:
        found = path.lstat()
    except OSError as error:
        got = "no such file" if isinstance(error, FileNotFoundError) else str(error.strerror)
        fix = "restore it from a copy, or convert again"
        raise DataError(where=str(path), got=got, want="a file of the stored set", fix=fix) from None
    if not stat.S_ISREG(found.st_mode):
        want, fix = "a plain file", "copy what it points at into the folder"
        raise DataError(where=str(path), got="a link, a folder or a device", want=want, fix=fix)
    return found.st_size


def _check_version(path: Path, tree: Any) -> None:
    if not isinstance(tree, dict) or tree.get("format") != FORMAT:
        want, fix = f'"format": "{FORMAT}"', "check the path; `danlu data convert SOURCE FOLDER` makes a stored set"
        raise DataError(where=str(path), got="another kind of file", want=want, fix=fix)
    version = tree.get("version")
    if version != VERSION:
        newer = isinstance(version, int) and version > VERSION
        fix = "use a newer danlu, or convert again with this one" if newer else "convert again"
        got = f"version {version} of the format" + (", which is newer than this danlu" if newer else "")
        raise DataError(where=str(path), got=got, want=f"version {VERSION}", fix=fix)


def _checked(schema: Schema) -> Schema:
    """Return a schema; `ValueError` where it contradicts itself, or names files outside of its folder."""
    names = [column.file for column in schema.columns]
    if not schema.columns or len(set(names)) < len(names):
        raise ValueError("no columns, or two in one file")
    for column in schema.columns:
        if column.dtype not in DTYPES:
            raise ValueError(f"columns: {column.name} has the unknown type {column.dtype!r}")
        if Path(column.file).name != column.file or column.file in (SCHEMA, "", ".", ".."):
            raise ValueError(f"columns: the file {column.file!r}, which is no name of a file in this folder")
    roles = [column.role for column in schema.columns]
    inputs = roles.count("input")
    wanted = 1 if schema.keys is None else schema.keys if isinstance(schema.keys, int) else len(schema.keys)
    if inputs != wanted or "target" in roles[:-1]:
        raise ValueError(f"keys for {wanted} inputs, and columns with the roles {', '.join(roles)}")
    if "train" not in schema.sets or any(not 0 <= a < b <= schema.samples for a, b in schema.sets.values()):
        raise ValueError(f"sets that are no parts of {schema.samples} rows, or no training set")
    schema.template()
    return schema


def _rule(column: Column, empty: torch.Tensor) -> Rule:
    mean = per_channel(f"mean of {column.name}", column.mean, empty)
    std = per_channel(f"std of {column.name}", column.std, empty)
    return Rule(torch.int64 if column.becomes == "int64" else None, column.scale, mean, std)
