"""What becomes of measured times: ratios round by round, and targets; and settings that are found by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.peers import OTHERS, PEERS
from bench.peers.by_hand import find
from bench.results import TARGETS, summarize, targets
from bench.targets import Target, judged, ratios
from bench.task import Task


def fit(task: str, name: str, index: int, seconds: float) -> dict[str, Any]:
    """Return a fit of one epoch whose update takes `seconds`, and whose evaluation takes three times as long."""
    epoch = {"train_s": seconds, "evaluate_s": 3 * seconds, "valid_loss": 1.0, "valid_accuracy": 0.5}
    return {
        **{"task": task, "name": name, "round": index, "others_cores": 0.0, "memory_peak_mb": 100.0 + len(name)},
        **{"epoch_s": 4 * seconds, "update_us": 1e6 * seconds, "setup_s": 0.0, "finish_s": 0.0, "epochs": [epoch]},
    }


def test_targets_are_ratios_of_the_same_round() -> None:
    slower = {"danlu": 1.0, "bare": 2.0, "by_hand": 0.5, **dict.fromkeys(OTHERS, 5.0), "keras": 3.0}
    tasks = {"mlp": PEERS, "cnn": PEERS, "line": ("danlu", "bare")}
    tasks |= dict.fromkeys(("mlp-adamw", "cnn-512", "cnn-eval", "lstm", "transformer"), ("danlu", "bare"))
    tasks["resnet"] = ("danlu", "bare", "by_hand")
    speed = [9.0, 1.0, 10.0, 100.0]  # of the machine, in the warm-up and three rounds
    rows = [
        fit(task, name, index, slower[name] * pace * (2.0 if (name, index) == ("bare", 3) else 1.0))
        for task, names in tasks.items()
        for name in names
        for index, pace in enumerate(speed)
    ]
    got = targets(summarize(rows))
    assert got.keys() == TARGETS.keys()
    assert got["mlp_over_bare"] == {"median": 0.5, "min": 0.25, "max": 0.5}
    for name in ("adamw_bare", "cnn_bare", "cnn_512_bare", "cnn_eval_bare"):
        assert got[name] == {"median": 2.0, "min": 2.0, "max": 4.0}
    for name in ("lstm_over_bare", "transformer_over_bare"):
        assert got[name] == {"median": 0.5, "min": 0.25, "max": 0.5}
    assert got["resnet_over_hand"] == {"median": 2.0, "min": 2.0, "max": 2.0}
    assert got["update_overhead"] == {"median": -1e7, "min": -3e8, "max": -1e6}
    for name in ("peer_mlp", "peer_cnn", "library_over_danlu"):
        assert got[name] == {"median": 3.0, "min": 3.0, "max": 3.0}
    assert got["memory_over_bare"] == {"median": 1.0, "min": 1.0, "max": 1.0}


@pytest.mark.parametrize(("sense", "want", "reached"), [("at most", 1.0, "no"), ("at least", 1.0, "yes")])
def test_the_median_reaches_a_target_or_does_not(sense: Any, want: float, reached: str) -> None:
    target = Target("one over another", want, sense, "x")
    found = judged({"a": target, "b": target}, {"a": ratios([1.0, 4.0, 9.0], [2.0, 2.0, 3.0])})
    assert found["a"]["measured"] == {"median": 2.0, "min": 0.5, "max": 3.0}
    assert (found["a"]["reached"], found["b"]["reached"]) == (reached, "not measured")


def test_the_fastest_settings_by_hand_are_taken(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for name in ("train", "valid"):
        np.save(tmp_path / f"{name}_inputs.npy", generator.integers(0, 256, (8, 1, 28, 28), dtype=np.uint8))
        np.save(tmp_path / f"{name}_target.npy", generator.integers(0, 10, 8))
    found = find(Task("small", tmp_path, 8, 8, 4, lr=0.1, threads=1, model="mlp"))
    known = [{key: one[key] for key in found["settings"]} for one in found["tried"]]
    assert found["settings"] in known
    assert len({tuple(one.values()) for one in known}) == len(known) == 6
    best = found["tried"][known.index(found["settings"])]
    looked_at_again = [one for one in found["tried"] if len(one["update_s"]) > 1]
    assert len(looked_at_again) == 3
    assert sorted(best["update_s"])[1] == min(sorted(one["update_s"])[1] for one in looked_at_again)
