"""What stands where a file should: links, pipes, folders, names that lead elsewhere, and stores that compute."""

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from danlu import errors, save
from danlu.cli import run
from danlu.track import Run

CHECKPOINT = ("manifest.json", "state.json", "model.safetensors")
PAPERS = ("recipe.toml", "plan.json", "summary.json", "environment.json", "metrics.sqlite")
EVAL, RESUME = ["eval", "RUN", "--at", "last"], ["resume", "RUN", "--set", "epochs=2", "-q"]
COMMANDS = [
    ["runs", "show", "RUN"], ["runs", "list", "."], ["runs", "compare", "RUN", "RUN"], ["runs", "verify", "RUN"],
    EVAL, RESUME, ["predict", "RUN", "--at", "last", "--count", "1"], ["weights", "RUN", "--at", "last"],
    ["export", "RUN", "--out", "w.safetensors", "--force", "--at", "last"],
]  # fmt: skip


def last(folder: Path) -> Path:
    return save.folder(folder, save.steps(folder)[-1])


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# manifests and links that lead elsewhere


@pytest.mark.parametrize(
    "name", ["../../../outside/notes.txt", "/etc/passwd", "../x.safetensors", "state.json/../state.json"]
)
def test_a_manifest_names_no_file_outside(here, name, told, seal):
    seal(last(here), **{name: [8, hashlib.sha256(b"precious").hexdigest()]})
    assert "a file of a checkpoint" in told(EVAL)


@pytest.mark.parametrize(
    "entry", [3, [], [1], [1, 2, 3], ["x", "y"], None, {"size": 1}, [1e3, "x"], [10**400, "x"]], ids=str
)
def test_a_manifest_with_odd_entries_is_refused(here, entry, told, seal):
    seal(last(here), **{"model.safetensors": entry})
    told(EVAL)


@pytest.mark.parametrize("version", [3, 10**400, "2", None, 2.5, True], ids=str)
def test_a_manifest_of_another_format_is_refused(here, version, told):
    path = last(here) / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": version}))
    told(EVAL)


def move_out(path: Path, name: str) -> Path:
    """Leave a link where a file or folder was."""
    target = path.rename(Path.cwd() / name)
    path.symlink_to(target)
    return target


@pytest.mark.parametrize("name", CHECKPOINT)
@pytest.mark.parametrize("target", ["/etc/passwd", "moved"])
def test_a_link_in_a_checkpoint_is_refused(here, name, target, told):
    path = last(here) / name
    if target == "moved":
        move_out(path, "moved")
    else:
        path.unlink()
        path.symlink_to(target)
    told(EVAL)
    told(["runs", "verify", "RUN"])


def test_a_folder_of_checkpoints_that_is_a_link_is_refused(here, told):
    moved = move_out(here / "checkpoints", "moved")
    (moved / ".trash-step-00000001").mkdir()
    before = contents(moved)
    for words in (EVAL, RESUME, ["runs", "verify", "RUN"], ["export", "RUN", "--out", "w.safetensors"]):
        assert "checkpoints: got a link" in told(words)
    assert contents(moved) == before
    assert (moved / ".trash-step-00000001").exists()


def test_a_checkpoint_that_is_a_link_is_refused(here, told):
    move_out(last(here), "moved")
    assert "got a link" in told(EVAL)
    told(RESUME)


@pytest.mark.parametrize(
    "name", ["recipe.toml", "plan.json", "summary.json", "metrics.sqlite", "metrics.sqlite-wal", ".lock"]
)
def test_a_link_in_place_of_a_runs_own_file_is_refused(here, name, told, holds):
    (here / name).unlink(missing_ok=True)
    (here / name).symlink_to(Path("outside/notes.txt").absolute())
    told(RESUME)
    for words in COMMANDS:
        holds(words)


@pytest.mark.parametrize("name", [".trash-x", ".writing-step-00000009"])
def test_what_is_tidied_away_is_never_what_a_link_leads_to(here, name):
    (here / "checkpoints" / name).symlink_to(Path("outside").absolute())
    assert run(RESUME) == 0
    assert not (here / "checkpoints" / name).is_symlink()


@pytest.mark.parametrize("name", ["tensorboard", "tensorboard/train"])
def test_a_tensorboard_folder_that_is_a_link_is_refused(here, name, told):
    shutil.rmtree(here / name)
    (here / name).symlink_to(Path("outside" if name == "tensorboard" else "outside/events").absolute())
    assert "got a link" in told(RESUME)


@pytest.mark.parametrize("name", [*CHECKPOINT, *PAPERS, "metrics.sqlite-wal", ".lock"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_pipe_or_a_folder_in_place_of_a_file_is_not_waited_for(here, name, make, told, holds):
    path = (last(here) if name in CHECKPOINT else here) / name
    path.unlink(missing_ok=True)
    make(path)
    for words in COMMANDS:
        holds(words)
    if name in CHECKPOINT:
        told(EVAL)


@pytest.mark.parametrize(
    "words",
    [
        ["train", "x.toml"],
        ["predict", "RUN", "x.npy"],
        ["predict", "RUN", "x.png"],
        ["weights", "x.safetensors"],
        ["train", "digits", "--set", "weights=x.pt"],
        ["train", "digits", "--set", "data=x.py:f"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_pipe_or_a_folder_that_a_command_names_is_not_waited_for(here, words, make, told):
    for name in ("x.toml", "x.npy", "x.png", "x.safetensors", "x.pt", "x.py"):
        make(name)
    told([*words, *(["--out", "new"] if words[0] == "train" else [])])


# a metric store that computes

ENDLESS = """
ALTER TABLE metrics RENAME TO old;
CREATE VIEW metrics AS
WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT n AS step, 'a/b' AS name, 1.0 AS value FROM c;
"""


@pytest.mark.parametrize(
    "script",
    [
        ENDLESS,
        "CREATE TRIGGER t AFTER INSERT ON metrics BEGIN DELETE FROM metrics; END",
        "CREATE VIRTUAL TABLE extra USING fts5(text)",
        "UPDATE metrics SET name = x'00ff'",
        "UPDATE metrics SET value = 'many'",
        "UPDATE events SET text = x'ff'",
        "DROP TABLE events",
        "INSERT INTO documents VALUES (1, 'valid/confusion_matrix', '{\"$odd\": 1}')",
    ],
)
def test_a_metric_store_that_is_more_or_less_than_rows_is_refused(here, script, holds):
    with sqlite3.connect(here / "metrics.sqlite") as database:
        database.executescript(script)
    database.close()
    if "documents" not in script and "events" not in script:
        with pytest.raises(errors.RunError, match=r"metrics\.sqlite"):
            _ = Run(here).history
    for words in COMMANDS:
        holds(words)


def test_the_scene_itself_is_sound(here):
    for words in COMMANDS:
        assert run(words) == 0, words
    save_file({"w": np.ones(3, "f4")}, "w.safetensors")
    assert run(["weights", "w.safetensors"]) == 0


def test_a_process_of_its_own_refuses_too(here):
    (last(here) / "state.json").unlink()
    os.mkfifo(last(here) / "state.json")
    command = [sys.executable, "-m", "danlu", *EVAL]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "state.json: got something that is no plain file" in done.stderr
    assert done.stderr.count("\n") == 1
