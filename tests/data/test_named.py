import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn import datasets

from danlu.data import Arrays, Data, batches, fetch, info, load, names
from danlu.errors import DataError

TABLES = {
    "iris": datasets.load_iris,
    "wine": datasets.load_wine,
    "breast-cancer": datasets.load_breast_cancer,
    "diabetes": lambda: datasets.load_diabetes(scaled=False),
}


def rows(source: Arrays) -> tuple[np.ndarray, np.ndarray]:
    inputs, target = batches(source, len(source)).batch(0, 0)
    return inputs.numpy(), target.numpy()


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_scikit_learns_standardised_by_the_training_rows(name: str) -> None:
    reference = TABLES[name]()
    data = load(name, seed=1, test=0.1)
    n = len(reference.target)
    sizes = {part: len(source) for part, source in data.sets().items()}
    assert sizes == {"train": n - round(n * 0.2) - round(n * 0.1), "valid": round(n * 0.2), "test": round(n * 0.1)}
    stored = [source.stored() for source in data.sets().values()]
    inputs = np.concatenate([part["inputs"].numpy() for part in stored])
    target = np.concatenate([part["target"].numpy().reshape(-1) for part in stored])
    assert sorted(map(tuple, np.column_stack([inputs, target]))) == sorted(
        map(tuple, np.column_stack([reference.data, reference.target]))
    )
    x, y = rows(data.train)
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(x.std(axis=0), 1, atol=1e-5)
    raw = stored[0]["inputs"].numpy()
    held, _ = rows(data.valid["valid"])
    wanted = (stored[1]["inputs"].numpy() - raw.mean(axis=0)) / raw.std(axis=0)
    np.testing.assert_allclose(held, wanted, atol=1e-5)
    if name == "diabetes":
        assert y.shape == (len(y), 1)
        assert y.dtype == np.float32
    else:
        assert data.classes == tuple(map(str, reference.target_names))
        shares = np.bincount(rows(data.valid["valid"])[1]) / np.bincount(reference.target)
        np.testing.assert_allclose(shares, 0.2, atol=0.02)


def test_digits() -> None:
    data = load("digits")
    assert (len(data.train), len(data.valid["valid"]), data.test) == (1438, 359, None)
    whole = load("digits", valid=0).train
    x, y = rows(whole)
    reference = datasets.load_digits()
    assert x.shape == (1797, 1, 8, 8)
    np.testing.assert_array_equal(x[:, 0], (reference.images / 16).astype(np.float32))
    np.testing.assert_array_equal(y, reference.target)
    assert whole.stored()["inputs"].dtype == torch.uint8


def test_diabetes_target_can_be_standardised() -> None:
    data = load("diabetes", standardise_target=True)
    _, y = rows(data.train)
    assert abs(y.mean()) < 1e-5
    assert abs(y.std() - 1) < 1e-5
    raw = rows(load("diabetes").train)[1]
    np.testing.assert_allclose(y * data.truth["target_std"] + data.truth["target_mean"], raw, rtol=1e-4)


def test_linear_follows_its_truth() -> None:
    data = load("linear", seed=3)
    x, y = rows(data.train)
    assert (x.shape, y.shape) == ((1000, 2), (1000, 1))
    assert data.truth["weight"].tolist() == [[2.0, -3.4]]
    assert data.truth["bias"].tolist() == [4.2]
    noise = y - (x @ data.truth["weight"].T + data.truth["bias"])
    assert 0.009 < noise.std() < 0.011
    assert len(data.valid["valid"]) == 200
    assert not np.isin(rows(data.valid["valid"])[0][:, 0], x[:, 0]).any()
    np.testing.assert_array_equal(rows(load("linear", seed=3).train)[0], x)
    assert (rows(load("linear", seed=4).train)[0] != x).all()
    given = load("linear", n=50, features=3, weight=[1.0, 2.0, 3.0], bias=-1.0, noise=0.0, valid=0.2)
    assert [len(source) for source in given.sets().values()] == [40, 10]
    x, y = rows(given.train)
    np.testing.assert_allclose(y, x @ np.array([[1.0], [2.0], [3.0]]) - 1, atol=1e-5)
    assert load("linear", features=5).truth["weight"].shape == (1, 5)


def test_polynomial_follows_its_truth() -> None:
    data = load("polynomial", noise=0.0)
    assert {part: len(source) for part, source in data.sets().items()} == {"train": 100, "valid": 100, "test": 100}
    features, y = rows(data.train)
    x = features[:, 1].astype(np.float64)
    for power in range(21):
        np.testing.assert_allclose(features[:, power], x**power / math.gamma(power + 1), rtol=1e-4, atol=1e-12)
    np.testing.assert_allclose(y[:, 0], 5 + 1.2 * x - 3.4 * x**2 / 2 + 5.6 * x**3 / 6, rtol=1e-4, atol=1e-4)
    assert data.truth["coefficients"][:5].tolist() == [5.0, 1.2, -3.4, 5.6, 0.0]
    line = load("polynomial", degree=1, noise=0.0)
    np.testing.assert_array_equal(rows(line.train)[0], features[:, :2])
    np.testing.assert_array_equal(rows(line.train)[1], y)
    few = load("polynomial", train=10, noise=0.0)
    np.testing.assert_array_equal(rows(few.train)[0], features[:10])
    np.testing.assert_array_equal(rows(few.test)[0], rows(data.test)[0])
    assert len(load("polynomial", train=150).test) == 50
    noisy = rows(load("polynomial").train)[1] - y
    assert 0.07 < noisy.std() < 0.13


def test_high_dimensional_linear_follows_its_truth() -> None:
    data = load("high-dimensional-linear", noise=0.0)
    assert {part: len(source) for part, source in data.sets().items()} == {"train": 20, "valid": 100, "test": 100}
    x, y = rows(data.test)
    np.testing.assert_allclose(y, x @ np.full((200, 1), 0.01) + 0.05, atol=1e-5)
    assert data.truth["weight"].shape == (1, 200)


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("fashion-mnst", {}, "did you mean fashion-mnist"),
        ("polynomial", {"degre": 3}, "did you mean degree"),
        ("fashion-mnist", {"test": 0.2}, "no options"),
        ("iris", {"valid": 1.5}, "valid"),
        ("iris", {"test": 2}, "test"),
        ("linear", {"n": 0}, "n: got 0"),
        ("linear", {"n": 10.5}, "n: got 10.5"),
        ("linear", {"weight": [1.0]}, "weight"),
        ("polynomial", {"degree": 21}, "degree"),
        ("polynomial", {"train": 200}, "train"),
    ],
)
def test_mistakes(name: str, options: dict, says: str) -> None:
    with pytest.raises(DataError, match=says):
        load(name, **options)


@pytest.mark.parametrize("name", [name for name in names() if name != "fashion-mnist"])
def test_info_of_every_name(name: str) -> None:
    data, told = load(name), info(name)
    assert isinstance(data, Data)
    assert data.name == told["name"] == name
    assert told["samples"] == {part: len(source) for part, source in data.sets().items()}
    assert told["bytes"] > 0
    if data.classes:
        assert sum(told["class_counts"]["train"].values()) == len(data.train)
        assert len(told["class_counts"]["train"]) == len(data.classes)


def test_fetch() -> None:
    assert (fetch("digits") / "digits.csv.gz").is_file()
    with pytest.raises(DataError, match="made data"):
        fetch("linear")


def test_scikit_learn_is_never_imported() -> None:
    code = "import sys, danlu.data as d; d.load('iris'); d.load('digits'); sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
