"""Data sets that have a name: what there is, loading one, where its files are, and what it holds."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from danlu.data import fashion, image_folder, synthetic, tables
from danlu.data.dataset import pictures_of
from danlu.data.sets import Data, class_counts
from danlu.data.source import Arrays, Source
from danlu.data.split import Ask, Share, Stratify
from danlu.data.store_schema import SCHEMA, is_stored
from danlu.data.store_source import Stored, stored
from danlu.errors import DataError, unknown_name

NAMES: dict[str, str] = {
    "digits": "1,797 handwritten digits, 8 x 8 grey levels, 10 classes",
    "iris": "150 flowers, 4 measurements, 3 classes",
    "wine": "178 wines, 13 measurements, 3 classes",
    "breast-cancer": "569 tumours, 30 measurements, 2 classes",
    "diabetes": "442 patients, 10 measurements, regression",
    "fashion-mnist": "60,000 + 10,000 pictures of clothes, 28 x 28 grey levels, 10 classes",
    "linear": "made: y = x w + b + noise, with w and b known",
    "polynomial": "made: a cubic with noise, inputs up to x^20 / 20!, to see under- and overfitting",
    "high-dimensional-linear": "made: 200 features, 20 samples, to see weight decay",
}
_BUILDERS: dict[str, Callable[..., Data]] = {
    "digits": tables.digits,
    "iris": tables.iris,
    "wine": tables.wine,
    "breast-cancer": tables.breast_cancer,
    "diabetes": tables.diabetes,
    "fashion-mnist": fashion.fashion_mnist,
    image_folder.NAME: image_folder.pictures,  # not in NAMES: it is the caller's own folder
    "linear": synthetic.linear,
    "polynomial": synthetic.polynomial,
    "high-dimensional-linear": synthetic.high_dimensional_linear,
}


def names() -> dict[str, str]:
    """Return every name that `load` knows, with one line about each."""
    return dict(NAMES)


def load(name: str, *, valid: Share = "default", stratify: Stratify = "default", seed: int = 0, **options: Any) -> Data:
    """Return a data set by its name.

    Args:
        name: one of `names()`, or the folder of a stored set.
        valid: share of the training samples held out for validation; 0 for none. The default is a fifth for tables,
            5,000 samples of Fashion-MNIST; made data is validated on fresh samples.
        stratify: hold out the same share of every class; "default" does so for classes.
        seed: decides the cut, and for made data the numbers.
        options: what the data set itself takes, such as `test=0.2` (tables) or `degree=3` (polynomial).

    Raises:
        DataError: an unknown name or option; files that cannot be found or are damaged.
    """
    takes = options_of(name)
    for option in options:
        if option not in takes:
            if not takes:
                raise DataError(where=f"data {name}", got=option, want="no options", fix="leave it out")
            raise unknown_name(DataError, f"data {name}", option, takes, "option")
    if name not in _BUILDERS:
        return stored(name, valid=valid, stratify=stratify, seed=seed, **options)
    return _BUILDERS[name](Ask(valid, stratify, seed), **options)


def options_of(name: str) -> list[str]:
    """Return what a data set itself takes; raise a DataError where the name is unknown."""
    builder: Callable[..., Data] = _BUILDERS.get(_known(name), stored)
    own = ("ask",) if name in _BUILDERS else ("folder", "valid", "stratify", "seed")
    return [option for option in inspect.signature(builder).parameters if option not in own]


def fetch(name: str) -> Path:
    """Return the folder with a data set's files, checked; downloads what is missing.

    Raises:
        DataError: an unknown name, data that has no files, or files that cannot be had.
    """
    if _known(name) not in _BUILDERS:
        return Path(name)
    if name in tables.FILES:
        return tables.folder()
    if name == fashion.NAME:
        return fashion.fetch()
    raise DataError(
        where=name, got="made data", want="a data set that has files", fix=f"load it: danlu.data.load({name!r})"
    )


def info(name: str, **options: Any) -> dict[str, Any]:
    """Return what a data set holds: sizes, types, class counts, memory, and where it was found.

    Cost: loads it.
    """
    data = load(name, **options)
    if name == image_folder.NAME:
        return described(data)
    line = NAMES.get(name, "a stored data set")
    return described(data) | {"name": data.name, "line": line, "found": _found(name)}


def described(data: Data) -> dict[str, Any]:
    """Return what any data hold, as `info` does.

    Cost: of pictures, a few files are looked into.
    """
    pictures = pictures_of(data.train)
    return {
        "name": data.name,
        "about": data.about,
        "line": data.name if pictures is None else f"pictures of {pictures.sizes()} pixels",
        "found": "" if pictures is None else pictures.folder,
        "kept": "" if pictures is None else pictures.kept(),
        "place": "on disk" if isinstance(data.train, Stored) else "memory",
        "columns": _columns(data.train),
        "samples": {part: len(source) for part, source in data.sets().items()},
        "classes": list(data.classes),
        "class_counts": {part: class_counts(source) for part, source in data.sets().items()},
        "bytes": _memory_bytes(data) if pictures is None else pictures.bytes(),
    }


def _known(name: str) -> str:
    if name not in _BUILDERS and not is_stored(name):
        if Path(name).is_dir():
            fix = "convert what is in it: `danlu data convert SOURCE FOLDER`"
            raise DataError(where=name, got=f"a folder without {SCHEMA}", want="the folder of a stored set", fix=fix)
        raise unknown_name(DataError, "data", name, _BUILDERS, "data set")
    return name


def _found(name: str) -> str:
    """Say where a data set lies."""
    if name in tables.FILES:
        return str(tables.folder())
    if name == fashion.NAME:
        return str(fashion.find(fashion.places()) or fashion.cache())
    return "made from the seed" if name in _BUILDERS else str(Path(name).absolute())


def _columns(source: Source) -> dict[str, dict[str, Any]]:
    """Return the shape of one sample and the stored type, for each column."""
    pictures = pictures_of(source)
    if pictures is not None:
        return {"inputs": {"shape": list(pictures.form), "dtype": "uint8"}, "target": {"shape": [], "dtype": "int64"}}
    if not isinstance(source, Arrays | Stored):
        return {}
    columns = zip(source.columns.names, source.columns.tensors, strict=True)
    return {
        name: {"shape": list(tensor.shape[1:]), "dtype": str(tensor.dtype).removeprefix("torch.")}
        for name, tensor in columns
    }


def _memory_bytes(data: Data) -> int:
    """Return the bytes of all columns; parts of one set share theirs."""
    if isinstance(data.train, Stored):
        return data.train.folder.reader.schema.samples * data.train.row_bytes
    held = {id(source.columns): source.columns for source in data.sets().values() if isinstance(source, Arrays)}
    return sum(tensor.numel() * tensor.element_size() for columns in held.values() for tensor in columns.tensors)
