import io
import os
from collections import OrderedDict, namedtuple

import numpy as np
import pytest
import safetensors.torch
import torch

import danlu.zero as zero
from danlu.zero.tensor import Tensor


def mlp(t):
    return t.nn.Sequential(t.nn.Linear(4, 8), t.nn.ReLU(), t.nn.Linear(8, 3))


def cnn(t):
    nn = t.nn
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))


def lstm(t):
    class Tagger(t.nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = t.nn.Embedding(10, 5)
            self.rnn = t.nn.LSTM(5, 6, num_layers=2, bidirectional=True, batch_first=True)
            self.out = t.nn.Linear(12, 2)

        def forward(self, x):
            return self.out(self.rnn(self.embed(x))[0])

    return Tagger()


NETS = {
    "mlp": (mlp, np.random.default_rng(0).standard_normal((5, 4)).astype("f")),
    "cnn": (cnn, np.random.default_rng(1).standard_normal((2, 1, 4, 4)).astype("f")),
    "lstm": (lstm, np.arange(6).reshape(2, 3)),
}


@pytest.mark.parametrize("name", NETS)
def test_weights_cross_to_pytorch_and_back(name, tmp_path):
    build, inputs = NETS[name]
    ours, theirs = build(zero).eval(), build(torch).eval()
    zero.save(ours.state_dict(), tmp_path / "ours")
    theirs.load_state_dict(safetensors.torch.load_file(tmp_path / "ours"), strict=True)
    expected = theirs(torch.from_numpy(inputs)).detach().numpy()
    np.testing.assert_allclose(ours(zero.from_numpy(inputs)).detach().numpy(), expected, rtol=1e-5, atol=1e-6)

    other = build(torch).eval()
    safetensors.torch.save_file(other.state_dict(), tmp_path / "theirs")
    ours.load_state_dict(zero.load(tmp_path / "theirs"))
    expected = other(torch.from_numpy(inputs)).detach().numpy()
    np.testing.assert_allclose(ours(zero.from_numpy(inputs)).detach().numpy(), expected, rtol=1e-5, atol=1e-6)


def alike(a, b):
    assert type(a) is type(b)
    if isinstance(a, Tensor):
        assert (a.dtype, a.requires_grad, tuple(a.shape)) == (b.dtype, b.requires_grad, tuple(b.shape))
        np.testing.assert_array_equal(a._array, b._array)
    elif isinstance(a, dict):
        assert list(a) == list(b)
        assert [type(key) for key in a] == [type(key) for key in b]
        for key in a:
            alike(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            alike(x, y)
    else:
        assert a == b or (a != a and b != b)


KINDS = zero.float16, zero.float64, zero.uint8, zero.int8, zero.int16, zero.int32, zero.bool
tied = zero.tensor([1.0, 2.0])
KEPT = {
    "a tensor": zero.tensor([[1.0, 2.0]]),
    "0-d": zero.tensor(3),
    "a list": [zero.tensor([1]), zero.tensor([2.0])],
    "nested": {
        "epoch": 3,
        "model": OrderedDict([("b.weight", zero.tensor([1.0])), ("a.bias", zero.tensor([2.0]))]),
        "optimizer": {
            "state": {0: {"step": zero.tensor(5.0), "exp_avg": zero.zeros(2)}},
            "param_groups": [{"lr": 0.1}],
        },
        "history": [0.5, float("nan"), float("inf"), (1, None, True, "text")],
        "empty": [{}, [], (), ""],
        1: "a number",
        None: 2**70,
        2.5: False,
        "": zero.tensor([1.0]),
    },
    "kinds": [
        zero.tensor([1, 0], dtype=getattr(zero, k))
        for k in ["float16", "float64", "uint8", "int8", "int16", "int32", "bool"]
    ],
    "sizes": [zero.zeros(0, 3), zero.zeros(())],
    "strides": [zero.from_numpy(np.arange(6.0).reshape(2, 3).T), zero.from_numpy(np.arange(6)[::-2])],
    "tied": {"a": tied, "b": tied},
    "one name twice": {"a": {"b": zero.tensor([1.0])}, "a.b": zero.tensor([2.0]), "tensor": 1},
    "gradients": [zero.ones(2, requires_grad=True)],
    "numbers": 3,
}


@pytest.mark.parametrize("name", KEPT)
def test_what_is_saved_comes_back(name, tmp_path):
    zero.save(KEPT[name], tmp_path / "file.pt")
    alike(zero.load(tmp_path / "file.pt"), KEPT[name])
    assert os.listdir(tmp_path) == ["file.pt"]


def test_a_shape_becomes_a_tuple(tmp_path):
    zero.save({"shape": zero.ones(2, 3).shape}, tmp_path / "f")
    alike(zero.load(tmp_path / "f"), {"shape": (2, 3)})


def test_numpy_numbers_become_pythons(tmp_path):
    zero.save({"loss": np.float64(0.5), "n": np.int64(3), "f": np.float32(0.25)}, tmp_path / "f")
    alike(zero.load(tmp_path / "f"), {"loss": 0.5, "n": 3, "f": 0.25})


def test_what_is_loaded_can_be_changed_and_a_parameter_is_its_tensor(tmp_path):
    zero.save({"w": zero.nn.Parameter(zero.ones(2))}, str(tmp_path / "f"))
    loaded = zero.load(str(tmp_path / "f"))["w"]
    loaded._array[0] = 5
    assert loaded.requires_grad
    assert loaded.tolist() == [5.0, 1.0]


def test_open_files_work_too():
    buffer = io.BytesIO()
    zero.save({"a": zero.ones(2)}, buffer)
    buffer.seek(0)
    alike(zero.load(buffer), {"a": zero.ones(2)})


REFUSED = {
    "obj has the type set": lambda: {1},
    "obj['a'][1]['b'] has the type ndarray": lambda: {"a": [0, {"b": np.ones(2)}]},
    "torch.from_numpy": lambda: np.ones(2),
    "obj['net'] has the type Linear": lambda: {"net": zero.nn.Linear(1, 1)},
    "state_dict()": lambda: zero.nn.Linear(1, 1),
    "obj[0] has the type function": lambda: [alike],
    "obj[(1, 2)]: a saved dictionary": lambda: {(1, 2): 3},
    "the type Point": lambda: namedtuple("Point", "x y")(1, 2),
    "the type complex": lambda: 1j,
}


@pytest.mark.parametrize("says", REFUSED)
def test_anything_else_is_refused_and_found(says, tmp_path):
    path = tmp_path / "f"
    zero.save({"old": 1}, path)
    with pytest.raises(TypeError) as refused:
        zero.save(REFUSED[says](), path)
    assert says in str(refused.value)
    assert zero.load(path) == {"old": 1}


def test_a_file_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "f"
    zero.save({"old": 1}, path)

    def fail(descriptor):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        zero.save({"new": zero.ones(1000)}, path)
    assert os.listdir(tmp_path) == ["f"]
    assert zero.load(path) == {"old": 1}


def test_a_file_cut_short_says_so(tmp_path):
    path = tmp_path / "f"
    zero.save({"a": zero.ones(10), "b": [1, 2]}, path)
    whole = path.read_bytes()
    for size in (0, 5, 20, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(RuntimeError, match="cut short"):
            zero.load(path)
    path.write_bytes(whole.replace(b"dict", b"dick"))
    with pytest.raises(RuntimeError, match="damaged"):
        zero.load(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_is_refused_with_the_reason(zipped, tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "f.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(RuntimeError, match=r"pickle.*safetensors\.torch\.save_file"):
        zero.load(tmp_path / "f.pt")


def test_a_type_that_is_not_known_is_named(tmp_path):
    safetensors.torch.save_file({"w": torch.ones(2, dtype=torch.bfloat16)}, tmp_path / "f")
    with pytest.raises(TypeError, match="'w' has the type BF16"):
        zero.load(tmp_path / "f")


def test_places_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        zero.load(tmp_path / "missing")
    with pytest.raises(RuntimeError, match="Parent directory"):
        zero.save({}, tmp_path / "missing" / "f")


def test_a_name_without_a_folder_is_a_file_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    zero.save({"a": 1}, "f")
    assert zero.load("f") == {"a": 1}


@pytest.mark.parametrize("place", [None, "cpu", zero.device("cpu"), lambda storage, location: storage, {"cuda": "cpu"}])
def test_map_location_is_the_processor(place, tmp_path):
    zero.save({"a": 1}, tmp_path / "f")
    assert zero.load(tmp_path / "f", map_location=place, weights_only=False) == {"a": 1}
    with pytest.raises(RuntimeError, match="map_location"):
        zero.load(tmp_path / "f", map_location="cuda")
