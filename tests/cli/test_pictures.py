"""Folders of pictures from the command line: look at them, check, train, predict; and what goes wrong, in one line."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from danlu.cli import run
from danlu.data import options_of
from danlu.recipe_text import read
from danlu.train import build_data

DOCS = Path(__file__).parents[2] / "docs" / "images.md"

RECIPE = """
epochs = 1
batch_size = 8
metrics = ["accuracy"]
tensorboard = false

[model]
build = "mlp"
inputs = 192
hidden = [8]
outputs = 2

[data]
name = "images"
folder = "pictures"
size = 8
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    rng = np.random.default_rng(0)
    for index in range(40):
        path = tmp_path / "pictures" / ("cat", "dog")[index % 2] / f"{index:02}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (20, 30), dtype=np.uint8)).save(path)
    (tmp_path / "mine.toml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DANLU_CACHE", str(tmp_path / "cache"))
    return tmp_path


def said(words: str, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert run(words.split()) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def told(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert run(words) == 2
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1, err
    return err


def test_a_recipes_pictures_are_shown(here: Path, capsys: pytest.CaptureFixture[str]):
    lines = [line.split() for line in said("data info mine.toml", capsys).splitlines()]
    assert lines[0] == ["mine.toml:", "pictures", "of", "20", "x", "30", "pixels"]
    assert ["inputs", "(3,", "8,", "8)", "uint8"] in lines
    assert ["cat", "16", "4"] in lines
    assert ["all", "32", "8"] in lines
    assert ["found", "pictures"] in lines


def test_check_train_eval_and_predict(here: Path, capsys: pytest.CaptureFixture[str]):
    out = said("check mine.toml", capsys)
    assert "pictures: 20 x 30 pixels, in pictures" in out
    assert "two updates, a save and a resume agree bit for bit" in out
    said("train mine.toml --out run -q", capsys)
    assert "on valid: 8 samples" in said("eval run", capsys)
    one = said("predict run pictures/cat/00.jpg --picture one.png", capsys)
    same = said("predict run --on train --count 1 --picture all.png", capsys)
    assert one.split()[one.split().index("0") + 1] in ("cat", "dog")
    shares = [[word for word in text.split() if word.endswith("%")] for text in (one, same)]
    assert shares[0] == shares[1]  # the first training picture is that file
    with Image.open("one.png") as first, Image.open("all.png") as second:
        assert first.size == second.size
    np.save("white.npy", np.full((2, 3, 8, 8), 255, np.uint8))
    assert len(said("predict run white.npy", capsys).splitlines()) == 5
    Path("broken.png").write_text("x")
    assert "broken.png: got no picture" in told(["predict", "run", "broken.png"], capsys)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("data.folder=nowhere", "nowhere: got no such folder; want one subfolder of pictures for each class"),
        ("data.folder=pictures/cat", "20 files directly in it, the first '00.jpg'"),
        ("data.folder=3", "folder: got 3; want the folder of the pictures"),
        ("data.size=0", "size: got 0; want a whole number from 1 to 4096"),
        ("data.csv=none.csv", "none.csv: got No such file or directory; want a CSV file"),
        ("data.csv=mine.toml", "mine.toml, line 3: got 'batch_size = 8'; want a file and its label"),
        ("data.sise=3", "data.sise: got 'sise'; want a known option of [data]. Fix: did you mean size?"),
        ("data.valid=2", "data.valid: got 2"),
    ],
)
def test_wrong_recipes(override: str, expected: str, here: Path, capsys: pytest.CaptureFixture[str]):
    assert expected in told(["train", "mine.toml", "--out", "run", "-q", "--set", override], capsys)
    assert not (here / "run").exists()


def test_the_docs_recipe_and_options_are_there(here: Path):
    text = DOCS.read_text(encoding="utf-8")
    (here / "docs.toml").write_text(text.split("```toml")[1].split("```")[0])
    recipe = read(here / "docs.toml")
    assert recipe.data is not None
    data = build_data(recipe.data, recipe.seed)
    assert (data.classes, len(data.train)) == (("cat", "dog"), 32)
    assert [name for name in options_of("images") if f"| `{name}` |" not in text] == []


def test_a_broken_picture_stops_the_run_and_is_named(here: Path, capsys: pytest.CaptureFixture[str]):
    (here / "pictures" / "dog" / "03.jpg").write_bytes(b"")
    err = told(["train", "mine.toml", "--out", "run", "-q", "--set", "data.valid=0"], capsys)
    assert "(pictures/dog/03.jpg)" in err
    assert "got PictureError: an empty file" in err
    assert 'bad_samples = "skip"' in err
    said('train mine.toml --out skipped -q --set data.bad_samples="skip" --set data.bad_quota=1', capsys)
    assert "want the folder of the pictures" in told(["data", "info", "images"], capsys)
