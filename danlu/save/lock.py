"""One process to a run folder: a lock that the system releases when its owner dies, and who that is."""

import fcntl
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from danlu.errors import RunError
from danlu.save.files import from_json, to_json

NAME = ".lock"


@contextmanager
def locked(folder: Path) -> Iterator[str | None]:
    """Hold a run folder for this process.

    Yields:
        a notice, where the owner before died without giving the folder back; else None.

    Raises:
        RunError: another process holds it; says which, where, and since when.
    """
    descriptor = os.open(folder / NAME, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        before = _owner(os.pread(descriptor, 4096, 0))
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # unlike flock, no child process keeps it
        except OSError:
            want, fix = "a folder that no other process trains in", "wait for it, or end that process"
            raise RunError(where=str(folder), got=f"a run that {before} trains in", want=want, fix=fix) from None
        os.ftruncate(descriptor, 0)
        me = {"pid": os.getpid(), "host": platform.node(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        os.pwrite(descriptor, to_json(me).encode(), 0)
        yield None if before is None else f"the run was left by {before}, which ended without closing it"
        (folder / NAME).unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _owner(content: bytes) -> str | None:
    """Say who wrote a lock file; None where it is empty."""
    if not content:
        return None
    try:
        said = from_json(content)
        return f"process {said['pid']} on {said['host']}, since {said['since']}"
    except (ValueError, KeyError, TypeError):
        return "an unknown process"
