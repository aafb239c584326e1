"""What a run made of the machine, measured when it is over."""

from typing import final

from danlu.device import is_exhausted
from danlu.measure.share import share_of_limit
from danlu.train.hook import Hook
from danlu.train.training import Training

LEAST_S = 20.0  # a shorter run is not worth the second
LEAST_UPDATES = 40  # with fewer, counting one more would take too large a share of the run's time


@final
class Limit(Hook):
    """Measure, when a run has ended by itself, what share of the machine's best its updates used; the record quotes it.

    It comes after the last checkpoint and outside the run's clock, so nothing of the run depends on it. A run that
    goes on quotes its own part. Nothing is said of one that is short, that failed, or that somebody wants to leave.
    """

    def __init__(self) -> None:
        self._updates = self._samples = 0

    def on_fit_start(self, training: Training) -> None:
        """Note where this part of the run begins."""
        self._updates, self._samples = training.state.updates_done, training.state.samples_seen

    def on_fit_end(self, training: Training, error: BaseException | None) -> None:
        """Measure."""
        stop, state = training.stop, training.state
        seconds = training.seconds - training.seconds_before - training.evaluations_s
        if error is not None or stop is None or stop.status == "interrupted":
            return
        if seconds < LEAST_S or state.updates_done - self._updates < LEAST_UPDATES:
            return
        try:
            training.share_of_limit = share_of_limit(training, state.samples_seen - self._samples, seconds)
        except Exception as failure:  # a run that trained well does not fail because of what is said of it
            if not is_exhausted(failure):
                reason = f"{type(failure).__name__}: {next(iter(str(failure).splitlines()), '')}".removesuffix(": ")
                training.share_of_limit = {"percent_of_limit": None, "limit": {"not_countable": reason}}
