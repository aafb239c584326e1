import math
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from danlu.errors import RunError
from danlu.save.files import from_json, read_json, to_json, write_atomic, write_json

KEYS = st.text(max_size=6) | st.sampled_from(["$", "$float", "$$float", "$tuple", "$$"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.lists(inner, max_size=3).map(tuple) | st.dictionaries(KEYS, inner),
    max_leaves=12,
)


def same(left, right):
    """Equal in value, type and bits; every NaN equals every other."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float):
        return (math.isnan(left) and math.isnan(right)) or struct.pack("d", left) == struct.pack("d", right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    return left == right


@given(VALUES)
def test_json_gives_back_what_it_was_given(value):
    assert same(from_json(to_json(value)), value)


@given(VALUES, VALUES)
def test_two_values_never_share_a_text(left, right):
    assert (to_json(left) == to_json(right)) == same(left, right)


def test_the_form_of_what_json_lacks():
    assert to_json(float("inf")) == '{"$float": "inf"}'
    assert to_json((1, float("nan"))) == '{"$tuple": [1, {"$float": "nan"}]}'
    assert to_json({"$float": "inf"}) == '{"$$float": "inf"}'


def test_keys_are_sorted():
    assert to_json({"b": 1, "a": {"d": 2, "c": 3}}) == '{"a": {"c": 3, "d": 2}, "b": 1}'


@pytest.mark.parametrize(
    ("scalar", "plain"),
    [
        (np.float32(0.1), float(np.float32(0.1))),
        (np.float64(-0.0), -0.0),
        (np.float16("inf"), math.inf),
        (np.float32("nan"), math.nan),
        (np.int64(2**62), 2**62),
        (np.uint8(7), 7),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
    ],
)
def test_numpy_scalars_become_plain(scalar, plain):
    assert same(from_json(to_json(scalar)), plain)


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"optimizer": [{"hook": print}]}, "optimizer[0].hook: builtins.builtin_function_or_method"),
        ({"a": {1: 2}}, "a: the key 1"),
        ([0, {1, 2}], "[1]: builtins.set"),
        (np.zeros(2), "value: numpy.ndarray"),
        ({"a": (0, b"x")}, "a[1]: builtins.bytes"),
        (np.longdouble(1), "value: numpy.longdouble"),
        (1j, "value: builtins.complex"),
    ],
)
def test_anything_else_is_refused_by_its_place(value, place):
    with pytest.raises(TypeError) as caught:
        to_json(value)
    assert str(caught.value).startswith(place)


@pytest.mark.parametrize(
    "text", ["NaN", "[Infinity]", '{"$float": "1"}', '{"$else": 1}', '{"$float": "inf", "a": 1}', "{"]
)
def test_text_that_was_never_written_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        from_json(text)


def test_write_atomic_replaces_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "a.bin"
    write_atomic(path, b"old")
    write_atomic(path, b"new" * 1000)
    assert path.read_bytes() == b"new" * 1000
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.bin"]


def test_write_atomic_gives_the_rights_that_the_umask_leaves(tmp_path):
    old = os.umask(0o027)
    try:
        write_atomic(tmp_path / "a", b"")
    finally:
        os.umask(old)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_a_disk_that_refuses_leaves_the_old_file_and_no_other(tmp_path):
    code = """
import resource, signal, sys
from pathlib import Path
from danlu.save.files import write_atomic
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))  # as a full disk: a write past it fails
try:
    write_atomic(Path(sys.argv[1]), b"x" * 5000)
except OSError as error:
    print(type(error).__name__)
"""
    path = tmp_path / "a.bin"
    write_atomic(path, b"old")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code, path], env=environment, capture_output=True, text=True)
    assert done.stdout == "OSError\n", done.stderr
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.bin"]


def test_read_json_names_the_file(tmp_path):
    path = tmp_path / "summary.json"
    with pytest.raises(RunError, match=r"summary\.json: got no such file"):
        read_json(path)
    write_json(path, {"best": math.inf})
    assert read_json(path) == {"best": math.inf}
    path.write_bytes(path.read_bytes()[:9])
    with pytest.raises(RunError, match=r"summary\.json: got .*; want a JSON file"):
        read_json(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(RunError, match=r"summary\.json"):
        read_json(path)
