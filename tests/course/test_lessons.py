"""Every lesson runs, draws, and its two halves agree as closely as they say."""

import importlib
import inspect

import pytest
from PIL import Image

from danlu import course
from danlu.course import figure
from danlu.course.page import Page
from danlu.course.picture import save
from danlu.data import fashion
from danlu.errors import RecipeError, RunError

NAMES = list(course.LESSONS)
WITHIN = {  # by how much the halves may differ: absolute, and float32 rounds at 6e-8 of a number
    "autograd": 2e-6,
    "graph": 2e-6,
    "activations": 2e-6,
    "linear-regression": 1e-5,
    "softmax-regression": 1e-5,
    "mlp": 1e-5,
    "fitting": 1e-4,
    "weight-decay": 1e-3,
    "dropout": 1e-5,
    "signals": 1e-5,
    "k-fold": 1e-5,
}
PIXELS = range(400, 4000)


def taught(name: str) -> tuple[Page, list[object]]:
    parts: list[object] = []
    page = Page(tell=parts.append)
    course.teach(name, page, short=True)
    return page, parts


@pytest.mark.parametrize("name", NAMES)
def test_a_lesson_runs_and_draws(name, tmp_path, capfd):
    page, parts = taught(name)
    assert page.title
    assert page.differences
    assert str(parts[-1]).startswith("See: ")
    picture = tmp_path / "lesson.png"
    figure.draw(page.picture(), picture)  # as the child process does, see the test of `save`
    with Image.open(picture) as image:
        image.load()
        assert image.format == "PNG"
        assert image.width in PIXELS
        assert image.height in PIXELS
        assert len(image.convert("RGB").getcolors(1 << 24)) > 20
    assert capfd.readouterr() == ("", "")
    assert max(page.differences.values()) <= WITHIN[name], page.differences


def test_linear_regression_finds_the_true_parameters():
    _, parts = taught("linear-regression")
    rows = {row[0]: row for row in parts[0]}
    assert list(rows) == ["", "w1", "w2", "b"]
    for name, true in (("w1", 2.0), ("w2", -3.4), ("b", 4.2)):
        assert float(rows[name][-1]) == true
        assert abs(float(rows[name][1]) - true) < 0.01


def test_the_same_lesson_says_the_same_twice():
    (first, said), (second, again) = taught("weight-decay"), taught("weight-decay")
    assert said == again
    assert first.panels == second.panels


def test_a_picture_and_a_drawing_are_saved(tmp_path):
    page, _ = taught("graph")
    picture, drawing = save(page, tmp_path / "a" / "b", "graph")
    assert sorted((tmp_path / "a" / "b").iterdir()) == [picture, drawing]
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert drawing.read_text(encoding="utf-8").startswith("<svg")


@pytest.mark.parametrize("name", ["softmax-regression", "mlp", "dropout"])
def test_without_fashion_mnist_there_are_digits(name, monkeypatch):
    monkeypatch.setattr(fashion, "places", lambda: ())
    _, parts = taught(name)
    assert "danlu data fetch fashion-mnist" in parts[0]
    assert "digits" in parts[0]


@pytest.mark.parametrize("name", NAMES)
def test_a_lesson_is_a_script_that_one_reads(name):
    text = course.find(name).read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 160
    assert "What to see:" in text
    assert "torch" not in text
    module = importlib.import_module(f"danlu.course.{course.find(name).stem}")
    assert inspect.isfunction(module.scratch)
    assert inspect.isfunction(module.concise)
    assert 20 < len(course.about(name)) < 110


def test_every_lesson_of_the_folder_is_listed():
    others = {"__init__", "page", "picture", "figure", "samples"}
    assert {path.stem for path in course.HOME.glob("*.py")} - others == {name.replace("-", "_") for name in NAMES}


def test_an_unknown_lesson():
    with pytest.raises(RecipeError, match="did you mean mlp"):
        course.find("mpl")


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="choose another one with --out"):
        save(Page(), tmp_path / "file", "page")


def test_what_cannot_be_drawn_is_an_error_and_leaves_no_file(tmp_path):
    page = Page(title="wrong")
    page.curves("more y than x", {"a": [1.0, 2.0]}, x=[1.0], labels=("x", "y"))
    with pytest.raises(RunError, match="x and y must have same first dimension"):
        save(page, tmp_path, "page")
    assert list(tmp_path.iterdir()) == []
