"""From rounds to figures: medians, ratios to danlu round by round, and where the targets stand."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bench.peers import LIBRARIES, PEERS
from bench.rounds import Row, is_disturbed

Figures = dict[str, Any]


@dataclass(frozen=True)
class Target:
    """What danlu must reach."""

    what: str
    want: float
    sense: Literal["at most", "at least"]
    unit: str

    def reached(self, got: float | None) -> bool | None:
        if got is None:
            return None
        return got <= self.want if self.sense == "at most" else got >= self.want


TARGETS = {
    "mlp_over_bare": Target("MLP epoch, danlu over the bare loop", 1.10, "at most", "x"),
    "library_over_danlu": Target("MLP epoch, fastest library over danlu", 1.4, "at least", "x"),
    "textbook_over_danlu": Target("MLP epoch, textbook loop over danlu", 8.0, "at least", "x"),
    "update_overhead": Target("an update of Linear(2, 1), danlu over the bare loop", 30.0, "at most", "us"),
    "memory_over_bare": Target("peak memory, danlu over the bare loop", 150.0, "at most", "MB"),
}


def spread(values: Iterable[float]) -> dict[str, float] | None:
    """Return median, least and greatest; None of nothing."""
    known = list(values)
    if not known:
        return None
    return {"median": statistics.median(known), "min": min(known), "max": max(known)}


def summarize(rows: Sequence[Row]) -> dict[str, dict[str, Figures]]:
    """Return figures by task and competitor."""
    tasks = dict.fromkeys(row["task"] for row in rows)
    return {task: _of_task([row for row in rows if row["task"] == task]) for task in tasks}


def _of_task(rows: Sequence[Row]) -> dict[str, Figures]:
    return {name: _of_competitor(name, rows) for name in PEERS if any(row["name"] == name for row in rows)}


def _of_competitor(name: str, rows: Sequence[Row]) -> Figures:
    own = [row for row in rows if row["name"] == name and row["round"] > 0]
    first = next(row for row in rows if row["name"] == name and row["round"] == 0)
    last = [row["epochs"][-1] for row in own]
    danlu, bare = _by_round(rows, "danlu"), _by_round(rows, "bare")
    return {
        "epoch_s": spread(row["epoch_s"] for row in own),
        "over_danlu": spread(r["epoch_s"] / danlu[r["round"]]["epoch_s"] for r in own if r["round"] in danlu),
        "over_bare": spread(r["epoch_s"] / bare[r["round"]]["epoch_s"] for r in own if r["round"] in bare),
        "update_us": spread(row["update_us"] for row in own),
        "update_over_bare_us": spread(
            r["update_us"] - bare[r["round"]]["update_us"] for r in own if r["round"] in bare
        ),
        "around_s": spread(row["setup_s"] + row["finish_s"] for row in own),
        "around_first_s": first["setup_s"] + first["finish_s"],
        "valid_loss": spread(epoch["valid_loss"] for epoch in last),
        "valid_accuracy": spread(e["valid_accuracy"] for e in last if e["valid_accuracy"] is not None),
        "memory_peak_mb": first["memory_peak_mb"],
    }


def _by_round(rows: Sequence[Row], name: str) -> dict[int, Row]:
    return {row["round"]: row for row in rows if row["name"] == name and row["round"] > 0}


def targets(summary: dict[str, dict[str, Figures]]) -> dict[str, float | None]:
    """Return where danlu stands on each of `TARGETS`; None where this run did not measure it."""
    mlp, line = summary.get("mlp", {}), summary.get("line", {})
    libraries = [_median(mlp, name, "over_danlu") for name in LIBRARIES]
    known = [ratio for ratio in libraries if ratio is not None]
    peaks = [peak for name in ("danlu", "bare") if (peak := mlp.get(name, {}).get("memory_peak_mb")) is not None]
    return {
        "mlp_over_bare": _median(mlp, "danlu", "over_bare"),
        "library_over_danlu": min(known, default=None),
        "textbook_over_danlu": _median(mlp, "textbook", "over_danlu"),
        "update_overhead": _median(line, "danlu", "update_over_bare_us"),
        "memory_over_bare": peaks[0] - peaks[1] if len(peaks) == 2 else None,
    }


def _median(figures: dict[str, Figures], name: str, key: str) -> float | None:
    found = figures.get(name, {}).get(key)
    return None if found is None else float(found["median"])


def disturbed(rows: Sequence[Row]) -> tuple[int, int]:
    """Return during how many of the counted fits other programs worked, and how many fits there were."""
    counted = [row for row in rows if row["round"] > 0]
    return sum(is_disturbed(row) for row in counted), len(counted)
