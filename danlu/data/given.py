"""From what a caller has in hand (arrays, a `Dataset`, a `DataLoader`, IDX files) to `Data`."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from danlu.data.dataset import Loader, Samples
from danlu.data.from_zero import from_zero
from danlu.data.idx_file import read_idx
from danlu.data.sets import Data
from danlu.data.source import Arrays, Source
from danlu.data.split import Ask, Share, Stratify, checked_share, divide
from danlu.errors import DataError

Paths = tuple[str | Path, str | Path]
_PARTS = {"train": ("train",), "test": ("t10k", "test")}  # how IDX files of one set begin


def as_data(obj: object, *, valid: Share = "default", stratify: Stratify = "default", seed: int = 0) -> Data:
    """Return `Data` for anything that can be trained on.

    Args:
        obj: `Data`; a `Source`; `(inputs, target)` with inputs an array, a tuple of arrays or a dict of columns; a
            map-style `Dataset`; a `DataLoader`; a data set of danlu.zero.
        valid: share held out for validation; "default" and 0 hold out nothing of what a caller brought.
        stratify: hold out the same share of every class; "default" does so where targets are known classes.
        seed: another seed, another cut.

    Raises:
        DataError: none of these, or a share asked of data that has validation sets or no random access.
    """
    ask = Ask(valid, stratify, seed)
    if isinstance(obj, Data):
        return _cut_again(obj, ask)
    obj = from_zero(obj)
    return _held_out(_source(obj), ask, type(obj).__name__ if isinstance(obj, Dataset) else "data")


def arrays(
    inputs: object,
    target: object = None,
    *,
    valid: object = "default",
    test: object = 0.0,
    stratify: Stratify = "default",
    seed: int = 0,
) -> Data:
    """Return `Data` of arrays.

    Args:
        inputs: as for `Arrays`.
        target: as for `Arrays`.
        valid: a share to hold out ("default" holds out nothing), or `(inputs, target)`, or a dict of several such sets
            by name.
        test: a share to hold out, or `(inputs, target)`.
        stratify: as for `as_data`.
        seed: another seed, another cut.
    """
    given_valid: dict[str, Source] = {}
    if isinstance(valid, Mapping):
        given_valid = {str(name): _source(one) for name, one in valid.items()}
    elif not _is_share(valid):
        given_valid = {"valid": _source(valid)}
    share: Any = 0.0 if given_valid or isinstance(valid, Mapping) else valid
    given_test = None if test is None or _is_share(test) else _source(test)
    ask = Ask(share, stratify, seed)
    held: Any = 0.0 if given_test or test is None else test
    sets = divide(Arrays(inputs, target), ask.shares(0.0, checked_share("test", held)), ask)
    return Data(
        train=sets.pop("train"),
        test=given_test or sets.pop("test", None),
        valid={**sets, **given_valid},
    )


def idx(
    train: str | Path | Paths,
    *,
    valid: Share | Paths = "default",
    test: Literal["default"] | Paths | None = "default",
    stratify: Stratify = "default",
    seed: int = 0,
) -> Data:
    """Return `Data` of IDX files (MNIST and its relatives); images of shape (N, H, W) get a channel: (N, 1, H, W).

    Args:
        train: a folder with `train-images*` and `train-labels*`, or the two files.
        valid: a share to hold out ("default" holds out nothing), or two files.
        test: two files; "default" takes `t10k-*` or `test-*` of the folder, if it has them; None takes none.
        stratify: as for `as_data`.
        seed: another seed, another cut.
    """
    folder = Path(train) if isinstance(train, str | Path) else None
    pair = train if isinstance(train, tuple) else _paths(Path(train), "train")
    if pair is None:
        raise DataError(
            where=str(folder),
            got="no train-images* and train-labels*" if folder and folder.is_dir() else "no such folder",
            want="a folder with both files",
            fix="check the folder, or give the two files: idx((images, labels))",
        )
    tested = _paths(folder, "test") if test == "default" and folder else None
    tested = test if isinstance(test, tuple) else tested
    ask = Ask(0.0 if isinstance(valid, tuple) else valid, stratify, seed)
    data = _held_out(_images(pair), ask, folder.name if folder else Path(pair[0]).name)
    held: dict[str, Source] = {"valid": _images(valid)} if isinstance(valid, tuple) else data.valid
    about = f"IDX files {pair[0]} and {pair[1]}"
    return dataclasses.replace(data, valid=held, test=_images(tested) if tested else None, about=about)


def _source(obj: object) -> Source:
    if isinstance(obj, Source):
        return obj
    if isinstance(obj, DataLoader):
        return Loader(obj)
    if isinstance(obj, Dataset):
        return Samples(obj)
    if isinstance(obj, tuple) and len(obj) == 2:
        return Arrays(*obj)
    if isinstance(obj, np.ndarray | Tensor):
        return Arrays(obj)
    raise DataError(
        where="data",
        got=f"a tuple of {len(obj)}" if isinstance(obj, tuple) else f"a {type(obj).__name__}",
        want="(inputs, target), a Dataset, a DataLoader, or a danlu Source or Data",
        fix="for several inputs use ((x1, x2), y), for columns by name ({'age': ..., 'city': ...}, y)",
    )


def _held_out(source: Source, ask: Ask, name: str) -> Data:
    sets = divide(source, ask.shares(0.0), ask)
    return Data(train=sets.pop("train"), valid=sets, name=name)


def _cut_again(data: Data, ask: Ask) -> Data:
    """Return `data` with the validation share that was asked for, if any was."""
    if ask.valid == "default":
        return data
    shares = ask.shares(0.0)
    if shares and data.valid:
        raise DataError(
            where="valid",
            got=f"a share of {ask.valid} for data that has validation sets: {', '.join(data.valid)}",
            want="one or the other",
            fix="leave valid at its default, or use dataclasses.replace(data, valid={}) first",
        )
    sets = divide(data.train, shares, ask)
    return dataclasses.replace(data, train=sets.pop("train"), valid=sets)


def _is_share(value: object) -> bool:
    return isinstance(value, str | int | float | np.number)


def _paths(folder: Path, part: str) -> Paths | None:
    """Return the files of images and labels of one part of a folder, if it has both."""
    found = [
        sorted(path for begin in _PARTS[part] for path in folder.glob(f"{begin}-{kind}*"))
        for kind in ("images", "labels")
    ]
    return (found[0][0], found[1][0]) if all(found) else None


def _images(paths: Paths) -> Arrays:
    images, labels = read_idx(paths[0]), read_idx(paths[1])
    if images.ndim == 3:
        images = images.reshape(len(images), 1, *images.shape[1:])
    return Arrays(images, labels)
