import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from danlu.errors import RunError
from danlu.save.runfolder import claim, free_name, holds_run


def make_run(path, mark="recipe.toml"):
    path.mkdir(parents=True)
    if mark == "checkpoints":
        (path / mark).mkdir()
    else:
        (path / mark).write_text("seed = 1\n")
    return path


def test_a_new_folder_is_made_with_its_parents(tmp_path):
    out, notice = claim(tmp_path / "runs" / "a", force=False)
    assert out == tmp_path / "runs" / "a"
    assert notice is None
    assert list(out.iterdir()) == []


def test_an_empty_folder_is_taken(tmp_path):
    assert claim(tmp_path, force=False) == (tmp_path, None)
    assert claim(tmp_path, force=True) == (tmp_path, None)


@pytest.mark.parametrize("mark", ["recipe.toml", "metrics.sqlite", "checkpoints"])
def test_a_folder_with_a_run_is_refused(tmp_path, mark):
    run = make_run(tmp_path / "a", mark)
    assert holds_run(run)
    with pytest.raises(RunError, match=r"already holds a run.*--out.*--force"):
        claim(run, force=False)
    assert [entry.name for entry in run.iterdir()] == [mark]


def test_force_moves_the_old_run_aside_and_deletes_nothing(tmp_path):
    out = tmp_path / "a"
    for number in (1, 2, 3):
        make_run(out)
        (out / "number").write_text(str(number))
        _, notice = claim(out, force=True)
        assert str(tmp_path / f"a.old-{number}") in notice
        assert list(out.iterdir()) == []
        out.rmdir()
    assert [(tmp_path / f"a.old-{n}" / "number").read_text() for n in (1, 2, 3)] == ["1", "2", "3"]


@pytest.mark.parametrize("force", [False, True])
def test_files_that_are_no_run_are_never_touched(tmp_path, force):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(RunError, match="files that are no run"):
        claim(tmp_path, force=force)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("below", ["", "b", "b/c"])
def test_a_file_in_the_way_is_one_line(tmp_path, below):
    (tmp_path / "a").write_text("x")
    with pytest.raises(RunError, match=r"a file in its way.*Fix: choose another --out") as caught:
        claim(tmp_path / "a" / below, force=True)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "a").read_text() == "x"


@pytest.mark.skipif(not os.path.isdir("/sys/kernel"), reason="no file system here that refuses root")
def test_a_place_that_refuses_even_root_is_one_line():
    with pytest.raises(RunError, match=r"/sys/kernel/danlu-run: got .*; want a folder that can be written to"):
        claim(Path("/sys/kernel/danlu-run"), force=False)


CLAIM = """
import os, sys
from pathlib import Path
from danlu.errors import RunError
from danlu.save.runfolder import claim
if os.getuid() == 0:
    os.setuid(65534)  # bits do not stop root: ask as nobody, after the imports, which nobody may not read
try:
    claim(Path(sys.argv[1]), force=False)
except RunError as error:
    print(error)
"""


@pytest.mark.parametrize("below", ["", "new"])
def test_permission_bits_that_refuse_are_one_line(below):
    place = Path(tempfile.mkdtemp())
    try:
        place.chmod(0o555)
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        command = [sys.executable, "-c", CLAIM, str(place / below)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.stderr == ""
        assert done.stdout.startswith(f"{place / below}: got permission denied; want a folder that can be written to")
        assert done.stdout.count("\n") == 1
    finally:
        shutil.rmtree(place)


def test_free_name_takes_the_next_number(tmp_path):
    base = tmp_path / "digits"
    assert free_name(base) == base
    base.mkdir()
    assert free_name(base) == tmp_path / "digits-2"
    (tmp_path / "digits-2").write_text("")
    (tmp_path / "digits-3").symlink_to("nowhere")
    assert free_name(base) == tmp_path / "digits-4"
