"""Nothing on disk is believed: every damaged or hostile checkpoint is refused by name, and nothing runs or escapes."""

import hashlib
import json
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from danlu.errors import RunError
from danlu.save import check, folder, read, to_json, write

FILES = ["model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"]


@pytest.fixture
def saved(tmp_path):
    tensors = {"model": {"w": np.arange(60.0).reshape(6, 10)}, "optimizer": {"w.m": np.ones(30, "f4")}}
    return write(folder(tmp_path, 400), tensors, {"updates_done": 400, "note": "x" * 50})


def sealed(place, files):
    """Write a manifest that is right about itself, whatever it says of the files."""
    digest = hashlib.sha256(to_json(files).encode()).hexdigest()
    (place / "manifest.json").write_text(to_json({"format": 2, "files": files, "sha256": digest}))


def entry(path):
    return path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest()


def files_of(place):
    return {path.name: entry(path) for path in place.iterdir() if path.name != "manifest.json"}


def test_a_good_one_is_good(saved):
    assert sorted(check(saved)) == ["model.safetensors", "optimizer.safetensors", "state.json"]
    sealed(saved, files_of(saved))
    assert read(saved)[1]["updates_done"] == 400


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("tenth", range(10))
def test_one_bit_flipped_anywhere_is_found(saved, name, tenth):
    path = saved / name
    content = bytearray(path.read_bytes())
    content[len(content) * tenth // 10] ^= 1 << (tenth % 8)
    path.write_bytes(content)
    with pytest.raises(RunError) as caught:
        read(saved)
    assert str(saved) in caught.value.where


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("tenth", range(10))
def test_a_file_cut_anywhere_is_found(saved, name, tenth):
    content = (saved / name).read_bytes()
    (saved / name).write_bytes(content[: len(content) * tenth // 10])
    with pytest.raises(RunError, match=name):
        read(saved)


def test_a_manifest_from_the_future_says_who_can_read_it(saved):
    content = json.loads((saved / "manifest.json").read_text())
    (saved / "manifest.json").write_text(json.dumps({**content, "format": 3}))
    with pytest.raises(RunError, match=r"got format 3; want format 2\. Fix: read it with the danlu that wrote it"):
        read(saved)


@pytest.mark.parametrize(
    "name", ["../../secret.json", "/etc/passwd", "a/b.json", "state.json\0", "manifest.json", ".x"]
)
def test_a_manifest_names_no_file_outside(saved, name):
    (saved.parents[1] / "secret.json").write_text("{}")
    sealed(saved, {**files_of(saved), name: (2, hashlib.sha256(b"{}").hexdigest())})
    with pytest.raises(RunError, match="a file of a checkpoint"):
        read(saved)


@pytest.mark.parametrize("content", ["[]", "7", '{"format": 2}', '{"format": 2, "files": 1}', '{"files": {}}', "NaN"])
def test_a_manifest_of_another_kind(saved, content):
    (saved / "manifest.json").write_text(content)
    with pytest.raises(RunError, match=r"manifest\.json"):
        read(saved)


def test_a_link_out_of_the_folder_is_no_file(saved, tmp_path):
    outside = tmp_path / "outside.safetensors"
    os.rename(saved / "model.safetensors", outside)
    (saved / "model.safetensors").symlink_to(outside)
    with pytest.raises(RunError, match="no plain file"):
        read(saved)


class Payload:
    def __reduce__(self):
        return (Path.touch, (Path(os.environ["DANLU_PAYLOAD"]),))


@pytest.mark.parametrize("name", ["model.safetensors", "state.json"])
def test_a_pickle_never_runs(saved, name, tmp_path, monkeypatch):
    monkeypatch.setenv("DANLU_PAYLOAD", str(tmp_path / "ran"))
    (saved / name).write_bytes(pickle.dumps(Payload()))
    sealed(saved, files_of(saved))
    with pytest.raises(RunError, match=name):
        read(saved)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "header",
    [
        b'{"w":{"dtype":"F64","shape":[99999999999],"data_offsets":[0,8]}}',
        b'{"w":{"dtype":"F64","shape":[1],"data_offsets":[0,800000]}}',
        b'{"w":{"dtype":"F64","shape":[1],"data_offsets":[8,0]}}',
        b'{"w":{"dtype":"X9","shape":[1],"data_offsets":[0,8]}}',
        b"{}{}",
    ],
)
@pytest.mark.parametrize("said", [None, 2**62, 3])
def test_a_safetensors_file_that_lies(saved, header, said):
    size = len(header) if said is None else said
    (saved / "model.safetensors").write_bytes(struct.pack("<Q", size) + header + b"\0" * 8)
    sealed(saved, files_of(saved))
    with pytest.raises(RunError, match=r"model\.safetensors"):
        read(saved)
