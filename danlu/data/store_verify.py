"""Checking a whole stored set against its checksums."""

from collections.abc import Callable
from pathlib import Path

from danlu.data.store_reader import Reader
from danlu.data.store_schema import read_schema

PIECE_BYTES = 8 << 20  # bytes that are checked between two calls of `progress`


def verify(folder: str | Path, *, progress: Callable[[int, int], None] | None = None) -> list[str]:
    """Check every block of a stored set; return what is wrong, a line for each damaged block, none where all is sound.

    Args:
        folder: the set's.
        progress: called with the rows that are done and the rows in all.

    Raises:
        DataError: no stored set, or a file that is missing or cannot be read.

    Cost:
        reads all of it once; memory for 8 MB.
    """
    schema = read_schema(Path(folder))
    reader = Reader(Path(folder), schema)
    step = max(1, PIECE_BYTES // (schema.row_bytes * schema.block_rows))
    found = []
    try:
        for first in range(0, schema.blocks, step):
            blocks = range(first, min(first + step, schema.blocks))
            found += reader.verify(blocks)
            if progress is not None:
                progress(min(blocks.stop * schema.block_rows, schema.samples), schema.samples)
    finally:
        reader.close()
    return found
