"""`python -m bench.checkpoint` at its smallest, as a caller runs it."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_figure_is_measured_and_the_report_is_written(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench.checkpoint", "--rounds", "2", "--width", "50", "--samples", "20000"]
    command += ["--seconds", "0.2", "--results", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "checkpoint.json").read_text())
    assert list(report["summary"]) == ["save", "run", "resume"]
    for figures in report["summary"].values():
        assert 0 < figures["ratio"]["min"] <= figures["ratio"]["median"] <= figures["ratio"]["max"]
    assert len(report["measured"]["save"]["ours_s"]) == len(report["measured"]["resume"]["ours_s"]) == 2
    assert min(report["measured"]["run"]["saves"]) >= 1
    lines = (tmp_path / "checkpoint.md").read_text().splitlines()
    assert len([line for line in lines if line.startswith("| ")]) == 5
