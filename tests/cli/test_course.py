"""`danlu course`."""

from pathlib import Path

import pytest

from danlu import course
from danlu.cli import run


def said(words: str, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert run(words.split()) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "\x1b" not in out
    return out


def test_lessons_are_listed_in_their_order(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("COLUMNS", "80")
    out = said("course", capsys)
    lines = out.splitlines()
    assert max(map(len, lines)) <= 96
    assert [line.split()[0] for line in lines if line[:1] not in ("", " ")][1:-1] == list(course.LESSONS)
    text = " ".join(out.split())
    for name, seconds in course.LESSONS.items():
        assert f"{name} {seconds} s {course.about(name)}" in text


def test_a_lesson_leaves_its_picture_and_its_drawing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    out = said("course graph", capsys)
    assert "largest difference" in out
    assert "See: " in out
    assert "picture: runs/course/graph.png" in out
    assert "drawing: runs/course/graph.svg" in out
    before = (tmp_path / "runs/course/graph.svg").read_text()
    said("course graph", capsys)  # the same lesson again replaces its files
    assert sorted(path.name for path in (tmp_path / "runs/course").iterdir()) == ["graph.png", "graph.svg"]
    assert (tmp_path / "runs/course/graph.svg").read_text() == before
    assert said("runs", capsys) == "no runs in runs\n"


def test_quiet_prints_paths_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(course, "LESSONS", {"autograd": 1, "graph": 1})
    out = said(f"course all --quiet --out {tmp_path / 'here'}", capsys)
    assert [Path(line).name for line in out.splitlines()] == ["autograd.png", "graph.png", "graph.svg"]
    assert all(Path(line).is_file() for line in out.splitlines())


def test_a_lesson_is_shown(capsys: pytest.CaptureFixture[str]):
    assert said("course k-fold --show", capsys) == course.find("k-fold").read_text(encoding="utf-8")


@pytest.mark.parametrize(("words", "got"), [("course --show", "without a lesson"), ("course all --show", "all")])
def test_what_to_show_is_one_lesson(words: str, got: str, capsys: pytest.CaptureFixture[str]):
    assert run(words.split()) == 2
    expected = f"danlu: course: got --show {got}; want one lesson. Fix: danlu course mlp --show.\n"
    assert capsys.readouterr() == ("", expected)


@pytest.mark.parametrize("words", ["course mpl", "course mpl --show", "course mpl --quiet"])
def test_an_unknown_lesson_is_one_line_with_the_nearest_name(words: str, capsys: pytest.CaptureFixture[str]):
    assert run(words.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "danlu: course: got 'mpl'; want a known lesson. Fix: did you mean mlp?\n"


def test_a_folder_that_is_a_file_is_one_line_before_anything_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "file").write_text("")
    assert run(["course", "mlp", "--out", str(tmp_path / "file")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "--out" in err
