"""What danlu must reach, and whether it does: one form for every bench."""

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Spread = dict[str, float]
REACHED = {True: "yes", False: "no", None: "not measured"}


@dataclass(frozen=True)
class Target:
    """A figure and its limit. The median counts."""

    what: str
    want: float
    sense: Literal["at most", "at least"]
    unit: str

    def reached(self, got: Spread | None) -> bool | None:
        """Say whether a figure reaches it; None where it was not measured."""
        if got is None:
            return None
        return got["median"] <= self.want if self.sense == "at most" else got["median"] >= self.want


def spread(values: Iterable[float]) -> Spread | None:
    """Return median, least and greatest; None of nothing."""
    known = list(values)
    if not known:
        return None
    return {"median": statistics.median(known), "min": min(known), "max": max(known)}


def ratios(ours: Iterable[float], theirs: Iterable[float]) -> Spread | None:
    """Return the spread of ratios, taken round by round."""
    return spread(one / other for one, other in zip(ours, theirs, strict=True))


def judged(targets: Mapping[str, Target], got: Mapping[str, Spread | None]) -> dict[str, dict[str, Any]]:
    """Return every target with what was measured and whether it is reached, for a report."""
    return {
        name: {**asdict(target), "measured": got.get(name), "reached": REACHED[target.reached(got.get(name))]}
        for name, target in targets.items()
    }


def target_rows(judgements: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Return the rows of a table of targets: what, target, measured, reached."""
    rows = []
    for one in judgements.values():
        got = one["measured"]
        value = "-" if got is None else f"{number(got, 2)} {one['unit']}"
        rows.append([one["what"], f"{one['sense']} {one['want']:g} {one['unit']}", value, one["reached"]])
    return rows


def number(values: Mapping[str, float] | None, digits: int, *, bounds: bool = True) -> str:
    """Write a median, and the least and greatest value behind it."""
    if values is None:
        return "-"
    median = f"{values['median']:.{digits}f}"
    return f"{median} ({values['min']:.{digits}f}..{values['max']:.{digits}f})" if bounds else median
