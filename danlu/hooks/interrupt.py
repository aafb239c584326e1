"""Ctrl-C ends a run at the end of its update, with its record closed."""

import signal
import threading
from types import FrameType
from typing import Any, final

from danlu.train.hook import Hook, Stop
from danlu.train.learner import Result
from danlu.train.training import Training


@final
class Interrupt(Hook):
    """The first SIGINT asks the run to stop; a second one leaves at once, by KeyboardInterrupt.

    It listens only in the main thread, where Python delivers signals, and puts the caller's handler back at the end.
    """

    def __init__(self) -> None:
        self._asked = False
        self._before: Any = None

    def on_fit_start(self, training: Training) -> None:
        """Take SIGINT over."""
        self._asked = False
        ignored = signal.getsignal(signal.SIGINT) == signal.SIG_IGN  # as under nohup: the caller wants no Ctrl-C
        if threading.current_thread() is threading.main_thread() and not ignored:
            self._before = signal.signal(signal.SIGINT, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def on_step_end(self, training: Training, result: Result) -> Stop | None:
        """Stop if somebody asked for it."""
        return Stop("Ctrl-C", "interrupted") if self._asked else None

    def on_eval_end(self, training: Training, figures: dict[str, Any]) -> Stop | None:
        """Stop if somebody asked for it during the evaluation."""
        return Stop("Ctrl-C", "interrupted") if self._asked else None

    def on_fit_end(self, training: Training, error: BaseException | None) -> None:
        """Give SIGINT back."""
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None
