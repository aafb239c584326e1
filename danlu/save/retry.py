"""Trying again what a disk refused, for a while: a full disk may be emptied, and a network disk come back."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

from danlu.errors import RunError


@final
@dataclass(frozen=True)
class Retry:
    """How often to try again, and the seconds to wait before each time."""

    times: int = 3
    wait_s: float = 10.0

    def __call__(
        self, act: Callable[[], Any], tell: Callable[[str], None], wait: Callable[[float], Any] = time.sleep
    ) -> None:
        """Call `act` until it succeeds.

        Args:
            act: raises RunError where the disk refuses.
            tell: gets a line for each time that it will be tried again.
            wait: waits so many seconds.

        Raises:
            RunError: it failed the last time as well.
        """
        for number in range(1, self.times + 1):
            try:
                act()
                return
            except RunError as error:
                tell(f"{error.where}: {error.got}; trying again in {self.wait_s:g} s ({number} of {self.times})")
                wait(self.wait_s)
        act()
