"""One process to a run folder: a lock that the system releases when its owner dies, and who that is.

Where a disk has no locks, the owner is believed who wrote the file and still lives: the same host, the same start of
that host, and a process of that number that began when the owner did, since numbers are used again.
"""

import errno
import fcntl
import os
import platform
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from danlu.errors import RunError
from danlu.save.files import damaged, from_json, to_json

NAME = ".lock"
_HELD = (errno.EACCES, errno.EAGAIN)
_here: dict[Path, dict[str, Any]] = {}  # what this process holds: it is never in the way of its own lock


@contextmanager
def locked(folder: Path) -> Iterator[str | None]:
    """Hold a run folder for this process.

    Yields:
        a notice, where the owner before died without giving the folder back; else None.

    Raises:
        RunError: another run holds it, in this process or another (says which, where, since when); or the disk refuses.
    """
    place, path = folder.resolve(), folder / NAME
    if place in _here:
        raise _taken(folder, _here[place])  # without a look at the file: closing it would end the lock
    descriptor = _opened(path)
    try:
        before = _owner(os.pread(descriptor, 4096, 0))
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # unlike flock, no child process keeps it
        except OSError as error:
            if error.errno in _HELD or _may_live(before):
                raise _taken(folder, before) from None
        _here[place] = _me()
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, to_json(_here[place]).encode(), 0)
        except OSError as error:
            raise _unwritable(folder, error) from None
        left = _named(before).removesuffix(",")
        yield None if before is None else f"the run was left by {left}, which ended without closing it"
        path.unlink(missing_ok=True)
    finally:
        _here.pop(place, None)
        os.close(descriptor)


def _opened(path: Path) -> int:
    """Open the lock file; a link is never followed, since the file is emptied and written to."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return descriptor
        os.close(descriptor)
        raise ValueError("something that is no plain file")
    except (OSError, ValueError) as error:
        raise damaged(path, error, "a lock file that can be written to") from None


def _taken(folder: Path, owner: dict[str, Any] | None) -> RunError:
    want, fix = "a folder that no other run trains in", "wait for it, or end that process"
    return RunError(where=str(folder), got=f"a run that {_named(owner)} trains in", want=want, fix=fix)


def _unwritable(folder: Path, error: OSError) -> RunError:
    got, fix = (error.strerror or str(error)).lower(), "free some space or mend the permissions"
    return RunError(where=str(folder), got=got, want="a folder that can be written to", fix=fix)


def _me() -> dict[str, Any]:
    pid, since = os.getpid(), time.strftime("%Y-%m-%d %H:%M:%S")
    return {"pid": pid, "host": platform.node(), "boot": _boot(), "started": _started(pid), "since": since}


def _owner(content: bytes) -> dict[str, Any] | None:
    """Return who wrote a lock file, nothing being known of a damaged one; None where it is empty."""
    if not content:
        return None
    try:
        said = from_json(content)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _named(owner: dict[str, Any] | None) -> str:
    if not owner or not owner.keys() >= {"pid", "host", "since"}:
        return "an unknown process"
    return f"process {owner['pid']} on {owner['host']}, since {owner['since']},"


def _may_live(owner: dict[str, Any] | None) -> bool:
    """Say whether the owner may still live; nobody can know it of another host."""
    if owner is None:
        return False
    if owner.get("host") != platform.node():
        return True
    return owner.get("boot") == _boot() and owner.get("started") == _started(owner.get("pid"))


def _boot() -> str:
    """Return what names this start of the host, where the system has it."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else ""


def _started(pid: object) -> str | None:
    """Return when a process began, in the system's ticks; None where there is no such process, or nobody says."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]  # field 22, counted after the name
    except (OSError, IndexError):
        return None
