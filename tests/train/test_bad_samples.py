"""Runs over data with bad samples: exact across kills, whatever becomes of the files; recorded; stopped by a quota."""

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from train.killing import Kill, Killed, die_in_training, last_state, rows

import danlu
from danlu.cli import run as command
from danlu.data import Data, Samples
from danlu.errors import DataError, RecipeError

pytestmark = pytest.mark.usefixtures("quick")

TRUNCATED, TEXT, LARGE, HELD_OUT = 5, 12, 20, 33


class Folder(Dataset[Any]):
    def __init__(self, folder: Path) -> None:
        self.samples = [(str(path), index % 3) for index, path in enumerate(sorted(folder.glob("*.png")))]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        path, label = self.samples[index]
        with Image.open(path) as picture:
            return torch.from_numpy(np.array(picture, np.float32) / 255)[None], label


def noisy(sample: tuple[torch.Tensor, int]) -> tuple[torch.Tensor, int]:
    noise = danlu.data.rng().standard_normal((1, 8, 8)).astype("f4") if sample[0].shape[1] == 8 else np.float32(0)
    return sample[0] + 0.1 * torch.from_numpy(np.asarray(noise)) + 0.1 * torch.rand(()), sample[1]


def write(folder: Path, n: int = 44, *, broken: bool = True) -> Path:
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for index in range(n):
        side = 12 if index == LARGE and broken else 8
        pixels = rng.integers(0, 255, (12, 12), dtype=np.uint8)[:side, :side]
        Image.fromarray(pixels).save(folder / f"{index:03}.png")
    if broken:
        for row in (TRUNCATED, HELD_OUT):
            path = folder / f"{row:03}.png"
            path.write_bytes(path.read_bytes()[:60])
        (folder / f"{TEXT:03}.png").write_text("not a picture\n")
    return folder


def pictures(folder: Path, workers: int = 0, **given: Any) -> Data:
    """Return 32 samples to train on, three of them bad, and 12 to validate on, one of them bad."""
    whole = Samples(Folder(folder), transform=noisy, workers=workers, **given)
    return Data(whole.take(np.arange(32)), {"valid": whole.take(np.arange(32, 44))})


def network(engine: str = "torch") -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        layers = nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)
    model = nn.Sequential(*layers)
    if engine == "zero":
        from danlu.models.twin import twin

        return twin(model)
    return model


def recipe(bad: str = "skip", **given: Any) -> danlu.Recipe:
    part = danlu.recipe.Checkpoints(every=3, per="update", keep=2)
    plain: dict[str, Any] = {"epochs": 3, "batch_size": 4, "seed": 5, "metrics": ["accuracy"], "checkpoints": part}
    plain["tensorboard"] = False
    return danlu.Recipe(data=danlu.Data("pictures", bad_samples=bad, bad_quota=6), **{**plain, **given})


def record(folder: Path) -> dict[str, Any]:
    """Return all that is promised to be equal: the last state, every row, every bad sample."""
    _, arrays, state = last_state(folder)
    state["hooks"] = None
    return {"state": state, "arrays": arrays, "rows": rows(folder), "bad": rows(folder, "bad_samples")}


@pytest.mark.parametrize(
    ("engine", "bad", "workers"), [("torch", "skip", 2), ("torch", "replace", 0), ("zero", "replace", 2)]
)
def test_killed_and_resumed_equals_never_killed(engine: str, bad: str, workers: int, tmp_path: Path):
    folder = write(tmp_path / "pictures")
    given = recipe(bad)
    danlu.fit(network(engine), pictures(folder), given, out=tmp_path / "whole", quiet=True)
    whole = record(tmp_path / "whole")
    assert sorted(row[3] for row in whole["bad"]) == [TRUNCATED, TEXT, LARGE, HELD_OUT]
    found = [row[1] for row in whole["bad"]]  # after how many updates each came up
    for update in {found[1] + 1, 10}:  # between and after the updates that found them
        out = tmp_path / f"killed-{update}"
        data = pictures(folder, workers)
        with pytest.raises(Killed):
            danlu.fit(network(engine), data, given, out=out, quiet=True, hooks=[Kill(update)])
        danlu.fit(network(engine), pictures(folder, workers), given, out=out, quiet=True, resume=True)
        assert record(out) == whole, update


@pytest.mark.parametrize("bad", ["skip", "replace"])
def test_mending_the_files_changes_nothing(bad: str, tmp_path: Path):
    given = recipe(bad)
    danlu.fit(network(), pictures(write(tmp_path / "a")), given, out=tmp_path / "whole", quiet=True)
    with pytest.raises(Killed):
        danlu.fit(network(), pictures(write(tmp_path / "a")), given, out=tmp_path / "b", quiet=True, hooks=[Kill(10)])
    mended = pictures(write(tmp_path / "a", broken=False), 2)
    danlu.fit(network(), mended, given, out=tmp_path / "b", quiet=True, resume=True)
    assert record(tmp_path / "b") == record(tmp_path / "whole")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_quota_ends_a_resumed_run_where_it_ends_the_whole_one(workers: int, tmp_path: Path):
    folder = write(tmp_path / "pictures")
    given = recipe("skip")
    given.data = danlu.Data("pictures", bad_samples="skip", bad_quota=2)
    ends = []
    for name in ("whole", "killed"):
        out = tmp_path / name
        if name == "killed":
            second = ends[0][1][-2][0]  # how many updates were done when the second one came up
            with pytest.raises(Killed):
                danlu.fit(network(), pictures(folder), given, out=out, quiet=True, hooks=[Kill(second + 1)])
        with pytest.raises(DataError, match="3 bad ones of 32") as caught:
            danlu.fit(network(), pictures(folder, workers), given, out=out, quiet=True, resume=name == "killed")
        run = danlu.Run(out)
        ends.append((str(caught.value), run.bad_samples, run.summary["updates"], record(out)))
    assert ends[0] == ends[1]
    assert [row[0] for row in ends[0][1]] == sorted(row[0] for row in ends[0][1])
    assert len(ends[0][1]) == 3


def test_a_real_kill_with_workers(tmp_path: Path):
    folder, out = write(tmp_path / "pictures"), tmp_path / "killed"
    code, told = die_in_training(__file__, folder, out)
    assert code == -signal.SIGKILL, told
    write(folder, broken=False)
    danlu.fit(network(), pictures(folder), recipe("replace"), out=out, quiet=True, resume=True)
    danlu.fit(network(), pictures(write(folder)), recipe("replace"), out=tmp_path / "whole", quiet=True)
    assert record(out) == record(tmp_path / "whole")


def test_figures_say_how_many_samples_they_are_of(tmp_path: Path):
    folder = write(tmp_path / "pictures")
    skipped = danlu.fit(network(), pictures(folder), recipe("skip"), quiet=True)
    assert skipped.summary["final"]["valid/samples"] == 11
    assert skipped.summary["samples_seen"] == 3 * 29
    assert skipped.history["valid/samples"].to_list() == [11.0] * 3
    replaced = danlu.fit(network(), pictures(folder), recipe("replace"), quiet=True)
    assert replaced.summary["final"]["valid/samples"] == 11  # a stand-in is none of the set's twelve
    assert replaced.summary["samples_seen"] == 3 * 32
    data = pictures(folder)
    figures = danlu.evaluate(network(), data, recipe("skip"), on="valid")
    good = data.valid["valid"].take([0, *range(2, 12)])
    alone = danlu.evaluate(network(), good, recipe())
    assert figures["samples"] == 11
    assert figures["loss"] == pytest.approx(alone["loss"], abs=1e-6)
    with pytest.raises(DataError, match=f"valid sample {HELD_OUT} .*, batch 0 of epoch 0: got OSError"):
        danlu.evaluate(network(), data, recipe("raise"), on="valid")
    with pytest.raises(DataError, match=f"sample {HELD_OUT} "):  # there has to be an output for every sample
        danlu.predict(network(), data.valid["valid"], recipe("skip"))


def test_the_default_ends_the_run_and_says_where(tmp_path: Path):
    folder = write(tmp_path / "pictures")
    with pytest.raises(DataError, match=r"valid sample 33 .*033\.png., batch 0 of epoch 0: got OSError") as caught:
        danlu.fit(network(), pictures(folder), recipe("raise"), quiet=True)  # found by the check of the first batches
    assert isinstance(caught.value.__cause__, OSError)
    data = Data(pictures(folder).train)
    first = recipe("raise", batch_size=2, epochs=2)
    with pytest.raises(DataError, match=r"train sample (5|12|20) .*, batch \d+ of epoch 0: got"):
        danlu.fit(network(), data, first, out=tmp_path / "run", quiet=True)
    (_, name, row, path, _, epoch) = danlu.Run(tmp_path / "run").bad_samples[0]
    assert (name, Path(path).name, epoch) == ("train", f"{row:03}.png", 0)
    resumed = recipe("skip", batch_size=2, epochs=2)
    with pytest.raises(RecipeError, match="bad_samples"):
        danlu.fit(network(), data, resumed, out=tmp_path / "run", quiet=True, resume=True)
    run = danlu.fit(network(), data, resumed, out=tmp_path / "run", quiet=True, resume="accept changes")
    assert run.summary["epochs"] == 2


def test_a_source_s_own_policy_comes_first(tmp_path: Path):
    folder = write(tmp_path / "pictures")
    run = danlu.fit(network(), pictures(folder, bad="replace"), recipe("skip"), quiet=True)
    assert run.summary["samples_seen"] == 3 * 32
    with pytest.raises(DataError, match="at most 1 "):
        danlu.fit(network(), pictures(folder, bad_quota=1), recipe("skip"), quiet=True)
    with pytest.raises(RecipeError, match=r"data.bad_samples: got skip for a DataLoader"):
        danlu.fit(network(), DataLoader(Folder(folder), batch_size=4), recipe("skip"), quiet=True)


def test_a_batch_that_would_be_lost_does_not_stop_batch_norm(tmp_path: Path):
    folder = write(tmp_path / "pictures")
    for row in range(4):
        (folder / f"{row:03}.png").write_text("broken\n")
    data = Data(pictures(folder).train)
    in_order = danlu.Data("pictures", bad_samples="skip", bad_quota=0.5, sampler="in_order")
    run = danlu.fit(network(), data, danlu.Recipe(data=in_order, epochs=2, batch_size=4), quiet=True)
    assert run.summary["updates"] == 16
    assert run.summary["samples_seen"] == 2 * (2 + 28 - 3)


PROGRAM = """
import sys
from pathlib import Path
sys.path.insert(0, {home!r})
import importlib.util
spec = importlib.util.spec_from_file_location("bad_samples_of_a_recipe", {file!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)

def data():
    return module.pictures(Path({folder!r}))

def Net():
    return module.network()
"""
RECIPE = """
epochs = 2
batch_size = 4
[model]
build = "mine.py:Net"
[data]
name = "mine.py:data"
bad_samples = "skip"
bad_quota = 0.2
"""


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    folder = write(Path("pictures"))
    Path("mine.py").write_text(PROGRAM.format(home=str(tmp_path), file=__file__, folder=str(folder)))
    Path("recipe.toml").write_text(RECIPE)
    assert command(["train", "recipe.toml", "--out", "run", "--quiet"]) == 0
    capsys.readouterr()
    assert command(["runs", "show", "run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    begin = next(index for index, line in enumerate(lines) if line.startswith("bad samples"))
    assert lines[begin] == "bad samples: 3 of train, 1 of valid"
    assert lines[begin + 1].split() == ["set", "id", "epoch", "file", "what", "is", "wrong"]
    table = " ".join(" ".join(lines[begin + 2 : begin + 10]).split())  # lines are wrapped at the terminal's width
    assert f"{folder}/012.png UnidentifiedImageError: cannot identify image file" in table
    assert f"train 20 0 {folder}/020.png a sample of shape (1x12x12, number), others have (1x8x8" in table
    assert f"valid 33 0 {folder}/033.png OSError: " in table
    assert any(line.split()[:2] == ["samples", "11"] for line in lines)
    assert json.loads(Path("run/summary.json").read_text())["final"]["valid/samples"] == 11
    assert command(["eval", "run", "--on", "valid"]) == 0
    assert "11" in capsys.readouterr().out
    assert command(["train", "recipe.toml", "--out", "more", "--set", "data.bad_quota=1", "--quiet"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "train samples: got 2 bad ones of 32, the first: " in told
    assert command(["train", "recipe.toml", "--set", "data.bad_quota=0"]) == 2
    assert "data.bad_quota: got 0; want a whole number >= 1 or a number > 0 and <= 1" in capsys.readouterr().err
