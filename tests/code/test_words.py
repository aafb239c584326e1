"""Words, calls and folders that this repository does without."""

import importlib
import re
import subprocess
from pathlib import Path

import pytest

import danlu

ROOT = Path(__file__).parents[2]
HOME = ROOT / "danlu"
ROOMS = sorted(path.parent.name for path in HOME.glob("*/__init__.py"))
# written in pieces, because this file is searched too
PLACES = ["../" + "shared", "/wor" + "k/", "issue" + " #", "TO" + "DO", "FIX" + "ME"]
DRAWERS = {"utils", "util", "common", "helpers", "misc"}


def tracked():
    """Return the files that git tracks or would track; outside a checkout there is no such list."""
    command = ["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("this is no git checkout")
    return [path for name in done.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def found(words, paths):
    """Return where any of the words stands, as file:line: word."""
    hits = []
    for path in paths:
        text = path.read_bytes().decode("utf-8", errors="ignore")
        for number, line in enumerate(text.splitlines(), start=1):
            hits += [f"{path.relative_to(ROOT)}:{number}: {word}" for word in words if word in line]
    return hits


def test_no_file_speaks_of_places_outside_or_of_work_left_undone():
    paths = tracked()
    assert HOME / "errors.py" in paths
    assert found(PLACES, paths) == []


def test_the_search_finds_what_is_there():
    assert found(["class DanluError"], [HOME / "errors.py"]) != []


def test_no_folder_or_file_is_a_drawer_for_everything():
    theirs = HOME / "zero" / "utils", HOME / "zero" / "nn" / "utils"  # PyTorch's own names
    paths = [path for path in tracked() if not any(path.is_relative_to(folder) for folder in theirs)]
    names = {part for path in paths for part in (*path.relative_to(ROOT).parent.parts, path.stem)}
    assert names & DRAWERS == set()


def test_nothing_in_danlu_asks_whether_an_attribute_is_there():
    assert found(["hasa" + "ttr("], HOME.rglob("*.py")) == []


def test_nothing_in_danlu_can_run_what_it_reads_from_disk():
    calls = re.compile(
        r"^\s*(import|from) (pickle|dill|cloudpickle|joblib|shelve|marshal)\b|torch\.load\(|\beval\(|\bexec\("
    )
    allowed = (
        "model.eval(",
        ".eval()",
        "spec.loader.exec_module(",
        'torch.load(file, map_location="cpu", weights_only=True)',
    )
    hits = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in sorted(HOME.rglob("*.py"))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if calls.search(line) and not any(word in line for word in allowed)
    ]
    assert hits == []


def test_numpy_files_are_read_without_pickle():
    text = "\n".join(path.read_text(encoding="utf-8") for path in HOME.rglob("*.py"))
    assert "allow_pickle=True" not in text
    for call in re.findall(r"np\.load\([^\n]*", text):
        assert "allow_pickle=False" in call, call


@pytest.mark.parametrize("room", ["train", "hooks", "objectives"])
def test_no_number_is_read_one_by_one_from_the_device(room):
    assert found([".it" + "em()"], (HOME / room).rglob("*.py")) == []


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_opens_with_what_it_holds_and_what_it_must_never_know(room):
    words = importlib.import_module(f"danlu.{room}").__doc__
    sentences = [part for part in re.split(r"\.(?=\s|$)", words) if part.strip()]
    assert len(sentences) == 2, words
    assert "must never know" in " ".join(sentences[1].split()), words


def test_danlu_opens_with_two_sentences_too():
    assert len([part for part in re.split(r"\.(?=\s|$)", danlu.__doc__) if part.strip()]) == 2
