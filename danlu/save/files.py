"""Single files: written whole or not at all; and JSON that gives back exactly what it was given.

JSON has no inf, no NaN and no tuple. They are written as objects with one reserved key, `{"$float": "nan"}` and
`{"$tuple": [...]}`; a key of the caller's own that begins with "$" gets a second one, so no two values share a text.
"""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from danlu.errors import RunError


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file so that after a crash either the old content or the new one is there, complete.

    Args:
        path: the file; its folder exists.
        content: all of it.

    Raises:
        OSError: the disk is full, or the folder cannot be written to; the old file is as it was.

    Cost:
        two fsyncs, of the file and of its folder.
    """
    temporary = path.parent / f".{path.name}.{os.getpid()}.tmp"
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync(path.parent)


def fsync(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def to_json(value: object, *, indent: int | None = None) -> str:
    """Return plain values as JSON, keys sorted.

    Args:
        value: None, bool, int, float (inf and NaN as well), str, list, tuple, a mapping with str keys, NumPy scalars.
        indent: spaces per level, for files that people read.

    Raises:
        TypeError: anything else, by its place: `state.optimizer[0].hook: a function`.
    """
    return json.dumps(_plain(value, ""), sort_keys=True, allow_nan=False, indent=indent)


def _plain(value: object, where: str) -> object:
    """Return `value` in JSON's own types, what JSON lacks written as an object with a reserved key."""
    if isinstance(value, np.bool_ | np.integer | np.float16 | np.float32 | np.float64 | np.str_):
        value = value.item()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$float": repr(float(value))}
    if isinstance(value, list):
        return [_plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, tuple):
        return {"$tuple": _plain(list(value), where)}
    if isinstance(value, Mapping):
        return {_key(key, where): _plain(item, f"{where}.{key}".lstrip(".")) for key, item in value.items()}
    raise TypeError(
        f"{where or 'value'}: {type(value).__module__}.{type(value).__qualname__} cannot be written as JSON"
    )


def _key(key: object, where: str) -> str:
    if not isinstance(key, str):
        raise TypeError(f"{where or 'value'}: the key {key!r} is no str, and cannot be written as JSON")
    return f"${key}" if key.startswith("$") else str(key)


def from_json(text: str | bytes) -> Any:
    """Return the value that `to_json` wrote.

    Raises:
        ValueError: the text is no JSON, or holds a form that `to_json` never writes.
    """
    return json.loads(text, object_hook=_revive, parse_constant=_refuse_constant)


def _revive(table: dict[str, Any]) -> Any:
    if table.keys() == {"$float"} and table["$float"] in ("inf", "-inf", "nan"):
        return float(table["$float"])
    if table.keys() == {"$tuple"} and isinstance(table["$tuple"], list):
        return tuple(table["$tuple"])
    for key in table:
        if key.startswith("$") and not key.startswith("$$"):
            raise ValueError(f"the reserved key {key!r} holds no form that is known here")
    return {key[1:] if key.startswith("$") else key: item for key, item in table.items()}


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def write_json(path: Path, value: object) -> None:
    """Write `value` as JSON for people and programs to read; the file is whole or as it was."""
    write_atomic(path, (to_json(value, indent=2) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        RunError: the file is missing, unreadable or damaged.
    """
    try:
        return from_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise damaged(path, error, "a JSON file") from None


def damaged(path: Path, error: Exception, want: str) -> RunError:
    """Build the error for a file that is missing or cannot be read."""
    got = "no such file" if isinstance(error, FileNotFoundError) else str(error) or type(error).__name__
    if isinstance(error, OSError) and error.strerror and not isinstance(error, FileNotFoundError):
        got = error.strerror
    return RunError(where=str(path), got=got, want=want, fix="restore the file from a copy, or use another one")
