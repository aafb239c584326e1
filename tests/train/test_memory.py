"""Memory that runs out in training: one line, exit code 2, and a run folder that goes on."""

import subprocess
import sys
from pathlib import Path

import pytest

from danlu import save
from danlu.device import is_exhausted
from danlu.recipe import Recipe
from danlu.recipe_text import settle
from danlu.train.memory import too_little_memory

CODE = """
import resource
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

HEADROOM = 600 << 20


def limit():
    words = Path("/proc/self/status").read_text().split()
    mapped = int(words[words.index("VmSize:") + 1]) * 1024
    resource.setrlimit(resource.RLIMIT_AS, (mapped + HEADROOM, mapped + HEADROOM))


def data():
    return np.zeros((64, 4), "f4"), np.arange(64) % 3


class Wide(nn.Module):
    '''Asks for 16 MiB for each sample in training.'''

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x):
        if self.training:
            limit()
            torch.ones(len(x), 16 << 20, dtype=torch.uint8)
        return self.layer(x)
"""
RECIPE = """
epochs = 1
batch_size = 64
threads = 1
tensorboard = false
rehearse = false
data = "own.py:data"
model = "own.py:Wide"
"""


def danlu(words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "danlu", *words.split()]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.skipif(sys.platform != "linux", reason="reads what Linux says of a process")
def test_memory_that_runs_out_is_one_line_and_the_run_goes_on_with_what_it_says(tmp_path: Path):
    (tmp_path / "own.py").write_text(CODE)
    (tmp_path / "recipe.toml").write_text(RECIPE)
    failed = danlu("train recipe.toml --out run", tmp_path)
    assert failed.returncode == 2, failed.stderr
    assert failed.stderr.count("\n") == 1
    assert failed.stderr.startswith("danlu: update 1: got no memory for 64 samples at a time; ")
    resume = "danlu resume run --set batch_size=32 --set accumulate=2 --accept-changes"
    assert f"`{resume}`" in failed.stderr
    assert save.steps(tmp_path / "run") == [0]
    done = danlu(resume.removeprefix("danlu "), tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 epoch done" in done.stdout
    assert save.steps(tmp_path / "run") == [1]


def test_one_sample_that_does_not_fit_needs_another_model():
    recipe, _ = settle(Recipe(batch_size=1))
    error = too_little_memory(MemoryError(), "update 3", recipe)
    assert error is not None
    assert "smaller model" in str(error)


def test_other_errors_stay_what_they_are():
    recipe, _ = settle(Recipe())
    assert too_little_memory(RuntimeError("shapes"), "update 3", recipe) is None
    assert not is_exhausted(RuntimeError("shapes"))
