"""Ctrl-C and SIGTERM end a run at the end of its update, with its state saved and its record closed."""

import signal
import threading
from types import FrameType
from typing import Any, final

from danlu.train.hook import Hook, Stop
from danlu.train.learner import Result
from danlu.train.training import Training

NAMES: dict[int, str] = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}
TERMINATED = 128 + signal.SIGTERM  # the exit code that a shell shows for it


@final
class Interrupt(Hook):
    """The first SIGINT or SIGTERM asks the run to stop; a second one leaves at once: KeyboardInterrupt, SystemExit.

    It listens only in the main thread, where Python delivers signals, and puts the caller's handler back at the end.
    """

    def __init__(self) -> None:
        self._asked = ""
        self._before: dict[int, Any] = {}

    def on_fit_start(self, training: Training) -> None:
        """Take both signals over, but for one that is ignored, as SIGINT is under nohup."""
        self._asked = ""
        if threading.current_thread() is threading.main_thread():
            for number in NAMES:
                if signal.getsignal(number) != signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._asked = self._asked or NAMES[number]
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, _leave)

    def on_step_end(self, training: Training, result: Result) -> Stop | None:
        """Stop if somebody asked for it."""
        return Stop(self._asked, "interrupted") if self._asked else None

    def on_eval_end(self, training: Training, figures: dict[str, Any]) -> Stop | None:
        """Stop if somebody asked for it during the evaluation."""
        return Stop(self._asked, "interrupted") if self._asked else None

    def on_fit_end(self, training: Training, error: BaseException | None) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(TERMINATED)
