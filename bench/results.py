"""From rounds to figures: medians, ratios to danlu round by round, and where the targets stand."""

from collections.abc import Callable, Sequence
from typing import Any

from bench.peers import LIBRARIES, OTHERS, PEERS
from bench.rounds import Row, is_disturbed
from bench.targets import Spread, Target, spread

Figures = dict[str, Any]


TARGETS = {
    "mlp_over_bare": Target("MLP epoch, SGD: danlu over the bare loop", 1.05, "at most", "x"),
    "adamw_bare": Target("MLP update, AdamW: the bare loop over danlu (aim 1.3)", 1.1, "at least", "x"),
    "cnn_bare": Target("CNN update, batch 128: the bare loop over danlu", 1.5, "at least", "x"),
    "cnn_512_bare": Target("CNN update, batch 512: the bare loop over danlu", 2.0, "at least", "x"),
    "cnn_eval_bare": Target("CNN evaluation: the bare loop over danlu", 2.0, "at least", "x"),
    "lstm_over_bare": Target("LSTM update: danlu over the bare loop", 1.02, "at most", "x"),
    "transformer_over_bare": Target("transformer update: danlu over the bare loop", 1.02, "at most", "x"),
    "resnet_over_hand": Target("ResNet-18 update: danlu over the best setting found by hand", 1.03, "at most", "x"),
    "update_overhead": Target("an update of Linear(2, 1): danlu over the bare loop", 15.0, "at most", "us"),
    "peer_mlp": Target("MLP epoch: the fastest other trainer over danlu", 1.5, "at least", "x"),
    "peer_cnn": Target("CNN epoch: the fastest other trainer over danlu", 1.4, "at least", "x"),
    "library_over_danlu": Target("MLP epoch: the fastest library over danlu", 1.5, "at least", "x"),
    "textbook_over_danlu": Target("MLP epoch: the textbook loop over danlu", 8.0, "at least", "x"),
    "memory_over_bare": Target("peak memory: danlu over the bare loop", 150.0, "at most", "MB"),
}
FIGURES: dict[str, Callable[[Row], float]] = {  # of one fit
    "epoch": lambda row: float(row["epoch_s"]),
    "update": lambda row: float(row["update_us"]),
    "evaluate": lambda row: sum(epoch["evaluate_s"] for epoch in row["epochs"]) / len(row["epochs"]),
}
BASES = ("danlu", "bare", "by_hand")


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
    bare = _by_round(rows, "bare")
    return {
        "epoch_s": spread(map(FIGURES["epoch"], own)),
        "update_us": spread(map(FIGURES["update"], own)),
        "evaluate_s": spread(map(FIGURES["evaluate"], own)),
        "over": {base: _over(own, _by_round(rows, base)) for base in BASES},
        "update_over_bare_us": spread(
            r["update_us"] - bare[r["round"]]["update_us"] for r in own if r["round"] in bare
        ),
        "around_s": spread(row["setup_s"] + row["finish_s"] for row in own),
        "around_first_s": first["setup_s"] + first["finish_s"],
        "valid_loss": spread(epoch["valid_loss"] for epoch in last),
        "valid_accuracy": spread(e["valid_accuracy"] for e in last if e["valid_accuracy"] is not None),
        "memory_peak_mb": first["memory_peak_mb"],
    }


def _over(own: Sequence[Row], base: dict[int, Row]) -> dict[str, Spread | None]:
    """Return how many times another's time each figure takes, round by round."""
    return {
        name: spread(of(row) / of(base[row["round"]]) for row in own if row["round"] in base)
        for name, of in FIGURES.items()
    }


def _by_round(rows: Sequence[Row], name: str) -> dict[int, Row]:
    return {row["round"]: row for row in rows if row["name"] == name and row["round"] > 0}


def targets(summary: dict[str, dict[str, Figures]]) -> dict[str, Spread | None]:
    """Return where danlu stands on each of `TARGETS`; None where this run did not measure it."""
    mlp = summary.get("mlp", {})
    peaks = [peak for name in ("danlu", "bare") if (peak := mlp.get(name, {}).get("memory_peak_mb")) is not None]

    def over(task: str, what: str, name: str, base: str) -> Spread | None:
        found: Spread | None = summary.get(task, {}).get(name, {}).get("over", {}).get(base, {}).get(what)
        return found

    def least(task: str, names: Sequence[str]) -> Spread | None:
        known = [found for name in names if (found := over(task, "epoch", name, "danlu")) is not None]
        return min(known, key=lambda one: one["median"], default=None)

    return {
        "mlp_over_bare": over("mlp", "epoch", "danlu", "bare"),
        "adamw_bare": over("mlp-adamw", "update", "bare", "danlu"),
        "cnn_bare": over("cnn", "update", "bare", "danlu"),
        "cnn_512_bare": over("cnn-512", "update", "bare", "danlu"),
        "cnn_eval_bare": over("cnn-eval", "evaluate", "bare", "danlu"),
        "lstm_over_bare": over("lstm", "update", "danlu", "bare"),
        "transformer_over_bare": over("transformer", "update", "danlu", "bare"),
        "resnet_over_hand": over("resnet", "update", "danlu", "by_hand"),
        "update_overhead": summary.get("line", {}).get("danlu", {}).get("update_over_bare_us"),
        "peer_mlp": least("mlp", OTHERS),
        "peer_cnn": least("cnn", OTHERS),
        "library_over_danlu": least("mlp", LIBRARIES),
        "textbook_over_danlu": over("mlp", "epoch", "textbook", "danlu"),
        "memory_over_bare": spread([peaks[0] - peaks[1]]) if len(peaks) == 2 else None,
    }


def disturbed(rows: Sequence[Row]) -> tuple[int, int]:
    """Return during how many of the counted fits other programs worked, and how many fits there were."""
    counted = [row for row in rows if row["round"] > 0]
    return sum(is_disturbed(row) for row in counted), len(counted)
