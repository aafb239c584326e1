"""A folder of pictures as data: the same batches for any number of threads, in any epoch, cache or no cache."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from danlu.data import BadPolicy, Data, Samples, augmented, batches, images, info, normalised, statistics
from danlu.data.picture_cache import PAGE
from danlu.errors import DataError
from danlu.recipe import Augment

COUNT, SIDE = 40, 12
TRUNCATED, TEXT, EMPTY = 5, 12, 31
BAD = (TRUNCATED, TEXT, EMPTY)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("DANLU_CACHE", str(folder))
    return folder / "images"


def write(folder: Path, *, broken: bool = False) -> Path:
    """Write pictures of noise: of four kinds, in two classes, every one in another size."""
    rng = np.random.default_rng(0)
    for index in range(COUNT):
        path = folder / "ab"[index >= 25] / f"{index:02}.{('png', 'jpg', 'bmp', 'webp')[index % 4]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (16 + index, 24, 3), dtype=np.uint8)).save(path)
        if broken and index in BAD:
            whole = path.read_bytes()
            path.write_bytes({TRUNCATED: whole[: len(whole) * 9 // 10], TEXT: b"no picture\n", EMPTY: b""}[index])
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("broken"), broken=True)


def load(folder: Path, **given: Any) -> Data:
    return images(folder, **{"size": SIDE, "valid": 0, **given})


def epochs(data: Data, count: int = 2, workers: int = 0, **given: Any) -> list[torch.Tensor]:
    made = batches(data.train, 8, seed=3, workers=workers, **{"sampler": "shuffle", **given})
    return [part for epoch in range(count) for batch in made.iterate(epoch) for part in batch]


def equal(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    return len(first) == len(second) > 0 and all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def files(cache: Path) -> list[Path]:
    return sorted(cache.glob("*"))


@pytest.fixture(params=[1, 2, 5])
def cores(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("danlu.data.reading.cores", lambda: request.param)
    return request.param


def test_batches_are_the_files_whoever_reads_them(cores: int, folder: Path):
    data = load(folder, cache=False)
    alone = [data.train.dataset[row] for row in range(COUNT)]
    for workers in (0, 1, 3):
        made = batches(data.train, 8, workers=workers)
        inputs = torch.cat([inputs for inputs, _ in made.iterate(0)])
        assert inputs.dtype == torch.float32
        assert torch.equal(inputs, torch.stack([pixels for pixels, _ in alone]).float() * (1 / 255))
        assert torch.equal(made.batch(0, 3)[0], inputs[24:32])
        assert torch.equal(made.fetch(0, np.array([7, 7, 0]))[0], inputs[[7, 7, 0]])
        targets = torch.cat([target for _, target in made.iterate(0)])
        assert targets.tolist() == [label for _, label in alone] == data.train.targets().tolist()


def test_every_epoch_and_run_reads_the_same_bytes(cores: int, folder: Path, cache: Path):
    without = epochs(load(folder, cache=False), 3)
    for workers in (0, 2):
        assert equal(epochs(load(folder), 3, workers), without)
        (kept,) = files(cache)
        assert equal(epochs(load(folder), 3, workers), without)
        assert files(cache) == [kept]
        kept.unlink()


def test_a_second_run_decodes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch):
    first = epochs(load(folder))
    monkeypatch.setattr("danlu.data.pictures.decode", None)
    assert equal(epochs(load(folder)), first)


def test_a_changed_file_is_decoded_anew_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = write(tmp_path / "pictures")
    before = [pixels for pixels, _ in load(folder).train.dataset]
    changed = folder / "a" / "08.png"
    stamp = os.stat(changed)
    Image.open(changed).rotate(180).save(changed)
    os.utime(changed, ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 1))
    decoded = []
    real = sys.modules["danlu.data.decode"].decode
    monkeypatch.setattr("danlu.data.pictures.decode", lambda data, form: decoded.append(1) or real(data, form))
    after = [pixels for pixels, _ in load(folder).train.dataset]
    assert [row for row in range(COUNT) if not torch.equal(before[row], after[row])] == [8]
    assert len(decoded) == 1


def test_another_list_of_files_takes_the_place_of_its_cache(tmp_path: Path, cache: Path):
    folder = write(tmp_path / "pictures")
    epochs(load(folder))
    old = files(cache)
    (folder / "b" / "39.webp").unlink()
    assert equal(epochs(load(folder)), epochs(load(folder, cache=False)))
    assert len(files(cache)) == 1
    assert files(cache) != old
    epochs(load(folder, size=6))
    assert len(files(cache)) == 2  # another size is another cache


@pytest.mark.parametrize("harm", ["row", "zeros", "marks", "head", "short", "empty", "text"])
def test_a_damaged_cache_is_noticed(harm: str, folder: Path, cache: Path):
    wanted = epochs(load(folder))
    (kept,) = files(cache)
    data = bytearray(kept.read_bytes())
    start = 2 * PAGE
    if harm == "row":
        data[start + 1000] ^= 1
    elif harm == "zeros":
        data[start : start + PAGE] = bytes(PAGE)
    elif harm == "marks":
        data[PAGE : PAGE + 200] = b"x" * 200
    elif harm == "head":
        data[3] ^= 1
    kept.write_bytes({"short": data[:-1], "empty": b"", "text": b"hello"}.get(harm, data))
    assert equal(epochs(load(folder)), wanted)
    assert equal(epochs(load(folder)), wanted)


KILLED = """
import os, signal, sys, threading
from danlu.data import batches, images, picture_cache

real, count = picture_cache._write, [0]

def write(handle, data, offset):
    count[0] += 1
    if count[0] == int(sys.argv[2]):
        real(handle, data[: len(data) // 2], offset)  # half a row, or half a mark
        os.kill(os.getpid(), signal.SIGKILL)
    real(handle, data, offset)

picture_cache._write = lambda handle, data, offset: write(handle, memoryview(data).cast("B"), offset)
for _ in batches(images(sys.argv[1], size=12, valid=0).train, 8, seed=3, sampler="shuffle", workers=2).iterate(0):
    pass
"""


@pytest.mark.parametrize("at", [1, 30, 31])
def test_a_cache_that_was_killed_while_it_filled_is_used_again(at: int, folder: Path, cache: Path):
    command = [sys.executable, "-c", KILLED, str(folder), str(at)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == -signal.SIGKILL, done.stderr
    (left,) = files(cache)
    again = load(folder)
    kept = 0 if again.train.dataset.cache is None else again.train.dataset.cache.kept()
    assert (kept > 5) == (at > 1)
    assert kept < 20
    assert equal(epochs(again), epochs(load(folder, cache=False)))
    assert files(cache) == [left]


def test_a_full_disk_turns_the_cache_off_with_one_notice(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    wanted = epochs(load(folder, cache=False))
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 0))
        assert equal(epochs(load(folder)), wanted)
    assert capsys.readouterr().err.startswith("danlu: pictures: decoded anew in every epoch, because they cannot be")
    real, count = os.pwrite, []
    monkeypatch.setattr(os, "pwrite", lambda *given: (count.append(1), real(*given) if len(count) < 20 else 3)[1])
    assert equal(epochs(load(folder)), wanted)
    assert capsys.readouterr().err.count("No space left on device") == 1
    monkeypatch.setattr(os, "pwrite", real)
    assert equal(epochs(load(folder)), wanted)
    cache.parent.joinpath("file").write_text("")
    monkeypatch.setenv("DANLU_CACHE", str(cache.parent / "file"))
    assert equal(epochs(load(folder)), wanted)
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("bad", ["skip", "replace"])
def test_broken_pictures_are_named_and_left_out(bad: str, kept: bool, cores: int, broken: Path):
    def run(workers: int) -> tuple[list[torch.Tensor], Any]:
        source = load(broken, cache=kept).train
        source = source.with_policy(BadPolicy(bad, 3))
        made = batches(source, 8, seed=3, sampler="shuffle", workers=workers)
        return [part for epoch in range(2) for batch in made.iterate(epoch) for part in batch], made.bad.state()

    found, state = run(0)
    for workers in (1, 3):
        other, theirs = run(workers)
        assert equal(found, other)
        assert theirs == state
    named = {row: (Path(path).stem, error) for row, path, error, _ in state["known"]}
    assert named[TRUNCATED][0] == "05"
    assert "a damaged JPEG file" in named[TRUNCATED][1]
    assert named[TEXT] == ("12", "PictureError: no picture in a format that can be read (JPEG, PNG, BMP, GIF, WEBP)")
    assert named[EMPTY] == ("31", "PictureError: an empty file")
    assert sum(len(part) for part in found[1::2]) == (74 if bad == "skip" else 80)


@pytest.mark.parametrize("augment", [[], [Augment("horizontal_flip"), Augment("mixup")]], ids=["plain", "mixup"])
@pytest.mark.parametrize("bad", ["skip", "replace"])
def test_batches_are_those_of_any_dataset_that_is_fetched_one_by_one(bad: str, augment: list[Augment], broken: Path):
    source = load(broken).train
    one_by_one = Samples(source.dataset, transform=lambda sample: (sample[0].float() * (1 / 255), sample[1]))
    made = []
    for one, workers in (source, 0), (source, 2), (one_by_one, 0):
        plain = batches(one.with_policy(BadPolicy(bad, 3)), 8, seed=3, sampler="shuffle", workers=workers)
        changed = augmented(plain, augment, seed=3, classes=2)
        made.append([part for epoch in range(2) for batch in changed.iterate(epoch) for part in batch])
    assert equal(made[0], made[2])
    assert equal(made[1], made[2])


def test_a_broken_picture_ends_the_run_or_counts_against_the_quota(broken: Path):
    data = load(broken)
    with pytest.raises(DataError, match=rf"data sample {TRUNCATED} \(.*05.jpg\), batch 0 of epoch 0: got PictureError"):
        list(batches(data.train, 8).iterate(0))
    part = data.train.with_policy(BadPolicy("skip", 2))
    with pytest.raises(DataError, match=r"got 3 bad ones of 40.*want at most 2"):
        list(batches(part, 8).iterate(0))


def test_a_file_that_goes_away_is_a_bad_sample(tmp_path: Path):
    folder = write(tmp_path / "pictures")
    data = load(folder)
    (folder / "a" / "08.png").unlink()
    with pytest.raises(DataError, match=r"sample 8 \(.*08.png\).*FileNotFoundError"):
        list(batches(data.train, 8).iterate(0))


def test_sampler_normalise_and_augmentation_work_as_for_arrays(folder: Path):
    data = load(folder)
    drawn = torch.cat(epochs(data, 20, sampler="balanced")[1::2])
    assert 0.45 < drawn.double().mean() < 0.55
    numbers = statistics(data.train)
    (inputs, _) = batches(data.train, COUNT).batch(0, 0)
    assert torch.allclose(torch.tensor(numbers.mean), inputs.mean((0, 2, 3)), atol=1e-5)
    whole = batches(normalised(data.train, numbers), COUNT).batch(0, 0)[0]
    assert torch.allclose(whole.mean((0, 2, 3)), torch.zeros(3), atol=1e-5)
    flips = augmented(batches(data.train, 8), [Augment("horizontal_flip", p=1.0), Augment("mixup")], seed=0, classes=2)
    assert flips.batch(1, 0)[1].shape == (8, 2)
    assert all(torch.equal(a[0], flips.batch(1, i)[0]) for i, a in enumerate(flips.iterate(1)))


def test_whoever_copies_the_samples_gets_them_as_they_are_stored(folder: Path):
    source = load(folder, channels=1).train
    inputs, targets = batches(source.unscaled(), 16).batch(0, 1)
    assert (inputs.dtype, tuple(inputs.shape), len(targets)) == (torch.uint8, (16, 1, SIDE, SIDE), 16)
    assert torch.equal(batches(source, 16).batch(0, 1)[0], inputs.float() * (1 / 255))


def test_an_epoch_that_is_dropped_leaves_no_thread_behind(folder: Path, cores: int):
    for _ in range(3):
        iterator: Iterator[Any] = batches(load(folder, cache=False).train, 4, workers=2).iterate(0)
        next(iterator)
        del iterator
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("danlu-pictures")] == []


def test_what_is_known_of_a_folder(folder: Path):
    told = info("images", folder=str(folder), size=SIDE)
    assert told["samples"] == {"train": 32, "valid": 8}
    assert told["class_counts"] == {"train": {"0": 20, "1": 12}, "valid": {"0": 5, "1": 3}}
    assert told["columns"]["inputs"] == {"shape": [3, SIDE, SIDE], "dtype": "uint8"}
    assert told["bytes"] == 40 * 3 * SIDE * SIDE
    assert "and 37 other sizes, of 40 looked at" in told["line"]
