"""Made data whose truth is known: linear, polynomial, and linear in more dimensions than samples."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from danlu import keyed
from danlu.data.sets import Data
from danlu.data.source import Arrays, Source
from danlu.data.split import Ask, divide
from danlu.errors import DataError

Array = npt.NDArray[np.float64]
COEFFICIENTS = (5.0, 1.2, -3.4, 5.6)  # of x^i / i!, i = 0..3; the higher ones are 0


def linear(
    ask: Ask,
    *,
    n: int = 1000,
    features: int = 2,
    noise: float = 0.01,
    weight: Sequence[float] | None = None,
    bias: float = 4.2,
) -> Data:
    """Return y = x w + b + noise, with x and the noise normal: n training samples, and a fifth as many to validate.

    Args:
        ask: with a share of its own, that share of the n samples is held out instead.
        n: training samples.
        features: columns of x.
        noise: its standard deviation.
        weight: w; the default is (2, -3.4) for 2 features, else drawn from a normal distribution.
        bias: b.
    """
    _positive(n=n, features=features)
    rng = _generator("linear", ask.seed)
    if weight is None:
        w = np.array([2.0, -3.4]) if features == 2 else rng.standard_normal(features)
    else:
        w = np.asarray(weight, np.float64).reshape(-1)
    if len(w) != features:
        raise DataError(where="weight", got=f"{len(w)} numbers", want=f"{features}", fix=f"set features={len(w)}")
    train = _linear_samples(rng, n, w, bias, noise)
    valid = _linear_samples(_generator("linear valid", ask.seed), max(1, n // 5), w, bias, noise)
    return _made("linear", train, valid, None, ask, {"weight": w[None, :], "bias": np.array([bias])})


def high_dimensional_linear(
    ask: Ask,
    *,
    n_train: int = 20,
    n_test: int = 100,
    features: int = 200,
    weight: float = 0.01,
    bias: float = 0.05,
    noise: float = 0.01,
) -> Data:
    """Return y = x w + b + noise with more features than training samples, where weight decay matters.

    Args:
        ask: with a share of its own, that share of the training samples is held out instead.
        n_train: training samples.
        n_test: test samples, and as many to validate.
        features: columns of x.
        weight: every entry of w.
        bias: b.
        noise: its standard deviation.
    """
    _positive(n_train=n_train, n_test=n_test, features=features)
    w = np.full(features, weight)
    name = "high-dimensional-linear"
    counts = {"train": n_train, "valid": n_test, "test": n_test}
    made = {
        part: _linear_samples(_generator(f"{name} {part}", ask.seed), count, w, bias, noise)
        for part, count in counts.items()
    }
    return _made(
        name, made["train"], made["valid"], made["test"], ask, {"weight": w[None, :], "bias": np.array([bias])}
    )


def polynomial(
    ask: Ask,
    *,
    n: int = 200,
    train: int | None = None,
    degree: int | None = None,
    max_degree: int = 20,
    noise: float = 0.1,
) -> Data:
    """Return y = 5 + 1.2 x - 3.4 x^2/2! + 5.6 x^3/3! + noise, x normal; the inputs are x^i / i!, i = 0..degree.

    Args:
        ask: with a share of its own, that share of the training samples is held out instead.
        n: samples for training and test together, half and half.
        train: training samples; up to n / 2 the test set stays what it is.
        degree: highest power among the inputs, so that they have degree + 1 columns; the default is max_degree.
        max_degree: highest power that can be asked for.
        noise: its standard deviation.
    """
    degree = max_degree if degree is None else degree
    count = n // 2 if train is None else train
    _positive(n=n, train=count, max_degree=max_degree)
    if not 0 <= degree <= max_degree:
        raise DataError(where="degree", got=degree, want=f"0 to {max_degree}", fix="set degree or max_degree")
    if count >= n:
        raise DataError(where="train", got=count, want=f"less than n = {n}", fix="set train or n")
    x, y = _polynomial_samples(_generator("polynomial", ask.seed), n, degree, noise)
    test_from = max(count, n // 2)
    test = Arrays(x[test_from:], y[test_from:])
    valid = _polynomial_samples(_generator("polynomial valid", ask.seed), n - n // 2, degree, noise)
    coefficients = np.zeros(max(max_degree + 1, len(COEFFICIENTS)))
    coefficients[: len(COEFFICIENTS)] = COEFFICIENTS
    truth = {"weight": coefficients[None, : degree + 1], "coefficients": coefficients}
    return _made("polynomial", Arrays(x[:count], y[:count]), Arrays(*valid), test, ask, truth)


def _made(
    name: str, train: Arrays, valid: Arrays, test: Arrays | None, ask: Ask, truth: dict[str, npt.NDArray[Any]]
) -> Data:
    """Validate on fresh samples, which cost nothing here, unless a share of the training samples was asked for."""
    sets: dict[str, Source] = {"train": train, "valid": valid}
    if ask.valid != "default":
        sets = divide(train, ask.shares(0.0), ask)
    about = f"made by danlu from seed {ask.seed}; nothing to license"
    return Data(train=sets.pop("train"), valid=sets, test=test, name=name, truth=truth, about=about)


def _linear_samples(rng: np.random.Generator, count: int, w: Array, bias: float, noise: float) -> Arrays:
    x = rng.standard_normal((count, len(w)))
    y = x @ w + bias + noise * rng.standard_normal(count)
    return Arrays(x.astype(np.float32), y.astype(np.float32)[:, None])


def _polynomial_samples(rng: np.random.Generator, count: int, degree: int, noise: float) -> tuple[Any, Any]:
    x = rng.standard_normal(count)
    highest = max(degree, len(COEFFICIENTS) - 1)
    factorials = np.array([math.factorial(power) for power in range(highest + 1)], np.float64)
    powers = x[:, None] ** np.arange(highest + 1) / factorials
    y = powers[:, : len(COEFFICIENTS)] @ np.array(COEFFICIENTS) + noise * rng.standard_normal(count)
    return powers[:, : degree + 1].astype(np.float32), y.astype(np.float32)[:, None]


def _generator(purpose: str, seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(keyed.number(purpose, seed)))


def _positive(**counts: int) -> None:
    for name, count in counts.items():
        if not isinstance(count, int) or count < 1:
            raise DataError(where=name, got=count, want="a whole number >= 1", fix=f"set {name}")
