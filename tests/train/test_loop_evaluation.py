"""When evaluations fall, of which sets, and on which batches."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler
from train.small_job import Note, network, points, recipe

import danlu
from danlu.data import Arrays, Data, Loader, Samples


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, [5, 10, 15]),
        ({"validate_every": 2}, [10, 15]),  # and at the end
        ({"validate_every": 4, "validate_per": "update"}, [4, 8, 12, 15]),
        ({"updates": 7}, [5, 7]),
        ({"updates": 10}, [5, 10]),
        ({"limit_batches": 2}, [2, 4, 6]),
        ({"accumulate": 2}, [3, 6, 9]),
        ({"overfit_one_batch": True}, [1, 2, 3]),
    ],
)
def test_cadence(given: dict[str, object], expected: list[int]):
    note = Note()
    danlu.fit(network(), points(), recipe(**given), hooks=[note], quiet=True)
    tested = [] if "overfit_one_batch" in given else [expected[-1]]  # that one has no test set
    assert note.evaluated == expected + tested
    assert all({"train/loss", "valid/accuracy"} <= figures.keys() for figures in note.figures[: len(expected)])
    assert [list(figures) for figures in note.figures[len(expected) :]] == [["test/loss", "test/accuracy"]] * len(
        tested
    )


def test_every_validation_set_has_its_own_rows():
    x, y = np.zeros((8, 5), np.float32), np.zeros(8, np.int64)
    data = Data(points().train, {"clean": Arrays(x, y), "noisy": Arrays(x + 1, y + 3)})
    run_ = danlu.fit(network(), data, recipe(), quiet=True)
    assert {"clean/loss", "noisy/loss", "clean/accuracy", "noisy/accuracy"} <= run_.summary["final"].keys()
    assert run_.best is not None
    assert run_.best["metric"] == "clean/accuracy"
    named = danlu.fit(network(), data, recipe(monitor="noisy/loss"), quiet=True)
    assert named.best is not None
    assert named.best["metric"] == "noisy/loss"


def test_limit_batches_limits_every_set():
    data = points()
    final = danlu.fit(network(), data, recipe(limit_batches=1, epochs=1, eval_batch_size=4), quiet=True).summary
    assert final["samples_seen"] == 8
    model = network()
    danlu.fit(model, data, recipe(limit_batches=1, epochs=1), quiet=True)
    part = Data(data.train, test=data.valid["valid"].take(range(4)))
    assert final["final"]["valid/loss"] == danlu.evaluate(model, part, recipe())["loss"]


@pytest.mark.parametrize("names", [["valid"], ["noisy"], []])
def test_one_batch_is_learnt_by_heart(names: list[str]):
    data = Data(points(seed=3).train, dict.fromkeys(names, points().valid["valid"]))
    model = nn.Sequential(nn.Linear(5, 64), nn.ReLU(), nn.Linear(64, 4))
    given = recipe(overfit_one_batch=True, epochs=150, optim=danlu.Optim("adam", lr=0.02), validate_every=150)
    run_ = danlu.fit(model, data, given, quiet=True)
    assert run_.summary["samples_seen"] == 150 * 8
    assert run_.summary["final"]["train/loss"] < 0.1
    assert run_.summary["final"][f"{(names or ['valid'])[0]}/accuracy"] == 1.0
    assert run_.best is not None


def test_a_balanced_sampler_draws_each_class_alike():
    y = np.array([0] * 90 + [1] * 10)
    data = Data(Arrays(np.eye(2, dtype=np.float32)[y], y))
    counts = np.zeros(2)
    seen = danlu.recipe.Data("", sampler="balanced")

    def step(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        counts[:] += np.bincount(batch[1].numpy(), minlength=2)
        return model(batch[0]).square().mean()

    for _ in danlu.steps(nn.Linear(2, 1), data, recipe(data=seen, metrics=[], epochs=10, batch_size=20), step=step):
        pass
    assert 0.45 < counts[1] / counts.sum() < 0.55


def test_a_ready_loader_with_a_weighted_sampler_and_own_collation():
    pairs = TensorDataset(torch.arange(30.0).reshape(30, 1), torch.arange(30) % 2)
    weights = torch.tensor([1.0, 0.0] * 15, dtype=torch.float64)
    sampler = WeightedRandomSampler(weights, 12, generator=torch.Generator())  # type: ignore[arg-type]
    seen: list[int] = []

    def collate(samples: list[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
        return {"input": torch.stack([s[0] for s in samples]), "label": torch.stack([s[1] for s in samples])}

    def step(model: nn.Module, batch: tuple[dict[str, Tensor], Tensor]) -> Tensor:
        if model.training:
            seen.extend(batch[1].tolist())
        return model(**batch[0]).square().mean()

    loader = DataLoader(pairs, batch_size=5, sampler=sampler, collate_fn=collate)
    given = recipe(metrics=[], epochs=2)
    for result in danlu.steps(nn.Linear(1, 1), Data(Loader(loader), {"valid": Loader(loader)}), given, step=step):
        assert result.samples in (5, 2)
    assert seen == [0] * 24


def test_a_dataset_with_its_own_collation():
    data = Samples(
        TensorDataset(torch.rand(20, 5), torch.arange(20) % 4),  # type: ignore[arg-type]
        collate_fn=lambda s: (torch.stack([x for x, _ in s]) * 2, torch.stack([y for _, y in s])),
    )
    summary = danlu.fit(network(), data, recipe(epochs=2), quiet=True).summary
    assert summary["samples_seen"] == 40


class Short(DataLoader[Any]):
    """A loader that says it has more batches than it gives."""

    def __len__(self) -> int:
        return super().__len__() + 1


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_loader_that_ends_early_ends_the_run_with_a_reason(accumulate: int):
    loader = Short(TensorDataset(torch.rand(20, 5), torch.arange(20) % 4), batch_size=5)
    with pytest.raises(danlu.DataError, match="5 batches, as many as the data says"):
        danlu.fit(network(), loader, recipe(accumulate=accumulate), quiet=True)
