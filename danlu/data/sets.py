"""`Data`: everything that one experiment learns from and is measured on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
import numpy.typing as npt

from danlu.data.sampling import is_classes
from danlu.data.source import Arrays, Source
from danlu.errors import DataError

RESERVED = ("train", "test", "running", "lr")  # rows of these names mean something else


@final
@dataclass(frozen=True)
class Data:
    """A training set, validation sets by name, perhaps a test set, and what is known about them.

    Fields:
        train: what is learnt from.
        valid: what is measured during training, under each name ("valid/loss", "noisy/loss"); may be empty.
        test: what is measured once, at the end.
        name: what reports call it.
        classes: names of the classes, by class number; empty where there are none or they have no names.
        truth: for made data, the numbers it was made with.
        about: where it comes from, and its licence where known.
        weights: how likely each training sample is to be drawn, with replacement; None visits each once an epoch.
    """

    train: Source
    valid: dict[str, Source] = field(default_factory=dict)
    test: Source | None = None
    name: str = "data"
    classes: tuple[str, ...] = ()
    truth: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    about: str = ""
    weights: npt.NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        if self.weights is not None and np.shape(self.weights) != (len(self.train),):
            want = f"one weight for each of the {len(self.train)} training samples"
            got = f"shape {np.shape(self.weights)}"
            raise DataError(where="weights", got=got, want=want, fix="give an array of that length")
        for name in self.valid:
            if name in RESERVED or "/" in name or not name:
                raise DataError(
                    where="valid",
                    got=repr(name),
                    want=f"a name without '/', none of {', '.join(RESERVED)}",
                    fix="rename this validation set",
                )
        others = {**self.valid, **({} if self.test is None else {"test": self.test})}
        for name, source in others.items():
            _check_alike(name, self.train, source)

    def sets(self) -> Mapping[str, Source]:
        """Return all sets by name: "train", the validation sets, "test"."""
        return {"train": self.train, **self.valid, **({} if self.test is None else {"test": self.test})}


def _check_alike(name: str, train: Source, other: Source) -> None:
    """Refuse a set of arrays whose columns are not those of the training set."""
    if not (isinstance(train, Arrays) and isinstance(other, Arrays)):
        return
    wanted, got = _form(train), _form(other)
    if wanted != got:
        raise DataError(
            where=name,
            got=", ".join(got),
            want=f"the training set's columns: {', '.join(wanted)}",
            fix=f"give {name} the same columns, in the same types",
        )


def _form(source: Arrays) -> list[str]:
    columns = zip(source.columns.names, source.columns.tensors, source.columns.rules, strict=True)
    return [f"{name} ({t.ndim} dimensions, {str(r.dtype or 'float').removeprefix('torch.')})" for name, t, r in columns]


def class_counts(source: Source) -> dict[str, int] | None:
    """Return how many samples each class has, by class number; None where targets are unknown or no classes."""
    targets = source.targets()
    if targets is None or targets.dtype.kind not in "iub" or targets.size != len(targets):
        return None
    numbers, counts = np.unique(targets, return_counts=True)
    return {str(int(number)): int(count) for number, count in zip(numbers, counts, strict=True)}


def class_total(data: Data) -> int:
    """Return how many classes the known targets of all sets and the names of classes tell of; 0 where neither does."""
    known = [source.targets() for source in data.sets().values()]
    highest = [int(targets.max()) for targets in known if targets is not None and is_classes(targets)]
    return max([len(data.classes), *(number + 1 for number in highest)])
