"""`python -m bench.busy` at its smallest, as a caller runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("way", ["danlu", "plain"])
def test_updates_are_timed_alone_and_beside_a_busy_process(way: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench.busy", "--rounds", "1", "--updates", "20", "--threads", "1", "--ways", way]
    done = subprocess.run([*command, "--results", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "busy.json").read_text())
    update_s = {row["busy"]: row["update_s"] for row in report["rounds"]}
    assert [(row["way"], row["updates"]) for row in report["rounds"]] == [(way, 20)] * 2
    assert report["summary"][way]["median"] == pytest.approx(update_s[True] / update_s[False])
    target = report["targets"]["danlu"]
    reached = "not measured" if way == "plain" else "yes" if target["measured"]["median"] <= 1.5 else "no"
    assert target["reached"] == reached
    assert f"| {way} |" in (tmp_path / "busy.md").read_text()
