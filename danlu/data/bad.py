"""Bad samples: what shall become of those that cannot be fetched or do not fit, and which ones a run has met so far."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, final, get_args

from danlu.errors import DataError, unknown_name

Action = Literal["raise", "skip", "replace"]
Quota = int | float

ACTION: Action = "raise"
QUOTA: Quota = 0.01
SHOWN = 5  # culprits that the error of a quota names


class Culprit(NamedTuple):
    """A bad sample: its row in the dataset, its file where one is known, what is wrong with it, when it came up."""

    row: int
    path: str
    error: str
    epoch: int

    def __str__(self) -> str:
        place = f"{self.row} ({self.path})" if self.path else str(self.row)
        return f"{place}: {self.error}"


@final
@dataclass(frozen=True)
class BadPolicy:
    """What shall become of the bad samples of a set.

    Fields:
        action: "raise" ends the run, "skip" leaves the sample out, "replace" puts another one in its place.
        quota: how many a set may have, as a number (int) or as a share of it (float; 1 sample is always allowed).
        least: samples that a batch of as many keeps at least, by replacing where "skip" would leave fewer.
    """

    action: Action = ACTION
    quota: Quota = QUOTA
    least: int = 0

    def __post_init__(self) -> None:
        if self.action not in get_args(Action):
            raise unknown_name(DataError, "bad", self.action, get_args(Action), "way to treat bad samples")
        whole = isinstance(self.quota, int) and not isinstance(self.quota, bool) and self.quota >= 1
        if not whole and not (isinstance(self.quota, float) and 0 < self.quota <= 1):
            want, fix = "a whole number >= 1, or a share > 0.0 and <= 1.0", "use bad_quota=0.01 for one in a hundred"
            raise DataError(where="bad_quota", got=self.quota, want=want, fix=fix)

    def allowed(self, samples: int) -> int:
        """Return how many of `samples` samples may be bad."""
        return self.quota if isinstance(self.quota, int) else max(1, int(self.quota * samples))


@final
class BadSamples:
    """The bad samples of one set that a run has met. They stay out for the rest of it, whatever becomes of their files.

    Args:
        policy: what becomes of them.
        samples: how many samples the set has.

    Fields:
        name: what messages call the set.
        form: the shapes that its samples have, as text; None where it is not known or does not matter.
        stand_ins: samples that took the place of bad ones so far.
        rows: rows of the bad ones.
    """

    def __init__(self, policy: BadPolicy, samples: int) -> None:
        self.policy, self.samples = policy, samples
        self.name = "data"
        self.form: str | None = None
        self.stand_ins = 0
        self.rows: frozenset[int] = frozenset()
        self._known: dict[int, Culprit] = {}
        self._fresh: list[Culprit] = []

    def note(self, culprits: Iterable[Culprit]) -> None:
        """Add those that are not known yet; raise a DataError where they are more than the quota allows."""
        new = [culprit for culprit in culprits if culprit.row not in self._known]
        if not new:
            return
        self._known |= {culprit.row: culprit for culprit in new}
        self._fresh += new
        self.rows = frozenset(self._known)
        allowed = self.policy.allowed(self.samples)
        if len(self._known) > allowed:
            first = "; ".join(str(culprit) for culprit in list(self._known.values())[:SHOWN])
            raise DataError(
                where=f"{self.name} samples",
                got=f"{len(self._known)} bad ones of {self.samples}, the first: {first}",
                want=f"at most {allowed} (bad_quota = {self.policy.quota:g})",
                fix="mend or remove them, or raise bad_quota",
            )

    def refuse(self, culprit: Culprit, cause: BaseException | None, *, place: str, record: bool) -> None:
        """Raise the DataError of a set that takes no bad sample.

        Args:
            culprit: the sample.
            cause: the error that it was found by; None for one that merely does not fit.
            place: in which batch.
            record: hand it to the run's record as well.
        """
        self._fresh += [culprit] if record else []
        path = f" ({culprit.path})" if culprit.path else ""
        raise DataError(
            where=f"{self.name} sample {culprit.row}{path}, {place}",
            got=culprit.error,
            want="a sample that can be fetched and fits the others",
            fix='mend or remove it, or go on without it: bad_samples = "skip" or "replace" in the recipe\'s [data], '
            'or danlu.data.Samples(dataset, bad="skip")',
        ) from cause

    def fresh(self) -> list[Culprit]:
        """Return those found since the last call."""
        found, self._fresh = self._fresh, []
        return found

    def state(self) -> dict[str, Any]:
        """Return what must survive a restart, as JSON values."""
        return {"form": self.form, "known": [list(culprit) for culprit in self._known.values()]}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take it back."""
        self.form = state.get("form")
        known = [] if self.policy.action == "raise" else state.get("known", [])  # it has become another policy
        self._known = {row: Culprit(row, *rest) for row, *rest in known}
        self.rows = frozenset(self._known)
        self._fresh = []
