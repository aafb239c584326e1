import math
from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from danlu.keyed import CHUNK, number, order, uniform, weighted

SEEDS = st.integers(0, 2**64 - 1)
EPOCHS = st.integers(0, 10_000)
GOLDEN_ORDER = [
    [3, 5, 6, 2, 9, 7, 4, 8, 1, 0],
    [0, 5, 6, 3, 1, 7, 8, 2, 4, 9],
    [4, 2, 5, 0, 1, 9, 7, 6, 3, 8],
    [11391, 16352, 30049, 1418, 6166],
    [453596619035, 971377002422, 124581514713, 112713845541],
]
GOLDEN_UNIFORM = [[3515032018, 2621100429], [1266551266, 831751439], [3918275938, 3370789019]]
GOLDEN_NUMBER = [4206864315, 2968842680, 1739777271, 1077065023]
AROUND_POWERS = [2**bits + off for bits in (1, 2, 3, 4, 5, 8, 12, 16, 17) for off in (-1, 0, 1)]


@pytest.mark.parametrize("n", [*range(1, 40), *AROUND_POWERS])
def test_an_epoch_visits_every_sample_once_next_to_powers_of_two(n):
    found = order(5, 3, n)
    assert found.dtype == np.int64
    assert np.array_equal(np.sort(found), np.arange(n))


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, epoch=EPOCHS, n=st.integers(1, 3000))
@example(seed=0, epoch=0, n=1)
@example(seed=2**64 - 1, epoch=0, n=2)
def test_an_epoch_visits_every_sample_once(seed, epoch, n):
    assert np.array_equal(np.sort(order(seed, epoch, n)), np.arange(n))


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, epoch=EPOCHS, n=st.integers(1, 3000), data=st.data())
def test_a_window_is_a_slice_of_the_whole(seed, epoch, n, data):
    start = data.draw(st.integers(0, n))
    stop = data.draw(st.integers(start, n))
    assert np.array_equal(order(seed, epoch, n, start, stop), order(seed, epoch, n)[start:stop])


def test_windows_of_any_size_make_up_the_whole():
    whole = order(1, 2, CHUNK + 1000)
    pieces = [
        order(1, 2, CHUNK + 1000, start, min(start + 7001, CHUNK + 1000)) for start in range(0, CHUNK + 1000, 7001)
    ]
    assert np.array_equal(np.concatenate(pieces), whole)


@pytest.mark.parametrize("n", [2**31 + 1, 2**32 - 1, 2**32, 2**32 + 1, 2**40 + 7, 2**62])
def test_windows_of_a_huge_epoch_are_in_range_and_disjoint(n):
    starts = [0, 12345, n // 2, n - 2000]
    windows = [order(9, 1, n, start, start + 2000) for start in starts]
    joined = np.concatenate(windows)
    assert joined.min() >= 0
    assert joined.max() < n
    assert len(np.unique(joined)) == len(joined)
    spread = joined.astype(np.float64) / n
    assert abs(spread.mean() - 0.5) < 5 / math.sqrt(12 * len(joined))


def test_order_is_what_it_always_was():
    assert order(0, 0, 10).tolist() == GOLDEN_ORDER[0]
    assert order(0, 1, 10).tolist() == GOLDEN_ORDER[1]
    assert order(1, 0, 10).tolist() == GOLDEN_ORDER[2]
    assert order(7, 3, 60_000, 59_995).tolist() == GOLDEN_ORDER[3]
    assert order(7, 3, 2**40, 5, 9).tolist() == GOLDEN_ORDER[4]


def test_uniform_is_what_it_always_was():
    words = uniform(0, 0, [0, 1, 2**32], "flip", (2,)) * 2.0**32
    assert words.tolist() == GOLDEN_UNIFORM


def test_number_is_what_it_always_was():
    assert number("update", 0, 0, 0) == GOLDEN_NUMBER[0]
    assert number("update", 0, 1, 0) == GOLDEN_NUMBER[1]
    assert number("evaluate", 0) == GOLDEN_NUMBER[2]
    assert number("update", 2**63 + 1, 10**12, 3) == GOLDEN_NUMBER[3]


@pytest.mark.parametrize("n", [1000, 1024, 4097])
def test_orders_of_epochs_and_seeds_share_no_more_places_than_chance(n):
    orders = [order(seed, epoch, n) for seed in (0, 1, 2**40) for epoch in range(6)]
    identity = np.arange(n)
    shared = [int((a == b).sum()) for i, a in enumerate(orders) for b in orders[:i]]
    shared += [int((a == identity).sum()) for a in orders]
    assert max(shared) <= 9  # Poisson(1): 10 or more in 171 pairs has probability 2e-5
    assert 0.6 < np.mean(shared) < 1.4  # standard error 0.08


@pytest.mark.parametrize("n", [1000, 4097, 60_000])
def test_an_order_has_no_serial_correlation(n):
    bound = 5 / math.sqrt(n)
    for epoch in range(4):
        ranks = (order(3, epoch, n) - (n - 1) / 2) / n
        after = (order(3, epoch + 1, n) - (n - 1) / 2) / n
        scale = float((ranks**2).mean())
        assert abs(float((ranks * (np.arange(n) - (n - 1) / 2) / n).mean())) < bound * scale
        assert abs(float((ranks * after).mean())) < bound * scale
        for lag in (1, 2, 3, 16, 64):
            assert abs(float((ranks[lag:] * ranks[:-lag]).mean())) < bound * scale


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_every_order_of_few_samples_is_equally_likely(n):
    cells = math.factorial(n)
    seen = Counter(tuple(order(seed, epoch, n).tolist()) for seed in range(30) for epoch in range(cells))
    chi_square = sum((seen[p] - 30) ** 2 / 30 for p in permutations(range(n)))
    freedom = cells - 1
    assert chi_square < freedom + 5 * math.sqrt(2 * freedom)


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, epoch=EPOCHS, ids=st.lists(st.integers(0, 2**62), min_size=1, max_size=20), data=st.data())
def test_a_sample_has_its_numbers_whatever_is_asked_with_it(seed, epoch, ids, data):
    together = uniform(seed, epoch, ids, "crop", (3,))
    assert together.shape == (len(ids), 3)
    index = data.draw(st.integers(0, len(ids) - 1))
    assert np.array_equal(uniform(seed, epoch, [ids[index]], "crop", (3,))[0], together[index])


def test_the_first_numbers_of_a_sample_do_not_depend_on_how_many_it_gets():
    few, many = uniform(0, 0, range(5), "noise", (2,)), uniform(0, 0, range(5), "noise", (3, 4))
    assert np.array_equal(many.reshape(5, 12)[:, :2], few)
    assert np.array_equal(uniform(0, 0, range(5), "noise"), few[:, 0])


@pytest.mark.parametrize(("ids", "shape"), [([], ()), ([], (2, 3)), ([4], (0,)), ([4, 5], (1, 2, 3))])
def test_shapes(ids, shape):
    found = uniform(0, 0, ids, "x", shape)
    assert found.shape == (len(ids), *shape)
    assert found.dtype == np.float64


def test_numbers_are_uniform():
    drawn = uniform(11, 4, np.arange(50_000), "noise", (4,))
    assert drawn.min() >= 0.0
    assert drawn.max() < 1.0
    assert abs(drawn.mean() - 0.5) < 5 / math.sqrt(12 * drawn.size)
    assert abs(drawn.var() - 1 / 12) < 5 * math.sqrt(1 / 180 / drawn.size)
    for flat in (drawn.ravel(), *drawn.T):
        counts = np.bincount((flat * 256).astype(int), minlength=256)
        expected = flat.size / 256
        chi_square = float(((counts - expected) ** 2 / expected).sum())
        assert chi_square < 255 + 5 * math.sqrt(2 * 255)


@pytest.mark.parametrize(
    "other",
    [
        lambda ids: uniform(1, 0, ids, "noise"),
        lambda ids: uniform(0, 1, ids, "noise"),
        lambda ids: uniform(2**32, 0, ids, "noise"),
        lambda ids: uniform(0, 0, ids, "flip"),
        lambda ids: uniform(0, 0, ids + 1, "noise"),
        lambda ids: uniform(0, 0, ids + 2**32, "noise"),
        lambda ids: uniform(0, 0, ids, "noise", (2,))[:, 1],
    ],
)
def test_another_address_gives_unrelated_numbers(other):
    ids = np.arange(20_000)
    one, two = uniform(0, 0, ids, "noise"), other(ids)
    assert (one == two).mean() < 0.001
    assert abs(np.corrcoef(one, two)[0, 1]) < 5 / math.sqrt(len(ids))


def test_a_weighted_draw_keeps_the_proportions():
    weights = np.array([0.0, 1.0, 2.0, 0.0, 5.0, 0.0])
    draws = 40_000
    counts = np.bincount(weighted(3, 1, weights.cumsum(), 0, draws), minlength=6)
    shares = weights / weights.sum()
    assert counts[weights == 0].tolist() == [0, 0, 0]
    assert np.all(np.abs(counts / draws - shares) <= 5 * np.sqrt(shares * (1 - shares) / draws))


def test_a_draw_on_the_border_of_two_weights_belongs_to_the_second():
    border = uniform(3, 1, [17], "weighted")[0]
    assert weighted(3, 1, np.array([border, 1.0]), 17, 18).tolist() == [1]
    assert weighted(3, 1, np.array([np.nextafter(border, 1), 1.0]), 17, 18).tolist() == [0]


@settings(max_examples=40, deadline=None)
@given(
    weights=st.lists(st.floats(0, 1e12), min_size=1, max_size=30).filter(lambda w: sum(w) > 0),
    start=st.integers(0, 500),
    length=st.integers(0, 200),
)
def test_a_weighted_window_is_a_slice_and_draws_no_weight_of_zero(weights, start, length):
    cumulative = np.cumsum(weights)
    found = weighted(1, 2, cumulative, start, start + length)
    assert np.array_equal(found, weighted(1, 2, cumulative, 0, 1000)[start : start + length])
    assert found.dtype == np.int64
    assert all(cumulative[index] > (cumulative[index - 1] if index else 0.0) for index in found)


@settings(max_examples=200)
@given(st.text(max_size=10), st.lists(st.integers(0, 2**64 - 1), max_size=4))
def test_a_seed_has_32_bits(purpose, address):
    found = number(purpose, *address)
    assert type(found) is int
    assert 0 <= found < 2**32


def test_seeds_of_many_addresses_are_distinct_and_even():
    updates = [number("update", 0, update, 0) for update in range(20_000)]
    others = [number(purpose, seed) for purpose in ("fit", "evaluate", "model", "numpy") for seed in range(100)]
    assert len(set(updates + others)) >= len(updates) + len(others) - 2  # 0.05 collisions are expected
    bits = np.array(updates, dtype=np.uint32)
    ones = np.array([float(((bits >> np.uint32(bit)) & np.uint32(1)).mean()) for bit in range(32)])
    assert np.all(np.abs(ones - 0.5) < 5 * 0.5 / math.sqrt(len(updates)))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("a", 1), ("b", 1)),
        (("a", 1, 2), ("a", 2, 1)),
        (("a", 1), ("a", 1, 0)),
        (("a", 1), ("a", 1 + 2**32)),
        (("a", 0), ("a", 2**63)),
    ],
)
def test_every_part_of_an_address_counts(one, other):
    assert number(*one) != number(*other)
