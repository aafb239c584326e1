"""The order of a block shuffle: each sample once, any position by itself, and no order of storage to be seen."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu import keyed
from danlu.data.block_order import WINDOW, Blocks
from danlu.data.sampling import Order

SEED = 5


@settings(deadline=None, max_examples=150)
@given(st.integers(1, 3000), st.integers(1, 200), st.integers(0, 4))
def test_each_sample_comes_once_and_any_position_can_be_asked_for(samples: int, size: int, epoch: int) -> None:
    blocks = Blocks(samples, size)
    whole = blocks.ids(SEED, epoch, 0, samples)
    assert np.array_equal(np.sort(whole), np.arange(samples))
    for start, stop in ((0, 1), (samples // 3, samples // 2), (samples - 1, samples), (samples, samples)):
        assert np.array_equal(blocks.ids(SEED, epoch, start, stop), whole[start:stop])


@settings(deadline=None, max_examples=150)
@given(st.integers(1, 3000), st.integers(1, 200))
def test_windows_cover_the_epoch_and_are_no_longer_than_memory_has_room_for(samples: int, size: int) -> None:
    blocks = Blocks(samples, size)
    spans = [blocks.span(window) for window in range(blocks.windows)]
    assert [start for start, _ in spans] == [0, *(stop for _, stop in spans[:-1])]
    assert spans[-1][1] == samples
    for window, (start, stop) in enumerate(spans):
        runs = blocks.runs(SEED, 1, window)
        assert sum(run.length for run in runs) == stop - start <= blocks.longest < (WINDOW + 1) * size
        assert blocks.window_at(start) == blocks.window_at(stop - 1) == window
        ring = (np.sort(blocks.ids(SEED, 1, start, stop)) - blocks.offset(SEED, 1)) % samples
        held = np.concatenate([np.arange(run.first, run.first + run.length) for run in runs])
        assert np.array_equal(np.sort(ring), np.sort(held))


def ranks(numbers: np.ndarray) -> np.ndarray:
    return np.argsort(np.argsort(numbers))


def test_no_order_of_storage_is_left() -> None:
    blocks = Blocks(100_003, 250)
    first, second = (blocks.ids(SEED, epoch, 0, blocks.samples) for epoch in (0, 1))
    assert blocks.windows > 20
    for window in range(blocks.windows):
        start, stop = blocks.span(window)
        correlation = np.corrcoef(np.arange(stop - start), ranks(first[start:stop]))[0, 1]
        assert abs(correlation) < 5 / np.sqrt(stop - start)
    moved = np.abs(first - np.arange(blocks.samples)).mean() / blocks.samples
    assert abs(moved - 1 / 3) < 0.05  # what a true shuffle has
    assert abs(np.corrcoef(ranks(first), ranks(second))[0, 1]) < 0.05
    assert (first == second).mean() < 0.001


def test_each_epoch_cuts_at_another_place_and_mixes_other_blocks() -> None:
    blocks = Blocks(100_003, 250)
    assert len({blocks.offset(SEED, epoch) for epoch in range(20)}) == 20
    together = [set(blocks.ids(SEED, epoch, *blocks.span(3)).tolist()) for epoch in range(2)]
    assert len(together[0] & together[1]) < len(together[0]) / 2
    seeds = [blocks.ids(seed, 0, 0, 1000).tolist() for seed in (1, 2)]
    assert seeds[0] != seeds[1]


def test_a_set_of_one_window_is_shuffled_whole() -> None:
    blocks = Blocks(4000, 250)
    ids = blocks.ids(SEED, 0, 0, 4000)
    assert blocks.windows == 1
    assert np.abs(np.diff(ids)).mean() > 4000 / 4


@pytest.mark.parametrize("kind", ["shuffle", "block_shuffle"])
@pytest.mark.parametrize("samples", [10**8, 10**10, 2**40])
def test_an_epoch_of_any_length_begins_at_once(kind: str, samples: int) -> None:
    blocks = Blocks(samples, 2730) if kind == "block_shuffle" else None
    order = Order(samples, SEED, kind, blocks=blocks)  # type: ignore[arg-type]
    tracemalloc.start()
    try:
        first = next(order.lists(3, 0, samples, batch_size=256))
        middle = order.ids(3, samples // 2, samples // 2 + 256)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 16 << 20
    assert len(np.unique(np.concatenate((first, middle)))) == 512
    assert 0 <= first.min() <= first.max() < samples
    assert np.array_equal(order.ids(3, 0, 256), first)


def test_the_whole_order_is_that_of_its_chunks() -> None:
    samples = 2 * keyed.CHUNK + 77
    order = Order(samples, SEED, "block_shuffle", blocks=Blocks(samples, 1000))
    lists = list(order.lists(2, 0, samples, batch_size=100))
    assert np.array_equal(np.concatenate(lists), order.ids(2, 0, samples))
