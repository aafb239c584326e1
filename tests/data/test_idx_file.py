import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.data import read_idx
from danlu.errors import DataError

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def written(array: np.ndarray) -> bytes:
    code = CODES[array.dtype.str[1:]]
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.mark.parametrize("kind", CODES)
@pytest.mark.parametrize("packed", [False, True])
def test_every_data_type_comes_back(tmp_path: Path, kind: str, packed: bool) -> None:
    array = (np.arange(-30, 30).reshape(3, 4, 5) * 3).astype(kind)
    path = tmp_path / "file.bin"  # neither name says whether it is gzip
    path.write_bytes(gzip.compress(written(array)) if packed else written(array))
    got = read_idx(path)
    assert got.dtype == np.dtype(kind)
    assert got.dtype.isnative
    assert got.flags.writeable
    np.testing.assert_array_equal(got, array)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=4), st.booleans())
def test_every_shape_comes_back(tmp_path_factory: pytest.TempPathFactory, shape: list[int], packed: bool) -> None:
    array = np.arange(np.prod(shape)).astype("i2").reshape(shape)
    path = tmp_path_factory.mktemp("idx") / "a"
    path.write_bytes(gzip.compress(written(array)) if packed else written(array))
    got = read_idx(path)
    assert got.shape == tuple(shape)
    np.testing.assert_array_equal(got, array)


def test_a_file_of_many_blocks_and_members(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, (3000, 700), dtype=np.uint8)
    array[1000:2000] = 0  # a stretch that unpacks to more than one block at a time
    data = written(array)
    (tmp_path / "a.gz").write_bytes(gzip.compress(data[:999]) + gzip.compress(data[999:]))
    np.testing.assert_array_equal(read_idx(tmp_path / "a.gz"), array)


GOOD = written(np.arange(100, dtype="i4").reshape(20, 5))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "begins with nothing"),
        (b"PK\x03\x04" + GOOD, "begins with 50 4b 03 04"),
        (b"\0\0\x08\0", "begins with"),
        (b"\0\0\x0a\x01" + struct.pack(">I", 1) + b"\0", "data type 0x0a"),
        (GOOD[:7], "7 bytes where the header alone has 12"),
        (GOOD[:-1], "at most 411 bytes of data|399 bytes of data"),
        (GOOD + b"\0", "more than the 400 bytes"),
        (b"\0\0\x08\x02" + b"\xff" * 8 + b"\0" * 50, "at most 62 bytes"),
        (gzip.compress(GOOD)[:-9], "ends too early"),
        (gzip.compress(GOOD[:-3]), "397 bytes of data"),
        (gzip.compress(GOOD + b"abc"), "more than the 400 bytes"),
        (gzip.compress(GOOD)[:20] + b"\xff\xff\xff" + gzip.compress(GOOD)[23:], "damaged gzip"),
    ],
)
def test_a_file_that_is_wrong_is_one_error(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "broken"
    path.write_bytes(content)
    with pytest.raises(DataError, match=says) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)


def test_the_checksum_of_gzip_counts(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(GOOD))
    packed[-6] ^= 1  # the stored CRC
    (tmp_path / "a").write_bytes(packed)
    with pytest.raises(DataError, match="incorrect data check"):
        read_idx(tmp_path / "a")


def test_a_hash_is_of_the_content_unpacked(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(gzip.compress(GOOD))
    right = hashlib.sha256(GOOD).hexdigest()
    assert read_idx(tmp_path / "a", sha256=right).shape == (20, 5)
    with pytest.raises(DataError, match=right):
        read_idx(tmp_path / "a", sha256="0" * 64)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_idx(tmp_path / "a")
