"""The IDX format (MNIST and its relatives): a magic number, the sizes, then the numbers; gzip or plain.

Source: the format's description on the MNIST page (Y. LeCun, C. Cortes): two zero bytes, one byte for the data type,
one for the number of dimensions, the sizes as big-endian 32-bit integers, then the data, big-endian, the last index
fastest.
"""

import hashlib
import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from danlu.errors import DataError

DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
BLOCK_BYTES = 1 << 18
_GZIP = b"\x1f\x8b"
_DEFLATE_RATIO_MAX = 1032  # no deflate stream grows by more (zlib's technical notes)


def read_idx(path: str | Path, *, sha256: str | None = None) -> npt.NDArray[Any]:
    """Read one IDX file.

    Args:
        path: the file; gzip is recognised by its content, not by its name.
        sha256: what the uncompressed content must hash to, as 64 hexadecimal digits; None asks for nothing.

    Returns:
        a writable array in the machine's byte order, with the shape and data type that the file states.

    Raises:
        DataError: not an IDX file, unknown data type, cut short, too long, damaged, or another hash than asked for.

    Cost:
        memory for the array and one block; the file is streamed.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(where=str(path), got="no such file", want="an IDX file", fix="check the path")
    digest = hashlib.sha256()
    content = blocks(path)
    held, shape, dtype = _header(path, content, digest)
    _check_possible(path, math.prod(shape) * dtype.itemsize)
    array = np.empty(shape, dtype)
    _fill(path, array, held, content, digest)
    if sha256 is not None and digest.hexdigest() != sha256:
        raise DataError(
            where=str(path),
            got=f"content with SHA-256 {digest.hexdigest()}",
            want=sha256,
            fix="delete the file and get it again",
        )
    return _native(array)


def _header(path: Path, content: Iterator[bytes], digest: Any) -> tuple[bytes, tuple[int, ...], np.dtype[Any]]:
    """Read magic and sizes; return what was read beyond them, the shape and the data type as stored."""
    held = next(content, b"")
    digest.update(held)
    if len(held) < 4 or held[:2] != b"\0\0" or not held[3]:
        raise DataError(
            where=str(path),
            got=f"a file that begins with {held[:4].hex(' ') or 'nothing'}",
            want="an IDX file: 00 00, a data type, a number of dimensions",
            fix="check that this is the file you meant",
        )
    if held[2] not in DTYPES:
        known = ", ".join(f"{code:#04x}" for code in DTYPES)
        raise DataError(where=str(path), got=f"data type {held[2]:#04x}", want=f"one of {known}", fix="check the file")
    end = 4 + 4 * held[3]
    while len(held) < end and (more := next(content, b"")):
        digest.update(more)
        held += more
    if len(held) < end:
        raise _wrong_length(path, f"{len(held)} bytes where the header alone has {end}")
    shape = tuple(int(size) for size in np.frombuffer(held, ">u4", held[3], offset=4))
    return held[end:], shape, np.dtype(DTYPES[held[2]])


def _fill(path: Path, array: npt.NDArray[Any], held: bytes, content: Iterator[bytes], digest: Any) -> None:
    """Put `held` and the rest of the content into the array; they must fit exactly."""
    flat = array.reshape(-1).view(np.uint8)
    wanted, shape, filled = flat.size, array.shape, 0
    while held:
        if filled + len(held) > wanted:
            raise _wrong_length(path, f"more than the {wanted} bytes that its header {shape} promises")
        flat[filled : filled + len(held)] = np.frombuffer(held, np.uint8)
        filled += len(held)
        held = next(content, b"")
        digest.update(held)
    if filled < wanted:
        raise _wrong_length(path, f"{filled} bytes of data where its header {shape} promises {wanted}")


def _check_possible(path: Path, wanted: int) -> None:
    """Refuse a header that promises more than the file can hold, before any memory is asked for."""
    with path.open("rb") as file:
        ratio = _DEFLATE_RATIO_MAX if file.read(2) == _GZIP else 1
    most = path.stat().st_size * ratio
    if wanted > most:
        raise _wrong_length(path, f"at most {most} bytes of data where its header promises {wanted}")


def blocks(path: Path) -> Iterator[bytes]:
    """Yield the content in blocks that are not empty, uncompressed where it is gzip."""
    with path.open("rb") as file:
        block = file.read(BLOCK_BYTES)
        if block[:2] != _GZIP:
            while block:
                yield block
                block = file.read(BLOCK_BYTES)
            return
        unzip = zlib.decompressobj(wbits=31)
        while True:
            if not block and not (block := file.read(BLOCK_BYTES)):
                break
            if unzip.eof:
                unzip = zlib.decompressobj(wbits=31)  # gzip files may be several members, one after the other
            try:
                plain = unzip.decompress(block, BLOCK_BYTES * 4)
            except zlib.error as error:
                raise _damaged(path, f"damaged gzip data ({error})") from error
            block = unzip.unconsumed_tail or unzip.unused_data
            if plain:
                yield plain
        if rest := unzip.flush():
            yield rest
        if not unzip.eof:
            raise _damaged(path, "gzip data that ends too early")


def _native(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the same numbers in the machine's byte order, changed in place."""
    if array.dtype.isnative:
        return array
    return array.byteswap(inplace=True).view(array.dtype.newbyteorder("="))


def _damaged(path: Path, got: str) -> DataError:
    return DataError(where=str(path), got=got, want="a whole IDX file", fix="get the file again")


def _wrong_length(path: Path, got: str) -> DataError:
    return DataError(where=str(path), got=got, want="exactly what the header promises", fix="get the file again")
