import importlib.util
import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import danlu.zero as zero

DOCS = Path(__file__).resolve().parents[2] / "docs"
OURS_ALONE = {"detect_anomaly", "draw", "bool_", "float_", "int_", "nn", "optim", "utils"}
OURS_ALONE |= {"Any", "TYPE_CHECKING", "importlib", "np"}
MODULES = {name for name in dir(zero) if inspect.ismodule(getattr(zero, name, None))}

spec = importlib.util.spec_from_file_location("make_zero_table", DOCS / "make_zero_table.py")
table = importlib.util.module_from_spec(spec)
spec.loader.exec_module(table)


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_every_name_is_pytorchs():
    names = {name for name in dir(zero) if not name.startswith("_")} - MODULES - OURS_ALONE
    assert sorted(name for name in names if not hasattr(torch, name)) == []
    assert len(names) > 200


def test_every_name_that_comes_later_is_there():
    for name in zero._LATER:
        assert getattr(zero, name) is not None
    assert zero.utils.data.DataLoader
    with pytest.raises(AttributeError, match="no attribute 'bfloat17'"):
        zero.bfloat17  # noqa: B018 - the question is whether it is there


def test_the_import_is_quick_and_alone():
    code = """
import sys, time
import numpy
start = time.process_time()  # other programs may be running
import danlu.zero
print(time.process_time() - start)
late = "torch scipy matplotlib safetensors multiprocessing pandas danlu.recipe danlu.zero.nn danlu.zero.optim".split()
print([name for name in late if name in sys.modules])
"""
    taken, late = zip(*(python(code).split("\n")[:2] for _ in range(3)), strict=True)
    assert set(late) == {"[]"}
    assert min(map(float, taken)) < 0.2


def test_layers_can_be_imported_first():
    assert python("from danlu.zero.nn import functional as F; import danlu.zero as t; print(F.relu(t.ones(1)))")


@pytest.mark.parametrize("name", ["float32", "float64", "float16", "int64", "int32", "int16", "int8", "uint8", "bool"])
def test_types_have_their_names_and_sizes(name):
    ours, theirs = getattr(zero, name), getattr(torch, name)
    assert repr(ours) == repr(theirs)
    assert (ours.itemsize, ours.is_floating_point) == (theirs.itemsize, theirs.is_floating_point)


def test_short_names_of_types():
    assert (zero.float, zero.double, zero.half) == (zero.float32, zero.float64, zero.float16)
    assert (zero.int, zero.long, zero.short) == (zero.int32, zero.int64, zero.int16)


def test_facts_about_tensors():
    x = zero.ones(2, 3)
    assert zero.is_tensor(x)
    assert not zero.is_tensor(np.ones(2))
    assert zero.numel(x) == 6
    assert zero.is_floating_point(x)
    assert isinstance(x.shape, zero.Size)


def test_gradient_switches():
    x = zero.ones(1, requires_grad=True)
    with zero.no_grad():
        assert not zero.is_grad_enabled()
        assert not (x * 2).requires_grad
        with zero.enable_grad():
            assert (x * 2).requires_grad
    with zero.set_grad_enabled(False):
        assert not (x * 2).requires_grad
    with zero.inference_mode():
        assert not (x * 2).requires_grad
    with zero.autograd.detect_anomaly(check_nan=True):
        assert zero.is_grad_enabled()


def test_the_table_of_what_is_supported_is_up_to_date():
    assert (DOCS / "zero.md").read_text(encoding="utf-8") == table.text(), "run python docs/make_zero_table.py"


def refused():
    for ours, theirs in (
        (zero.nn, torch.nn),
        (zero.optim, torch.optim),
        (zero.optim.lr_scheduler, torch.optim.lr_scheduler),
    ):
        for name, mine, kind in table.classes(ours, theirs):
            for argument, value, _ in table.refused(mine, table.parameters(kind)):
                yield pytest.param(mine, argument, value, id=f"{name}-{argument}-{value}")


@pytest.mark.parametrize(("kind", "argument", "value"), list(refused()))
def test_what_is_not_supported_is_named(kind, argument, value):
    with pytest.raises((TypeError, NotImplementedError), match=argument):
        table.built(kind, **{argument: value})


SPELT = {
    "sum": lambda t, x: x.sum(axis=1, keepdims=True),
    "argmax": lambda t, x: t.argmax(x, axis=0),
    "softmax": lambda t, x: t.softmax(x, axis=1),
    "cat": lambda t, x: t.cat((x, x), axis=1),
    "stack": lambda t, x: t.stack([x, x], axis=2),
    "max": lambda t, x: x.max(axis=1, keepdims=True).values,
    "zeros": lambda t, x: t.zeros(size=(2, 3)),
    "full": lambda t, x: t.full(size=(2,), fill_value=1.5),
    "float": lambda t, x: t.ones(2, dtype=float),
    "int": lambda t, x: x.to(int),
    "bool": lambda t, x: t.tensor([0, 2], dtype=bool),
    "LongTensor": lambda t, x: x.type(t.LongTensor),
    "new_zeros": lambda t, x: x.new_zeros(2, 2),
    "new_ones": lambda t, x: x.new_ones((2, 2), dtype=t.int64),
    "new_tensor": lambda t, x: x.new_tensor([1, 2]),
}


@pytest.mark.parametrize("name", SPELT)
def test_spellings_that_pytorch_takes(name):
    found, wanted = (SPELT[name](t, t.tensor([[1.0, 5.0], [7.0, 2.0]])) for t in (zero, torch))
    assert str(found.dtype) == str(wanted.dtype)
    np.testing.assert_allclose(found.numpy(), wanted.numpy(), rtol=1e-6)


@pytest.mark.parametrize("shape", [(), (3,), (3, 4), (3, 4, 5), (2, 3, 4, 5)])
def test_softmax_without_a_dimension_chooses_the_one_that_pytorch_chooses_and_warns(shape):
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    found = []
    for t in (zero, torch):
        with pytest.warns(UserWarning, match="Implicit dimension choice"):
            found.append(t.nn.Softmax()(t.tensor(x)).numpy())
    np.testing.assert_allclose(*found, rtol=1e-5)


def test_set_detect_anomaly_stays_on_until_it_is_set_off():
    zero.autograd.set_detect_anomaly(True)
    try:
        with pytest.raises(RuntimeError, match="nan"):
            zero.tensor(-1.0).sqrt()
    finally:
        zero.autograd.set_detect_anomaly(False)
    with zero.autograd.set_detect_anomaly(True):
        pass
    zero.tensor(-1.0).sqrt()
