"""Runs that augment over data with bad samples: exact across kills and workers, normalised by the good ones."""

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from train.killing import Kill, Killed, die_in_training, last_state, rows

import danlu
from danlu import Augment
from danlu.data import Data, Samples
from danlu.errors import DataError
from danlu.measure import rehearse
from danlu.models.twin import twin
from danlu.train import prepare

pytestmark = pytest.mark.usefixtures("quick")

N, BAD, HELD_OUT = 44, (5, 12, 20), 35
PIXELS = np.random.default_rng(0).integers(0, 256, (N, 1, 6, 6), dtype=np.uint8)
CHANGES = [Augment("random_crop", padding=1), Augment("mixup", alpha=0.4, classes=3), "horizontal_flip"]


class Pictures(Dataset[tuple[Tensor, int]]):
    """Pictures, of which those cannot be fetched that a file says are broken."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __len__(self) -> int:
        return N

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if (self.folder / f"{index}.broken").exists():
            raise ValueError("no such picture")
        return torch.from_numpy(PIXELS[index]) * (1 / 255), index % 3


def now_and_then(sample: tuple[Tensor, int]) -> tuple[Tensor, int]:
    """Spoil one sample in sixty, in this epoch alone."""
    return (sample[0] * torch.nan if danlu.data.rng().random() < 1 / 60 else sample[0]), sample[1]


def broken(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    for row in (*BAD, HELD_OUT):
        (folder / f"{row}.broken").touch()
    return folder


def pictures(folder: Path, workers: int = 0) -> Data:
    whole = Samples(Pictures(folder), transform=now_and_then, workers=workers)
    return Data(whole.take(np.arange(32)), {"valid": whole.take(np.arange(32, N))})


def network(engine: str = "torch") -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    return twin(model) if engine == "zero" else model


def recipe(bad: str = "skip", **given: Any) -> danlu.Recipe:
    plain: dict[str, Any] = {"epochs": 3, "batch_size": 4, "seed": 5, "metrics": ["accuracy"], "tensorboard": False}
    plain |= {"augment": CHANGES, "checkpoints": danlu.recipe.Checkpoints(every=3, per="update", keep=2)}
    data = danlu.Data("pictures", bad_samples=bad, bad_quota=12, normalise=True)
    return danlu.Recipe(**{**plain, "data": data, **given})


def record(folder: Path) -> dict[str, Any]:
    """Return all that is promised to be equal: the last state, every row, bad samples, statistics."""
    _, arrays, state = last_state(folder)
    state["hooks"] = None
    kept = {"rows": rows(folder), "bad": rows(folder, "bad_samples"), "recipe": (folder / "recipe.toml").read_text()}
    return {"state": state, "arrays": arrays, **kept}


@pytest.mark.parametrize(
    ("engine", "bad", "workers"),
    [("torch", "skip", 0), ("torch", "skip", 2), ("torch", "replace", 2), ("zero", "replace", 0)],
)
def test_killed_and_resumed_equals_never_killed(engine: str, bad: str, workers: int, tmp_path: Path):
    folder = broken(tmp_path / "pictures")
    danlu.fit(network(engine), pictures(folder), recipe(bad), out=tmp_path / "whole", quiet=True)
    whole = record(tmp_path / "whole")
    found = {row[3] for row in whole["bad"]}
    assert found >= {*BAD, HELD_OUT}
    assert len(found) > 4  # and some that were spoiled in one epoch only
    out = tmp_path / "killed"
    for update in (4, 10, 17):  # after a checkpoint, in the middle of an epoch and of another
        given = {"hooks": [Kill(update)], "resume": update > 4}
        with pytest.raises(Killed):
            danlu.fit(network(engine), pictures(folder, workers), recipe(bad), out=out, quiet=True, **given)
    danlu.fit(network(engine), pictures(folder, workers), recipe(bad), out=out, quiet=True, resume=True)
    assert record(out) == whole


def test_a_real_kill_and_mended_files(tmp_path: Path):
    folder, out = broken(tmp_path / "pictures"), tmp_path / "killed"
    code, told = die_in_training(__file__, folder, out)
    assert code == -signal.SIGKILL, told
    danlu.fit(network(), pictures(folder), recipe("replace"), out=tmp_path / "whole", quiet=True)
    for path in folder.glob("*.broken"):
        path.unlink()
    danlu.fit(network(), pictures(folder, 2), recipe("replace"), out=out, quiet=True, resume=True)
    assert record(out) == record(tmp_path / "whole")


@pytest.mark.parametrize("bad", ["skip", "replace"])
def test_every_set_is_normalised_by_the_good_training_samples(bad: str, tmp_path: Path):
    training = prepare(network(), Data(Samples(Pictures(broken(tmp_path))).take(np.arange(32))), recipe(bad))
    by = training.recipe.data.normalise
    good = np.delete(PIXELS[:32], BAD, axis=0) / 255
    np.testing.assert_allclose([by.mean, by.std], [[good.mean()], [good.std()]], rtol=1e-6)
    assert training.train.bad.rows == frozenset()  # a run meets them itself
    figures = danlu.evaluate(network(), pictures(tmp_path), recipe(bad), on="valid")
    assert figures["samples"] in (10, 11)
    with pytest.raises(DataError, match=r"train sample \d+, batch 0 of epoch 0: got"):
        prepare(network(), pictures(tmp_path), recipe("raise"))


@pytest.mark.parametrize("engine", ["torch", "zero"])
@pytest.mark.parametrize("workers", [0, 2])
def test_the_rehearsal_finds_nothing_where_all_is_sound(engine: str, workers: int, tmp_path: Path):
    training = prepare(network(engine), pictures(broken(tmp_path), workers), recipe("replace", accumulate=2))
    try:
        assert rehearse(training) == []
    finally:
        training.close()


class Entropy(Pictures):
    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        inputs, target = super().__getitem__(index)
        return inputs + float(np.random.default_rng().random()), target


def test_the_rehearsal_still_finds_data_that_changes(tmp_path: Path):
    given = recipe("skip", data=danlu.Data("pictures", bad_samples="skip", bad_quota=12))
    training = prepare(network(), Data(Samples(Entropy(broken(tmp_path)))), given)
    (finding,) = rehearse(training)
    assert "fetched twice" in finding
