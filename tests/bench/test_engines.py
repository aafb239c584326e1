"""`python -m bench.engines` on its smallest tasks, as a caller runs it."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_engines_agree_and_the_report_is_written(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench.engines", "--rounds", "2", "--tasks", "line", "small"]
    command += ["--results", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "engines.json").read_text())
    for name in ("line", "small"):
        figures = report["summary"][name]
        assert 0 < figures["ratio"]["min"] <= figures["ratio"]["median"] <= figures["ratio"]["max"]
        assert len(report["measured"][name]["update_s"]["zero"]) == 2
        assert figures["memory_ratio"] > 0
    lines = (tmp_path / "engines.md").read_text().splitlines()
    assert [line.split("|")[1].strip() for line in lines if line.startswith("| ")][1:] == [
        "---",
        "Linear(2, 1), batch 10, squared error",
        "MLP 2-16-2, batch 32, cross-entropy",
    ]
