"""How many cores this process may use."""

import os


def cores() -> int:
    """Return how many cores this process may run on."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # a system that cannot bind processes to cores
        return os.cpu_count() or 1
