"""Training on a folder of pictures: a real kill in mid-epoch, both engines, replay; broken pictures among them."""

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import danlu
from danlu import save
from danlu.data import Data, images

BROKEN = 7


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("DANLU_CACHE", str(folder))
    return folder


def write(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    for index in range(48):
        path = folder / "ab"[index % 2] / f"{index:02}.{('png', 'jpg')[index % 3 == 0]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 128 + 127 * (index % 2), (30, 40, 3), dtype=np.uint8)).save(path)
        if index == BROKEN:
            path.write_bytes(path.read_bytes()[:300])
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("pictures"))


def network(engine: str = "torch") -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = nn.Sequential(
            nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(36, 2)
        )
    if engine == "zero":
        from danlu.models.twin import twin

        return twin(model)
    return model


def data(folder: str | Path, **given: Any) -> Data:
    return images(folder, size=8, **given)


def recipe(bad: str = "skip", **given: Any) -> danlu.Recipe:
    return danlu.Recipe(
        data=danlu.Data("images", bad_samples=bad, normalise=True),
        augment=["horizontal_flip"],
        metrics=["accuracy"],
        checkpoints=danlu.recipe.Checkpoints(every=3, per="update", keep=2),
        **{"epochs": 3, "batch_size": 4, "seed": 5, "tensorboard": False, "rehearse": False, **given},
    )


def record(folder: Path) -> dict[str, Any]:
    """Return all that is promised to be equal."""
    tensors, state = save.read(save.folder(folder, save.steps(folder)[-1]))
    with sqlite3.connect(folder / "metrics.sqlite") as store:
        rows = store.execute("SELECT rowid, * FROM metrics ORDER BY rowid").fetchall()
        bad = store.execute("SELECT rowid, * FROM bad_samples ORDER BY rowid").fetchall()
    arrays = {f"{group}/{name}": array.tobytes() for group, named in tensors.items() for name, array in named.items()}
    state["hooks"] = None
    return {"state": state, "arrays": arrays, "rows": rows, "bad": bad}


SCRIPT = """
import importlib.util, os, signal, sys, time
spec = importlib.util.spec_from_file_location("test_pictures", {file!r})
module = importlib.util.module_from_spec(spec)
sys.modules["test_pictures"] = module
spec.loader.exec_module(module)

class Die(module.danlu.Hook):
    def on_step_end(self, training, result):
        if training.state.updates_done == {update}:
            while (module.save.steps(training.folder) or [0])[-1] < {update} // 3 * 3:
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)

given = module.recipe({bad!r})
module.danlu.fit(module.network({engine!r}), module.data({folder!r}), given, out={out!r}, quiet=True, hooks=[Die()])
"""


@pytest.mark.parametrize(("engine", "bad", "update"), [("torch", "replace", 14), ("zero", "skip", 5)])
def test_killed_in_mid_epoch_and_resumed_equals_never_killed(
    engine: str, bad: str, update: int, folder: Path, tmp_path: Path
):
    out = tmp_path / "killed"
    text = SCRIPT.format(file=__file__, folder=str(folder), out=str(out), engine=engine, bad=bad, update=update)
    environment = {**os.environ, "DANLU_CACHE": str(tmp_path / "its own")}
    done = subprocess.run([sys.executable, "-c", text], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    others = data(folder, cache=update % 2 == 0)  # kept pictures or not: that changes nothing
    danlu.fit(network(engine), others, recipe(bad), out=out, quiet=True, resume=True)
    danlu.fit(network(engine), data(folder), recipe(bad), out=tmp_path / "whole", quiet=True)
    whole = record(tmp_path / "whole")
    assert record(out) == whole
    assert [Path(row[4]).stem for row in whole["bad"]] == [f"{BROKEN:02}"]


def test_threads_change_no_bit_of_a_run(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    records = []
    for threads in (1, 4):
        monkeypatch.setattr("danlu.data.reading.cores", lambda threads=threads: threads)
        out = tmp_path / str(threads)
        danlu.fit(network(), data(folder, cache=False), recipe(), out=out, quiet=True)
        records.append(record(out))
    assert records[0] == records[1]


def test_pictures_are_drawn_evaluated_and_predicted(folder: Path, tmp_path: Path):
    given = data(folder)
    run = danlu.fit(network(), given, recipe("skip", epochs=1, tensorboard=True), out=tmp_path / "run", quiet=True)
    assert any((tmp_path / "run" / "tensorboard").rglob("*tfevents*"))
    model, told = danlu.load_model(run.folder, model=network()), danlu.load_recipe(run.folder)
    figures = danlu.evaluate(model, given, told, on="valid")
    assert figures["loss"] == pytest.approx(run.summary["final"]["valid/loss"], abs=1e-6)
    good = given.valid["valid"].take(np.arange(4))
    assert danlu.predict(model, good, told).shape == (4, 2)
    replayed = danlu.replay(run.folder, 10, network(), data=given)
    assert replayed.update == 10
    assert len(replayed.rows) == len(replayed.sample_ids)
