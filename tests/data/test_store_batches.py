"""A stored set that is read from disk gives the batches that it would give from memory, and names what is damaged."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu import keyed
from danlu.data import Arrays, BadPolicy, Stored, augmented, batches, convert, load, statistics, stored, verify
from danlu.data.resident import ResidentBatches
from danlu.data.store_batches import StoredBatches
from danlu.device import memory_available
from danlu.errors import DataError
from danlu.recipe import Augment

N = 1003


def arrays_of(n: int = N, width: int = 60) -> Arrays:
    pixels = np.random.default_rng(1).integers(0, 256, (n, 3, width // 4, 4), dtype=np.uint8)
    return Arrays(pixels, np.arange(n))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return convert(arrays_of(), tmp_path_factory.mktemp("stored") / "set")


def opened(folder: Path, **given: Any) -> Stored:
    train = stored(folder, **{"memory_bytes": 0, "window_bytes": 40_000, **given}).train
    assert isinstance(train, Stored)
    return train


def equal(one: Any, other: Any) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in zip(one, other, strict=True)
    )


SAMPLERS = ["in_order", "shuffle", "balanced", "block_shuffle", tuple(np.arange(N) % 5)]


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda sampler: str(sampler)[:13])
def test_from_disk_as_from_memory(sampler: Any, folder: Path) -> None:
    disk, memory = (
        batches(opened(folder, memory_bytes=limit), 64, seed=3, sampler=sampler, drop_last=True) for limit in (0, 10**9)
    )
    assert isinstance(disk, StoredBatches)
    assert isinstance(memory, ResidentBatches)
    for epoch in (0, 2):
        all_of_them = list(disk.iterate(epoch))
        assert len(all_of_them) == N // 64
        assert equal(all_of_them, list(memory.iterate(epoch)))
        assert equal(list(disk.iterate(epoch, 11)), all_of_them[11:])
        assert equal([disk.batch(epoch, 7)], [all_of_them[7]])
        assert disk.ids(epoch, 7).tolist() == all_of_them[7][1].tolist()
        assert [ids.tolist() for ids in disk.lists(epoch, 11)] == [t.tolist() for _, t in all_of_them[11:]]
    disk.close()


@settings(deadline=None, max_examples=30)
@given(st.integers(1, N), st.integers(1, 150), st.integers(0, 3), st.integers(200, 60_000), st.booleans())
def test_each_sample_once_in_any_part_and_batch_and_window(
    folder: Path, n: int, size: int, epoch: int, window_bytes: int, runs: bool
) -> None:
    ids = np.arange(N - n, N) if runs else np.sort(keyed.order(1, 0, N, 0, n))
    part = opened(folder, window_bytes=window_bytes).take(ids)
    made = batches(part, min(size, n), seed=2, sampler="block_shuffle")
    served = torch.cat([target for _, target in made.iterate(epoch)]).numpy()
    assert np.array_equal(np.sort(served), ids)
    targets = part.targets()
    assert targets is not None
    assert np.array_equal(targets, ids)
    for start in {0, len(made) // 2, len(made)}:
        rest = [target for _, target in made.iterate(epoch, start)]
        assert np.array_equal(torch.cat([*rest, torch.zeros(0)]).numpy(), served[start * min(size, n) :])


def test_rows_and_types_of_every_kind(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    source = Arrays({"a": rng.random((70, 2)), "b": rng.integers(0, 9, 70), "c": rng.random((70, 30_000)) > 0.5},
                    torch.rand(70, 3).bfloat16())  # fmt: skip
    place = convert(source, tmp_path / "set")
    one, other = (batches(given, 7, seed=1, sampler="shuffle") for given in (opened(place), source))
    for (left, y), (right, z) in zip(one.iterate(1), other.iterate(1), strict=True):
        assert isinstance(left, dict)
        assert isinstance(right, dict)
        assert list(left) == list(right)
        assert all(torch.equal(left[key], right[key]) and left[key].dtype == right[key].dtype for key in left)
        assert torch.equal(y, z)  # type: ignore[arg-type]


def test_any_lists_can_be_visited_in_any_order(folder: Path) -> None:
    made = batches(opened(folder), 50, sampler="block_shuffle")
    lists = [keyed.order(9, 0, N, 7 * i, 7 * i + 70) for i in range(40)]
    for ids, (_, target) in zip(lists, made.visit(1, lists, 2), strict=True):
        assert target.tolist() == ids.tolist()  # type: ignore[union-attr]


@pytest.mark.parametrize("sampler", ["shuffle", "block_shuffle"])
def test_augmented_and_mixed_as_from_memory(sampler: str, folder: Path) -> None:
    parts: list[Any] = [Augment("random_crop", padding=1), "horizontal_flip", "mixup"]
    disk, memory = (
        augmented(batches(opened(folder, memory_bytes=limit), 64, seed=3, sampler=sampler), parts, seed=3, classes=N)
        for limit in (0, 10**9)
    )
    assert equal(list(disk.iterate(1)), list(memory.iterate(1)))
    assert equal([disk.batch(1, 4)], [memory.batch(1, 4)])


def test_statistics_and_parts_are_those_of_the_arrays(folder: Path) -> None:
    assert statistics(opened(folder)) == statistics(arrays_of())
    data = stored(folder, valid=0.2, memory_bytes=0)
    assert [len(part) for part in data.sets().values()] == [N - 201, 201]
    valid = data.valid["valid"]
    first = next(iter(batches(valid, 50).iterate(0)))[1]
    assert first.tolist() == valid.targets()[:50].tolist()  # type: ignore[index, union-attr]


def test_what_fits_is_read_once_and_only_if_it_fits(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = N * (180 + 8)
    for limit, kind in ((size, ResidentBatches), (size - 1, StoredBatches)):
        assert isinstance(batches(opened(folder, memory_bytes=limit), 64), kind)
    for free, kind in ((2 * size, ResidentBatches), (2 * size - 2, StoredBatches)):
        monkeypatch.setattr("danlu.data.store_source.memory_available", lambda _, free=free: free)
        source = opened(folder, memory_bytes=None)
        assert source.folder.fits(torch.device("cpu")) == (kind is ResidentBatches)
        monkeypatch.setattr("danlu.data.store_source.memory_available", lambda _: 0)  # it is decided once
        assert isinstance(batches(source, 64), kind)
        assert source.resident(torch.device("cpu")) is source.resident(torch.device("cpu"))
    assert memory_available() > 1 << 20


def test_threads_end_with_the_iterator(folder: Path) -> None:
    before = threading.active_count()
    for sampler in ("in_order", "block_shuffle"):
        iterator = batches(opened(folder), 10, sampler=sampler).iterate(0)
        next(iterator)
        assert threading.active_count() > before
        iterator.close()  # type: ignore[attr-defined]
        assert threading.active_count() == before


def copied(folder: Path, to: Path) -> Path:
    to.mkdir()
    for path in folder.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    return to


def flipped(folder: Path, to: Path, *, at: int = 100_000) -> Path:
    place = copied(folder, to) / "00-inputs.bin"
    content = bytearray(place.read_bytes())
    content[at] ^= 4
    place.write_bytes(content)
    return to


BLOCK = (1 << 16) // 188  # rows of a block
BAD = range(BLOCK, 2 * BLOCK)  # the rows that the flipped bit spoils


@pytest.mark.parametrize("sampler", ["in_order", "shuffle", "block_shuffle"])
def test_a_flipped_bit_is_named_when_its_block_is_reached(sampler: str, folder: Path, tmp_path: Path) -> None:
    place = flipped(folder, tmp_path / "set")
    assert verify(folder) == []
    text = f"block 1 of 00-inputs.bin, rows {BLOCK} to {2 * BLOCK - 1}, is damaged"
    assert [line.startswith(text) for line in verify(place)] == [True]
    made = batches(opened(place), 50, sampler=sampler)
    with pytest.raises(DataError, match=rf"data sample \d+ \(.*00-inputs.bin\), batch .* of epoch 0.*{text}"):
        list(made.iterate(0))
    assert [culprit.row in BAD for culprit in made.bad.fresh()] == [True]  # type: ignore[union-attr]
    for limit in (None, 10**9):
        with pytest.raises(DataError, match=text):
            batches(opened(place, memory_bytes=limit), 50)
    with pytest.raises(DataError, match=text):
        opened(place).in_memory()
    assert len(opened(place).in_memory(2 * BLOCK)) == N - 2 * BLOCK
    found = opened(place)
    with pytest.raises(DataError, match=text):
        found.in_memory()
    assert len(found.targets()) == N  # type: ignore[arg-type]  # whose own blocks are sound


@pytest.mark.parametrize("sampler", ["in_order", "shuffle", "block_shuffle"])
@pytest.mark.parametrize("action", ["skip", "replace"])
@pytest.mark.parametrize("memory_bytes", [0, 10**9])
def test_samples_of_a_damaged_block_are_bad(
    action: Any, sampler: str, memory_bytes: int, folder: Path, tmp_path: Path
) -> None:
    place = flipped(folder, tmp_path / "set")
    source = opened(place, memory_bytes=memory_bytes).with_policy(BadPolicy(action, 0.5))
    made = batches(source, 50, seed=3, sampler=sampler)
    served = torch.cat([target for _, target in made.iterate(0)]).numpy()  # type: ignore[arg-type]
    assert not np.isin(served, BAD).any()
    good = np.setdiff1d(np.arange(N), BAD)
    assert set(good) <= set(served)
    assert len(served) == (N if action == "replace" else len(good))
    assert made.bad is not None
    assert made.bad.rows == frozenset(BAD)
    again = batches(source, 50, seed=3, sampler=sampler)
    assert torch.cat([target for _, target in again.iterate(0)]).tolist() == served.tolist()  # type: ignore[arg-type]
    few = batches(source.with_policy(BadPolicy(action, 0.01)), 50, sampler=sampler)
    with pytest.raises(DataError, match="bad_quota"):
        list(few.iterate(0))


def test_rows_far_apart_are_read_one_by_one(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).integers(0, 256, (90, 25_000), dtype=np.uint8)
    place = convert(Arrays(rows, np.arange(90)), tmp_path / "set")
    drawn = np.random.default_rng(1).integers(0, 90, 40)  # some of them twice
    for _ in range(2):  # checked, then known to be sound
        inputs, target = batches(opened(place), 9, sampler="shuffle").fetch(0, drawn)
        assert target.tolist() == drawn.tolist()  # type: ignore[union-attr]
        assert torch.equal(inputs, torch.from_numpy(rows[drawn]).float())  # type: ignore[arg-type]
    damaged = opened(flipped(place, tmp_path / "damaged", at=25_000 * 31)).with_policy(BadPolicy("skip", 0.5))
    made = batches(damaged, 9, sampler="shuffle")
    for epoch in range(2):
        served = torch.cat([target for _, target in made.iterate(epoch)])  # type: ignore[arg-type]
        assert sorted(served.tolist()) == sorted(set(range(90)) - {30, 31})
    source = opened(place)
    whole = batches(source, 9, sampler="shuffle")
    list(whole.iterate(0))
    os.truncate(place / "00-inputs.bin", 25_000 * 60)  # after all was checked
    with pytest.raises(DataError, match="the file ends before it"):
        list(whole.iterate(1))


def test_bad_samples_stay_out_when_the_file_is_mended(folder: Path, tmp_path: Path) -> None:
    policy = BadPolicy("skip", 0.5)
    made = batches(opened(flipped(folder, tmp_path / "set")).with_policy(policy), 50, sampler="shuffle")
    list(made.iterate(0))
    assert made.bad is not None
    mended = batches(opened(folder).with_policy(policy), 50, sampler="shuffle")
    assert mended.bad is not None
    mended.bad.load(json.loads(json.dumps(made.bad.state())))
    served = torch.cat([target for _, target in mended.iterate(1)]).numpy()  # type: ignore[arg-type]
    assert np.array_equal(np.sort(served), np.setdiff1d(np.arange(N), BAD))


@pytest.mark.parametrize("file", ["00-inputs.bin", "01-target.bin"])
def test_half_a_file_is_told_of_before_training_or_passed_over(file: str, folder: Path, tmp_path: Path) -> None:
    place = copied(folder, tmp_path / "set")
    os.truncate(place / file, (place / file).stat().st_size // 2)
    with pytest.raises(DataError, match=rf"{file}: got a file that was cut off after row 500 of {N}"):
        batches(opened(place), 50)
    with pytest.raises(DataError, match=file):
        batches(opened(place, memory_bytes=10**9), 50)
    assert any("the file ends before it" in line for line in verify(place))
    if file == "00-inputs.bin":
        made = batches(opened(place).with_policy(BadPolicy("skip", 0.9)), 50, sampler="block_shuffle")
        served = torch.cat([target for _, target in made.iterate(0)]).numpy()  # type: ignore[arg-type]
        assert np.array_equal(np.sort(served), np.arange(500 // BLOCK * BLOCK))


def test_wrong_folders_are_one_line(folder: Path, tmp_path: Path) -> None:
    schema = json.loads((folder / "schema.json").read_text())
    columns = schema["columns"]
    wrong = {
        "version 2 of the format, which is newer": {**schema, "version": 2},
        "another kind of file": {"hello": 1},
        "unknown type 'complex64'": {**schema, "columns": [{**columns[0], "dtype": "complex64"}, columns[1]]},
        "no name of a file": {**schema, "columns": [{**columns[0], "file": "../../etc/passwd"}, columns[1]]},
        "no parts of 1003 rows": {**schema, "sets": {"train": [0, 2000]}},
        "roles target, input": {**schema, "columns": columns[::-1]},
        "unknown field": {**schema, "run": "rm -rf"},
        "00-inputs.bin: got a file that was cut off": {**schema, "samples": 10**6, "sets": {"train": [0, 10**6]}},
        "mean of inputs": {**schema, "columns": [{**columns[0], "mean": [1, 2]}, columns[1]]},
        "`int`": {**schema, "samples": "many"},
        "hidden.bin: got no such file": {**schema, "columns": [{**columns[0], "file": "hidden.bin"}, columns[1]]},
    }
    for number, (said, tree) in enumerate(wrong.items()):
        place = copied(folder, tmp_path / str(number))
        (place / "schema.json").write_text(json.dumps(tree))
        with pytest.raises(DataError) as caught:
            batches(opened(place), 5)
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)
    for text in ("{", "", "[" * 100_000, '{"a": 1e999}'):
        (place / "schema.json").write_text(text)
        with pytest.raises(DataError, match="schema"):
            stored(place)
    with pytest.raises(DataError, match="no such folder"):
        stored(tmp_path / "nowhere")
    with pytest.raises(DataError, match="danlu data convert"):
        stored(tmp_path)
    with pytest.raises(DataError, match="danlu data convert"):
        load(str(tmp_path))
    with pytest.raises(DataError, match="window_bytes"):
        stored(folder, window_bytes=-1)


def test_links_and_files_without_permission_are_refused(folder: Path, tmp_path: Path) -> None:
    place = copied(folder, tmp_path / "set")
    (place / "00-inputs.bin").rename(place / "elsewhere")
    (place / "00-inputs.bin").symlink_to(place / "elsewhere")
    with pytest.raises(DataError, match=r"00-inputs.bin: got a link"):
        stored(place)
    other = copied(folder, tmp_path / "other")
    (other / "01-target.bin").chmod(0)
    if os.geteuid():
        with pytest.raises(DataError, match=r"01-target.bin: got Permission denied"):
            stored(other)


def test_block_shuffle_is_for_stored_sets() -> None:
    with pytest.raises(DataError, match="block_shuffle for Arrays"):
        batches(arrays_of(), 5, sampler="block_shuffle")


MEMORY = """
import resource, sys
import torch
from danlu.data import batches, stored

def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) << 10

made = batches(stored(sys.argv[1], memory_bytes=40_000_000, window_bytes=12 << 20).train, 256, sampler=sys.argv[2])
next(made.iterate(0))
before, rows = peak(), 0
for inputs, target in made.iterate(0):
    rows += len(target)
print(rows, peak() - before)
"""


@pytest.fixture(scope="module")
def heavy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = np.random.default_rng(0).integers(0, 256, (65_000, 3072), dtype=np.uint8)
    return convert(Arrays(rows, np.arange(65_000)), tmp_path_factory.mktemp("heavy") / "set")


@pytest.mark.parametrize("sampler", ["block_shuffle", "in_order"])
def test_memory_is_bounded_whatever_the_size_of_the_set(sampler: str, heavy: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(heavy), sampler], capture_output=True, text=True, check=True
    )
    rows, grown = map(int, done.stdout.split())
    assert rows == 65_000
    assert grown < 50_000_000  # of 200 million bytes
