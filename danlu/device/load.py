"""How busy other processes keep this machine's cores."""

import os
import time
from pathlib import Path
from typing import final

TICKS_PER_S = os.sysconf("SC_CLK_TCK") if os.name == "posix" else 100


@final
class Others:
    """Counts the processor time that other processes take from now on; where the system does not tell, it is 0."""

    def __init__(self) -> None:
        self._begun = _busy_s(), _own_s(), time.perf_counter()

    def cores(self) -> float:
        """Return how many cores they kept busy since the start, 1.0 being one core all the time."""
        busy_s, own_s, now_s = _busy_s(), _own_s(), time.perf_counter()
        begun_busy_s, begun_own_s, begun_s = self._begun
        if busy_s is None or begun_busy_s is None or now_s <= begun_s:
            return 0.0
        return max(0.0, (busy_s - begun_busy_s) - (own_s - begun_own_s)) / (now_s - begun_s)


def _busy_s() -> float | None:
    """Return the seconds that all cores together have worked since the start of the system."""
    try:
        user, nice, system, _, _, irq, soft, *_ = map(int, Path("/proc/stat").read_text().split(maxsplit=8)[1:8])
    except (OSError, ValueError):
        return None
    return (user + nice + system + irq + soft) / TICKS_PER_S


def _own_s() -> float:
    times = os.times()
    return times.user + times.system
