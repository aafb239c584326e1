"""Stored sets hold what was converted, byte for byte; a conversion that was killed goes on where it stopped."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from danlu.data import Arrays, Data, Samples, batches, convert, images, load, normalised, stored, verify
from danlu.data.store_schema import DTYPES
from danlu.errors import DataError
from danlu.recipe import Normalise


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def same(one: Arrays, other: Arrays) -> None:
    assert one.keys == other.keys
    for (name, left), (again, right) in zip(one.stored().items(), other.stored().items(), strict=True):
        assert (name, left.dtype, left.shape) == (again, right.dtype, right.shape)
        assert torch.equal(left.contiguous().view(torch.uint8), right.contiguous().view(torch.uint8))
    for left_rule, right_rule in zip(one.rules().values(), other.rules().values(), strict=True):
        assert repr(left_rule) == repr(right_rule)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_type_comes_back_byte_for_byte(dtype: str, tmp_path: Path) -> None:
    numbers = torch.randint(0, 2 if dtype == "bool" else 100, (301, 3, 5)).to(DTYPES[dtype])
    source = Arrays(numbers, torch.arange(301).to(DTYPES[dtype]))
    convert(source, tmp_path / "set")
    train = stored(tmp_path / "set").train
    same(source, train.in_memory())
    same(source.take([4, 300, 4]), train.take([4, 300, 4]).in_memory())
    assert (tmp_path / "set" / "00-inputs.bin").read_bytes() == numbers.view(torch.uint8).numpy().tobytes()
    assert verify(tmp_path / "set") == []


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 400), st.integers(1, 4000), st.booleans())
def test_any_size_of_set_and_of_row(tmp_path_factory: pytest.TempPathFactory, n: int, width: int, target: bool) -> None:
    folder = tmp_path_factory.mktemp("sizes") / "set"
    x = np.random.default_rng(n).integers(0, 256, (n, width), dtype=np.uint8)
    source = Arrays(x, np.arange(n) if target else None)
    convert(source, folder)
    same(source, stored(folder).train.in_memory())


def test_named_and_numbered_columns_scales_sets_and_classes_come_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    columns = {"age": rng.random((9, 1)), "city/..": rng.integers(0, 5, 9)}
    pictures = Arrays(rng.random((30, 3, 4, 4), dtype=np.float32), np.arange(30), mean=[1, 2, 3], std=[0.1, 2, 7])
    for name, data in {
        "named": Data(Arrays(columns, np.arange(9))),
        "numbered": Data(Arrays((rng.random((9, 2)), np.arange(9)))),
        "pictures": Data(pictures.take(range(20)), {"near": pictures.take([22, 21])}, pictures.take([29])),
        "digits": load("digits", test=0.1),
    }.items():
        place = convert(data, tmp_path / name)
        back = stored(place)
        assert list(back.sets()) == list(data.sets())
        assert (back.classes, back.about) == (data.classes, data.about)
        for part, source in data.sets().items():
            same(source, back.sets()[part].in_memory())
        assert all(Path(file).parent == Path() for file in files(place))


class Squares(Dataset[tuple[torch.Tensor, int]]):
    def __init__(self, n: int = 50) -> None:
        self.n, self.fetched = n, [0] * n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        self.fetched[index] += 1
        return torch.full((2, 3), index * index, dtype=torch.float32), index


def test_a_dataset_is_fetched_once(tmp_path: Path) -> None:
    dataset = Squares()
    convert(dataset, tmp_path / "set")
    assert dataset.fetched == [2] + [1] * 49  # the first is looked at before
    same(Arrays(np.arange(50.0, dtype="f4")[:, None, None] ** 2 * np.ones((2, 3), "f4"), np.arange(50)),
         stored(tmp_path / "set").train.in_memory())  # fmt: skip


def test_a_stored_set_can_be_converted_in_turn(tmp_path: Path) -> None:
    first = convert(load("digits"), tmp_path / "one")
    second = convert(replace(stored(first), name="digits"), tmp_path / "two")
    assert files(first) == files(second)


def test_what_cannot_be_stored_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    class Uneven(Squares):
        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            return torch.zeros(2 + (index == 30)), index

    whole = Arrays(np.zeros((8, 2)), np.arange(8))
    refused = {
        "pass loader.dataset": DataLoader(Squares()),
        "without weights": Data(whole, weights=np.ones(8)),
        "sample 30": Uneven(),
        "same shapes": Data(whole, {"valid": Arrays(np.zeros((8, 3)), np.arange(8))}),
        "at least one": Arrays(np.zeros((8, 0)), np.arange(8)),
    }
    for said, data in refused.items():
        with pytest.raises(DataError, match=said):
            convert(data, tmp_path / "set")
        assert not (tmp_path / "set").exists()
    (tmp_path / "set").mkdir()
    with pytest.raises(DataError, match="there already"):
        convert(whole, tmp_path / "set")


SLOW = """
import sys, time
import numpy as np
from danlu.data import Arrays, convert

def told(done, rows):
    print(done, rows, flush=True)
    time.sleep(0.05)

rows = np.random.default_rng(0).integers(0, 256, (600, 100_000), dtype=np.uint8)
convert(Arrays(rows, np.arange(600)), sys.argv[1], progress=told)
"""


def large(*, rows: int = 600, factor: int = 1) -> Arrays:
    pixels = np.random.default_rng(0).integers(0, 256, (rows, 100_000), dtype=np.uint8)
    return Arrays(pixels, np.arange(rows) * factor)


def killed(folder: Path, *, after: int) -> int:
    """Convert the large set in another process, killed once it has told of so many rows; return where it began."""
    with subprocess.Popen([sys.executable, "-c", SLOW, str(folder)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        seen = []
        for line in process.stdout:
            seen.append(int(line.split()[0]))
            if seen[-1] >= after:
                process.send_signal(signal.SIGKILL)
                break
        process.stdout.read()
    assert process.returncode == -signal.SIGKILL
    return seen[0]


def finished(folder: Path) -> int:
    """Convert the large set; return where it began."""
    told: list[int] = []
    convert(large(), folder, progress=lambda done, _: told.append(done))
    return told[0]


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[int]]:
    """Return what a conversion into `set` left that was killed twice, and at which row each of the two began."""
    folder = tmp_path_factory.mktemp("killed")
    firsts = [killed(folder / "set", after=after) for after in (100, 350)]
    return folder, firsts


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole") / "set"
    finished(folder)
    return files(folder)


def test_killed_and_started_again_gives_identical_bytes(
    unfinished: tuple[Path, list[int]], whole: dict[str, bytes], tmp_path: Path
) -> None:
    shutil.copytree(unfinished[0], tmp_path / "on")
    last = finished(tmp_path / "on" / "set")
    assert unfinished[1][0] < unfinished[1][1] < last  # it went on, and did not begin anew
    assert files(tmp_path / "on" / "set") == whole
    assert [path.name for path in (tmp_path / "on").iterdir()] == ["set"]


def test_what_was_torn_or_changed_meanwhile_is_written_again(
    unfinished: tuple[Path, list[int]], whole: dict[str, bytes], tmp_path: Path
) -> None:
    shutil.copytree(unfinished[0], tmp_path / "on")
    part = tmp_path / "on" / ".set.part"
    with (part / "00-inputs.bin").open("r+b") as file:
        file.seek(20_000_000)
        file.write(b"\xff" * 10)
    with (part / "01-target.bin").open("ab") as file:
        file.write(b"half a row")
    assert finished(tmp_path / "on" / "set") < 350
    assert files(tmp_path / "on" / "set") == whole


def test_an_unfinished_conversion_of_other_data_is_not_gone_on_with(
    unfinished: tuple[Path, list[int]], tmp_path: Path
) -> None:
    shutil.copytree(unfinished[0], tmp_path / "on")
    for other in (large(rows=500), large(factor=2)):
        with pytest.raises(DataError, match=r"unfinished conversion of other data.*remove .*\.set\.part"):
            convert(other, tmp_path / "on" / "set")


def test_two_processes_do_not_convert_into_one_folder(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SLOW, str(tmp_path / "set")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(DataError, match="another process"):
            convert(Arrays(np.zeros((5, 5))), tmp_path / "set")
        process.kill()


def test_a_full_disk_is_one_line_and_the_conversion_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Arrays(np.arange(3_000_000).reshape(-1, 10))
    real, calls = os.fsync, []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match=r"No space left.*goes on"):
        convert(source, tmp_path / "set")
    same(source, stored(convert(source, tmp_path / "set")).train.in_memory())


def test_progress_counts_rows_up_to_all(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    convert(Arrays(np.zeros((100, 300_000), np.uint8)), tmp_path / "set", progress=lambda *both: told.append(both))
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1] == (100, 100)
    assert len(told) > 2


def test_normalising_a_stored_set_is_normalising_its_arrays(tmp_path: Path) -> None:
    source = load("digits", valid=0).train
    by = Normalise(0.3, 0.2)
    back = stored(convert(source, tmp_path / "set"), memory_bytes=0).train
    ours, theirs = (batches(normalised(one, by), 100).batch(0, 3)[0] for one in (back, source))
    assert torch.equal(ours, theirs)


def test_the_schema_is_plain_json_and_samples_are_where_it_says(tmp_path: Path) -> None:
    place = convert(load("digits"), tmp_path / "set")
    schema = json.loads((place / "schema.json").read_text())
    assert (schema["version"], schema["samples"], schema["sets"]["valid"]) == (1, 1797, [1438, 1797])
    raw = np.fromfile(place / schema["columns"][0]["file"], dtype=np.uint8).reshape(-1, 1, 8, 8)
    valid = load("digits").valid["valid"]
    assert np.array_equal(raw[1438:], valid.stored()["inputs"].numpy())  # type: ignore[attr-defined]


def test_samples_that_may_be_replaced_are(tmp_path: Path) -> None:
    class Broken(Squares):
        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            if index == 7:
                raise ValueError("no such picture")
            return super().__getitem__(index)

    with pytest.raises(DataError, match="sample 7"):
        convert(Samples(Broken(), bad="skip"), tmp_path / "set")
    back = stored(convert(Samples(Broken(), bad="replace", bad_quota=1), tmp_path / "other")).train
    targets = back.targets()
    assert targets is not None
    assert len(targets) == 50
    assert 7 not in targets


def test_pictures_stay_pixels(tmp_path: Path) -> None:
    for kind in ("a", "b"):
        (tmp_path / "pictures" / kind).mkdir(parents=True)
        for number in range(5):
            pixels = np.random.default_rng(number).integers(0, 255, (12, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / kind / f"{number}.png")
    pictures = images(tmp_path / "pictures", size=8, valid=0.0, cache=False)
    kept = stored(convert(pictures, tmp_path / "stored"), memory_bytes=0)
    assert kept.classes == ("a", "b")
    assert kept.train.columns.tensors[0].dtype == torch.uint8
    one, other = (batches(data.train, 10, sampler="in_order").batch(0, 0) for data in (pictures, kept))
    assert torch.equal(one[0], other[0])
    assert torch.equal(one[1], other[1])
