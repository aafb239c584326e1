"""Single files: written whole or not at all; and JSON that gives back exactly what it was given.

JSON has no inf, no NaN and no tuple. They are written as objects with one reserved key, `{"$float": "nan"}` and
`{"$tuple": [...]}`; a key of the caller's own that begins with "$" gets a second one, so no two values share a text.
"""

import hashlib
import json
import math
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from danlu.errors import RunError

PART_BYTES = 1 << 24


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
        temporary.unlink(missing_ok=True)
        with temporary.open("xb") as file:  # never through a link that lies there
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
        ValueError: the text is no JSON, or holds a form that `to_json` never writes: a key twice, 1e999, NaN.
    """
    try:
        return json.loads(text, object_pairs_hook=_revive, parse_constant=_refuse, parse_float=_finite)
    except RecursionError:
        raise ValueError("lists or objects too deep inside each other") from None


def once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object's keys and values as a dict; raise `ValueError` where it has a key twice."""
    table = dict(pairs)
    if len(table) < len(pairs):
        twice = next(key for index, (key, _) in enumerate(pairs) if key in dict(pairs[:index]))
        raise ValueError(f"the key {twice!r} twice")
    return table


def _revive(pairs: list[tuple[str, Any]]) -> Any:
    table = once_each(pairs)
    if table.keys() == {"$float"} and table["$float"] in ("inf", "-inf", "nan"):
        return float(table["$float"])
    if table.keys() == {"$tuple"} and isinstance(table["$tuple"], list):
        return tuple(table["$tuple"])
    for key in table:
        if key.startswith("$") and not key.startswith("$$"):
            raise ValueError(f"the reserved key {key!r} holds no form that is known here")
    return {key[1:] if key.startswith("$") else key: item for key, item in table.items()}


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text}, a number that no float holds")
    return number


def write_json(path: Path, value: object) -> None:
    """Write `value` as JSON for people and programs to read; the file is whole or as it was."""
    write_atomic(path, (to_json(value, indent=2) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        RunError: the file is missing, unreadable, damaged or no plain file.
    """
    try:
        return from_json(plain(path, "a JSON file").read_bytes())
    except (OSError, ValueError) as error:
        raise damaged(path, error, "a JSON file") from None


def plain(path: Path, want: str) -> Path:
    """Return the path of a run's own file.

    Raises:
        RunError: it is missing or no plain file: a link may lead out of the run, a pipe would be waited for in vain.
    """
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise ValueError("something that is no plain file")
    except (OSError, ValueError) as error:
        raise damaged(path, error, want) from None
    return path


def sha256_of(path: Path) -> str:
    """Return a file's checksum, read in large parts: each part costs two turns of the interpreter lock."""
    digest, part = hashlib.sha256(), memoryview(bytearray(min(PART_BYTES, path.stat().st_size)))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(part):
            digest.update(part[:count])
    return digest.hexdigest()


def damaged(path: Path, error: Exception, want: str) -> RunError:
    """Build the error for a file that is missing or cannot be read."""
    got = "no such file" if isinstance(error, FileNotFoundError) else str(error) or type(error).__name__
    if isinstance(error, OSError) and error.strerror and not isinstance(error, FileNotFoundError):
        got = error.strerror
    return RunError(where=str(path), got=got, want=want, fix="restore the file from a copy, or use another one")
