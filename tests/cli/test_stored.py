"""`danlu data convert`, `danlu data verify`, and `danlu data info` of what they made."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from danlu.cli import run
from danlu.data import load, stored

FUNCTION = """
import numpy as np
import torch
from torch.utils.data import Dataset

class Squares(Dataset):
    def __len__(self):
        return 40

    def __getitem__(self, index):
        return torch.full((2, 2), float(index)), index % 4

def squares():
    return Squares()
"""


def said(*words: object, code: int = 0, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert run([str(word) for word in words]) == code
    out, err = capsys.readouterr()
    return err if code else out


def test_from_each_kind_of_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(FUNCTION)
    np.save("x.npy", np.zeros((10, 3), np.float32))
    np.save("y.npy", np.arange(10))
    pl.DataFrame({"a": range(10), "y": range(10)}).write_parquet("t.parquet")
    np.savez("z.npz", x=np.zeros((10, 3)), y=np.arange(10))
    for number, (words, sizes) in enumerate(
        [
            (["digits"], {"train": 1438, "valid": 359}),
            (["own.py:squares", "--valid", "0.25", "--workers", "2"], {"train": 30, "valid": 10}),
            (["x.npy", "--target", "y.npy"], {"train": 10}),
            (["t.parquet", "--valid", "0.2", "--seed", "3"], {"train": 8, "valid": 2}),
            (["z.npz"], {"train": 10}),
        ]
    ):
        out = said("data", "convert", words[0], f"set{number}", *words[1:], capsys=capsys)
        assert f"danlu data info set{number}" in out
        data = load(f"set{number}")
        assert {name: len(source) for name, source in data.sets().items()} == sizes
        assert "sound" in said("data", "verify", f"set{number}", capsys=capsys)
    again = load("digits")
    assert np.array_equal(again.train.targets(), load("set0").train.targets())  # type: ignore[arg-type]
    assert said("data", "fetch", "set0", capsys=capsys).strip() == "set0"


def test_info_shows_sets_columns_and_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said("data", "convert", "digits", tmp_path / "set", capsys=capsys)
    lines = [line.split() for line in said("data", "info", tmp_path / "set", capsys=capsys).splitlines()]
    assert ["inputs", "(1,", "8,", "8)", "uint8"] in lines
    assert ["all", "1,438", "359"] in lines
    assert ["on", "disk", "117", "kB"] in lines


def test_shuffled_holds_the_same_samples_in_random_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "x.npy", np.arange(100)[:, None])
    said("data", "convert", tmp_path / "x.npy", tmp_path / "set", "--shuffle", capsys=capsys)
    order = stored(tmp_path / "set").train.in_memory().stored()["inputs"].flatten().tolist()
    assert sorted(order) == list(range(100))
    assert order != sorted(order)


def test_damage_is_listed_and_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said("data", "convert", "digits", tmp_path / "set", capsys=capsys)
    path = tmp_path / "set" / "01-target.bin"
    path.write_bytes(b"\x0b" + path.read_bytes()[1:])
    assert run(["data", "verify", str(tmp_path / "set")]) == 2
    out, err = capsys.readouterr()
    assert out.startswith("block 0 of 01-target.bin, rows 0 to ")
    assert "1 damaged block;" in err
    assert "block 0 of 01-target.bin" in said("data", "info", tmp_path / "set", code=2, capsys=capsys)


def test_mistakes_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("L", (2, 2)).save("picture.png")
    Path("empty").mkdir()
    for words, wanted in {
        ("data", "convert", "digitz", "set"): "danlu data",
        ("data", "convert", "picture.png", "set"): "SOURCE",
        ("data", "convert", "digits", "empty"): "there already",
        ("data", "convert", "empty", "set"): "train-images",
        ("data", "convert", "nowhere.py:f", "set"): "nowhere.py",
        ("data", "verify", "empty"): "without schema.json",
        ("data", "info", "empty"): "without schema.json",
        ("data", "verify", "nowhere"): "no such folder",
        ("train", "digits", "--set", "data.name=empty", "--out", "run"): "without schema.json",
    }.items():
        err = said(*words, code=2, capsys=capsys)
        assert wanted in err
        assert err.count("\n") == 1
    assert not Path("set").exists()
