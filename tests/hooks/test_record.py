"""The run folder's own papers."""

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import danlu
from danlu import hooks, save
from danlu.data import Arrays, Data
from danlu.recipe_text import read
from danlu.train import Training, prepare, run


def small() -> Data:
    x = np.random.default_rng(0).standard_normal((40, 4)).astype(np.float32)
    every = Arrays(x, np.arange(40) % 3)
    return Data(every, {"valid": every}, test=every)


def test_a_run_folder_is_complete_and_every_file_can_be_read(tmp_path: Path):
    torch.manual_seed(0)
    recipe = danlu.Recipe(epochs=3, batch_size=10, metrics=["accuracy"], optim=danlu.Optim("adam", lr=0.05), seed=4)
    made = danlu.fit(nn.Linear(4, 3), small(), recipe, out=tmp_path / "run", quiet=True)
    folder = tmp_path / "run"
    assert made.folder == folder
    assert sorted(path.name for path in folder.iterdir()) == [
        "checkpoints", "curves.png", "environment.json", "metrics.sqlite", "plan.json", "recipe.toml", "summary.json",
        "tensorboard",
    ]  # fmt: skip
    tree = tomllib.loads((folder / "recipe.toml").read_text())
    assert (tree["seed"], tree["optim"]["name"], tree["optim"]["lr"], tree["accumulate"]) == (4, "adam", 0.05, 1)
    assert read(folder / "recipe.toml") == danlu.load_recipe(folder)
    plan = json.loads((folder / "plan.json").read_text())
    assert plan == {
        "device": "cpu",
        "precision": "float32",
        "threads": torch.get_num_threads(),
        "deterministic": True,
        "engine": "torch",
        "generators": "torch",
        "eval_batch_size": 10,
        "memory_format": "as given",
        "optimizer": "as given",
        "keep_memory": False,
        "compiled": False,
        "captured": False,
        "data": "device",
        "threads_alike": False,
        "update_s": None,
        "tried": [],
    }
    environment = json.loads((folder / "environment.json").read_text())
    assert environment["packages"]["torch"] == torch.__version__
    assert {"python", "system", "processor", "cores", "command"} <= environment.keys()
    assert (folder / "curves.png").read_bytes()[:4] == b"\x89PNG"
    summary = made.summary
    assert (summary["status"], summary["reason"]) == ("finished", "all 3 epochs done")
    assert (summary["epochs"], summary["updates"], summary["samples_seen"]) == (3, 12, 120)
    assert summary["samples_per_s"] == pytest.approx(120 / summary["seconds"])
    assert summary["best"] == made.best
    sets = [f"{group}/{name}" for group in ("train", "valid", "test") for name in ("loss", "accuracy")]
    assert list(summary["final"]) == sorted(sets)
    last = made.history.row(-1, named=True)
    assert {name: last[name] for name in sets} == summary["final"]
    assert "torch" in summary["measured_on"]


def test_a_run_in_memory_says_the_same(tmp_path: Path):
    found = []
    for out in (None, tmp_path / "run"):
        torch.manual_seed(0)
        found.append(danlu.fit(nn.Linear(4, 3), small(), danlu.Recipe(epochs=2, batch_size=10), out=out, quiet=True))
    memory, folder = found
    assert memory.folder is None
    assert memory.history.equals(folder.history)
    assert memory.best == folder.best
    assert memory.recipe == folder.recipe
    same = set(memory.summary) - {"seconds", "samples_per_s"}
    assert {name: memory.summary[name] for name in same} == {name: folder.summary[name] for name in same}
    seconds = memory.summary["seconds"]
    assert memory.summary["seconds"] == seconds


def test_the_clock_stops_with_the_training():
    training = prepare(nn.Linear(4, 3), small(), danlu.Recipe(epochs=1, batch_size=10))
    for _ in run(training):
        pass
    first = training.seconds
    assert first > 0
    assert training.seconds == first
    assert hooks.summary(training)["seconds"] == first


def test_a_run_that_fails_before_its_first_row_still_has_its_papers(tmp_path: Path):
    class Fails(danlu.Hook):
        def on_fit_start(self, training: Training) -> None:
            raise ZeroDivisionError("at once")

    with pytest.raises(ZeroDivisionError) as caught:
        danlu.fit(
            nn.Linear(4, 3), small(), danlu.Recipe(batch_size=10), hooks=[Fails()], out=tmp_path / "run", quiet=True
        )
    assert not [note for note in caught.value.__notes__ if "afterwards" in note]
    left = danlu.Run(tmp_path / "run")
    assert left.summary["status"] == "failed"
    assert left.summary["reason"] == "ZeroDivisionError: at once"
    assert left.summary["updates"] == 0
    assert left.best is None
    assert left.history.is_empty()
    assert save.steps(tmp_path / "run") == []


def test_figures_that_are_no_numbers_stay_readable(tmp_path: Path):
    recipe = danlu.Recipe(
        loss=lambda output, target: output.mean() * float("inf") * 0, epochs=1, batch_size=10, on_nan="record"
    )
    made = danlu.fit(nn.Linear(4, 3), small(), recipe, out=tmp_path / "run", quiet=True)
    assert made.best is None
    final = made.summary["final"]
    assert all(np.isnan(final[name]) for name in ("train/loss", "valid/loss", "test/loss"))
    json.loads((tmp_path / "run" / "summary.json").read_text(), parse_constant=lambda name: pytest.fail(name))
