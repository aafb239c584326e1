"""Small real data sets, read from the files that scikit-learn's wheel brings, without importing it."""

import gzip
import importlib.util
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from danlu.data.sets import Data
from danlu.data.source import Arrays
from danlu.data.split import Ask, classes_for, cut
from danlu.errors import DataError

Array = npt.NDArray[np.float64]
VALID_SHARE = 0.2
FILES = {
    "digits": ("digits.csv.gz",),
    "iris": ("iris.csv",),
    "wine": ("wine_data.csv",),
    "breast-cancer": ("breast_cancer.csv",),
    "diabetes": ("diabetes_data_raw.csv.gz", "diabetes_target.csv.gz"),
}
_LICENCE = "CC BY 4.0 (UCI Machine Learning Repository)"
ABOUT = {
    "digits": f"Optical Recognition of Handwritten Digits, test part; E. Alpaydin, C. Kaynak (1998); {_LICENCE}",
    "iris": f"Iris; R. A. Fisher (1936); {_LICENCE}",
    "wine": f"Wine; S. Aeberhard, M. Forina (1991); {_LICENCE}",
    "breast-cancer": f"Breast Cancer Wisconsin (Diagnostic); W. Wolberg and others (1995); {_LICENCE}",
    "diabetes": "Diabetes; B. Efron, T. Hastie, I. Johnstone, R. Tibshirani, Least Angle Regression (2004)",
}


def folder() -> Path:
    """Return the folder with scikit-learn's data files."""
    spec = importlib.util.find_spec("sklearn")  # finds a top-level package without running it
    for place in (spec.submodule_search_locations or []) if spec else []:
        found = Path(place) / "datasets" / "data"
        if found.is_dir():
            return found
    raise DataError(
        where="scikit-learn", got="not installed", want="its data files", fix="run `pip install scikit-learn`"
    )


def digits(ask: Ask, *, test: float = 0.0) -> Data:
    """Return 1,797 handwritten digits, shape (N, 1, 8, 8), grey levels 0..16 that become 0..1."""
    table = _read(folder() / FILES["digits"][0])
    images = table[:, :-1].astype(np.uint8).reshape(-1, 1, 8, 8)
    whole = Arrays(images, table[:, -1].astype(np.uint8), scale=1 / 16)
    return _data("digits", whole, _pieces(whole, ask, test), tuple(map(str, range(10))))


def iris(ask: Ask, *, test: float = 0.0) -> Data:
    """Return 150 flowers, 4 lengths, 3 kinds."""
    return _classes("iris", ask, test)


def wine(ask: Ask, *, test: float = 0.0) -> Data:
    """Return 178 wines, 13 measurements, 3 growers."""
    return _classes("wine", ask, test)


def breast_cancer(ask: Ask, *, test: float = 0.0) -> Data:
    """Return 569 tumours, 30 measurements, malignant or benign."""
    return _classes("breast-cancer", ask, test)


def diabetes(ask: Ask, *, test: float = 0.0, standardise_target: bool = False) -> Data:
    """Return 442 patients, 10 measurements, and how far the disease went within a year, shape (N, 1).

    Args:
        ask: how to cut it.
        test: share held out as the test set.
        standardise_target: subtract the training targets' mean, divide by their standard deviation; `truth` has both.
    """
    inputs = _read(folder() / FILES["diabetes"][0], delimiter=None)
    target = _read(folder() / FILES["diabetes"][1], delimiter=None).reshape(-1, 1)
    pieces = _pieces(Arrays(inputs, target), ask, test)
    mean, std = _statistics(target[pieces["train"]])
    scaled = (target - mean) / std if standardise_target else target
    truth = {"target_mean": mean, "target_std": std} if standardise_target else {}
    whole = _standardised(inputs, scaled, pieces["train"])
    return _data("diabetes", whole, pieces, (), truth)


def _classes(name: str, ask: Ask, test: float) -> Data:
    path = folder() / FILES[name][0]
    table = _read(path, skip=1)
    with path.open() as file:
        _, _, *classes = file.readline().strip().split(",")
    target = table[:, -1].astype(np.int64)
    pieces = _pieces(Arrays(table[:, :-1], target), ask, test)
    return _data(name, _standardised(table[:, :-1], target, pieces["train"]), pieces, tuple(classes))


def _standardised(inputs: Array, target: npt.ArrayLike, train: Sequence[int] | npt.NDArray[np.int64]) -> Arrays:
    """Return arrays whose features have mean 0 and standard deviation 1 on the training rows, and only on them."""
    mean, std = _statistics(inputs[train])
    return Arrays(inputs, target, mean=mean, std=std)


def _statistics(rows: Array) -> tuple[Array, Array]:
    std = rows.std(axis=0)
    return rows.mean(axis=0), np.where(std > 0, std, 1.0)


def _pieces(whole: Arrays, ask: Ask, test: float) -> dict[str, npt.NDArray[np.int64]]:
    shares = ask.shares(VALID_SHARE, test)
    if not shares:
        return {"train": np.arange(len(whole))}
    return cut(len(whole), shares, seed=ask.seed, classes=classes_for(whole, ask.stratify))


def _data(
    name: str,
    whole: Arrays,
    pieces: dict[str, npt.NDArray[np.int64]],
    classes: tuple[str, ...],
    truth: dict[str, Array] | None = None,
) -> Data:
    sets = {part: whole.take(ids) for part, ids in pieces.items()}
    valid = {part: source for part, source in sets.items() if part == "valid"}
    return Data(sets["train"], {**valid}, sets.get("test"), name, classes, truth or {}, ABOUT[name])


def _read(path: Path, *, skip: int = 0, delimiter: str | None = ",") -> Array:
    try:
        with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
            return np.loadtxt(file, delimiter=delimiter, skiprows=skip)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(
            where=str(path), got=str(error), want="scikit-learn's data file", fix="install scikit-learn again"
        ) from error
