"""Keeping freed memory for the next update, instead of handing it back to the system and asking for it again.

glibc returns large blocks to the kernel as soon as they are freed, and the next update pays for every page anew.
"""

import contextlib
import ctypes
import platform
from collections.abc import Iterator

# glibc's mallopt(3): which setting, its value while memory is kept, and the value that glibc's own rule ends up with
TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3
KEPT = {TRIM_THRESHOLD: 2**31 - 1, MMAP_THRESHOLD: 2**30, TOP_PAD: 64 << 20}
USUAL = {TRIM_THRESHOLD: 64 << 20, MMAP_THRESHOLD: 32 << 20, TOP_PAD: 128 << 10}


def can_keep_memory() -> bool:
    """Say whether this system's allocator can be told to keep what is freed: Linux with glibc."""
    return platform.system() == "Linux" and platform.libc_ver()[0] == "glibc"


@contextlib.contextmanager
def memory_kept(wanted: bool) -> Iterator[None]:
    """Hold glibc to keeping freed memory where that is wanted; give it back to the system at the end.

    No bit of a result depends on it. The process stays as large as it was at its largest until then.
    """
    if not wanted or not can_keep_memory():
        yield
        return
    libc = ctypes.CDLL(None)
    try:
        for setting, value in KEPT.items():
            libc.mallopt(setting, value)
        yield
    finally:
        for setting, value in USUAL.items():
            libc.mallopt(setting, value)
        libc.malloc_trim(0)
