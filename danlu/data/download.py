"""Getting a file from a mirror: checked, then put in place in one step, so that nothing half-written is ever found."""

import hashlib
import http.client
import os
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, final

from danlu.data.idx_file import blocks
from danlu.errors import DataError

BLOCK_BYTES = 1 << 16
STALE_S = 86_400.0  # parts this old were left by a process that was killed


@final
@dataclass(frozen=True)
class Wanted:
    """A file as its authors publish it.

    Fields:
        name: its name on every mirror.
        size_bytes: its size there.
        sha256: hash of its content, uncompressed.
    """

    name: str
    size_bytes: int
    sha256: str


def download(wanted: Wanted, folder: Path, mirrors: Iterable[str], *, timeout_s: float = 20.0) -> Path:
    """Get a file from the first mirror that has it whole, and return where it lies.

    Raises:
        DataError: no mirror did; it says what each of them said. Nothing is left in the folder then.
    """
    target = folder / wanted.name
    said = []
    for mirror in mirrors:
        url = mirror.rstrip("/") + "/" + wanted.name
        try:
            _download_one(url, wanted, target, timeout_s)
            return target
        except (OSError, http.client.HTTPException, ValueError) as error:  # URLError and time-outs are OSErrors
            said.append(f"{url}: {error}")
    raise DataError(
        where=wanted.name, got="; ".join(said) or "no mirror", want="the whole file", fix="try again with a network"
    )


def content_sha256(path: Path) -> str:
    """Return the hash of a file's content, uncompressed where it is gzip; a DataError if that is damaged."""
    digest = hashlib.sha256()
    for block in blocks(path):
        digest.update(block)
    return digest.hexdigest()


def _download_one(url: str, wanted: Wanted, target: Path, timeout_s: float) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep(target.parent)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{wanted.name}.", suffix=".part")
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            _receive(url, file, wanted.size_bytes, timeout_s)
        _check_content(part, wanted)
        part.chmod(0o644)
        part.replace(target)
        sync(target.parent)
    finally:
        part.unlink(missing_ok=True)


def _receive(url: str, file: IO[bytes], size_bytes: int, timeout_s: float) -> None:
    received = 0
    with urllib.request.urlopen(url, timeout=timeout_s) as response:
        while block := response.read(BLOCK_BYTES):
            received += len(block)
            if received > size_bytes:
                raise ValueError(f"more than the {size_bytes} bytes that the file has")
            file.write(block)
    if received != size_bytes:
        raise ValueError(f"{received} bytes of {size_bytes}")
    file.flush()
    os.fsync(file.fileno())


def _check_content(part: Path, wanted: Wanted) -> None:
    try:
        got = content_sha256(part)
    except DataError as error:
        raise ValueError(error.got) from error
    if got != wanted.sha256:
        raise ValueError(f"content with SHA-256 {got}, not {wanted.sha256}")


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sweep(folder: Path) -> None:
    """Delete what downloads that were killed left behind."""
    for part in folder.glob(".*.part"):
        if time.time() - part.stat().st_mtime > STALE_S:
            part.unlink(missing_ok=True)
