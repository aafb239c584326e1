"""How much memory there is, how much of it was used, and how not to use more."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

if sys.platform != "win32":
    import resource

RESERVE_BYTES = 1 << 30  # left to everything else
RESERVE_SHARE = 0.1
UNKNOWN_BYTES = 2 << 30  # where the system does not say
_MEMINFO = Path("/proc/meminfo")
_GROUP = Path("/sys/fs/cgroup")  # the control group that this process is in, as a container sees it
_LIMITS = (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"))
FAILURES = ("not enough memory", "can't allocate memory", "out of memory", "std::bad_alloc", "cannot allocate memory")


def is_exhausted(error: BaseException) -> bool:
    """Say whether an error is that memory was asked for and there was none."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in FAILURES)


def room_bytes() -> int:
    """Return how many bytes of this machine's memory may be used without pressing on anything else.

    A share is held back, and a container's own limit counts.
    """
    known = _meminfo()
    total = known.get("MemTotal") or _physical_bytes()
    free = known.get("MemAvailable", total // 2)
    free = min(free, *_container_rooms(), total) - max(RESERVE_BYTES, int(total * RESERVE_SHARE))
    return max(0, min(free, *_own_rooms(), total))


def memory_available(device: torch.device | str = "cpu") -> int:
    """Return the bytes that this process may still take: of the machine, of its control group, and of a CUDA device."""
    found = [_meminfo().get("MemAvailable", UNKNOWN_BYTES), *_container_rooms()]
    place = torch.device(device)
    if place.type == "cuda" and torch.cuda.is_available():
        found.append(torch.cuda.mem_get_info(place)[0])
    return min(found)


def used_bytes() -> int:
    """Return the memory that this process occupies now; its peak where that is all that is known."""
    return _status("VmRSS") or peak_bytes()


def peak_bytes() -> int:
    """Return the most that this process has occupied since `forget_peak`."""
    if found := _status("VmHWM"):
        return found
    if sys.platform == "win32":
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def forget_peak() -> None:
    """Let the peak start anew from what is occupied now; where that is refused, it is that of the whole process."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


@contextlib.contextmanager
def capped(more_bytes: int) -> Iterator[None]:
    """Let this process ask for so much more memory and not a byte beyond: then an allocation fails, and nothing else.

    Where the system has no such limit, or holds a lower one already, nothing is done.
    """
    mapped = _status("VmSize")
    if sys.platform == "win32" or not mapped:
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_AS)
    limit = mapped + more_bytes
    if before[0] == resource.RLIM_INFINITY or before[0] > limit:
        resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def _status(name: str) -> int:
    """Return a size out of what Linux says of this process, in bytes; 0 where it says nothing."""
    return _sizes(Path("/proc/self/status")).get(name, 0)


def _meminfo() -> dict[str, int]:
    return _sizes(_MEMINFO)


def _sizes(path: Path) -> dict[str, int]:
    """Return the lines such as `VmRSS:  1234 kB`, in bytes."""
    try:
        lines = [line.split() for line in path.read_text(encoding="ascii", errors="replace").splitlines()]
    except OSError:
        return {}
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if len(words) == 3 and words[2] == "kB"}


def _container_rooms() -> list[int]:
    """Return what a container's limit leaves, where there is one; files that are only kept in memory count as free."""
    rooms, files = [], 0
    with contextlib.suppress(OSError, ValueError):
        table = dict(line.split() for line in (_GROUP / "memory.stat").read_text().splitlines())
        files = int(table.get("inactive_file", 0))
    for limit, used in _LIMITS:
        with contextlib.suppress(OSError, ValueError):  # no such limit, or "max"
            taken = int((_GROUP / used).read_text()) - files
            rooms.append(max(0, int((_GROUP / limit).read_text()) - taken))
    return rooms


def _own_rooms() -> list[int]:
    """Return what this process's own limit leaves, where there is one."""
    if sys.platform == "win32":
        return []
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return [] if limit == resource.RLIM_INFINITY else [limit - _status("VmSize")]


def _physical_bytes() -> int:
    with contextlib.suppress(ValueError, OSError, AttributeError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 8 << 30
