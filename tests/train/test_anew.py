"""A run that was killed before its first checkpoint begins anew in its own folder, as if it had never been started."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import danlu
from danlu import save
from danlu.cli import run as command
from danlu.errors import RunError
from danlu.train import build_model

pytestmark = pytest.mark.usefixtures("quick")

RECIPE = """
epochs = 2
batch_size = 16
metrics = ["accuracy"]
data = "iris"
[model]
build = "softmax_regression"
inputs = 4
outputs = 3
"""
KILLED = """
import os, signal
from danlu import save
from danlu.cli import run
exchange = save.checkpoint._exchange

def dying(new, folder):
    if folder.name == "step-00000000":  # all of it is written, under another name
        os.kill(os.getpid(), signal.SIGKILL)
    exchange(new, folder)

save.checkpoint._exchange = dying
run(["train", "recipe.toml", "--out", "killed", "--quiet"])
"""


@pytest.fixture
def killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose run died while its first checkpoint was written."""
    monkeypatch.chdir(tmp_path)
    Path("recipe.toml").write_text(RECIPE)
    environment = {**os.environ, "PYTHONPATH": str(Path(danlu.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", KILLED], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert save.steps(Path("killed")) == []
    assert [path.name for path in Path("killed/checkpoints").iterdir()] == [".writing-step-00000000"]
    return Path("killed")


def record(folder: Path) -> dict[str, Any]:
    """Return all that is promised to be equal, TensorBoard's files by how many there are."""
    tensors, state = save.read(save.folder(folder, save.steps(folder)[-1]))
    arrays = {f"{group}/{name}": array.tobytes() for group, named in tensors.items() for name, array in named.items()}
    run = danlu.Run(folder)
    rows = [run.metrics(name).rows() for name in ("train/loss", "valid/accuracy", "lr")]
    files = sorted(str(path.parent.relative_to(folder)) for path in folder.rglob("events.out*"))
    return {"state": state, "arrays": arrays, "rows": rows, "files": files, "recipe": run.recipe}


def test_it_begins_anew_by_itself(killed: Path, capsys: pytest.CaptureFixture[str]):
    shutil.copytree(killed, "again")
    assert command(["train", "recipe.toml", "--out", "whole", "--quiet"]) == 0
    assert command(["resume", "killed", "--quiet"]) == 0
    recipe = danlu.load_recipe("again")
    part = danlu.recipe.Model("softmax_regression", inputs=4, outputs=3)
    model, data = build_model(part, recipe.seed), danlu.data.load("iris")
    danlu.fit(model, data, recipe, out="again", quiet=True, resume=True)
    for name in ("killed", "again"):
        assert record(Path(name)) == record(Path("whole"))
        notices = [text for _, kind, text in danlu.Run(name).events if kind == "notice"]
        assert "begins anew: it was left before its first checkpoint" in notices
        assert not list(Path(name).rglob(".*"))
    assert command(["resume", "killed"]) == 0
    assert "nothing to do: all 2 epochs done" in capsys.readouterr().out


def test_a_run_that_lost_its_checkpoints_does_not(killed: Path, capsys: pytest.CaptureFixture[str]):
    assert command(["resume", "killed", "--quiet"]) == 0
    shutil.rmtree("killed/checkpoints")
    Path("killed/summary.json").unlink()
    before = danlu.Run("killed").metrics("train/loss").rows()
    capsys.readouterr()
    assert command(["resume", "killed"]) == 2
    told = capsys.readouterr().err
    assert "got no checkpoint; want a checkpoint to go on from" in told
    assert told.count("\n") == 1
    assert danlu.Run("killed").metrics("train/loss").rows() == before


def test_another_process_that_begins_there_is_left_alone(killed: Path):
    hold = "import sys, time; from danlu import save; from pathlib import Path\n"
    hold += "with save.locked(Path('killed')): print('held', flush=True); time.sleep(60)"
    environment = {**os.environ, "PYTHONPATH": str(Path(danlu.__file__).parents[1])}
    process = subprocess.Popen([sys.executable, "-c", hold], env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        recipe = danlu.load_recipe("killed")
        model = build_model(danlu.recipe.Model("softmax_regression", inputs=4, outputs=3), recipe.seed)
        with pytest.raises(RunError, match=rf"got a run that process {process.pid} on .* trains in"):
            danlu.fit(model, danlu.data.load("iris"), recipe, out="killed", quiet=True, resume=True)
    finally:
        process.kill()
        process.communicate()
    assert (killed / "tensorboard").exists()
