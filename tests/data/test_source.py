import numpy as np
import pytest
import torch

from danlu.data import Arrays, batches
from danlu.errors import DataError


def whole(source: Arrays) -> tuple:
    return batches(source, len(source)).batch(0, 0)


@pytest.mark.parametrize(
    ("dtype", "shape", "wanted", "factor"),
    [
        ("uint8", (6, 4, 4), torch.float32, 1 / 255),
        ("uint8", (6, 3, 4, 4), torch.float32, 1 / 255),
        ("uint8", (6, 4), torch.float32, 1.0),
        ("bool", (6, 4), torch.float32, 1.0),
        ("float64", (6, 4), torch.float32, 1.0),
        ("float32", (6, 4), torch.float32, 1.0),
        ("float16", (6, 4), torch.float32, 1.0),
        ("int8", (6, 4), torch.int64, 1),
        ("int16", (6, 4), torch.int64, 1),
        ("int32", (6,), torch.int64, 1),
        ("int64", (6, 4), torch.int64, 1),
        ("uint16", (6, 4), torch.int64, 1),
        ("uint64", (6, 4), torch.int64, 1),
        (">i4", (6, 4), torch.int64, 1),
        (">f8", (6, 4), torch.float32, 1.0),
    ],
)
def test_inputs_become_what_a_model_takes(dtype: str, shape: tuple, wanted: torch.dtype, factor: float) -> None:
    x = np.random.default_rng(0).integers(0, 100, shape).astype(dtype)
    inputs, target = whole(Arrays(x))
    assert target is None
    assert inputs.dtype == wanted
    reference = torch.from_numpy(x.astype("float32" if wanted == torch.float32 else "int64")) * factor
    assert torch.equal(inputs, reference)


@pytest.mark.parametrize(
    ("dtype", "wanted"),
    [("uint8", torch.int64), ("int32", torch.int64), ("bool", torch.int64), ("float64", torch.float32)],
)
def test_targets_become_what_a_loss_takes(dtype: str, wanted: torch.dtype) -> None:
    y = np.array([0, 1, 1, 0]).astype(dtype)
    _, target = whole(Arrays(np.zeros((4, 2)), y))
    assert target.dtype == wanted
    assert target.tolist() == [0, 1, 1, 0]


def test_floats_follow_the_default_dtype() -> None:
    source = Arrays(np.full((2, 3), 0.1), np.array([0.1, 0.2]))
    torch.set_default_dtype(torch.float64)
    try:
        inputs, target = whole(source)
    finally:
        torch.set_default_dtype(torch.float32)
    assert (inputs.dtype, target.dtype) == (torch.float64, torch.float64)
    assert whole(source)[0].dtype == torch.float32


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("sampler", ["in_order", "shuffle"])
def test_scale_mean_and_std_are_per_channel_and_leave_the_data_alone(dtype: str, sampler: str) -> None:
    x = np.random.default_rng(0).integers(0, 256, (10, 3, 4, 4)).astype(dtype)
    before = x.copy()
    mean, std = [0.1, 0.2, 0.3], [0.5, 1.0, 2.0]
    source = Arrays(x, np.arange(10), scale=1 / 255, mean=mean, std=std)
    reference = (x / 255 - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
    for inputs, target in batches(source, 4, sampler=sampler).iterate(0):
        np.testing.assert_allclose(inputs.numpy(), reference[target.numpy()], atol=1e-6)
    np.testing.assert_array_equal(x, before)


def test_statistics_of_float64_columns_are_applied_in_float64() -> None:
    x = 1e8 + np.arange(4.0)[:, None]  # float32 cannot tell these apart
    inputs, _ = whole(Arrays(x, mean=[1e8 + 1.5], std=[1.0]))
    assert inputs.flatten().tolist() == [-1.5, -0.5, 0.5, 1.5]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"mean": [1.0, 2.0]}, "one finite number, or 3"),
        ({"std": 0.0}, "numbers > 0"),
        ({"std": [1.0, -1.0, 1.0]}, "numbers > 0"),
        ({"mean": float("nan")}, "finite"),
    ],
)
def test_statistics_that_do_not_fit(options: dict, says: str) -> None:
    with pytest.raises(DataError, match=says):
        Arrays(np.zeros((4, 3)), **options)


def test_memory_is_shared_and_read_only_arrays_do_not_warn() -> None:
    x = np.zeros((4, 2), np.float32)
    x.flags.writeable = False
    assert Arrays(x).stored()["inputs"].data_ptr() == x.ctypes.data
    uint8 = torch.zeros((50, 1, 2, 2), dtype=torch.uint8)
    source = Arrays(uint8)
    assert source.stored()["inputs"].data_ptr() == uint8.data_ptr()
    assert source.take([1, 2, 3]).stored()["inputs"].data_ptr() == uint8[1].data_ptr()
    assert source.take([7, 3]).columns is source.columns


def test_arrays_of_any_layout() -> None:
    x = np.arange(24.0, dtype=np.float32).reshape(6, 4)
    for view in (x[::-1], x[:, ::-1], x.T, x[::2]):
        assert torch.equal(whole(Arrays(view))[0], torch.from_numpy(view.copy()))
    packed = np.zeros(3, dtype=[("a", "u1"), ("b", "f4")])
    packed["b"] = [1, 2, 3]
    assert whole(Arrays(packed["b"]))[0].tolist() == [1.0, 2.0, 3.0]


def test_several_inputs_and_columns_by_name() -> None:
    a, b, y = np.arange(5.0), np.arange(10).reshape(5, 2), [4, 3, 2, 1, 0]
    (first, second), target = whole(Arrays((a, b), y))
    assert (first.dtype, second.dtype, target.tolist()) == (torch.float32, torch.int64, y)
    columns, _ = whole(Arrays({"age": a, "city": b}, y))
    assert list(columns) == ["age", "city"]
    assert torch.equal(columns["city"], second)
    one, _ = whole(Arrays([a], y))
    assert isinstance(one, tuple)
    assert len(one) == 1
    with pytest.raises(DataError, match="a single input column"):
        Arrays((a, b), y, scale=2.0)


def test_take_of_take_keeps_ids_and_targets() -> None:
    x = np.arange(100.0)[:, None]
    part = Arrays(x, np.arange(100)).take(np.arange(10, 90)).take([5, 70, 6, 5])
    inputs, target = whole(part)
    assert target.tolist() == [15, 80, 16, 15]
    assert inputs.flatten().tolist() == [15, 80, 16, 15]
    assert part.targets().tolist() == [15, 80, 16, 15]
    assert part.take([1]).targets().tolist() == [80]
    assert part.stored()["target"].tolist() == [15, 80, 16, 15]


@pytest.mark.parametrize("ids", [[], [10], [-1], [[1]], [0.5], [True]])
def test_ids_that_are_none(ids: list) -> None:
    with pytest.raises(DataError, match="whole number in \\[0, 10\\)"):
        Arrays(np.zeros(10)).take(ids)


@pytest.mark.parametrize(
    ("inputs", "target", "says"),
    [
        (np.zeros((3, 2)), np.zeros(4), "3 rows in inputs, 4 rows in target"),
        ((np.zeros(3), np.zeros(2)), None, r"3 rows in inputs\[0\], 2 rows in inputs\[1\]"),
        (np.zeros((0, 2)), np.zeros(0), "0 rows"),
        (np.array(["a", "b"]), None, "real numbers"),
        (np.array([1, None]), None, "real numbers"),
        (np.zeros(3, complex), None, "real numbers"),
        (torch.zeros(3, dtype=torch.complex64), None, "real numbers"),
        (np.zeros(3), [[1], [1, 2], [3]], "real numbers"),
        (np.float64(3), None, "a single number"),
        ((), None, "no columns"),
        ({}, None, "no columns"),
        ([[1, 2], [3, 4]], None, "a list of list"),
        (np.array([2**63], np.uint64), None, "below 2\\*\\*63"),
    ],
)
def test_what_does_not_hold_together_is_refused(inputs: object, target: object, says: str) -> None:
    with pytest.raises(DataError, match=says):
        Arrays(inputs, target)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_named(dtype: str, bad: float) -> None:
    x = np.zeros((1000, 3), dtype)
    x[[7, 500], [2, 0]] = bad
    x[500, 1] = bad
    with pytest.raises(DataError, match=r"inputs: got NaN or infinity in 2 of 1000 rows, the first is row 7;"):
        Arrays(x)
    y = np.zeros(1000, dtype)
    y[999] = bad
    with pytest.raises(DataError, match=r"target: got NaN or infinity in 1 of 1000 rows, the first is row 999;"):
        Arrays({"a": np.zeros(1000)}, y)
    with pytest.raises(DataError, match=r"inputs\['a'\]"):
        Arrays({"a": y}, np.zeros(1000))
