"""Sources: where samples come from. Here the abstract one, and arrays in memory."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from danlu.data.columns import Columns, PerChannel, Rule, check_finite, input_rule, stored, target_rule
from danlu.errors import DataError
from danlu.recipe import Normalise

Ids = npt.NDArray[np.int64]
Keys = tuple[str, ...] | int | None  # how input columns form a model's inputs: by name, as a tuple of so many, or alone


class Source(ABC):
    """A set of samples, numbered from 0. Abstract."""

    @abstractmethod
    def __len__(self) -> int:
        """Return how many samples there are."""

    @abstractmethod
    def targets(self) -> npt.NDArray[Any] | None:
        """Return all targets as stored, samples along dim 0; None where they are not known without fetching."""

    @abstractmethod
    def take(self, ids: npt.ArrayLike) -> "Source":
        """Return the samples `ids`, in that order, numbered from 0 again; nothing is copied."""

    def block_samples(self) -> int | None:
        """Return how many neighbours a block shuffle keeps together; None where neighbours are not faster to read."""
        return None

    def in_memory(self, start: int = 0, stop: int | None = None) -> "Arrays":
        """Return samples [start, stop) as arrays, in the type they are kept in.

        Raises:
            DataError: samples of this kind are not kept anywhere as arrays.
        """
        got, want = f"a {type(self).__name__}", "arrays, a map-style Dataset, or a stored set"
        raise DataError(where="data", got=got, want=want, fix="for a DataLoader pass loader.dataset")


@final
class Arrays(Source):
    """Samples in memory, in the type they came in; conversion happens on the device, when a batch is gathered.

    Inputs of uint8 with at least 3 dimensions are pixels: float, times 1/255. Other uint8 and bool inputs become
    float as they are, floats the default dtype, signed integers int64 (token ids). With `scale`, `mean` or `std`
    every input becomes float: times scale (instead of 1/255), minus mean, divided by std. Targets of any integer type
    and bool become int64, floats the default dtype.

    Args:
        inputs: an array or tensor, shape (samples, ...); a tuple or list of several; or a dict of columns.
        target: an array, tensor or list, shape (samples, ...); None for samples without one.
        scale: factor for a single input column.
        mean: subtracted after scaling; one number, or one for each entry of dim 1.
        std: divided by after that, likewise.

    Raises:
        DataError: no samples, lengths that differ, no real numbers, NaN or infinity.

    Cost: memory is shared with what was given; one pass over float columns looks for NaN.
    """

    def __init__(
        self,
        inputs: object,
        target: object = None,
        *,
        scale: float | None = None,
        mean: PerChannel | None = None,
        std: PerChannel | None = None,
    ) -> None:
        self.keys, named = _input_columns(inputs)
        if len(named) > 1 and (scale, mean, std) != (None, None, None):
            raise DataError(
                where="scale, mean, std",
                got=f"{len(named)} input columns",
                want="a single input column",
                fix="scale the columns yourself before you give them",
            )
        self.has_target = target is not None
        tensors = {name: stored(name, value) for name, value in named.items()}
        rules = [input_rule(name, tensor, scale=scale, mean=mean, std=std) for name, tensor in tensors.items()]
        if self.has_target:
            tensors["target"] = stored("target", target)
            rules.append(target_rule(tensors["target"]))
        _check_lengths(tensors)
        for name, tensor in tensors.items():
            check_finite(name, tensor)
        self.columns = Columns(tuple(tensors), tuple(tensors.values()), tuple(rules))
        self.normalise: Normalise | None = None  # what `normalised` added to the rules
        self.rows: Ids | None = None  # which rows of the columns these samples are; None: all, in order
        self._length = len(self.columns.tensors[0])

    def __len__(self) -> int:
        """Return how many samples there are."""
        return self._length

    def targets(self) -> npt.NDArray[Any] | None:
        """Return the targets as stored."""
        if not self.has_target:
            return None
        tensor = self.columns.tensors[-1]
        array = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
        return array if self.rows is None else array[self.rows]

    def take(self, ids: npt.ArrayLike) -> "Arrays":
        """Return the samples `ids` as a source that shares these columns."""
        rows = checked_ids(ids, len(self))
        part = object.__new__(Arrays)
        part.keys, part.has_target, part._length = self.keys, self.has_target, len(rows)
        part.normalise = self.normalise
        run = self.rows is None and len(rows) == rows[-1] - rows[0] + 1 and bool((np.diff(rows) == 1).all())
        part.columns = self.columns.part(int(rows[0]), int(rows[-1]) + 1) if run else self.columns
        part.rows = None if run else rows if self.rows is None else self.rows[rows]
        return part

    def in_memory(self, start: int = 0, stop: int | None = None) -> "Arrays":
        """Return samples [start, stop), which share these columns."""
        return self.take(np.arange(len(self))[start:stop])

    @classmethod
    def made(cls, columns: Columns, keys: Keys, *, has_target: bool, normalise: Normalise | None = None) -> "Arrays":
        """Return all rows of columns as a source.

        Args:
            columns: checked; with a target it is the last one.
            keys: how the other columns form a model's inputs.
            has_target: whether there is one.
            normalise: what the first rule normalises by already.
        """
        whole = object.__new__(cls)
        whole.keys, whole.has_target, whole.columns, whole.normalise = keys, has_target, columns, normalise
        whole.rows, whole._length = None, len(columns.tensors[0])
        return whole

    def like(self, inputs: object) -> "Arrays":
        """Return other inputs, without targets, that become a model's by the same rules; for prediction.

        Raises:
            DataError: another number of columns or another shape of a sample.
        """
        other = Arrays(inputs)
        own = self.columns.tensors[:-1] if self.has_target else self.columns.tensors
        shapes = [tuple(t.shape[1:]) for t in own], [tuple(t.shape[1:]) for t in other.columns.tensors]
        if other.keys != self.keys or shapes[0] != shapes[1]:
            fix = "give inputs like those of the training data"
            raise DataError(where="inputs", got=f"samples of shape {shapes[1]}", want=f"shape {shapes[0]}", fix=fix)
        columns = other.columns
        other.columns = Columns(columns.names, columns.tensors, self.columns.rules[: len(columns.tensors)])
        return other

    def normalised(self, by: Normalise) -> "Arrays":
        """Return the same samples with their inputs normalised, after whatever their rule does already.

        Raises:
            DataError: several input columns, or inputs that are given a mean or std already.
        """
        other = copy.copy(self)
        other.normalise, other.columns = by, normalised_columns(self.columns, self.keys, by)
        return other

    def stored(self) -> dict[str, Tensor]:
        """Return every column as stored, by name ("inputs", "inputs[0]", "inputs['age']", "target").

        Cost: a copy where these samples are a scattered part of a larger set, else none.
        """
        columns = dict(zip(self.columns.names, self.columns.tensors, strict=True))
        if self.rows is None:
            return columns
        rows = torch.from_numpy(self.rows)
        return {name: tensor.index_select(0, rows) for name, tensor in columns.items()}

    def rules(self) -> dict[str, Rule]:
        """Return, for each column, how stored numbers become a model's."""
        return dict(zip(self.columns.names, self.columns.rules, strict=True))


def normalised_columns(columns: Columns, keys: Keys, by: Normalise) -> Columns:
    """Return columns whose single input is normalised after its rule; a DataError where it is not single, or is so."""
    rule = columns.rules[0]
    if keys is not None or rule.mean is not None or rule.std is not None:
        count = keys if isinstance(keys, int) else len(keys or ())
        got = "a data set that is normalised already, by a mean or std of its own"
        got = got if keys is None else f"{count} input columns"
        want, fix = "a single input column that is not normalised yet", "leave data.normalise out"
        raise DataError(where="data.normalise", got=got, want=want, fix=fix)
    return columns.normalised(by)


def checked_ids(ids: npt.ArrayLike, length: int) -> Ids:
    """Return sample ids as int64; a DataError if they are none, not whole numbers, or outside [0, length)."""
    array = np.asarray(ids)
    if array.ndim != 1 or array.dtype.kind not in "iu" or not array.size or array.min() < 0 or array.max() >= length:
        shown = f"{array.dtype} of shape {array.shape}" + (f", {array.min()} to {array.max()}" if array.size else "")
        raise DataError(
            where="ids", got=shown, want=f"at least one whole number in [0, {length})", fix="use a list of sample ids"
        )
    return array.astype(np.int64, copy=False)


def _input_columns(inputs: object) -> tuple[Keys, dict[str, object]]:
    """Return how the columns form a model's inputs, and the columns under the names that messages use."""
    if isinstance(inputs, Mapping):
        named = {f"inputs[{key!r}]": value for key, value in inputs.items()}
        keys: Keys = tuple(str(key) for key in inputs)
    elif isinstance(inputs, tuple | list):
        if not all(isinstance(value, np.ndarray | Tensor) for value in inputs):
            kinds = sorted({type(value).__name__ for value in inputs})
            raise DataError(
                where="inputs",
                got=f"a {type(inputs).__name__} of {', '.join(kinds)}",
                want="an array, or a tuple of arrays",
                fix="use numpy.asarray(inputs) for numbers in nested lists",
            )
        named = {f"inputs[{index}]": value for index, value in enumerate(inputs)}
        keys = len(inputs)
    else:
        return None, {"inputs": inputs}
    if not named:
        raise DataError(where="inputs", got="no columns", want="at least one", fix="give at least one array")
    return keys, named


def _check_lengths(tensors: Mapping[str, Tensor]) -> None:
    lengths = {name: len(tensor) for name, tensor in tensors.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(
            where="target" if "target" in lengths else "inputs",
            got=", ".join(f"{length} rows in {name}" for name, length in lengths.items()),
            want="the same number of rows in every column",
            fix="cut or complete the shorter one",
        )
    if not next(iter(lengths.values())):
        raise DataError(where="inputs", got="0 rows", want="at least one sample", fix="check how the data was read")
