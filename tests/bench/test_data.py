"""`python -m bench.data` on very little, as a caller runs it."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def report_of(folder: Path, *parts: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.data", "--quick", "--threads", "1", "--results", str(folder)]
    command += [
        "--bytes",
        "4000000",
        "--pictures",
        "130",
        "--order-powers",
        "5",
        "--seconds",
        "0.2",
        "--workers",
        "0",
        "--parts",
        *parts,
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (folder / "data.md").read_text().count("| yes |") + (folder / "data.md").read_text().count("| no |") > 0
    report: dict[str, Any] = json.loads((folder / "data.json").read_text())
    return report


def check(report: dict[str, Any], names: set[str]) -> None:
    """Look whether what is said of each race follows from its rounds."""
    for race in report["races"]:
        if race["missing"]:
            continue
        ratios = sorted(ours / theirs for ours, theirs in zip(race["ours"], race["theirs"], strict=True))
        target = report["targets"][race["name"]]
        assert (target["measured"]["min"], target["measured"]["max"]) == pytest.approx((ratios[0], ratios[-1]))
        median, want = target["measured"]["median"], target["want"]
        good = median <= want if target["sense"] == "at most" else median >= want
        assert target["reached"] == ("yes" if good else "no")
    measured = {race["name"] for race in report["races"] if not race["missing"]}
    assert measured == names
    assert {name for name, one in report["targets"].items() if one["reached"] != "not measured"} == names


def test_what_lies_in_memory(tmp_path: Path) -> None:
    augment = {"augment"} if importlib.util.find_spec("kornia") is not None else set()
    report = report_of(tmp_path, "serving", "augment", "order")
    check(report, {"serving", "order-growth", "order-memory"} | augment)
    rows = next(race for race in report["races"] if race["name"] == "order-growth")["more"]["rows"]
    assert [row["samples"] for row in rows] == [10_000, 100_000]
    assert all(row[name]["seconds"] > 0 for row in rows for name in ("begin", "middle", "drawn"))


def test_a_stored_set(tmp_path: Path) -> None:
    check(report_of(tmp_path, "disk"), {"disk-3kb", "disk-150kb", "disk-memory"})


def test_a_folder_of_pictures(tmp_path: Path) -> None:
    check(report_of(tmp_path, "pictures"), {"pictures-first", "pictures-second"})
