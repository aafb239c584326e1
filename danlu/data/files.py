"""Data in one file, or two: NumPy's .npy and .npz, and tables as CSV or Parquet."""

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from danlu.data.canonical import TARGET_KEYS
from danlu.data.given import arrays
from danlu.data.sets import Data
from danlu.errors import DataError, unknown_name

if TYPE_CHECKING:
    import polars as pl

SUFFIXES = (".npy", ".npz", ".csv", ".parquet")
INPUT_KEYS = ("inputs", "input", "x", "images", "data")
_PARTS = {"train": ("", "_train", "train_"), "valid": ("_valid", "valid_", "_val"), "test": ("_test", "test_")}


def read_file(path: str | Path, *, target: str | None = None) -> Data:
    """Return `Data` of a file.

    Args:
        path: an .npy file of inputs, which is not read but mapped into memory; an .npz archive with inputs (`inputs`,
            `x`, `images`, `data`) and targets (`target`, `label`, `labels`, `y`), perhaps with `_train`, `_valid` and
            `_test` behind these names; a .csv or .parquet table of numbers.
        target: of an .npy file the .npy file with its targets; of a table the target's column, whose text becomes
            classes; the default is the one that is called like a target.

    Raises:
        DataError: no such file, none of these kinds, damaged, objects that would have to be unpickled, or text.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(where=str(path), got="no such file", want="a data file", fix="check the path")
    if path.suffix not in SUFFIXES:
        want, fix = f"one of {', '.join(SUFFIXES)}", "convert it, or write a function: file.py:function"
        raise DataError(where=str(path), got=f"a file that ends in {path.suffix!r}", want=want, fix=fix)
    if path.suffix == ".npy":
        return arrays(_numbers(path, _mapped), None if target is None else _numbers(Path(target), _mapped))
    if path.suffix == ".npz":
        return _archive(path, _numbers(path, _loaded))
    return _table(path, target)


def _mapped(path: Path) -> Any:
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _loaded(path: Path) -> Any:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _numbers(path: Path, read: Callable[[Path], Any]) -> Any:
    try:
        return read(path)
    except (ValueError, OSError, EOFError, MemoryError, KeyError, zipfile.BadZipFile) as error:
        got = "Python objects" if "pickle" in str(error) else str(error)  # NumPy's advice is to unpickle them
        want, fix = f"a {path.suffix} file of numbers", "save it with np.save or np.savez"
        raise DataError(where=str(path), got=got, want=want, fix=fix) from None


def _archive(path: Path, found: Mapping[str, npt.NDArray[Any]]) -> Data:
    pairs = {part: _pair(found, endings) for part, endings in _PARTS.items()}
    if pairs["train"] is None:
        want = f"inputs under one of {', '.join(INPUT_KEYS)}, targets under one of {', '.join(TARGET_KEYS)}"
        fix = "name them so, perhaps with _train, _valid and _test behind"
        raise DataError(where=str(path), got=f"arrays called {', '.join(found)}", want=want, fix=fix)
    inputs, labels = pairs["train"]
    return arrays(inputs, labels, valid=pairs["valid"] or 0.0, test=pairs["test"])


def _pair(found: Mapping[str, Any], endings: tuple[str, ...]) -> tuple[Any, Any] | None:
    by_name = {name.lower(): array for name, array in found.items()}

    def of(keys: tuple[str, ...]) -> Any:
        spelled = [f"{end}{key}" if end.endswith("_") else f"{key}{end}" for key in keys for end in endings]
        return next((by_name[name] for name in spelled if name in by_name), None)

    inputs = of(INPUT_KEYS)
    return None if inputs is None else (inputs, of(TARGET_KEYS))


def _table(path: Path, target: str | None) -> Data:
    import polars as pl

    try:
        frame = pl.read_csv(path) if path.suffix == ".csv" else pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        got = next(iter(str(error).splitlines()), type(error).__name__)
        raise DataError(where=str(path), got=got, want="a table", fix="check the file") from None
    named = next((key for key in TARGET_KEYS if key in frame.columns), None) if target is None else target
    if named is None or named not in frame.columns:
        if named is not None:
            raise unknown_name(DataError, str(path), named, frame.columns, "column")
        want, fix = f"a column called {' or '.join(TARGET_KEYS)}", "name the target's column: --target COLUMN"
        raise DataError(where=str(path), got=f"columns {', '.join(frame.columns[:9])}", want=want, fix=fix)
    inputs = frame.drop(named)
    for name, kind in inputs.schema.items():
        if not (kind.is_numeric() or kind == pl.Boolean):
            fix = "encode it as numbers, or leave the column out"
            raise DataError(where=f"{path}, column {name}", got=f"{kind}", want="numbers", fix=fix)
    labels, classes = _labels(frame[named])
    data = arrays(inputs.to_numpy(), labels)
    return Data(data.train, classes=classes, about=str(path))


def _labels(column: "pl.Series") -> tuple[npt.NDArray[Any], tuple[str, ...]]:
    """Return targets as numbers, and the names of classes where they were text."""
    if column.dtype.is_numeric():
        return column.to_numpy(), ()
    names, numbers = np.unique(column.cast(str).to_numpy().astype(str), return_inverse=True)
    return numbers, tuple(names.tolist())
