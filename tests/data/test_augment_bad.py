"""Augmentation where samples are bad: what is served is changed by the numbers of the samples that are really there."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

from danlu import Augment
from danlu.data import Batches, Samples, augmented, batches, statistics
from danlu.errors import DataError

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than cores, on purpose

N, SEED, EPOCH = 37, 3, 2
BAD = (4, 5, 11, 23, 30)
GOOD = tuple(row for row in range(N) if row not in BAD)
PIXELS = np.random.default_rng(0).integers(0, 256, (N, 1, 6, 6), dtype=np.uint8)
MOVES = [Augment("random_crop", padding=2), "horizontal_flip", Augment("noise", std=0.1)]
MIXES = [*MOVES, Augment("mixup", alpha=1.0, classes=N), Augment("noise", std=0.1)]


class Pictures(Dataset[tuple[Tensor, int]]):
    """Every target is the sample's own number; some rows cannot be fetched, and one is NaN."""

    def __init__(self, bad: tuple[int, ...] = BAD) -> None:
        self.bad = bad

    def __len__(self) -> int:
        return N

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if index in self.bad[1:]:
            raise ValueError("no such picture")
        pixels = torch.from_numpy(PIXELS[index]) * (1 / 255)
        return pixels * torch.nan if index in self.bad else pixels, index


def made(augment: Any, bad: str, *, workers: int = 0, size: int = 8, rows: tuple[int, ...] = BAD) -> Batches:
    policy: Any = {"bad": bad, "bad_quota": 1.0}
    return augmented(batches(Samples(Pictures(rows), **policy), size, seed=SEED, sampler="shuffle", workers=workers),
                     augment, seed=SEED)  # fmt: skip


def by_looks(served: list[Any]) -> dict[tuple[int, ...], bytes]:
    """Return the pixels by what their targets say they are of; equal targets must have equal pixels."""
    found: dict[tuple[int, ...], bytes] = {}
    for inputs, target in served:
        assert len(inputs) == len(target)
        for pixels, one in zip(inputs, target, strict=True):
            key = (int(one),) if target.ndim == 1 else tuple(one.numpy().view(np.int32).tolist())
            assert found.setdefault(key, pixels.numpy().tobytes()) == pixels.numpy().tobytes()
    return found


def equal(one: list[Any], two: list[Any]) -> bool:
    assert len(one) == len(two) > 0
    return all(torch.equal(a, x) and torch.equal(b, y) for (a, b), (x, y) in zip(one, two, strict=True))


@pytest.mark.parametrize("bad", ["skip", "replace"])
def test_a_sample_looks_as_it_does_where_nothing_is_bad(bad: str) -> None:
    clean = by_looks(list(made(MOVES, "raise", rows=()).iterate(EPOCH)))
    found = by_looks(list(made(MOVES, bad).iterate(EPOCH)))
    assert set(found) == {(row,) for row in GOOD}
    assert all(clean[key] == pixels for key, pixels in found.items())


@pytest.mark.parametrize("bad", ["skip", "replace"])
@pytest.mark.parametrize("augment", [MOVES, MIXES], ids=["moves", "mixes"])
def test_however_it_is_fetched_the_pixels_are_the_same(bad: str, augment: Any) -> None:
    whole = list(made(augment, bad).iterate(EPOCH))
    assert sum(len(target) for _, target in whole) == (N if bad == "replace" else len(GOOD))
    looks = by_looks(whole)
    for size in (1, 5, N):  # those of one sample are left out where it is skipped
        assert by_looks(list(made(augment, bad, size=size).iterate(EPOCH))) == looks
    alone = made(augment, bad)
    ready = made(augment, bad)
    list(ready.iterate(EPOCH - 1))  # now they are known
    assert len(ready.bad.rows) == len(BAD)
    assert equal(whole, list(ready.iterate(EPOCH)))
    assert equal(whole, [alone.batch(EPOCH, position) for position in range(len(alone))])
    assert alone.bad.rows == frozenset()


@pytest.mark.parametrize("augment", [MOVES, MIXES], ids=["moves", "mixes"])
def test_a_stand_in_looks_and_is_mixed_as_everywhere(augment: Any) -> None:
    for epoch in range(4):
        skipped, replaced = (by_looks(list(made(augment, bad).iterate(epoch))) for bad in ("skip", "replace"))
        assert len(skipped) == len(GOOD)
        assert skipped == replaced  # what takes the place of a bad sample adds no new look


@pytest.mark.parametrize("bad", ["skip", "replace"])
@pytest.mark.parametrize("workers", [1, 4])
def test_workers_change_nothing(bad: str, workers: int) -> None:
    alone, shared = made(MIXES, bad), made(MIXES, bad, workers=workers)
    try:
        for epoch in range(2):
            assert equal(list(alone.iterate(epoch)), list(shared.iterate(epoch)))
            assert alone.bad.state() == shared.bad.state()
        begun = shared.iterate(2)
        next(begun)  # what the workers fetched ahead of it is dropped
        assert equal(list(alone.iterate(2, 3)), list(shared.iterate(2, 3)))
    finally:
        shared.close()


@pytest.mark.parametrize("bad", ["skip", "replace"])
def test_a_bad_partner_is_replaced_and_good_ones_stay(bad: str) -> None:
    def partner_of(served: Batches) -> dict[int, int]:
        found = {}
        for _, target in served.iterate(EPOCH):
            assert not target[:, list(BAD)].any() or served.bad.policy.action == "raise"
            torch.testing.assert_close(target.sum(1), torch.ones(len(target)))
            for row in target:
                found[tuple(row.nonzero()[:, 0].tolist())] = row.max()
        return found  # type: ignore[return-value]

    looks, before = (by_looks(list(one.iterate(EPOCH))) for one in (made(MIXES, bad), made(MIXES, "raise", rows=())))
    assert len(GOOD) > len(looks.keys() & before.keys()) > len(GOOD) // 2
    assert all(looks[key] == before[key] for key in looks.keys() & before.keys())
    clean, found = partner_of(made(MIXES, "raise", rows=())), partner_of(made(MIXES, bad))
    sound = {pair for pair in clean if not set(pair) & set(BAD)}
    assert sound <= set(found)
    assert any(set(pair) & set(GOOD) and set(pair) & set(BAD) for pair in clean)  # there was something to replace
    assert all(found[pair] == clean[pair] for pair in sound)


def test_a_sample_with_no_good_partner_is_mixed_with_itself() -> None:
    rows = tuple(range(1, N))
    ((inputs, target),) = made([Augment("mixup", alpha=1.0, classes=N)], "skip", rows=rows, size=N).iterate(0)
    assert target.argmax(1).tolist() == [0]
    torch.testing.assert_close(inputs[0], torch.from_numpy(PIXELS[0]) / 255)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_partner_ends_a_run_that_takes_none(workers: int) -> None:
    served = made([Augment("mixup", classes=N)], "raise", rows=(99, 11), size=4, workers=workers)
    with pytest.raises(DataError, match=r"sample 11, batch \d of epoch 0: got ValueError: no such picture"):
        list(served.iterate(0))
    served.close()
    own = next(position for position, ids in enumerate(served.lists(0)) if 11 in ids)
    with pytest.raises(DataError, match=f"sample 11, batch {own} of epoch 0: got"):
        served.batch(0, own)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("bad", ["skip", "replace"])
def test_statistics_are_of_the_good_samples(bad: str, workers: int) -> None:
    source = Samples(Pictures(), bad=bad, bad_quota=5)  # type: ignore[arg-type]
    found, good = statistics(source, workers=workers), PIXELS[list(GOOD)] / 255
    np.testing.assert_allclose([found.mean, found.std], [[good.mean()], [good.std()]], rtol=1e-6)
    with pytest.raises(DataError, match=r"train samples: got 5 bad ones of 37.*at most 4"):
        statistics(Samples(Pictures(), bad=bad, bad_quota=4))  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"train sample 4, batch 0 of epoch 0: got NaN"):
        statistics(Samples(Pictures()))
