"""Samples that cannot be fetched or do not fit: each policy, alike for any number of workers."""

import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset

import danlu
from danlu.data import BadPolicy, Samples, batches
from danlu.data.fitting import path_of
from danlu.errors import DataError
from danlu.track import MetricStore

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than cores, on purpose

TRUNCATED, TEXT, LARGE, NAN = 5, 12, 20, 31
BAD = (TRUNCATED, TEXT, LARGE, NAN)


class Folder(Dataset[Any]):
    """Pictures in a folder, as ImageFolder has them: `samples` holds (path, class)."""

    def __init__(self, folder: Path) -> None:
        self.samples = [(str(path), index % 3) for index, path in enumerate(sorted(folder.glob("*.png")))]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        path, label = self.samples[index]
        with Image.open(path) as picture:
            pixels = torch.from_numpy(np.array(picture, np.float32) / 255)
        if index == NAN and pixels[0, 0] == 1:
            pixels[0, 0] = torch.nan
        return pixels[None], label


def write(folder: Path, n: int = 40) -> Path:
    """Write pictures of noise; one is cut off, one is a text, one is larger, one becomes NaN."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for index in range(n):
        side = 12 if index == LARGE else 8
        pixels = rng.integers(0, 255, (side, side), dtype=np.uint8)
        pixels[0, 0] = 255 if index == NAN else 0
        Image.fromarray(pixels).save(folder / f"{index:03}.png")
    whole = (folder / f"{TRUNCATED:03}.png").read_bytes()
    (folder / f"{TRUNCATED:03}.png").write_bytes(whole[: len(whole) // 2])
    (folder / f"{TEXT:03}.png").write_text("not a picture\n")
    return folder


def drawing(sample: tuple[torch.Tensor, int]) -> tuple[torch.Tensor, int]:
    """Draw from every generator there is."""
    pixels, label = sample
    noise = random.random() + np.random.rand() + torch.rand(()).item() + danlu.data.rng().random()
    own = torch.from_numpy(danlu.data.rng().standard_normal(pixels.shape).astype("f4"))
    return pixels + own + noise, label


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("pictures"))


def fetched(folder: Path, workers: int = 0, epochs: int = 2, **given: Any) -> tuple[list[Any], Any]:
    """Return the batches of some epochs and what was found bad."""
    source = Samples(Folder(folder), workers=workers, **{"bad_quota": 10, "transform": drawing, **given})
    made = batches(source, 8, seed=3, sampler="shuffle")
    try:
        return [batch for epoch in range(epochs) for batch in made.iterate(epoch)], made.bad.state()
    finally:
        made.close()


def equal(first: list[Any], second: list[Any]) -> bool:
    assert len(first) == len(second) > 0
    return all(torch.equal(a, x) and torch.equal(b, y) for (a, b), (x, y) in zip(first, second, strict=True))


@pytest.mark.parametrize("bad", ["skip", "replace"])
def test_any_number_of_workers_gives_the_same_batches_and_culprits(bad: str, folder: Path) -> None:
    alone, found = fetched(folder, bad=bad)
    for workers in (1, 4):
        shared, theirs = fetched(folder, workers, bad=bad)
        assert equal(alone, shared)
        assert theirs == found
    assert sorted(culprit[0] for culprit in found["known"]) == list(BAD)
    assert {culprit[3] for culprit in found["known"]} == {0}  # each came up once, in the first epoch
    sizes = [len(target) for _, target in alone]
    assert sum(sizes) == (72 if bad == "skip" else 80)
    assert all(torch.isfinite(inputs).all() for inputs, _ in alone)


def test_culprits_name_file_and_reason(folder: Path) -> None:
    known = {row: (Path(path).name, error) for row, path, error, _ in fetched(folder, bad="skip")[1]["known"]}
    assert known[TRUNCATED][0] == "005.png"
    assert "truncated" in known[TRUNCATED][1]
    assert known[TEXT][1].startswith("UnidentifiedImageError: cannot identify image file")
    assert known[LARGE] == ("020.png", "a sample of shape (1x12x12, number), others have (1x8x8, number)")
    assert known[NAN] == ("031.png", "NaN or infinity in its inputs")


def test_skipping_leaves_the_other_samples_as_they_were(folder: Path) -> None:
    good = [row for row in range(40) if row not in BAD]
    skipped = batches(Samples(Folder(folder), transform=drawing, bad="skip", bad_quota=4), 8, seed=3)
    taken = batches(Samples(Folder(folder), transform=drawing).take(good), 36, seed=3)
    rows = torch.cat([inputs for inputs, _ in skipped.iterate(1)])
    assert torch.equal(rows, taken.batch(1, 0)[0])


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("row", "words", "cause"),
    [
        (TRUNCATED, r"got OSError: .*truncated", OSError),
        (TEXT, r"got UnidentifiedImageError: cannot identify", OSError),
        (LARGE, r"got a sample of shape \(1x12x12, number\), others have \(1x8x8, number\)", RuntimeError),
        (NAN, r"got NaN or infinity in its inputs", None),
    ],
)
def test_raising_names_the_sample(row: int, words: str, cause: Any, workers: int, folder: Path) -> None:
    source = Samples(Folder(folder), workers=workers).take(np.arange(row // 8 * 8, row // 8 * 8 + 8))
    made = batches(source, 4)
    with pytest.raises(DataError, match=words) as caught:
        list(made.iterate(0))
    position = row % 8 // 4
    assert str(caught.value).startswith(f"data sample {row} ({folder}/{row:03}.png), batch {position} of epoch 0: got")
    assert "\n" not in str(caught.value)
    assert f"batch {position} of epoch 0, sample ids" in caught.value.__notes__[0]
    assert cause is None or isinstance(caught.value.__cause__, cause)
    made.close()


class RefusedError(Exception):
    """An error whose text is not enough to make it anew."""

    def __init__(self, *, code: int) -> None:
        super().__init__(f"code {code}")


@pytest.mark.parametrize("workers", [0, 1])
def test_errors_that_cannot_travel(workers: int, folder: Path) -> None:
    class LocalError(Exception):
        pass

    def fail(_: Any) -> None:
        raise error

    for error in (RefusedError(code=3), LocalError("here")):
        made = batches(Samples(Folder(folder), transform=fail, workers=workers), 4)
        with pytest.raises(DataError, match=f"{type(error).__name__}: {error}"):
            list(made.iterate(0))
        made.close()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_quota_stops_with_the_first_culprits(workers: int, folder: Path) -> None:
    for quota, allowed in ((3, 3), (0.05, 2), (0.001, 1)):
        with pytest.raises(DataError) as caught:
            fetched(folder, workers, bad="skip", bad_quota=quota)
        told = re.search(r"got (\d) bad ones of 40, the first: ", str(caught.value))
        assert told is not None
        assert allowed < int(told[1]) <= 4  # a batch is counted as a whole
        assert f"want at most {allowed} (bad_quota = {quota:g})" in str(caught.value)
        assert str(caught.value).count(".png)") == int(told[1])
    assert len(fetched(folder, workers, bad="skip", bad_quota=0.1)[1]["known"]) == 4


def test_running_out_of_memory_is_no_sample_s_fault(folder: Path) -> None:
    def fail(_: Any) -> None:
        raise MemoryError("no room")

    with pytest.raises(MemoryError):
        fetched(folder, bad="skip", transform=fail)


@pytest.mark.parametrize("bad", ["skip", "replace"])
def test_what_is_known_to_be_bad_stays_out_when_it_is_mended(bad: str, tmp_path: Path) -> None:
    broken = write(tmp_path / "pictures")
    whole, state = fetched(broken, bad=bad, epochs=3)
    made = batches(Samples(Folder(broken), transform=drawing, bad=bad, bad_quota=4), 8, seed=3, sampler="shuffle")
    before = list(made.iterate(0))
    kept = made.bad.state()
    assert kept == state
    good = (broken / "000.png").read_bytes()
    for row in BAD:
        (broken / f"{row:03}.png").write_bytes(good)
    for workers in (0, 2):
        source = Samples(Folder(broken), transform=drawing, bad=bad, bad_quota=4, workers=workers)
        made = batches(source, 8, seed=3, sampler="shuffle")
        made.bad.load(kept)
        assert equal([*before, *(batch for epoch in (1, 2) for batch in made.iterate(epoch))], whole)
        assert made.bad.fresh() == []
        made.close()


def test_stand_ins_follow_the_weights(folder: Path) -> None:
    weights = np.zeros(40)
    weights[[TEXT, 1, 2]] = 1, 1, 0.1
    source = Samples(Folder(folder), bad="replace", bad_quota=1)
    made = batches(source, 40, seed=0, sampler=weights)
    _, target = next(made.iterate(0))
    assert len(target) == 40
    assert set(target.tolist()) <= {1, 2}
    assert made.bad.stand_ins > 10


class Numbers(Dataset[Any]):
    """Sample `index` is `index`; those in `bad` raise."""

    def __init__(self, n: int, bad: Any) -> None:
        self.n, self.bad = n, set(bad)
        self.files: list[str] = []

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        if index in self.bad:
            raise ValueError("bad")
        return torch.tensor([float(index)]), index


@pytest.mark.parametrize("workers", [0, 2])
def test_a_batch_of_bad_samples_only(workers: int) -> None:
    source = Samples(Numbers(12, range(4, 8)), workers=workers, bad="skip", bad_quota=0.5)
    made = batches(source, 4)
    assert [target.tolist() for _, target in made.iterate(0)] == [[0, 1, 2, 3], [8, 9, 10, 11]]
    assert made.batch(0, 1)[1].item() not in range(4, 8)  # whoever asks for this very batch gets a stand-in
    made.close()
    made = batches(source.with_policy(BadPolicy("skip", least=2)), 4)
    sizes = [len(target) for epoch in range(3) for _, target in made.iterate(epoch)]
    assert sizes == [4, 2, 4] * 3
    assert made.bad.stand_ins == 6
    made.close()


def test_nothing_but_bad_samples() -> None:
    made = batches(Samples(Numbers(6, range(6)), bad="replace", bad_quota=1.0), 3)
    with pytest.raises(DataError, match=r"bad samples only, and as many drawn in their place; 0 are known"):
        made.batch(0, 0)
    with pytest.raises(DataError, match="got 6 bad ones of 6"):
        list(batches(Samples(Numbers(6, range(6)), bad="replace", bad_quota=0.9), 3).iterate(0))


@pytest.mark.parametrize("workers", [0, 2])
def test_any_collate_function_keeps_working(workers: int) -> None:
    class Lines(Dataset[Any]):
        def __len__(self) -> int:
            return 10

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            if index == 4:
                raise OSError("no such line")
            return torch.arange(1, index + 2), index

    def padded(samples: list[Any]) -> Any:
        return pad_sequence([words for words, _ in samples], batch_first=True), torch.tensor([y for _, y in samples])

    def broken(samples: list[Any]) -> Any:
        raise KeyError("my collate")

    made = batches(Samples(Lines(), collate_fn=padded, workers=workers, bad="skip"), 5)
    shapes = [(tuple(inputs.shape), target.tolist()) for inputs, target in made.iterate(0)]
    assert shapes == [((4, 4), [0, 1, 2, 3]), ((5, 10), [5, 6, 7, 8, 9])]
    made.close()
    made = batches(Samples(Lines(), collate_fn=broken, workers=workers, bad="skip"), 5)
    with pytest.raises(KeyError, match="my collate") as caught:
        list(made.iterate(0))
    assert "batch 0 of epoch 0, sample ids 0, 1, 2, 3, 4" in caught.value.__notes__[-1]
    made.close()


def test_none_in_place_of_a_sample_is_bad() -> None:
    source = Samples(Numbers(9, ()), transform=lambda pair: None if pair[1] == 6 else pair, bad="skip")
    made = batches(source, 9)
    assert len(next(made.iterate(0))[1]) == 8
    assert made.bad.state()["known"][0][2] == "a sample of shape NoneType, others have (1, number)"


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_rng_has_an_address(workers: int) -> None:
    def draws(pair: Any) -> Any:
        first, second = danlu.data.rng(), danlu.data.rng()
        return torch.tensor([first.random(), second.random(), random.random(), np.random.rand(), torch.rand(())]), 0

    made = batches(Samples(Numbers(20, ()), transform=draws, workers=workers), 5, seed=2, sampler="shuffle")
    rows = [torch.cat([inputs for inputs, _ in made.iterate(epoch)]) for epoch in (0, 1)]
    made.close()
    alone = batches(Samples(Numbers(20, ()), transform=draws), 5, seed=2, sampler="shuffle")
    assert torch.equal(rows[0], torch.cat([inputs for inputs, _ in alone.iterate(0)]))
    assert len(rows[0].flatten().unique()) == len(torch.cat(rows).unique()) / 2 == 100
    with pytest.raises(DataError, match=r"danlu\.data\.rng: got a call while no sample is being fetched"):
        danlu.data.rng()


def test_paths(tmp_path: Path) -> None:
    class Named(Numbers):
        paths = [Path("a"), Path("b"), Path("c")]
        files = ["not one for each sample"]

    one, two = Named(3, ()), Numbers(2, ())
    assert path_of(one, 1) == "b"
    assert path_of(Subset(one, [2, 0]), 1) == "a"
    assert path_of(ConcatDataset([two, one]), 4) == "c"
    assert path_of(ConcatDataset([two, one]), 1) == path_of(TensorDataset(torch.ones(3)), 1) == ""
    with pytest.raises(OSError, match="No such file") as caught:
        (tmp_path / "gone").read_bytes()
    assert path_of(two, 0, caught.value) == str(tmp_path / "gone")


def test_names_that_are_no_text_can_be_recorded(tmp_path: Path) -> None:
    name = b"a\xffb\n.png".decode("utf-8", "surrogateescape")
    numbers = Numbers(3, [1])
    numbers.files = ["x", name, "z"]
    made = batches(Samples(numbers, bad="skip"), 3)
    list(made.iterate(0))
    (culprit,) = made.bad.fresh()
    assert culprit.path == "a\\udcffb .png"
    with MetricStore(tmp_path / "metrics.sqlite") as store:
        store.bad_sample(1, "train", culprit)
        assert store.bad_samples() == [(1, "train", 1, "a\\udcffb .png", "ValueError: bad", 0)]


@pytest.mark.parametrize("given", [{"bad": "drop"}, {"bad_quota": 0}, {"bad_quota": 1.5}, {"bad_quota": True}])
def test_policies_that_are_none(given: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="bad"):
        Samples(Numbers(3, ()), **given)
