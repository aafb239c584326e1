import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from danlu.errors import RunError
from danlu.save.checkpoint import folder, read, steps, write

DTYPES = ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8"]


def same(left, right):
    return left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()


def names(place):
    return sorted(entry.name for entry in place.iterdir())


@pytest.fixture
def saved(tmp_path):
    tensors = {"model": {"w": np.arange(6.0).reshape(2, 3)}, "optimizer": {"w.m": np.ones(3, "f4")}}
    return write(folder(tmp_path, 400), tensors, {"updates_done": 400})


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(
    array=st.sampled_from(DTYPES).flatmap(lambda d: hnp.arrays(d, hnp.array_shapes(min_dims=0, min_side=0, max_side=4)))
)
def test_every_array_comes_back_bit_for_bit(tmp_path, array):
    write(tmp_path / "c", {"model": {"a": array, "turned": array.T}}, {}, overwrite=True)
    tensors, _ = read(tmp_path / "c")
    assert same(tensors["model"]["a"], array)
    assert same(tensors["model"]["turned"], array.T)


def test_strides_and_byte_order_do_not_reach_the_disk(tmp_path):
    base = np.arange(24, dtype="f4").reshape(2, 3, 4)
    given = {
        "turned": base.transpose(2, 0, 1),
        "stepped": base[:, ::2, ::-1],
        "spread": np.broadcast_to(np.float32(3), (2, 2)),
        "big_endian": base.astype(">f4"),
        "scalar": np.array(2.5),
        "numpy_scalar": np.int64(7),
    }
    tensors, _ = read(write(tmp_path / "c", {"model": given}, {}))
    for name, array in given.items():
        back = tensors["model"][name]
        assert back.shape == array.shape
        assert np.array_equal(back, array), name
        assert back.flags.writeable


def test_one_file_for_each_group_that_has_any(tmp_path):
    place = write(tmp_path / "c", {"model": {"a": np.zeros(1)}, "ema": {"a": np.ones(1)}, "optimizer": {}}, {"x": 1})
    assert names(place) == ["ema.safetensors", "manifest.json", "model.safetensors", "state.json"]
    tensors, state = read(place)
    assert sorted(tensors) == ["ema", "model"]
    assert tensors["ema"]["a"][0] == 1
    assert state == {"x": 1}


def test_the_state_keeps_what_json_lacks(tmp_path):
    _, state = read(write(tmp_path / "c", {}, {"best": math.inf, "betas": (0.9, 0.999), "nan": math.nan}))
    assert state["best"] == math.inf
    assert state["betas"] == (0.9, 0.999)
    assert math.isnan(state["nan"])


def test_all_files_have_the_rights_of_ordinary_ones(saved):
    assert len({entry.stat().st_mode for entry in saved.iterdir()}) == 1


def test_nothing_is_left_beside_a_checkpoint(saved):
    write(saved, {}, {}, overwrite=True)
    assert names(saved.parent) == ["step-00000400"]


def test_names_and_steps(tmp_path):
    assert steps(tmp_path) == []
    assert folder(tmp_path, 400) == tmp_path / "checkpoints" / "step-00000400"
    for step in (10, 400, 123_456_789, 0):
        write(folder(tmp_path, step), {}, {})
    (tmp_path / "checkpoints" / ".writing-step-00000500").mkdir()
    (tmp_path / "checkpoints" / "step-best").mkdir()
    assert steps(tmp_path) == [0, 10, 400, 123_456_789]


def test_a_good_one_is_replaced_only_on_purpose(saved):
    with pytest.raises(RunError, match="there already"):
        write(saved, {}, {"updates_done": 1})
    assert read(saved)[1] == {"updates_done": 400}
    write(saved, {}, {"updates_done": 1}, overwrite=True)
    assert read(saved) == ({}, {"updates_done": 1})


def test_a_value_that_cannot_be_written_leaves_the_old_one(saved):
    for tensors, state, place in [
        ({"model": {"w": np.zeros(2)}}, {"a": [print]}, r"a\[0\]"),
        ({"model": {"w": [1.0]}}, {}, r"model\.w: list"),
        ({"model": {"w": np.array(["a"])}}, {}, r"model\.w: an array of <U1"),
        ({"model": {"w": np.zeros(1, "c16")}}, {}, r"model\.w: an array of complex128"),
        ({"../model": {"w": np.zeros(2)}}, {}, r"\.\./model"),
    ]:
        with pytest.raises(TypeError, match=place):
            write(saved, tensors, state, overwrite=True)
    assert read(saved)[1] == {"updates_done": 400}
    assert names(saved.parent) == ["step-00000400"]


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"])
def test_a_missing_file_is_named(saved, name):
    (saved / name).unlink()
    with pytest.raises(RunError, match=f"{name}: got no such file"):
        read(saved)


@pytest.mark.parametrize("name", ["model.safetensors", "state.json", "manifest.json"])
def test_a_file_cut_short_is_named(saved, name):
    content = (saved / name).read_bytes()
    (saved / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(RunError, match=rf"{name}: got "):
        read(saved)


@pytest.mark.parametrize("name", ["model.safetensors", "state.json"])
def test_a_file_of_the_right_size_that_is_damaged_is_named(saved, name):
    (saved / name).write_bytes(b"\xff" * (saved / name).stat().st_size)
    with pytest.raises(RunError, match=rf"{name}: got "):
        read(saved)


def test_a_checkpoint_that_is_not_there_is_named(tmp_path):
    with pytest.raises(RunError, match="step-00000007"):
        read(folder(tmp_path, 7))


def test_a_path_with_a_file_in_its_way_is_one_line(tmp_path):
    (tmp_path / "checkpoints").write_text("")
    with pytest.raises(RunError, match="a folder that can be written to"):
        write(folder(tmp_path, 1), {}, {})


RENAMES = """
import os, signal, sys
from pathlib import Path
import numpy as np
from danlu.save import checkpoint
done, rename = 0, Path.rename
def rename_or_die(path, target):
    global done
    if done == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    done += 1
    return rename(path, target)
Path.rename = rename_or_die
checkpoint.write(Path(sys.argv[1]), {"model": {"w": np.zeros(3)}}, {"updates_done": 401}, overwrite=True)
"""


@pytest.mark.parametrize("renames", [0, 1])
def test_killed_while_replacing_the_old_one_is_still_there(saved, renames):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    killed = subprocess.run([sys.executable, "-c", RENAMES, saved, str(renames)], env=environment)
    assert killed.returncode == -9
    run = saved.parents[1]
    assert steps(run) == [400]
    assert read(saved)[1] == {"updates_done": 400}
    with pytest.raises(RunError, match="there already"):
        write(saved, {}, {})
    write(saved, {}, {"updates_done": 402}, overwrite=True)
    assert read(saved)[1] == {"updates_done": 402}
    assert names(saved.parent) == ["step-00000400"]
