import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.data import Arrays, Samples
from danlu.data.split import Ask, checked_share, cut, divide, largest_remainder
from danlu.errors import DataError

SHARES = st.floats(0.01, 0.45)


@settings(deadline=None, max_examples=60)
@given(st.integers(5, 2000), SHARES, SHARES, st.integers(0, 2**40))
def test_pieces_are_disjoint_and_complete(n: int, valid: float, test: float, seed: int) -> None:
    if max(1, round(n * valid)) + max(1, round(n * test)) >= n:
        with pytest.raises(DataError):
            cut(n, {"valid": valid, "test": test}, seed=seed)
        return
    pieces = cut(n, {"valid": valid, "test": test}, seed=seed)
    assert sorted(np.concatenate(list(pieces.values()))) == list(range(n))
    assert len(pieces["valid"]) == max(1, round(n * valid))
    assert len(pieces["test"]) == max(1, round(n * test))
    for ids in pieces.values():
        assert (np.diff(ids) > 0).all()
    again = cut(n, {"valid": valid, "test": test}, seed=seed)
    assert all((again[name] == ids).all() for name, ids in pieces.items())


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 200), min_size=1, max_size=8), st.floats(0.01, 0.9), st.integers(0, 99))
def test_stratified_pieces_keep_each_class_share(counts: list[int], share: float, seed: int) -> None:
    classes = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)) * 3, counts))
    n = len(classes)
    if max(1, round(n * share)) >= n:
        return
    pieces = cut(n, {"valid": share}, seed=seed, classes=classes)
    assert sorted(np.concatenate(list(pieces.values()))) == list(range(n))
    assert len(pieces["valid"]) == max(1, round(n * share))
    for label, count in enumerate(counts):
        held = int((classes[pieces["valid"]] == label * 3).sum())
        assert abs(held - count * share) < 1 + 1e-6


def test_exact_shares() -> None:
    classes = np.repeat(np.arange(10), 6000)
    pieces = cut(60_000, {"valid": 1 / 12}, seed=0, classes=classes)
    assert np.bincount(classes[pieces["valid"]]).tolist() == [500] * 10
    assert (cut(100, {"valid": 0.2}, seed=0)["valid"] != cut(100, {"valid": 0.2}, seed=1)["valid"]).any()


def test_classes_with_one_sample_each_are_not_taken_by_their_number() -> None:
    held = cut(1000, {"valid": 0.1}, seed=0, classes=np.arange(1000))["valid"]
    assert 400 < held.mean() < 600  # ties by class number would give 49.5


def test_largest_remainder() -> None:
    takes = largest_remainder(np.array([1.5, 2.5, 0.9]), 5, room=np.array([9, 9, 9]), tie=np.array([2, 1, 0]))
    assert takes.tolist() == [1, 3, 1]
    full = largest_remainder(np.array([1.0, 1.0]), 4, room=np.array([1, 9]), tie=np.array([0, 1]))
    assert full.tolist() == [1, 3]


def test_nothing_left_to_train_on() -> None:
    with pytest.raises(DataError, match="at least one sample left"):
        cut(3, {"valid": 0.5, "test": 0.49}, seed=0)


@pytest.mark.parametrize("share", [1.0, -0.1, "a", True, float("nan"), None])
def test_shares_that_are_none(share: object) -> None:
    with pytest.raises(DataError, match="valid"):
        checked_share("valid", share)


def test_stratify_follows_the_targets() -> None:
    x = np.zeros(100)
    classes = np.repeat([0, 1], [90, 10])
    held = divide(Arrays(x, classes), {"valid": 0.2}, Ask())["valid"]
    assert np.bincount(held.targets()).tolist() == [18, 2]
    loose = {
        int(divide(Arrays(x, classes), {"valid": 0.2}, Ask(stratify=False, seed=s))["valid"].targets().sum())
        for s in range(9)
    }
    assert len(loose) > 1
    assert len(divide(Arrays(x, np.linspace(0, 1, 100)), {"valid": 0.2}, Ask())["valid"]) == 20
    with pytest.raises(DataError, match="one whole number for each sample"):
        divide(Arrays(x, np.linspace(0, 1, 100)), {"valid": 0.2}, Ask(stratify=True))
    with pytest.raises(DataError, match="not known"):
        divide(Samples(list(range(100))), {"valid": 0.2}, Ask(stratify=True))
    assert len(divide(Samples(list(range(100))), {"valid": 0.2}, Ask())["valid"]) == 20
