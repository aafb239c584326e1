"""Figures, spans and tables as people read them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from danlu.cli import text
from danlu.hooks.progress import clock
from danlu.hooks.progress import number as live_number

NUMBERS = [
    (0.0, "0.0000"),
    (0.98051, "0.9805"),
    (-2.38222, "-2.3822"),
    (0.001, "0.0010"),
    (0.0001096, "0.0001096"),
    (11.0, "11.00"),
    (161.04, "161.0"),
    (25134.2, "25,134"),
    (1.5e9, "1.5e+09"),
    (math.nan, "nan"),
    (-math.inf, "-inf"),
]


@pytest.mark.parametrize(("value", "expected"), NUMBERS)
def test_number(value: float, expected: str):
    assert text.number(value) == expected


@given(st.floats(-1e300, 1e300) | st.sampled_from([math.nan, math.inf, -math.inf]))
def test_number_reads_back_to_four_digits(value: float):
    read = float(text.number(value).replace(",", ""))
    if not math.isfinite(value):
        assert repr(read) == repr(value)
    elif abs(value) >= 0.1:
        assert read == pytest.approx(value, rel=5.1e-4)
    else:
        assert read == pytest.approx(value, abs=5.1e-5)


@given(st.floats(), st.floats(0, 1e6))
def test_the_live_block_writes_figures_the_same_way(value: float, seconds: float):
    assert live_number(value) == text.number(value)
    assert clock(seconds) == text.span(seconds)


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0.04, "0.0 s"), (9.94, "9.9 s"), (187, "3:07"), (3753.4, "1:02:33")]
)
def test_span(seconds: float, expected: str):
    assert text.span(seconds) == expected


@pytest.mark.parametrize(
    ("count", "expected"), [(0, "0 bytes"), (999, "999 bytes"), (116_805, "117 kB"), (54_950_000, "55 MB")]
)
def test_bytes_of(count: int, expected: str):
    assert text.bytes_of(count) == expected


def test_counted():
    assert [text.counted(1, "sample"), text.counted(1797, "sample")] == ["1 sample", "1,797 samples"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "-"),
        (True, "true"),
        (1500, "1,500"),
        (0.05, "0.05"),
        ("off", "off"),
        ([256, 10], "[256, 10]"),
        ([{"name": "accuracy"}, {"name": "top_k_accuracy", "k": 3}], "[accuracy, top_k_accuracy(k=3)]"),
    ],
)
def test_value(value: object, expected: str):
    assert text.value(value) == expected


def test_a_table_aligns_and_ends_no_line_in_spaces():
    shown = text.table([("lr", "0.1"), ("batch_size", "64"), ("x",)], head=("key", "value"), right=[1])
    assert shown.splitlines() == ["key         value", "lr            0.1", "batch_size     64", "x"]


def test_wide_letters_take_two_columns():
    shown = text.table([("丹炉", "1"), ("ab", "2")])
    assert shown.splitlines() == ["丹炉  1", "ab    2"]


def test_running_text_wraps_at_the_screens_edge(monkeypatch: pytest.MonkeyPatch):
    rows = [("a name", "words that go on and on until there is no more room on the line"), ("other", "short")]
    monkeypatch.delenv("COLUMNS", raising=False)
    assert len(text.table(rows, wrap=True).splitlines()) == 2  # a pipe has no edge
    monkeypatch.setenv("COLUMNS", "40")
    lines = text.table(rows, wrap=True).splitlines()
    assert len(lines) == 4
    assert max(map(cell_len, lines)) <= 40
    assert " ".join(" ".join(lines[:3]).split()) == " ".join(rows[0])


def test_an_empty_table_is_empty():
    assert text.table([]) == ""
