import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from danlu.data import Arrays, Data, Loader, Samples, arrays, as_data, batches, idx
from danlu.errors import DataError

X, Y = np.arange(40.0).reshape(20, 2), np.arange(20) % 2
SET = TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))


def test_whatever_can_be_trained_on() -> None:
    assert isinstance(as_data((X, Y)).train, Arrays)
    assert as_data(((X, X), Y)).train.keys == 2
    assert as_data(({"a": X}, Y)).train.keys == ("a",)
    assert isinstance(as_data(SET).train, Samples)
    assert as_data(SET).name == "TensorDataset"
    assert isinstance(as_data(DataLoader(SET)).train, Loader)
    source = Arrays(X, Y)
    assert as_data(source).train is source
    assert as_data(torch.from_numpy(X)).train.targets() is None
    for obj in ((X, Y), SET, source):
        assert as_data(obj).valid == as_data(obj, valid=0).valid == {}
        held = as_data(obj, valid=0.2, seed=3)
        assert (len(held.train), len(held.valid["valid"])) == (16, 4)
        assert sorted(held.valid["valid"].targets()) == [0, 0, 1, 1]


@pytest.mark.parametrize("obj", ["digits", (X, Y, Y), 3, None, {"a": X}])
def test_what_cannot(obj: object) -> None:
    with pytest.raises(DataError, match="a Dataset, a DataLoader"):
        as_data(obj)


def test_data_with_sets_of_its_own() -> None:
    data = Data(Arrays(X, Y), {"noisy": Arrays(X, Y)}, name="mine")
    assert as_data(data) is data
    assert as_data(data, valid=0).valid == {}
    with pytest.raises(DataError, match="noisy"):
        as_data(data, valid=0.2)
    cut = as_data(Data(Arrays(X, Y), name="mine"), valid=0.25)
    assert (len(cut.train), len(cut.valid["valid"]), cut.name) == (15, 5, "mine")
    with pytest.raises(DataError, match=r"loader\.dataset"):
        as_data(DataLoader(SET), valid=0.2)


def test_arrays_with_shares_and_given_sets() -> None:
    data = arrays(X, Y, valid=0.2, test=0.1)
    assert [len(source) for source in data.sets().values()] == [16 - 2, 4, 2]
    rows = [row for source in data.sets().values() for row in batches(source, 20).batch(0, 0)[0][:, 0].tolist()]
    assert sorted(rows) == X[:, 0].tolist()
    given = arrays(X, Y, valid=(X[:3], Y[:3]), test=(X[:4], Y[:4]))
    assert {name: len(source) for name, source in given.sets().items()} == {"train": 20, "valid": 3, "test": 4}
    named = arrays(X, Y, valid={"clean": (X, Y), "noisy": SET}, test=0.5)
    assert {name: len(source) for name, source in named.sets().items()} == {
        "train": 10, "clean": 20, "noisy": 20, "test": 10,
    }  # fmt: skip
    assert arrays(X, Y).valid == {}
    assert arrays(X, Y, test=None).test is None


@pytest.mark.parametrize("name", ["train", "test", "running", "lr", "a/b", ""])
def test_names_that_mean_something_else(name: str) -> None:
    with pytest.raises(DataError, match="rename"):
        arrays(X, Y, valid={name: (X, Y)})


def test_sets_whose_columns_differ() -> None:
    with pytest.raises(DataError, match="valid: got inputs"):
        arrays(X, Y, valid=(X[:, 0], Y))
    with pytest.raises(DataError, match="test"):
        arrays({"a": X}, Y, test=({"b": X}, Y))
    with pytest.raises(DataError, match="target"):
        arrays(X, Y, valid=(X, Y * 0.5))


def put(path: Path, array: np.ndarray, packed: bool = False) -> Path:
    data = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(data) if packed else data)
    return path


def test_idx_folders_and_files(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, 5, 4), dtype=np.uint8)
    labels = (np.arange(20) % 2).astype(np.uint8)
    pair = (
        put(tmp_path / "train-images-idx3-ubyte.gz", images, True),
        put(tmp_path / "train-labels-idx1-ubyte", labels),
    )
    only = idx(tmp_path)
    assert (len(only.train), only.valid, only.test, only.name) == (20, {}, None, tmp_path.name)
    put(tmp_path / "t10k-images-idx3-ubyte", images[:6])
    put(tmp_path / "t10k-labels-idx1-ubyte", labels[:6])
    data = idx(tmp_path, valid=0.2)
    assert {name: len(source) for name, source in data.sets().items()} == {"train": 16, "valid": 4, "test": 6}
    inputs, target = batches(idx(pair).train, 20).batch(0, 0)
    assert torch.equal(inputs, torch.from_numpy(images)[:, None].float() * (1 / 255))
    assert target.tolist() == labels.tolist()
    assert idx(tmp_path, test=None).test is None
    given = idx(pair, valid=pair, test=pair)
    assert [len(source) for source in given.sets().values()] == [20, 20, 20]
    with pytest.raises(DataError, match="no such folder"):
        idx(tmp_path / "none")
    put(tmp_path / "train-labels-idx1-ubyte", labels[:-1])
    with pytest.raises(DataError, match="20 rows in inputs, 19 rows in target"):
        idx(tmp_path)
