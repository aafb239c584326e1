"""What tells two runs apart can fail: every kind of difference is found, and said."""

import json
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from kills.compare import differences

import danlu
from danlu import save
from danlu.track import TensorBoard


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "whole"
    chance = np.random.default_rng(0)
    x, y = chance.normal(size=(40, 3)).astype(np.float32), chance.integers(0, 2, 40)
    recipe = danlu.Recipe(epochs=2, batch_size=10, log_every=2, optim=danlu.Optim("sgd", momentum=0.9))
    danlu.fit(danlu.models.mlp(3, 2, hidden=[4]), (x, y), recipe, out=out, quiet=True)
    return out


@pytest.fixture
def other(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "other"))


def test_a_copy_is_equal(whole: Path, other: Path):
    assert differences(whole, other) == []


def test_one_bit_of_a_tensor(whole: Path, other: Path):
    place = save.folder(other, save.steps(other)[-1])
    tensors, state = save.read(place)
    array = next(iter(tensors["optimizer"].values()))
    array.flat[0] = np.nextafter(array.flat[0], np.float32(9))
    state["epoch"] += 1
    save.write(place, tensors, state, overwrite=True)
    first, second = differences(whole, other)
    assert "optimizer/" in first
    assert f"1 of {array.size} numbers differ" in first
    assert "state.epoch: 2, here 3" in second


def test_a_row_that_is_missing_or_twice(whole: Path, other: Path):
    with sqlite3.connect(other / "metrics.sqlite") as store:
        store.execute("INSERT INTO metrics SELECT * FROM metrics LIMIT 1")
    found = differences(whole, other)
    assert found[0].startswith("metrics: ")
    assert "only in one of them" in found[1]


def test_a_curve_that_doubles_back(whole: Path, other: Path):
    with TensorBoard(other / "tensorboard") as board:
        board.scalars(2, {"running/loss": 0.5})
    assert any(line.startswith("TensorBoard: ") for line in differences(whole, other))


def test_another_end(whole: Path, other: Path):
    summary = json.loads((other / "summary.json").read_text())
    (other / "summary.json").write_text(json.dumps({**summary, "updates": 9, "seconds": 1e9}))
    assert differences(whole, other) == ["summary.updates: 8, here 9"]


def test_a_checkpoint_too_many(whole: Path, other: Path):
    last = save.folder(other, save.steps(other)[-1])
    shutil.copytree(last, save.folder(other, 99))
    assert differences(whole, other) == ["checkpoints: kept [8], here [8, 99]"]
