"""One safetensors file, anybody's: its arrays by name. Its header is not believed until every number in it is checked.

Source: the format's description, https://github.com/huggingface/safetensors (8 bytes for the header's length, the
header as JSON, then the numbers).
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np

from danlu.save.files import damaged, once_each

Array = np.ndarray[Any, np.dtype[Any]]

HEADER_BYTES_MAX = 100_000_000  # what the format allows
_TYPES = {
    **{f"{code}{bits}": f"{name}{bits}" for code, name in (("I", "int"), ("U", "uint")) for bits in (8, 16, 32, 64)},
    **{f"F{bits}": f"float{bits}" for bits in (16, 32, 64)},
    **{"BF16": "bfloat16", "C64": "complex64", "BOOL": "bool"},
}


@final
@dataclass(frozen=True)
class Stored:
    """What a safetensors file holds.

    Fields:
        arrays: by name; bfloat16, which NumPy does not have, as float32, which holds each of its numbers.
        dtypes: by name, as they are stored: "float16", "bfloat16".
        metadata: the texts beside them.
    """

    arrays: dict[str, Array]
    dtypes: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)


def read_tensors(path: Path, want: str = "a safetensors file") -> Stored:
    """Read a safetensors file.

    Raises:
        RunError: it is missing, no plain file, damaged, or its header lies.

    Cost:
        one read of the file; bfloat16 takes twice the memory.
    """
    from safetensors import SafetensorError, safe_open

    try:
        if path.exists() and not path.is_file():
            raise ValueError("something that is no plain file")
        start, header = _header(path)
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}  # safetensors has checked lengths, offsets and sizes by now
            dtypes = {name: _known_type(entry["dtype"], name) for name, entry in header.items()}
            arrays = {
                name: _widened(path, start, header[name]) if dtype == "bfloat16" else file.get_tensor(name)
                for name, dtype in dtypes.items()
            }
    except (OSError, ValueError, SafetensorError, RecursionError, MemoryError) as error:
        raise damaged(path, error, want) from None
    return Stored(arrays, dtypes, metadata)


def _header(path: Path) -> tuple[int, dict[str, Any]]:
    """Return where the numbers begin and what the header says; safetensors itself lets a name stand there twice."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(HEADER_BYTES_MAX, path.stat().st_size):
            raise ValueError(f"a header that says it is {length} bytes long")
        header = json.loads(file.read(length), object_pairs_hook=once_each)
    if not isinstance(header, dict):
        raise ValueError("a header that is no table of names")
    header.pop("__metadata__", None)
    return 8 + length, header


def _known_type(code: str, name: str) -> str:
    if code not in _TYPES:
        raise ValueError(f"{name}, a tensor of {code}, which NumPy has no type for")
    return _TYPES[code]


def _widened(path: Path, start: int, entry: dict[str, Any]) -> Array:
    """Read bfloat16 as float32: its bits are the upper half of a float32's."""
    first, end = entry["data_offsets"]
    halves = np.fromfile(path, "<u2", (end - first) // 2, offset=start + first)
    return (halves.astype(np.uint32) << 16).view(np.float32).reshape(entry["shape"])
