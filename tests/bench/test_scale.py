"""`python -m bench.scale` at its smallest, as a caller runs it."""

import json
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from bench.scale import percent

ROOT = Path(__file__).parents[2]


def test_sizes_are_timed_and_drawn(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench.scale", "--quick", "--threads", "1", "--sizes", "8", "32", "--rounds", "3"]
    command += [
        "--seconds",
        "0.1",
        "--networks",
        "lstm",
        "--results",
        str(tmp_path),
        "--figure",
        str(tmp_path / "docs" / "scale.png"),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "scale.json").read_text())
    sizes = [(sweep, value) for sweep in ("width", "batch") for value in (8, 32)]
    assert [(row["sweep"], row["value"]) for row in report["sweeps"]] == sizes
    for row in report["sweeps"]:
        ours, theirs = row["times"]["danlu"], row["times"]["bare"]
        ratio = statistics.median(one / other for one, other in zip(ours, theirs, strict=True))
        assert row["over_bare"]["median"] == pytest.approx(ratio)
        assert row["products_s"] > 0
    assert list(report["shares"]) == ["lstm"]
    assert all(one["cost"]["flops"] > 0 for one in report["shares"].values())
    assert (tmp_path / "docs" / "scale.png").read_bytes().startswith(b"\x89PNG")
    assert "| lstm |" in (tmp_path / "scale.md").read_text()


def test_a_share_above_the_whole_is_no_figure() -> None:
    assert percent(37.6) == "38 %"
    assert percent(101.0) == "peak under-measured"
    assert percent(None) == "not countable"
