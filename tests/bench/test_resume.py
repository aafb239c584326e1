"""`python -m bench.resume` with danlu alone, as a caller runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.resume import counted

ROOT = Path(__file__).parents[2]


def test_danlu_killed_and_resumed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench.resume", "--only", "danlu", "--results", str(tmp_path)]
    command += ["--epochs", "2", "--every", "4", "--kill", "38"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    row = json.loads((tmp_path / "resume.json").read_text())["trainers"]["danlu"]
    assert row["repeats"]
    assert row["equal"]
    assert row["difference"] == 0.0
    assert row["killed_in"] == 38
    kept = {*range(0, 38, 4), 30}  # saves that come faster than the disk takes them replace one another
    assert row["went_on_after"] in kept
    assert (row["repeated"], row["lost"], row["twice"], row["missing"]) == (0, 0, 0, 0)
    assert row["ids_equal"] == row["batches_equal"] == row["batches"] == 60 - row["went_on_after"]
    assert "| danlu | equal | yes |" in (tmp_path / "resume.md").read_text()


@pytest.mark.parametrize("step", [0, 28, 30, 32, 36])
def test_an_epoch_has_its_updates_once_wherever_the_run_went_on(step: int) -> None:
    lines = [{"ids": [number]} for number in range(60)]
    found = counted(lines[:37], lines[step:], begun=30, step=step)
    assert [line["ids"][0] for line in found] == list(range(30, 60))
