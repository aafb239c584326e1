"""Runs over stored sets that do not fit in memory: exact across kills, whatever memory there is when they go on."""

import gc
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from torch import nn

import danlu
from danlu import save
from danlu.cli import run as command
from danlu.data import Arrays, Data, convert, stored
from danlu.data.resident import ResidentBatches
from danlu.data.store_batches import StoredBatches
from danlu.errors import DataError
from danlu.train import prepare

pytestmark = pytest.mark.usefixtures("quick")

N, WINDOW_BYTES = 500, 16_000
RECIPE = danlu.Recipe(
    metrics=["accuracy"],
    optim=danlu.Optim("adamw", lr=0.01),
    augment=[danlu.recipe.Augment("noise", std=0.1)],
    epochs=2,
    batch_size=16,
    log_every=4,
    checkpoints=danlu.recipe.Checkpoints(every=6, per="update", keep=3),
    device="cpu",
)


def written(folder: Path, *, copies: int = 1) -> Path:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((N, 20)).astype(np.float32)
    y = (x[:, 0] > 0) * 1 + (x[:, 1] > 0) * 2
    train, valid = Arrays(np.tile(x[:400], (copies, 1)), np.tile(y[:400], copies)), Arrays(x[400:], y[400:])
    return convert(Data(train, {"valid": valid}, name="made"), folder)


def opened(folder: Path, memory_bytes: int | None = 0) -> Data:
    return stored(folder, memory_bytes=memory_bytes, window_bytes=WINDOW_BYTES)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 4))


def record(folder: Path) -> dict[str, Any]:
    """Return all that is promised to be equal: the last state, and every row."""
    tensors, state = save.read(save.folder(folder, save.steps(folder)[-1]))
    with sqlite3.connect(folder / "metrics.sqlite") as store:
        rows = store.execute("SELECT rowid, * FROM metrics ORDER BY rowid").fetchall()
    arrays = {f"{group}/{name}": array.tobytes() for group, named in tensors.items() for name, array in named.items()}
    state["hooks"] = state["bad_samples"] = None  # what is read into memory has none
    return {"state": state, "arrays": arrays, "rows": rows}


def test_a_small_row_set_goes_by_blocks_where_it_does_not_fit(tmp_path: Path) -> None:
    place = written(tmp_path / "set")
    for limit, kind, sampler in ((0, StoredBatches, "block_shuffle"), (10**9, ResidentBatches, "shuffle")):
        plain = danlu.recipe.Recipe(device="cpu", data=danlu.recipe.Data("x"))
        training = prepare(network(), opened(place, limit), plain)
        assert isinstance(training.train, kind)
        assert training.recipe.data is not None
        assert training.recipe.data.sampler == sampler
        assert plain.data.sampler == "shuffle"  # type: ignore[union-attr]  # the caller's own is left alone
        assert any("quasi-random" in notice for notice in training.notices) == (limit == 0)
        training.close()
    large = Arrays(np.zeros((9, 1 << 14), np.float32), np.arange(9) % 4)
    rows = stored(convert(large, tmp_path / "large"), memory_bytes=0)
    training = prepare(nn.Linear(1 << 14, 4), rows, danlu.Recipe(device="cpu", batch_size=3))
    assert isinstance(training.train, StoredBatches)
    assert training.recipe.data is None  # single rows as large as these are read in true random order


SCRIPT = """
import importlib.util, os, signal, sys, time
spec = importlib.util.spec_from_file_location("stored_runs", {file!r})
module = importlib.util.module_from_spec(spec)
sys.modules["stored_runs"] = module
spec.loader.exec_module(module)

class Die(module.danlu.Hook):
    def on_step_end(self, training, result):
        if training.state.updates_done == 40:
            while (module.save.steps(training.folder) or [0])[-1] < 36:
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)

data = module.opened(module.Path({folder!r}))
module.danlu.fit(module.network(), data, module.RECIPE, out={out!r}, quiet=True, hooks=[Die()])
"""


def test_killed_in_mid_epoch_and_resumed_is_never_killed(tmp_path: Path) -> None:
    place, out = written(tmp_path / "set"), tmp_path / "killed"
    text = SCRIPT.format(file=__file__, folder=str(place), out=str(out))
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL, done.stderr
    whole = tmp_path / "whole"
    danlu.fit(network(), opened(place), RECIPE, out=whole, quiet=True)
    danlu.fit(network(), opened(place, 10**9), RECIPE, out=out, quiet=True, resume=True)  # there is more memory now
    assert record(out) == record(whole)


class KilledError(BaseException):
    """Nothing is cleaned up after it."""


class Kill(danlu.Hook):
    def on_step_end(self, training: Any, result: Any) -> None:
        if training.state.updates_done == 40:
            training.store._pending = {table: [] for table in training.store._pending}
            training.folder = None  # whatever is written from now on is lost, as it would be
            raise KilledError


@pytest.mark.parametrize("limits", [(10**9, 0), (0, 10**9)], ids=str)
@pytest.mark.parametrize("named", [True, False])
def test_an_order_stays_what_it_was_whatever_memory_there_is(
    limits: tuple[int, int], named: bool, tmp_path: Path
) -> None:
    place = written(tmp_path / "set")
    recipe = msgspec.structs.replace(RECIPE, data=danlu.recipe.Data("made", normalise=True) if named else None)
    danlu.fit(network(), opened(place, limits[0]), recipe, out=tmp_path / "whole", quiet=True)
    with pytest.raises(KilledError):
        danlu.fit(network(), opened(place, limits[0]), recipe, out=tmp_path / "on", quiet=True, hooks=[Kill()])
    gc.collect()  # another process would have lost its hold on the record
    danlu.fit(network(), opened(place, limits[1]), recipe, out=tmp_path / "on", quiet=True, resume=True)
    assert record(tmp_path / "on") == record(tmp_path / "whole")
    replayed = danlu.replay(tmp_path / "whole", 49, network(), data=opened(place, limits[1]), recipe=recipe)
    again = danlu.replay(tmp_path / "whole", 49, network(), data=opened(place, limits[0]), recipe=recipe)
    assert replayed.sample_ids == again.sample_ids
    assert replayed.loss == again.loss


def test_a_set_sorted_by_class_is_told_of(tmp_path: Path) -> None:
    for ordered in (True, False):
        y = np.arange(4000) // 40
        source = Arrays(np.zeros((4000, 20), np.float32), y if ordered else np.random.default_rng(0).permutation(y))
        data = stored(convert(source, tmp_path / str(ordered)), memory_bytes=0, window_bytes=40_000)
        training = prepare(nn.Linear(20, 100), data, danlu.Recipe(device="cpu"))
        told = [notice for notice in training.notices if "sorted by class" in notice]
        assert len(told) == ordered
        training.close()


def test_damage_is_one_line_that_names_the_block_or_is_passed_over(tmp_path: Path) -> None:
    place = written(tmp_path / "set", copies=4)
    path = place / "00-inputs.bin"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"train sample \d+ .*block \d+ of 00-inputs.bin"):
        danlu.fit(network(), opened(place), RECIPE, quiet=True)
    part = danlu.recipe.Data("made", bad_samples="skip", bad_quota=0.5)
    run = danlu.fit(network(), opened(place), msgspec.structs.replace(RECIPE, data=part, epochs=1), quiet=True)
    assert 400 * 4 - run.summary["samples_seen"] == (1 << 16) // 88


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place, out = tmp_path / "digits", tmp_path / "run"
    assert command(["data", "convert", "digits", str(place)]) == 0
    streamed = [f"data.name={place}", "data.memory_bytes=0", "data.window_bytes=30000", "epochs=1"]
    sets = [word for one in streamed for word in ("--set", one)]
    assert command(["train", "digits", *sets, "--out", str(out)]) == 0
    assert "quasi-random" in capsys.readouterr().out
    assert danlu.load_recipe(out).data.sampler == "block_shuffle"  # type: ignore[union-attr]
    assert command(["eval", str(out)]) == 0
    assert command(["predict", str(out), "--picture", str(tmp_path / "few.png")]) == 0
    assert command(["resume", str(out), "--set", "data.memory_bytes=1000000"]) == 0
    assert "nothing to do" in capsys.readouterr().out
