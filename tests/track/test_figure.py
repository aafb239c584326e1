import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from danlu.track.figure import LABEL_GAP, Line, Panel, read_panels, spread
from danlu.track.store import MetricStore


def panels_of(rows, timings=()):
    with MetricStore(None) as store:
        for step, values in rows:
            store.log(step, values)
        for step, values in timings:
            store.timing(step, values)
        panels, unit = read_panels(store)
    return {
        panel.name: {line.name: (line.x.tolist(), line.y.tolist()) for line in panel.lines} for panel in panels
    }, unit


def test_a_panel_is_one_quantity_of_all_sets():
    rows = [(5, {"running/loss": 3.0, "lr": 0.1}), (10, {"train/loss": 2.0, "valid/loss": 2.5, "valid/accuracy": 0.5})]
    panels, unit = panels_of(rows)
    assert unit == "update"
    assert panels == {
        "loss": {"running": ([5], [3.0]), "train": ([10], [2.0]), "valid": ([10], [2.5])},
        "accuracy": {"valid": ([10], [0.5])},
    }


def test_the_loss_is_first_and_a_learning_rate_that_varies_last():
    rows = [(1, {"lr": 0.1, "valid/accuracy": 0.1}), (2, {"lr": 0.2, "valid/loss": 1.0, "grad_norm": 3.0})]
    assert list(panels_of(rows)[0]) == ["loss", "accuracy", "grad_norm", "lr"]


@pytest.mark.parametrize("as_timing", [False, True])
def test_x_is_epochs_where_they_are_known(as_timing):
    rows = [
        (50, {"running/loss": 3.0}),
        (100, {"valid/loss": 2.0}),
        (150, {"running/loss": 2.5}),
        (200, {"valid/loss": 1.0}),
    ]
    epochs = [(100, {"epoch": 1}), (200, {"epoch": 2})]
    panels, unit = panels_of(rows, epochs) if as_timing else panels_of(rows + epochs)
    assert unit == "epoch"
    assert panels == {"loss": {"running": ([0.5, 1.5], [3.0, 2.5]), "valid": ([1.0, 2.0], [2.0, 1.0])}}


@pytest.mark.parametrize(
    ("name", "is_low"),
    [
        ("loss", True),
        ("accuracy", False),
        ("macro_f1", False),
        ("calibration_error", True),
        ("RMSE", True),
        ("emsemble", False),
    ],
)
def test_which_quantities_are_better_low(name, is_low):
    assert Panel(name).is_better_low is is_low


@pytest.mark.parametrize(
    ("lines", "judged"),
    [
        (["train", "valid", "noisy"], "valid"),
        (["train", "noisy", "running"], "noisy"),
        (["train", "test"], None),
        ([""], None),
    ],
)
def test_which_line_says_how_good_the_model_is(lines, judged):
    none = np.zeros(0)
    found = Panel("loss", [Line(name, none.astype(np.int64), none, none) for name in lines]).judged
    assert (found.name if found else None) == judged


@given(st.lists(st.floats(0, 1), max_size=8).map(sorted))
def test_labels_keep_their_order_and_their_distance(heights):
    moved = spread(heights)
    assert len(moved) == len(heights)
    assert all(b - a >= LABEL_GAP * 0.999 for a, b in itertools.pairwise(moved))
    assert math.isclose(sum(moved), sum(heights), abs_tol=1e-9)
    if all(b - a >= LABEL_GAP for a, b in itertools.pairwise(heights)):
        assert moved == pytest.approx(heights)
