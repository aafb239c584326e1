"""Which picture files there are: folders of classes, parts, annotations; and what is wrong with them, in one line."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from danlu.data import images
from danlu.data.picture_files import from_folders, from_table
from danlu.errors import DataError

PIXEL = Image.new("RGB", (2, 2))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DANLU_CACHE", str(tmp_path_factory.mktemp("cache")))


def put(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir(exist_ok=True)
        elif path.suffix in (".png", ".JPG"):
            PIXEL.save(path, "PNG")
        else:
            path.write_text("text")
    return folder


def refused(call, *given: object) -> str:
    with pytest.raises(DataError) as found:
        call(*given)
    text = str(found.value)
    assert len(text.splitlines()) == 1
    return text


def test_subfolders_are_classes(tmp_path: Path):
    put(tmp_path, "dog/b.png", "dog/a.JPG", "dog/more/c.png", "cat/x.png", ".hidden/y.png", "dog/.z.png", "dog/notes")
    found = from_folders(put(tmp_path, "README"))
    assert found.classes == ("cat", "dog")
    assert found.names == ["cat/x.png", "dog/a.JPG", "dog/b.png", "dog/more/c.png"]
    assert found.labels.tolist() == [0, 1, 1, 1]
    assert found.left_out == 2
    assert found.stamps[:, 0].tolist() == [os.path.getsize(tmp_path / name) for name in found.names]


@pytest.mark.parametrize("name", ["valid", "val", "validation"])
def test_parts_are_sets_of_their_own(name: str, tmp_path: Path):
    put(tmp_path, *(f"{part}/{label}/{i}.png" for part in ("train", name, "test") for label in "ab" for i in range(3)))
    data = images(tmp_path, size=2)
    assert {part: len(source) for part, source in data.sets().items()} == {"train": 6, "valid": 6, "test": 6}
    assert data.train.targets().tolist() == [0, 0, 0, 1, 1, 1]
    assert data.test.dataset.paths[int(data.test.rows[0])] == str(tmp_path / "test/a/0.png")
    assert "got a share of 0.5, and the folder valid/" in refused(lambda: images(tmp_path, size=2, valid=0.5))
    put(tmp_path, f"{name}/c/0.png")
    assert "got 'c' in valid; want only classes that train/ has: a, b" in refused(images, tmp_path)


def test_a_fifth_is_held_out_of_every_class(tmp_path: Path):
    put(tmp_path, *(f"{label}/{i:02}.png" for label in "ab" for i in range(10 if label == "a" else 40)))
    data = images(tmp_path, size=2, test=0.1)
    counts = {name: np.bincount(source.targets()).tolist() for name, source in data.sets().items()}
    assert counts == {"train": [7, 28], "valid": [2, 8], "test": [1, 4]}
    assert len(images(tmp_path, size=2, valid=0).train) == 50


@pytest.mark.parametrize("head", ["", "file,label\n", "Image Name,Kind\n"])
def test_an_annotations_file(head: str, tmp_path: Path):
    put(tmp_path, "a.png", "deep/b.png", "c, d.png")
    table = tmp_path / "labels.csv"
    table.write_text(f'{head}a.png,10\n\ndeep/b.png,9\n"c, d.png",10\n')
    found = from_table(tmp_path, table)
    assert found.names == ["a.png", "deep/b.png", "c, d.png"]
    assert found.classes == ("9", "10")
    assert found.labels.tolist() == [1, 0, 1]
    assert images(tmp_path, csv="labels.csv", size=2).classes == ("9", "10")


def test_columns_are_found_by_their_names(tmp_path: Path):
    put(tmp_path, "a.png", "b.png")
    table = tmp_path / "labels.csv"
    table.write_text("id,label,file\n1,no,a.png\n2,yes,b.png\n")
    found = from_table(tmp_path, table)
    assert (found.names, found.classes) == (["a.png", "b.png"], ("no", "yes"))


def test_folders_that_are_none(tmp_path: Path):
    assert "nowhere: got no such folder; want one subfolder" in refused(images, tmp_path / "nowhere")
    put(tmp_path, "empty/", "one/cat/a.png", "loose/a.png", "loose/b.png", "text/a/notes", "text/b/x.png", "bare/a/")
    assert "empty: got an empty folder" in refused(images, tmp_path / "empty")
    assert "one: got one class, 'cat'; want pictures of at least two classes" in refused(images, tmp_path / "one")
    assert "loose: got 2 files directly in it, the first 'a.png'" in refused(images, tmp_path / "loose")
    assert "text/a: got 1 other files; want pictures of that class" in refused(images, tmp_path / "text")
    assert "bare/a: got an empty folder; want pictures of that class" in refused(images, tmp_path / "bare")
    assert "loose/a.png: got a file; want one subfolder" in refused(images, tmp_path / "loose" / "a.png")
    put(tmp_path, "two/train/a/x.png", "two/train/b/x.png", "two/val/a/x.png", "two/valid/a/x.png")
    assert "several folders for one set: val, valid" in refused(images, tmp_path / "two")


def test_annotations_that_are_none(tmp_path: Path):
    put(tmp_path, "a.png", "b.png")
    table = tmp_path / "labels.csv"

    def said(text: str | bytes) -> str:
        table.write_bytes(text.encode() if isinstance(text, str) else text)
        return refused(from_table, tmp_path, table)

    assert "labels.csv, line 3: got 'c.png', which is not there; want a file in" in said(
        "file,label\na.png,1\nc.png,2\n"
    )
    assert "labels.csv, line 2: got 'b.png'; want a file and its label" in said("a.png,1\nb.png\n")
    assert "labels.csv, line 1: got 'a.png,'; want a file and its label" in said("a.png,\n")
    assert "got one class, '1'" in said("a.png,1\nb.png,1\n")
    assert "got no rows" in said("\n")
    assert "want a CSV file in UTF-8" in said(b"a.png,\xff\n")
    assert "want a CSV file in UTF-8" in refused(from_table, tmp_path, tmp_path / "none.csv")
    assert "line 1: got 'sub.png', which is not there" in (os.makedirs(tmp_path / "sub.png"), said("sub.png,1\n"))[1]


def test_links_are_followed_but_not_in_circles(tmp_path: Path):
    put(tmp_path / "real", "x.png")
    put(tmp_path / "set", "a/y.png", "b/z.png")
    (tmp_path / "set" / "c").symlink_to(tmp_path / "real")
    assert from_folders(tmp_path / "set").names == ["a/y.png", "b/z.png", "c/x.png"]
    (tmp_path / "set" / "a" / "loop").symlink_to(tmp_path / "set" / "a")
    assert "got a link to a folder that it lies in" in refused(images, tmp_path / "set")
    (tmp_path / "set" / "a" / "loop").unlink()
    (tmp_path / "set" / "a" / "gone.png").symlink_to(tmp_path / "nothing.png")
    assert "a/gone.png: got No such file or directory" in refused(images, tmp_path / "set")


def test_odd_names(tmp_path: Path):
    put(tmp_path, "a b/ü\n.png", "猫/x.png")
    broken = os.fsencode(tmp_path) + b"/\xff"
    os.mkdir(broken)
    PIXEL.save(os.path.join(os.fsdecode(broken), "x.png"))
    data = images(tmp_path, size=2, valid=0)
    assert data.classes == ("a b", "猫", "\\udcff")
    assert [data.train.dataset[row][1] for row in range(3)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"size": 0}, "size: got 0; want a whole number from 1 to 4096"),
        ({"size": "big"}, "size: got big"),
        ({"size": [3, 4, 5]}, "size: got [3, 4, 5]"),
        ({"size": True}, "size: got True"),
        ({"channels": 2}, "channels: got 2; want 3 for colour, 1 for grey"),
        ({"valid": 1.5}, "valid: got 1.5"),
        ({"test": "some"}, "test: got some"),
        ({"cache": 1}, "cache: got 1; want true or false"),
        ({"csv": 3}, "csv: got 3"),
    ],
)
def test_wrong_options(given: dict[str, object], said: str, tmp_path: Path):
    put(tmp_path, *(f"{label}/{i}.png" for label in "ab" for i in range(5)))
    assert said in refused(lambda: images(tmp_path, **given))
