"""`python -m bench.peers` on a tiny share of made pictures, as a caller runs it."""

import importlib.util
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
LEARNED_LOSS = math.log(10) - 0.05  # of ten equally likely classes, less what a few updates must have learned
PACKAGES = {
    "dataloader": "torch",
    "textbook": "PIL",
    "accelerate": "accelerate",
    "ignite": "ignite",
    "keras": "keras",
    "lightning": "lightning",
    "skorch": "skorch",
    "transformers": "transformers",
}


def write_pictures(folder: Path) -> None:
    """Write pictures whose class is where a bright bar stands."""
    generator = np.random.default_rng(0)
    for name, samples in (("train", 1280), ("valid", 200)):
        target = generator.integers(0, 10, samples)
        pictures = generator.integers(0, 40, (samples, 1, 28, 28), dtype=np.uint8)
        for picture, label in zip(pictures, target, strict=True):
            picture[0, 2 * label : 2 * label + 4] = 255
        np.save(folder / f"{name}_inputs.npy", pictures)
        np.save(folder / f"{name}_target.npy", target.astype(np.int64))


def bench(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    write_pictures(folder)
    command = [sys.executable, "-m", "bench.peers", "--arrays", str(folder), "--results", str(folder / "results")]
    command += ["--share", "0.02", "--threads", "1", "--retries", "0", "--limit", "0.2", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


def report_of(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / "results" / "peers.json").read_text())
    return report


def test_danlu_beside_the_bare_loop(tmp_path: Path) -> None:
    shared = ("mlp", "cnn", "line")
    done = bench(tmp_path, "--only", "danlu", "bare", "--rounds", "1", "--epochs", "2", "--tasks", *shared)
    assert done.returncode == 0, done.stdout + done.stderr
    report = report_of(tmp_path)
    rows = report["rounds"]
    fits = [(row["task"], row["round"], row["name"]) for row in rows]
    names = ("danlu", "bare")
    assert fits == [
        (task, index, names[(place + index) % 2])
        for task in ("mlp", "cnn", "line")
        for index in range(2)
        for place in range(2)
    ]
    assert [len(row["epochs"]) for row in rows] == [2] * 4 + [1] * 8
    assert all(row["epochs"][-1]["valid_loss"] < LEARNED_LOSS for row in rows if row["task"] == "mlp")
    assert all((row["epochs"][-1]["train_accuracy"] is None) == (row["task"] == "line") for row in rows)
    for row in rows:
        parts_s = sum(epoch["train_s"] + epoch["evaluate_s"] for epoch in row["epochs"])
        assert row["setup_s"] + parts_s + row["finish_s"] == pytest.approx(row["total_s"])
        assert row["epoch_s"] * len(row["epochs"]) == pytest.approx(parts_s)
    epoch_s = {(row["round"], row["name"]): row["epoch_s"] for row in rows if row["task"] == "mlp"}
    ratio = epoch_s[1, "danlu"] / epoch_s[1, "bare"]
    assert report["summary"]["mlp"]["danlu"]["over"]["bare"]["epoch"]["median"] == pytest.approx(ratio)
    target = report["targets"]["mlp_over_bare"]
    assert target["measured"]["median"] == pytest.approx(ratio)
    assert target["reached"] == ("yes" if ratio <= target["want"] else "no")
    assert report["targets"]["textbook_over_danlu"]["reached"] == "not measured"
    assert {task: found["danlu"]["device"] for task, found in report["found"].items()} == dict.fromkeys(shared, "cpu")
    assert "| danlu |" in (tmp_path / "results" / "peers.md").read_text()


@pytest.mark.parametrize("name", PACKAGES)
def test_every_peer_trains(tmp_path: Path, name: str) -> None:
    if importlib.util.find_spec(PACKAGES[name]) is None:
        pytest.skip(f"{PACKAGES[name]} is not installed: pip install -r requirements/bench.txt")
    done = bench(tmp_path, "--only", name, "--tasks", "mlp", "line", "--rounds", "1", "--epochs", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    report = report_of(tmp_path)
    fit = next(row for row in report["rounds"] if (row["task"], row["round"]) == ("mlp", 1))
    recorded = ("valid_accuracy",) if name == "transformers" else ("train_accuracy", "valid_accuracy")
    assert all(0.0 <= epoch[key] <= 1.0 for epoch in fit["epochs"] for key in recorded)
    assert fit["epochs"][1]["valid_loss"] < LEARNED_LOSS
    assert fit["epochs"][1]["train_loss"] < fit["epochs"][0]["train_loss"]
    assert fit["setup_s"] > 0 < fit["update_us"]
    assert [row["round"] for row in report["rounds"] if row["task"] == "line"] == ([] if name == "textbook" else [0, 1])


def test_other_networks_are_for_danlu_and_the_bare_loop(tmp_path: Path) -> None:
    tasks, names = ("mlp-adamw", "lstm", "cnn-eval"), ("danlu", "bare")
    done = bench(tmp_path, "--only", *names, "dataloader", "--rounds", "1", "--tasks", *tasks)
    assert done.returncode == 0, done.stdout + done.stderr
    report = report_of(tmp_path)
    fits = {(row["task"], row["name"]): row for row in report["rounds"] if row["round"] == 1}
    assert fits.keys() == {(task, name) for task in tasks for name in names}
    spent = {name: fits["cnn-eval", name]["epochs"][0]["evaluate_s"] for name in names}
    measured = report["targets"]["cnn_eval_bare"]["measured"]
    assert measured["median"] == pytest.approx(spent["bare"] / spent["danlu"])
    assert set(report["found"]) == set(tasks)


def test_an_unknown_trainer_is_named(tmp_path: Path) -> None:
    done = bench(tmp_path, "--only", "nobody")
    assert done.returncode == 2
    assert "nobody" in done.stderr
