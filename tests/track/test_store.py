import math
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from danlu.errors import RunError
from danlu.track.store import MetricStore, _is_network_disk


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


@pytest.fixture
def path(tmp_path):
    return tmp_path / "metrics.sqlite"


def fill(path):
    with MetricStore(path) as store:
        store.log(1, {"train/loss": 2.5, "lr": 0.1})
        store.log(2, {"train/loss": math.nan, "valid/loss": math.inf})
        store.timing(2, {"samples_per_s": 1e6})
        store.event(2, "best", "valid/loss inf")
        store.finding(2, "nan", "the loss is NaN")
        store.document(2, "confusion", {"matrix": [[1, 2], [3, 4]], "worst": math.inf})


def check(store):
    rows = store.rows()
    assert rows[:2] == [(1, "train/loss", 2.5), (1, "lr", 0.1)]
    assert rows[2][:2] == (2, "train/loss")
    assert math.isnan(rows[2][2])
    assert rows[3] == (2, "valid/loss", math.inf)
    assert store.rows("lr") == [(1, "lr", 0.1)]
    assert store.timings() == [(2, "samples_per_s", 1e6)]
    assert store.timings("seconds") == []
    assert store.events() == [(2, "best", "valid/loss inf")]
    assert store.findings() == [(2, "nan", "the loss is NaN")]
    assert store.documents("confusion") == [(2, "confusion", {"matrix": [[1, 2], [3, 4]], "worst": math.inf})]
    assert store.names() == ["lr", "train/loss", "valid/loss"]
    last = store.last()
    assert math.isnan(last.pop("train/loss"))
    assert last == {"lr": 0.1, "valid/loss": math.inf}
    steps, values = store.series("train/loss")
    assert steps.dtype == np.int64
    assert values.dtype == np.float64
    np.testing.assert_array_equal(steps, [1, 2])
    np.testing.assert_array_equal(values, [2.5, math.nan])


def test_what_was_logged_is_read_back(path):
    fill(path)
    with MetricStore(path) as store:
        check(store)
    with MetricStore.open(path) as store:
        check(store)


def test_closed_it_is_one_plain_file(path):
    fill(path)
    assert names(path.parent) == ["metrics.sqlite"]
    copy = path.with_name("copy.sqlite")
    shutil.copy(path, copy)
    with MetricStore.open(copy) as store:
        check(store)


def test_in_memory_it_is_the_same_store():
    with MetricStore(None) as store:
        store.log(1, {"a": 1.0})
        assert store.flush()
        store.log(2, {"a": -math.inf, "b": 0.0})
        assert store.rows() == [(1, "a", 1.0), (2, "a", -math.inf), (2, "b", 0.0)]
        assert store.flush(durable=True)


@given(st.lists(st.tuples(st.integers(0, 2**62), st.sampled_from("abc"), st.floats())))
def test_every_float_survives(rows):
    with MetricStore(None) as store:
        for step, name, value in rows:
            store.log(step, {name: value})
        back = store.rows()
    assert [row[:2] for row in back] == [row[:2] for row in rows]
    np.testing.assert_array_equal([row[2] for row in back], [row[2] for row in rows])  # NaN is NaN; -0.0 equals 0.0


def test_numpy_numbers_are_taken(path):
    with MetricStore(path) as store:
        store.log(np.int64(3), {"a": np.float32(0.5), "b": np.float64("nan")})
        store.flush()
        assert store.rows("a") == [(3, "a", 0.5)]
        assert math.isnan(store.last()["b"])


def test_a_store_is_continued(path):
    fill(path)
    with MetricStore(path) as store:
        store.log(3, {"lr": 0.01})
    with MetricStore.open(path) as store:
        assert store.rows("lr") == [(1, "lr", 0.1), (3, "lr", 0.01)]


def test_nothing_is_written_before_flush(path):
    store, reader = MetricStore(path), MetricStore.open(path)
    store.log(1, {"a": 1.0})
    assert reader.rows() == []
    assert store.flush()
    assert reader.rows() == [(1, "a", 1.0)]
    reader.close()
    store.close()


@pytest.mark.parametrize("is_flushed", [False, True])
def test_cut_takes_away_what_came_after_the_mark(path, is_flushed):
    with MetricStore(path) as store:
        store.log(10, {"a": 1.0})
        store.event(10, "saved", "step 10")
        mark = store.mark()
        store.log(10, {"test/a": 9.0})
        store.log(20, {"a": 2.0})
        store.event(20, "saved", "step 20")
        if is_flushed:
            store.flush()
    with MetricStore(path) as store:
        store.cut(mark)
        assert store.rows() == [(10, "a", 1.0)]
        assert store.events() == [(10, "saved", "step 10")]
        assert store.mark() == mark
        store.log(20, {"a": 3.0})
        assert store.mark()["metrics"] == mark["metrics"] + 1


def test_a_file_that_is_held_buffers_and_loses_nothing(path):
    store = MetricStore(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    store.log(1, {"a": 1.0})
    assert store.flush() is False
    store.log(2, {"a": 2.0})
    assert store.rows() == [(1, "a", 1.0), (2, "a", 2.0)]
    assert store.last() == {"a": 2.0}
    assert store.mark()["metrics"] == 2
    with pytest.raises(RunError, match="another program holds, with 2 rows"):
        store.close(timeout_s=0.1)
    other.execute("ROLLBACK")
    other.close()
    store.close()
    with MetricStore.open(path) as reader:
        assert reader.rows() == [(1, "a", 1.0), (2, "a", 2.0)]


def test_a_reader_does_not_stop_the_end(path):
    store = MetricStore(path)
    store.log(1, {"a": 1.0})
    store.flush()
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    assert reader.execute("SELECT COUNT(*) FROM metrics").fetchone() == (1,)
    store.log(2, {"a": 2.0})
    store.close(timeout_s=0.1)
    reader.execute("COMMIT")
    reader.close()
    with MetricStore.open(path) as store:
        assert store.last() == {"a": 2.0}


CRASH = """
import os, signal, sys
from pathlib import Path
from danlu.track.store import MetricStore
store = MetricStore(Path(sys.argv[1]))
for step in range(100):
    store.log(step, {"train/loss": 1 / (step + 1), "lr": 0.1})
    store.flush()
store.log(100, {"train/loss": 0.0})
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def crashed(path):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    killed = subprocess.run([sys.executable, "-c", CRASH, path], env=environment)
    assert killed.returncode == -9
    return path


def check_crashed(store):
    assert len(store.rows()) == 200
    assert store.rows("train/loss")[-1] == (99, "train/loss", 0.01)


def test_flushed_rows_survive_a_kill(crashed):
    with MetricStore.open(crashed) as store:
        check_crashed(store)
    with MetricStore(crashed) as store:
        check_crashed(store)
        store.log(100, {"train/loss": 0.5})
    assert names(crashed.parent) == ["metrics.sqlite"]


@pytest.mark.parametrize("lost", [[], ["-shm"], ["-shm", "-wal"]])
def test_reading_makes_no_file_whatever_the_last_writer_left(crashed, lost):
    for ending in lost:
        Path(f"{crashed}{ending}").unlink()
    before = {entry.name: entry.read_bytes() for entry in crashed.parent.iterdir() if entry.suffix != ".sqlite-shm"}
    listing = names(crashed.parent)
    if "-wal" in lost:  # the rows went with it, and with them the tables
        with pytest.raises(RunError, match="no such table"):
            MetricStore.open(crashed)
    else:
        with MetricStore.open(crashed) as store:
            check_crashed(store)
            assert names(crashed.parent) == listing
    assert names(crashed.parent) == listing
    assert all((crashed.parent / name).read_bytes() == content for name, content in before.items())


def test_opening_to_read_makes_nothing_and_names_the_file(path):
    with pytest.raises(RunError, match=r"metrics\.sqlite: got no such file"):
        MetricStore.open(path)
    assert names(path.parent) == []
    for content in (b"", b"hello" * 1000):
        path.write_bytes(content)
        with pytest.raises(RunError, match=r"metrics\.sqlite: got "):
            MetricStore.open(path)
        assert path.read_bytes() == content
    with pytest.raises(RunError, match=r"metrics\.sqlite: got file is not a database"):
        MetricStore(path)


def test_a_store_opened_to_read_writes_nothing(path):
    fill(path)
    before = path.read_bytes()
    with MetricStore.open(path) as store:
        store.log(9, {"a": 1.0})
        with pytest.raises(RunError, match="readonly"):
            store.flush()
    assert path.read_bytes() == before


def test_a_full_disk_keeps_the_rows(path):
    store = MetricStore(path)
    pages = store._database.execute("PRAGMA page_count").fetchone()[0]
    store._database.execute(f"PRAGMA max_page_count = {pages}")
    store.document(1, "big", "x" * 100_000)
    with pytest.raises(RunError, match="full"):
        store.flush()
    store._database.execute("PRAGMA max_page_count = 100000")
    store.close()
    with MetricStore.open(path) as store:
        assert store.documents() == [(1, "big", "x" * 100_000)]


@pytest.mark.parametrize(("kind", "expected"), [("nfs4", True), ("ext4", False)])
def test_a_network_disk_is_known_by_its_mount(tmp_path, kind, expected):
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/sda / {'ext4' if expected else 'nfs4'} rw 0 0\nhost:/x {tmp_path} {kind} rw 0 0\n")
    assert _is_network_disk(tmp_path / "a" / "metrics.sqlite", mounts) is expected
    assert _is_network_disk(tmp_path, tmp_path / "none") is False


def test_without_a_log_it_is_the_same_store(path, monkeypatch):
    monkeypatch.setattr("danlu.track.store._is_network_disk", lambda path: True)
    store = MetricStore(path)
    store.log(1, {"a": 1.0})
    store.flush()
    assert "metrics.sqlite-wal" not in names(path.parent)
    with MetricStore.open(path) as reader:
        assert reader.rows() == [(1, "a", 1.0)]
    store.close()
    assert names(path.parent) == ["metrics.sqlite"]


def test_bad_samples_have_a_table_and_a_store_without_it_can_be_read(path):
    with MetricStore(path) as store:
        store.bad_sample(3, "train", (17, "a.png", "OSError: cut off", 0))
        mark = store.mark()
        store.bad_sample(4, "valid", (2, "", "NaN", 1))
        store.cut(mark)
    with sqlite3.connect(path) as database:
        row = "SELECT step, name, id, path, error, epoch FROM bad_samples"
        assert database.execute(row).fetchall() == [(3, "train", 17, "a.png", "OSError: cut off", 0)]
        database.execute("DROP TABLE bad_samples")
    database.close()
    with MetricStore.open(path) as store:
        assert store.bad_samples() == []
    with MetricStore(path) as store:
        store.cut({})
        assert store.bad_samples() == []
