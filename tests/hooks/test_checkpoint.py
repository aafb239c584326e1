"""Checkpoints: the best and the last, and nothing else."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import danlu
from danlu import save
from danlu.data import Arrays, Data
from danlu.train import Training


class Scripted(nn.Module):
    """A model whose validation loss follows a script, one entry for each evaluation."""

    def __init__(self, script: list[float]) -> None:
        super().__init__()
        self.weight, self.script, self.evaluation = nn.Parameter(torch.zeros(())), script, -2  # one is the check's

    def forward(self, inputs: Tensor) -> Tensor:
        if not self.training:
            self.evaluation += 1
            return self.weight * 0 + self.script[max(0, self.evaluation)]
        return self.weight + 1 + 0 * inputs.sum()


def scripted(script: list[float], **given: Any) -> tuple[danlu.Recipe, Data, Scripted]:
    """Each update moves the weight by exactly -1; one evaluation for each update."""
    recipe = danlu.Recipe(
        loss=lambda output, target: output, optim=danlu.Optim("sgd", lr=1.0), epochs=len(script), batch_size=2, **given
    )
    one = Arrays(np.zeros((2, 1), np.float32), np.zeros(2, np.float32))
    model = Scripted(script)
    model.evaluation = -3  # the check looks at two sets
    return recipe, Data(one, {"valid": one}), model


def loaded(folder: Path, at: str) -> float:
    return danlu.load_model(folder, at=at, model=Scripted([])).weight.item()  # type: ignore[no-any-return,operator,union-attr]


@pytest.mark.parametrize(
    ("script", "kept", "best"),
    [
        ([5, 4, 3], [3], 3),
        ([5, 3, 4], [2, 3], 2),
        ([1, 2, 3], [1, 3], 1),
        ([5, 3, 3], [2, 3], 2),
        ([math.nan, 3, math.nan], [2, 3], 2),
        ([math.inf, 3, -math.inf], [3], 3),
        ([math.nan, math.nan], [2], None),
    ],
)
def test_best_and_last_alone_are_kept(script: list[float], kept: list[int], best: int | None, tmp_path: Path):
    recipe, data, model = scripted(script)
    run = danlu.fit(model, data, recipe, out=tmp_path / "run", quiet=True)
    assert save.steps(tmp_path / "run") == kept
    assert sorted(p.name for p in (tmp_path / "run" / "checkpoints").iterdir()) == [f"step-{k:08}" for k in kept]
    values = run.history["valid/loss"].to_list()
    assert str(values) == str([float(value) for value in script])
    for step in kept:
        tensors, state = save.read(save.folder(tmp_path / "run", step))
        assert float(tensors["model"]["weight"]) == -step
        assert state["updates_done"] == step
    if best is None:
        assert run.best is None
        with pytest.raises(danlu.RunError, match='use at="last"'):
            danlu.load_model(tmp_path / "run", model=Scripted([]))
    else:
        assert run.best == {"step": best, "metric": "valid/loss", "value": float(script[best - 1])}
        assert loaded(tmp_path / "run", "best") == -best
    assert loaded(tmp_path / "run", "last") == -len(script)


def test_a_run_without_a_folder_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    recipe, data, model = scripted([3, 2, 1])
    run = danlu.fit(model, data, recipe, quiet=True)
    for _ in danlu.steps(
        nn.Linear(1, 1), np.zeros((4, 1)), danlu.Recipe(loss=lambda output, _: output.mean(), batch_size=1)
    ):
        pass
    assert run.best is not None
    assert run.history["step"].to_list() == [1, 2, 3]
    assert not list(tmp_path.iterdir())


def test_rows_are_durable_before_the_checkpoint_they_belong_to(tmp_path: Path):
    seen: list[tuple[int, list[int]]] = []

    class Look(danlu.Hook):
        def on_checkpoint(self, training: Training) -> None:
            assert training.folder is not None
            store = danlu.track.store.MetricStore.open(training.folder / "metrics.sqlite")
            rows = [step for step, name, _ in store.rows() if name == "valid/loss"]
            store.close()
            seen.append((training.state.updates_done, rows))

    recipe, data, model = scripted([3, 4, 1, 2])
    danlu.fit(model, data, recipe, hooks=[Look()], out=tmp_path / "run", quiet=True)
    assert seen == [(1, [1]), (3, [1, 2, 3]), (4, [1, 2, 3, 4])]


def policy(**given: Any) -> danlu.recipe.Checkpoints:
    return danlu.recipe.Checkpoints(**given)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"every": 100, "per": "update", "best": False}, [8]),
        ({"every": 100, "per": "update", "keep_every": 3, "best": False}, [3, 6, 8]),
        ({"every": 100, "per": "epoch", "keep_every": 4}, [1, 4, 8]),
        ({"every": 100, "per": "minute", "keep_every": 100, "keep": 2}, [1, 8]),
    ],
)
def test_the_ones_kept_for_good_and_the_best_where_it_is_wanted(given: dict[str, Any], kept: list[int], tmp_path: Path):
    recipe, data, model = scripted([1, 2, 3, 4, 5, 6, 7, 8], checkpoints=policy(**given))
    danlu.fit(model, data, recipe, out=tmp_path / "run", quiet=True)
    assert save.steps(tmp_path / "run") == kept
    assert save.read(save.folder(tmp_path / "run", 8))[0]["model"]["weight"] == -8


def test_what_is_kept_for_good_is_so_after_a_resume_too(tmp_path: Path):
    part = policy(every=1, per="update", keep_every=2, best=False)
    for epochs in (3, 6):
        recipe, data, model = scripted([1] * epochs, checkpoints=part)
        danlu.fit(model, data, recipe, out=tmp_path / "run", quiet=True, resume=epochs == 6)
    assert save.steps(tmp_path / "run") == [2, 4, 6]


def test_the_best_weights_cannot_be_put_back_where_they_are_not_saved():
    recipe, data, model = scripted([1], checkpoints=policy(best=False), early_stop=danlu.EarlyStop())
    with pytest.raises(danlu.RecipeError, match=r"checkpoints\.best: got false; want true, for early_stop"):
        danlu.fit(model, data, recipe, quiet=True)


def test_with_a_thread_that_writes_or_none_the_bits_are_the_same(tmp_path: Path):
    def trained(part: Any, out: Path | None) -> list[bytes]:
        torch.manual_seed(0)
        x = np.random.default_rng(0).standard_normal((64, 8)).astype(np.float32)
        model = nn.Sequential(nn.Linear(8, 300), nn.Dropout(0.3), nn.Linear(300, 3))
        given = danlu.Recipe(epochs=3, batch_size=4, optim=danlu.Optim("adam", lr=0.01), checkpoints=part)
        danlu.fit(model, (x, np.arange(64) % 3), given, out=out, quiet=True)
        return [array.tobytes() for array in map(np.asarray, (p.detach() for p in model.parameters()))]

    busy = policy(every=1, per="update", keep=3)
    assert trained(busy, tmp_path / "busy") == trained("off", tmp_path / "off") == trained(busy, None)
