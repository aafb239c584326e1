"""Data in single files: arrays, archives and tables; nothing in them is unpickled."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from danlu.data import Arrays, read_file
from danlu.errors import DataError

RNG = np.random.default_rng(0)
X, Y = RNG.random((12, 3)), np.arange(12)


def columns(source: object) -> tuple[np.ndarray, np.ndarray]:
    assert isinstance(source, Arrays)
    held = source.stored()
    return held["inputs"].numpy(), held["target"].numpy()


def test_two_npy_files_are_mapped_and_not_read(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", Y)
    data = read_file(tmp_path / "x.npy", target=str(tmp_path / "y.npy"))
    x, y = columns(data.train)
    assert np.array_equal(x, X)
    assert np.array_equal(y, Y)
    assert not x.flags.owndata
    alone = read_file(str(tmp_path / "x.npy")).train
    assert alone.targets() is None


@pytest.mark.parametrize(
    "names", [("x", "y"), ("inputs", "target"), ("images", "labels"), ("x_train", "y_train"), ("X", "label")]
)
def test_archives_by_the_usual_names(names: tuple[str, str], tmp_path: Path) -> None:
    np.savez(tmp_path / "all.npz", **{names[0]: X, names[1]: Y})
    x, y = columns(read_file(tmp_path / "all.npz").train)
    assert np.array_equal(x, X)
    assert np.array_equal(y, Y)


def test_an_archive_may_hold_more_sets(tmp_path: Path) -> None:
    np.savez_compressed(
        tmp_path / "all.npz", x_train=X, y_train=Y, x_test=X[:2], y_test=Y[:2], x_val=X[:3], y_val=Y[:3]
    )
    data = read_file(tmp_path / "all.npz")
    assert {name: len(source) for name, source in data.sets().items()} == {"train": 12, "valid": 3, "test": 2}


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_tables(kind: str, tmp_path: Path) -> None:
    frame = pl.DataFrame({"a": X[:, 0], "b": Y * 2, "kind": ["near", "far", "off"] * 4})
    path = tmp_path / f"table.{kind}"
    frame.write_csv(path) if kind == "csv" else frame.write_parquet(path)
    data = read_file(path, target="kind")
    x, y = columns(data.train)
    np.testing.assert_allclose(x, np.column_stack([X[:, 0], Y * 2]))
    assert data.classes == ("far", "near", "off")
    assert [data.classes[one] for one in y] == frame["kind"].to_list()


def test_a_target_called_like_one_is_found(tmp_path: Path) -> None:
    pl.DataFrame({"label": Y, "a": X[:, 0]}).write_csv(tmp_path / "t.csv")
    assert np.array_equal(columns(read_file(tmp_path / "t.csv").train)[1], Y)


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    pl.DataFrame({"a": ["x", "y"], "b": [1, 2]}).write_csv(tmp_path / "text.csv")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "noise.npy").write_bytes(b"\x93NUMPY\x01\x00garbage")
    (tmp_path / "noise.npz").write_bytes(b"PK\x03\x04 no archive")
    (tmp_path / "noise.parquet").write_bytes(b"PAR1")
    (tmp_path / "words.txt").write_text("hello")
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "others.npz", weights=X)
    pl.DataFrame({"a": [1.0, None], "y": [1, 2]}).write_csv(tmp_path / "holes.csv")
    wrong = {
        ("nowhere.npy", None): "no such file",
        ("words.txt", None): "ends in '.txt'",
        ("noise.npy", None): "noise.npy",
        ("noise.npz", None): "noise.npz",
        ("noise.parquet", "a"): "noise.parquet",
        ("empty.csv", "a"): "empty.csv",
        ("objects.npy", None): "Python objects",
        ("others.npz", None): "arrays called weights",
        ("text.csv", "b"): "column a: got String",
        ("text.csv", None): "--target COLUMN",
        ("text.csv", "c"): "column",
        ("holes.csv", None): "NaN or infinity in 1 of 2 rows",
    }
    for (name, target), said in wrong.items():
        with pytest.raises(DataError) as caught:
            read_file(tmp_path / name, target=target)
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)
