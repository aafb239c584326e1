"""Saying that updates have become much slower, as they do where another process takes one of the cores.

And saying what a learner has to say of its updates.
"""

import time
from dataclasses import replace
from typing import Any, final

from danlu.device import use_threads
from danlu.hooks.notice import tell
from danlu.train.hook import Hook
from danlu.train.learner import Result
from danlu.train.training import Training

SLOWER = 2.5  # times as long as in the fastest stretch so far
STRETCHES = 3  # so many in a row
STRETCH_S = 0.5  # shorter ones tell little


@final
class Pace(Hook):
    """Look at the clock now and then, evaluations and checkpoints left out, and say once that the pace has dropped.

    The number of threads is changed only where the plan's search found that it changes no bit, or where the recipe
    says `retime`.

    Args:
        stretch_s: seconds between two looks at the clock, at least.
    """

    def __init__(self, stretch_s: float = STRETCH_S) -> None:
        self._stretch_s = stretch_s
        self._updates, self._size = 0, 1
        self._begun_s: float | None = None
        self._fastest_s = float("inf")
        self._slow = 0
        self._told = False

    def on_step_end(self, training: Training, result: Result) -> None:
        """Count an update; at the end of a stretch compare it with the fastest."""
        self._updates += 1
        while training.learner.said:
            tell(training, training.learner.said.pop(0))
        if self._updates < self._size or self._told:
            return
        now_s = time.monotonic()
        if self._begun_s is not None:
            self._compare(training, (now_s - self._begun_s) / self._updates, now_s - self._begun_s)
        self._begun_s, self._updates = now_s, 0

    def on_eval_end(self, training: Training, figures: dict[str, Any]) -> None:
        """Begin a new stretch: an evaluation is no update."""
        self._begun_s, self._updates = None, 0

    def on_checkpoint(self, training: Training) -> None:
        """Begin a new stretch: a checkpoint is no update."""
        self._begun_s, self._updates = None, 0

    def _compare(self, training: Training, update_s: float, stretch_s: float) -> None:
        if stretch_s < self._stretch_s:
            self._size *= 2
            return
        self._slow = self._slow + 1 if update_s > SLOWER * self._fastest_s else 0
        if self._slow >= STRETCHES:
            self._tell(training, update_s / self._fastest_s)
        self._fastest_s = min(self._fastest_s, update_s)

    def _tell(self, training: Training, times: float) -> None:
        plan, self._told = training.plan, True
        text = f"updates take {times:.1f} times as long as before: something else is at work on this machine"
        if plan.device == "cpu" and plan.engine == "torch" and plan.threads > 1:
            if plan.threads_alike or training.recipe.retime:
                use_threads(1)
                training.plan = training.learner.plan = replace(plan, threads=1)
                bits = "which changes no bit" if plan.threads_alike else "which changes the last bits: retime"
                text += f"; 1 thread from here on, {bits}"
            else:
                text += f"; {plan.threads} threads wait for each other then: threads = 1, or retime = true, avoids it"
        tell(training, text)
