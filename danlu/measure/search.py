"""The plan: ways to run this model on this batch are timed, compared with plain eager, and the fastest is taken.

At most 2 % of the time that the run is expected to take goes into it, and at most 20 s. The candidates are tried one
after the other, each beside the best plan so far, turn by turn; what is taken stays for the ones that follow.
"""

import math
import statistics
import time
from dataclasses import replace
from typing import Any

from danlu.device import Others, Plan, Tried
from danlu.errors import DanluError
from danlu.measure.candidates import ACROSS_KINKS, REORDERED, Candidate, candidates, last_candidates, thread_candidates
from danlu.measure.compare import TO_REPLAY, Difference, Outcome, difference, outcome, replayed, same
from danlu.measure.trial import fetched, one_update
from danlu.measure.untouched import State, untrained
from danlu.train import Training

SHARE, LIMIT_S = 0.02, 20.0
LEAST_UPDATES = 1000  # 2 % of a shorter run is not enough to try anything
CLEARLY, HOPELESS = 0.9, 1.1  # ratios beyond which there are no more turns
OPTIMIZER_WAYS = ("fused", "foreach")  # what an optimizer remembers counts from the second update on
TURNS, TURNS_MAX = 5, 100
GLANCE_S = 0.2  # in which other processes show
WATCHED_S = 0.6  # of turns, at least, before a way is taken
TOGETHER, ALL_TAKEN = "all together, beside plain eager", "taken"
TOO_SHORT = "not tried: the search may take"
SLOW_S = 0.05  # of an update; then the least likely to pay comes last: fewer threads, on a machine that is not busy
BUSY_CORES = 0.3  # that other processes keep
BLOCK_S, BLOCK_UPDATES = 0.02, 10  # an update is timed in blocks of about so many seconds, and at most so many updates


def search(training: Training, *, limit_s: float | None = None, only_threads: bool = False) -> Plan:
    """Return the fastest plan found; the training is left as it was, its plan included.

    Args:
        training: prepared and not begun, of PyTorch.
        limit_s: seconds that it may take; the default is 2 % of the expected run, and at most 20.
        only_threads: try other numbers of threads, and nothing else.

    Raises:
        DanluError: the first update fails for a reason that danlu knows.

    Cost: copies of the state and of the gradients; some updates under each plan, which are taken back.
    """
    plain = training.plan
    try:
        with untrained(training.learner) as state:
            found = Search(training, state, limit_s)
            return found.threads() if only_threads else found.everything()
    finally:
        training.learner.use(plain)


def update_s(training: Training) -> float:
    """Return the median seconds of an update under a training's own plan; the training is left as it was."""
    with untrained(training.learner) as state:
        return Search(training, state, 0.0).block_s(training.plan)


class Search:
    """What is known so far: the best plan, and what was tried."""

    def __init__(self, training: Training, state: State, limit_s: float | None) -> None:
        self._training, self._state = training, state
        self._plain = self._best = training.plan
        self._batches = fetched(training, 0)
        self._rows: list[Tried] = []
        self._outcomes: dict[tuple[Plan, int, bool], Outcome] = {}
        self._alike = True
        self._block_updates = 1
        self._begun_s, self._others = time.perf_counter(), Others()
        self._update_s = self.block_s(self._plain)
        self._block_updates = max(1, min(BLOCK_UPDATES, round(BLOCK_S / self._update_s)))
        self._expected_s = self._expected()
        self._limit_s = min(LIMIT_S, SHARE * self._expected_s) if limit_s is None else limit_s
        self._rows.append(Tried("plain eager", "the measure", self._update_s, 1.0, 0.0))

    def everything(self) -> Plan:
        """Try every candidate; what has to be earned back over the run comes last, when an update's time is known."""
        if self._limit_s < WATCHED_S:
            return self._found()
        while time.perf_counter() - self._begun_s < GLANCE_S:
            self._update_s = self.block_s(self._plain)
        training, busy = self._training, self._others.cores() > BUSY_CORES
        for one in candidates(training, busy=busy, threads_first=busy or self._update_s < SLOW_S):
            if one.way != "foreach" or self._best.optimizer != "fused":
                self._try(one)
        self._expected_s = self._expected()
        for one in last_candidates(training, self._expected_s):
            self._try(one)
        self._look_back()
        return self._found()

    def _look_back(self) -> None:
        """Hold all that was taken beside plain eager; where that is as fast, only kept memory stays."""
        if self._best == self._plain:
            return
        update_s, ratio = self._beside(self._best, self._plain)
        if ratio > 1.0:
            self._best, self._update_s = replace(self._plain, keep_memory=self._best.keep_memory), update_s / ratio
        verdict = "left: plain eager is as fast" if ratio > 1.0 else ALL_TAKEN
        self._rows.append(Tried(TOGETHER, verdict, update_s, ratio))

    def threads(self) -> Plan:
        """Try other numbers of threads."""
        for one in thread_candidates(self._plain, busy=True):
            self._try(one)
        return self._found()

    def _found(self) -> Plan:
        return replace(self._best, update_s=self._update_s, threads_alike=self._alike, tried=self._rows)

    def _expected(self) -> float:
        """Return the seconds that the run will take in plain eager."""
        updates, minutes = self._training.updates_total, self._training.recipe.minutes
        limits = [] if updates is None else [updates * self._update_s]
        return min([*limits, *([] if minutes == "off" else [minutes * 60])])

    def _try(self, one: Candidate) -> None:
        """Time a candidate, compare it, and take it if it is faster."""
        left_s = self._limit_s - (time.perf_counter() - self._begun_s)
        needed_s = one.start_s + self._update_s * (3 + 2 * (self._block_updates + 1))
        if one.refusal or needed_s > left_s:
            why = f"{TOO_SHORT} {self._limit_s:.2g} s of a run of about {self._expected_s:.3g} s"
            self._rows.append(Tried(one.name, f"not tried: {one.refusal}" if one.refusal else why))
            return
        plan = replace(self._best, **one.change)
        try:
            differs = self._difference(plan, one)
            if not differs.within(one.tolerance):
                verdict = f"refused: it differs by {differs.most:.1e}, a tensor by {differs.worst:.1e}, where "
                verdict += f"{one.tolerance:.0e} is allowed"
                self._rows.append(Tried(one.name, verdict, difference=differs.most))
                return
            update_s, ratio = self._beside(plan, self._best)
        except DanluError:
            raise
        except Exception as error:  # whatever a model may do that is run in another way
            reason = next(iter(str(error).splitlines()), "")
            self._rows.append(Tried(one.name, f"refused: {type(error).__name__}: {reason}"[:200]))
            return
        verdict = "taken" if ratio < one.below else "slower" if ratio > 1.03 else "no faster"
        self._rows.append(Tried(one.name, verdict, update_s, ratio, differs.most))
        if verdict == "taken":
            self._best, self._update_s = plan, update_s

    def _difference(self, plan: Plan, one: Candidate) -> Difference:
        """Return how far a candidate's numbers are from those that it is compared with."""
        if one.way == "capture":
            return self._replay_difference(plan)
        best = one.beside == "best"
        reference, updates = self._best if best else self._plain, 2 if one.way in OPTIMIZER_WAYS else 1
        mine, theirs = self._outcome(plan, updates), self._outcome(reference, updates)
        if one.way == "threads":
            self._alike = self._alike and same(mine, theirs)
        found = difference(mine, theirs, weights=best)
        across = found.loss <= REORDERED and found.worst <= ACROSS_KINKS
        if one.tolerance != REORDERED or found.within(REORDERED) or not across:
            return found
        mine, theirs = self._outcome(plan, updates, smooth=True), self._outcome(reference, updates, smooth=True)
        return difference(mine, theirs, weights=best)

    def _replay_difference(self, plan: Plan) -> Difference:
        """Return how far replayed updates are from the best plan's; without end, where they are not quite their own."""
        given = self._training, plan, self._state, self._batches
        mine, own = replayed(*given, replay=True), replayed(*given, replay=False)
        if plan.deterministic and not same(mine, own):
            return Difference(math.inf, math.inf, math.inf)
        theirs = replayed(self._training, self._best, self._state, self._batches, replay=False)
        return difference(mine, theirs, weights=True)

    def _outcome(self, plan: Plan, updates: int, *, smooth: bool = False) -> Outcome:
        """Return what a plan's first updates come to; those that others are compared with are not run again."""
        key, references = (plan, updates, smooth), (self._plain, self._best)
        if key in self._outcomes:
            return self._outcomes[key]
        found = outcome(self._training, plan, self._state, self._batches, updates=updates, smooth=smooth)
        if plan in references:
            self._outcomes = {known: one for known, one in self._outcomes.items() if known[0] in references}
            self._outcomes[key] = found
        return found

    def _beside(self, plan: Plan, other: Plan) -> tuple[float, float]:
        """Return seconds of an update, and their ratio to another plan's, measured turn by turn.

        A machine that others share stalls for tenths of a second, so what looks faster is looked at for longer.
        """
        mine, ratios, begun_s = list[float](), list[float](), time.perf_counter()
        for turn in range(1, TURNS_MAX + 1):
            pair = [plan, other] if turn % 2 else [other, plan]
            seconds = {one: self.block_s(one) for one in pair}
            mine.append(seconds[plan])
            ratios.append(seconds[plan] / seconds[other])
            now_s, ratio = time.perf_counter(), statistics.median(ratios)
            clear = turn >= 2 and not CLEARLY < ratio < HOPELESS
            watched = now_s - begun_s > WATCHED_S and (clear or turn >= TURNS)
            if watched or now_s - self._begun_s > self._limit_s or (turn >= 2 and ratio > HOPELESS**3):
                break
        return statistics.median(mine), statistics.median(ratios)

    def block_s(self, plan: Plan) -> float:
        """Return the median seconds of an update under a plan, after some that warm up."""
        training, times = self._training, list[float]()
        training.learner.use(plan)
        with training.learner.session():
            for _ in range(TO_REPLAY if plan.captured else 1):
                one_update(training, 0, self._batches)
            for number in range(1, 1 + self._block_updates):
                begun_s = time.perf_counter()
                _wait(training, one_update(training, number, self._batches).loss)
                times.append(time.perf_counter() - begun_s)
        return statistics.median(times)


def _wait(training: Training, loss: Any) -> None:
    """Wait until an update is done, on a device that runs beside the host."""
    if training.plan.device != "cpu":
        training.learner.array(loss)
