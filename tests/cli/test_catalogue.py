"""`danlu data` and `danlu recipes`."""

import tomllib
from pathlib import Path

import pytest

from danlu import recipes
from danlu.cli import run
from danlu.recipe_text import read


def said(words: str, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert run(words.split()) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "\x1b" not in out
    return out


def test_recipes_are_listed_with_what_they_are_about(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("COLUMNS", "80")
    out = said("recipes", capsys)
    assert out == said("recipes list", capsys)
    assert max(map(len, out.splitlines())) <= 80
    text = " ".join(out.split())
    for name in recipes.names():
        assert f"{name} {recipes.about(name)}" in text


def test_a_recipe_that_is_shown_is_a_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = said("recipes show digits --set optim.lr=0.5", capsys)
    path = tmp_path / "mine.toml"
    path.write_text(out)
    assert read(path) == read(recipes.find("digits"), ["optim.lr=0.5"])
    assert tomllib.loads(out)["optim"]["lr"] == 0.5


def test_data_sets_are_listed(capsys: pytest.CaptureFixture[str]):
    out = said("data", capsys)
    assert out == said("data list", capsys)
    assert "fashion-mnist" in out


def test_a_data_set_of_classes(capsys: pytest.CaptureFixture[str]):
    lines = [line.split() for line in said("data info iris", capsys).splitlines()]
    assert ["inputs", "(4,)", "float64"] in lines
    assert ["virginica", "40", "10"] in lines
    assert ["all", "120", "30"] in lines


def test_a_data_set_of_numbers(capsys: pytest.CaptureFixture[str]):
    lines = [line.split() for line in said("data info linear", capsys).splitlines()]
    assert ["samples", "1,000", "200"] in lines
    assert ["memory", "14.4", "kB"] in lines


def test_fetch_says_where_it_lies(capsys: pytest.CaptureFixture[str]):
    assert (Path(said("data fetch digits", capsys).strip()) / "digits.csv.gz").exists()
