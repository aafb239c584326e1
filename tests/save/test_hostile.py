"""Files that a stranger made: refused in one line, nothing runs, nothing is written outside, nothing is waited for."""

import json
import os
import pickle
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from danlu import data, errors, save, zero
from danlu.cli import run
from danlu.data import tables
from danlu.save import to_json
from danlu.track import Run

CHECKPOINT = ("manifest.json", "state.json", "model.safetensors")
PAPERS = ("recipe.toml", "plan.json", "summary.json", "environment.json", "metrics.sqlite")
EVAL, RESUME = ["eval", "RUN", "--at", "last"], ["resume", "RUN", "--set", "epochs=2", "-q"]
COMMANDS = [
    ["runs", "show", "RUN"], ["runs", "list", "."], ["runs", "compare", "RUN", "RUN"], ["runs", "verify", "RUN"],
    EVAL, RESUME, ["predict", "RUN", "--at", "last", "--count", "1"], ["weights", "RUN", "--at", "last"],
    ["export", "RUN", "--out", "w.safetensors", "--force", "--at", "last"],
]  # fmt: skip


class Payload:
    """A pickle that makes a file when it is read."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch ran",)


PICKLE = pickle.dumps(Payload())


def last(folder: Path) -> Path:
    return save.folder(folder, save.steps(folder)[-1])


def forge(folder, change, seal):
    """Change the newest state, and make the checksums agree."""
    place = last(folder)
    state = save.read_json(place / "state.json")
    change(state)
    (place / "state.json").write_text(to_json(state))
    seal(place)


# a pickle in place of every file


@pytest.mark.parametrize("name", [*CHECKPOINT, *PAPERS])
def test_a_pickle_in_place_of_any_file_of_a_run_never_runs(here, name, holds, seal):
    place = here if name in PAPERS else last(here)
    (place / name).write_bytes(PICKLE)
    if name in CHECKPOINT[1:]:
        seal(place)
    for words in COMMANDS:
        holds(words)


@pytest.mark.parametrize("name", ["x.npy", "x.png", "x.jpg", "x"])
def test_a_pickle_to_predict_is_refused(here, name, told):
    Path(name).write_bytes(PICKLE)
    told(["predict", "RUN", name])


def test_arrays_of_objects_are_refused(here, told):
    np.save("x.npy", np.array([Payload()], dtype=object), allow_pickle=True)
    assert "no plain array" in told(["predict", "RUN", "x.npy"])
    np.savez("x.npz", a=np.array([Payload()], dtype=object), allow_pickle=True)
    os.rename("x.npz", "x.npy")
    assert "an archive of arrays" in told(["predict", "RUN", "x.npy"])


@pytest.mark.parametrize(
    "header", ["(10000000000000, 64)", "(-1, 64)", "(2, 64, " + "1, " * 99 + ")", "__import__('os')"]
)
def test_an_array_whose_header_lies_is_refused(here, header, told):
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {header}, }}".ljust(117) + "\n"
    Path("x.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + b"\0" * 512)
    told(["predict", "RUN", "x.npy"])


@pytest.mark.parametrize(
    "begin", [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n", b"\x89PNG\r\n\x1a\n", b"BM", b"GIF89a"]
)
def test_a_picture_is_never_given_to_another_program(here, begin, told):
    Path("x.png").write_bytes(begin + b"\x7f" * 99)
    told(["predict", "RUN", "x.png"])


def test_a_picture_that_would_fill_the_memory_is_refused(here, told):
    size = b"IHDR" + struct.pack(">II", 60_000, 60_000) + b"\x08\0\0\0\0"
    chunk = struct.pack(">I", 13) + size + struct.pack(">I", zlib.crc32(size))
    Path("x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk)
    told(["predict", "RUN", "x.png"])


@pytest.mark.parametrize(
    "content", [PICKLE, b"\x1f\x8b" + PICKLE, b"\x1f\x8b\x08\0\0\0\0\0\0\0" + PICKLE, b"\xff" * 99]
)
def test_data_files_are_never_believed(here, content, monkeypatch):
    for part in ("images", "labels"):
        Path(f"train-{part}").write_bytes(content)
    with pytest.raises(errors.DataError):
        data.idx(".")
    for name in ("digits.csv.gz", "iris.csv"):
        Path(name).write_bytes(content)
    monkeypatch.setattr(tables, "folder", lambda: Path())
    for name in ("digits", "iris"):
        with pytest.raises(errors.DataError):
            data.load(name)


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt", "w.pth.tar", "w"])
def test_a_pickle_as_weights_is_refused_with_the_option_that_reads_some(here, name, told):
    Path(name).write_bytes(PICKLE)
    for words in (["weights", name], ["train", "digits", "-q", "--set", f"weights={name}", "--out", "new"]):
        assert 'allow_pickle="weights-only"' in told(words)
    with pytest.raises(RuntimeError):
        zero.load(name)
    allowed = ["--set", f"weights.source={name}", "--set", "weights.allow_pickle=weights-only"]
    assert "a pickle that torch.save did not write" in told(["train", "digits", "-q", *allowed, "--out", "new"])
    torch.save({"state_dict": {"w": torch.ones(2)}, "more": Payload()}, name)
    assert "posix.system inside" in told(["train", "digits", "-q", *allowed, "--out", "new"])
    assert not Path("new").exists()


def test_a_recipe_cannot_call_what_python_itself_has(here, told):
    for where in ("model", "data", "loss", "optim", "schedule"):
        key = "build" if where == "model" else "name"
        words = ["--set", f"{where}.{key}=os:system", "--set", f"{where}.command=touch ran"]
        assert "Python's own" in told(["train", "digits", "-q", "--out", "new", *words])


# safetensors that lie


def lying(header: object, size: int = 16, said: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if said is None else said) + text + b"\0" * size


def entry(shape: list[int], first: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [first, end]}


TWICE = json.dumps({"w": entry([4], 0, 16)})
LIES = {
    "a huge header": lying(b"{}", said=2**63),
    "a header longer than the file": lying(b"{}", said=10**8 - 1),
    "a header cut short": lying({"w": entry([4], 0, 16)}, said=9),
    "nothing": b"",
    "a few bytes": b"\0\0\0",
    "an offset beyond the end": lying({"w": entry([400], 0, 1600)}),
    "offsets that turn round": lying({"w": entry([4], 16, 0)}),
    "overlapping": lying({"v": entry([4], 0, 16), "w": entry([2], 8, 16)}),
    "the same bytes twice": lying({"v": entry([4], 0, 16), "w": entry([4], 0, 16)}),
    "a hole": lying({"v": entry([1], 0, 4), "w": entry([1], 12, 16)}),
    "a name twice": lying(f"{TWICE[:-1]},{TWICE[1:]}".encode()),
    "a shape that overflows": lying({"w": entry([2**32, 2**32], 0, 16)}),
    "nothing in a huge shape": lying({"w": entry([0, 2**62], 0, 0)}, 0),
    "a negative size": lying({"w": entry([-4], 0, 16)}),
    "too many dimensions": lying({"w": entry([1] * 70 + [4], 0, 16)}),
    "no JSON": lying(b"{w: 1}"),
    "a list": lying(b"[1, 2]"),
    "a bomb of brackets": lying(b'{"w":' + b"[" * 100_000),
    "an unknown type": lying({"w": entry([4], 0, 16, "F5")}),
    "a type that NumPy lacks": lying({"w": entry([16], 0, 16, "F8_E4M3")}),
    "1e999": lying(b'{"w":{"dtype":"F32","shape":[1e999],"data_offsets":[0,16]}}'),
    "metadata of numbers": lying({"__metadata__": {"a": 1}, "w": entry([4], 0, 16)}),
}


@pytest.mark.parametrize("content", LIES.values(), ids=LIES)
def test_a_safetensors_file_that_lies_is_refused(here, content, told, seal):
    Path("w.safetensors").write_bytes(content)
    assert "w.safetensors: got " in told(["weights", "w.safetensors"])
    (last(here) / "model.safetensors").write_bytes(content)
    seal(last(here))
    assert "model.safetensors: got " in told(EVAL)


# JSON and TOML that is absurd

BOMB = "[" * 100_000
NO_UTF8 = "\ud800".encode("utf-8", "surrogatepass")
NUMBERS = ["1e999", "NaN", "-Infinity", "1" * 5_000]
ABSURD = [*NUMBERS, BOMB, '{"a":' * 5_000, '{"best": 1, "best": 2}', "[]", "null", '"x"', "{}", "\0", NO_UTF8]


@pytest.mark.parametrize("content", ABSURD, ids=range(len(ABSURD)))
@pytest.mark.parametrize("name", [*PAPERS[:3], "state.json", "manifest.json"])
def test_absurd_text_is_refused(here, name, content, told, holds, seal):
    place = here if name in PAPERS else last(here)
    (place / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    if name == "state.json":
        seal(place)
    for words in (["runs", "show", "RUN"], ["runs", "compare", "RUN", "RUN"], EVAL, RESUME):
        holds(words)
    if name == "manifest.json" or (name == "state.json" and content != "{}"):
        told(EVAL)


@pytest.mark.parametrize(
    "key", ["epochs", "updates", "samples_seen", "seconds", "samples_per_s", "best", "final", "status"]
)
@pytest.mark.parametrize("value", [10**400, "many", [1], {"step": 10**400}, True, {"value": {}}, -(10**30)], ids=str)
def test_a_summary_of_absurd_figures_is_refused(here, key, value, holds):
    summary = {**Run(here).summary, key: value}
    if key == "best" and isinstance(value, int):
        summary["best"] = {"step": value, "metric": "loss", "value": 1.0}
    (here / "summary.json").write_text(json.dumps(summary))
    for words in (["runs", "show", "RUN"], ["runs", "compare", "RUN", "RUN"], ["runs", "list", "."]):
        holds(words)


@pytest.mark.parametrize("value", [10**400, 10**12, 0, -1, 1.5, "many", None, [1]], ids=str)
@pytest.mark.parametrize("key", ["threads", "eval_batch_size", "device", "precision", "engine", "deterministic"])
def test_a_plan_of_absurd_values_is_refused(here, key, value, told):
    plan = json.loads((here / "plan.json").read_text())
    if (key, value) == ("eval_batch_size", 10**12):
        return  # more than there are samples is all of them
    (here / "plan.json").write_text(json.dumps({**plan, key: value}))
    told(RESUME)


FORGED = {
    "no counter": lambda state: state.pop("updates_done"),
    "a counter of text": lambda state: state.update(epoch="one"),
    "a counter below zero": lambda state: state.update(position=-1),
    "a counter beyond all counting": lambda state: state.update(updates_done=10**400),
    "a best of another kind": lambda state: state.update(best=[1]),
    "a best without a number": lambda state: state.update(best={"step": "x", "metric": 1, "value": "y"}),
    "no learner": lambda state: state.pop("learner"),
    "a learner of another kind": lambda state: state.update(learner=[1, 2]),
    "an empty learner": lambda state: state.update(learner={}),
    "hooks of another kind": lambda state: state.update(hooks=3),
    "ties of another kind": lambda state: state["learner"].update(ties=[1]),
    "an optimizer of another kind": lambda state: state["learner"].update(optimizer="sgd"),
}


@pytest.mark.parametrize("change", FORGED.values(), ids=FORGED)
def test_a_forged_state_is_refused(here, change, told, holds, seal):
    forge(here, change, seal)
    if change is not FORGED["ties of another kind"]:
        told(RESUME)
    for words in (["eval", "RUN"], EVAL, ["export", "RUN", "--out", "w.safetensors"]):
        holds(words)


@pytest.mark.parametrize(
    "text",
    [
        "epochs = 1e999",
        "seed = 1" + "0" * 5000,
        f"a = {BOMB}",
        "a = nan",
        "epochs = 1\nepochs = 2",
        "a" + ".a" * 1500 + " = 1",
        "about = 'x\x1b[2J'",
        "model = 1979-05-27",
        "batch_size = 1" + "0" * 400,
    ],
)
def test_an_absurd_recipe_is_refused(here, text, told, holds):
    stored = (here / "recipe.toml").read_text().splitlines()
    others = [line for line in stored if line.partition(" ")[0] != text.partition(" ")[0]]
    Path("r.toml").write_text("\n".join([text, *others]))
    told(["train", "r.toml", "--out", "new", "-q"])
    (here / "recipe.toml").write_text(Path("r.toml").read_text())
    for words in COMMANDS:
        holds(words)


def test_a_terminal_obeys_nothing_that_a_run_says(here, capsys):
    text = (here / "recipe.toml").read_text().replace('about = ""', r'about = "\u001b]0;owned\u0007"')
    (here / "recipe.toml").write_text(text.replace('"softmax_regression"', r'"\u001b[2Jx"'))
    for words in (["runs", "show", "RUN"], ["runs", "compare", "RUN", "RUN"], EVAL):
        run(words)
    out, err = capsys.readouterr()
    assert "\x1b" not in out + err
    assert r"\x1b[2Jx" in out
    assert r"\x1b[2Jx" in err
