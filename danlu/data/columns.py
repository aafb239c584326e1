"""Columns: tensors in the small type they came in, and the rule that turns a batch of them into what a model takes."""

import warnings
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from danlu.errors import DataError
from danlu.recipe import Normalise

Inputs = Tensor | tuple[Tensor, ...] | dict[str, Tensor]
Batch = tuple[Inputs, Tensor | None]
Convert = Callable[[Tensor], Tensor]
PerChannel = float | Sequence[float] | npt.NDArray[Any] | Tensor

SMALL_BYTES = 16 << 20  # columns this small are converted once, when batches are made, and not again in each batch
_WIDER = {"u2": np.int32, "u4": np.int64, "u8": np.int64, "f16": np.float64}
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_INTEGERS = (torch.int8, torch.int16, torch.int32, torch.int64)
_KNOWN = {*_FLOATS, *_INTEGERS, torch.uint8, torch.bool}


@final
@dataclass(frozen=True)
class Rule:
    """How stored numbers become a model's: change of type, then times `scale`, minus `mean`, divided by `std`."""

    dtype: torch.dtype | None = None  # None: PyTorch's default dtype at the time when batches are made
    scale: float = 1.0
    mean: Tensor | None = None  # float64, in a shape that broadcasts over a batch
    std: Tensor | None = None

    def converter(self, stored: torch.dtype, device: torch.device) -> Convert | None:
        """Return a function from stored numbers to new ones, never in place; None where nothing has to change."""
        dtype = self.dtype or torch.get_default_dtype()
        if self.scale == 1.0 and self.mean is None and self.std is None:
            return None if stored == dtype else lambda batch: batch.to(dtype)
        work = torch.float64 if stored == torch.float64 else dtype
        scale, copy = self.scale, stored == work
        if self.mean is None and self.std is None and work == dtype:
            return lambda batch: batch.to(work, copy=copy).mul_(scale)
        mean = None if self.mean is None else self.mean.to(device, work)
        std = None if self.std is None else self.std.to(device, work)

        def convert(batch: Tensor) -> Tensor:
            out = batch.to(work, copy=copy).mul_(scale)
            if mean is not None:
                out.sub_(mean)
            if std is not None:
                out.div_(std)
            return out.to(dtype)

        return convert


@final
@dataclass(frozen=True)
class Resident:
    """Columns on the device that trains: tensors with the samples along dim 0, and what is left to do per batch."""

    tensors: tuple[Tensor, ...]
    converters: tuple[Convert | None, ...]


@final
class Columns:
    """Tensors of equal length under names, each with its rule; several sources may share one set of columns.

    Args:
        names: what messages call each column.
        tensors: CPU tensors, the samples along dim 0.
        rules: one for each column.
    """

    def __init__(self, names: tuple[str, ...], tensors: tuple[Tensor, ...], rules: tuple[Rule, ...]) -> None:
        self.names, self.tensors, self.rules = names, tensors, rules
        self._normalised: weakref.WeakValueDictionary[str, Columns] = weakref.WeakValueDictionary()
        self._residents: weakref.WeakValueDictionary[object, Resident] = weakref.WeakValueDictionary()

    def part(self, start: int, stop: int) -> "Columns":
        """Return rows [start, stop), in the same memory."""
        return Columns(self.names, tuple(tensor[start:stop] for tensor in self.tensors), self.rules)

    def normalised(self, by: Normalise) -> "Columns":
        """Return the same columns, the first normalised after its rule; equal numbers give one and the same columns."""
        held = self._normalised.get(repr(by))
        if held is None:
            first, scale = self.tensors[0], self.rules[0].scale
            mean = per_channel("data.normalise.mean", by.mean, first)
            rule = Rule(None, scale, mean, per_channel("data.normalise.std", by.std, first))
            held = self._normalised[repr(by)] = Columns(self.names, self.tensors, (rule, *self.rules[1:]))
        return held

    def is_resident(self, device: torch.device) -> bool:
        """Say whether somebody holds the columns on `device` already."""
        return (device, torch.get_default_dtype()) in self._residents

    def resident(self, device: torch.device) -> Resident:
        """Return the columns on `device`; whoever asks while another still holds them gets the same memory."""
        held = self._residents.get(key := (device, torch.get_default_dtype()))
        if held is None:
            pairs = [_resident(*column, device) for column in zip(self.tensors, self.rules, strict=True)]
            held = Resident(tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs))
            self._residents[key] = held
        return held


def _resident(tensor: Tensor, rule: Rule, device: torch.device) -> tuple[Tensor, Convert | None]:
    """Move one column, and convert it now where that saves time and costs little memory."""
    dense = tensor.is_contiguous() or (tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last))
    moved = (tensor if dense else tensor.contiguous()).to(device)
    convert = rule.converter(tensor.dtype, device)
    if convert is None:
        return moved, None
    bytes_after = tensor.numel() * (rule.dtype or torch.get_default_dtype()).itemsize
    if tensor.dtype == torch.float64 or bytes_after <= SMALL_BYTES:
        return convert(moved), None
    return moved, convert


def stored(name: str, value: object) -> Tensor:
    """Return `value` as a CPU tensor, sharing its memory where PyTorch knows its type.

    Raises:
        DataError: text, objects, complex numbers, ragged lists, or no dimension to count samples along.
    """
    tensor = value.detach().cpu() if isinstance(value, Tensor) else _from_numpy(name, value)
    if tensor.dtype in (torch.uint16, torch.uint32, torch.uint64):
        tensor = _from_numpy(name, tensor.numpy())
    if tensor.dtype not in _KNOWN or tensor.layout != torch.strided:
        raise _not_numbers(name, f"a tensor of {tensor.dtype}, {tensor.layout}")
    if tensor.ndim == 0:
        raise DataError(where=name, got="a single number", want="one row for each sample", fix="give it a dimension")
    return tensor


def _from_numpy(name: str, value: object) -> Tensor:
    try:
        array: npt.NDArray[Any] = np.asarray(value)
    except ValueError as error:
        raise _not_numbers(name, f"{type(value).__name__}: {error}") from error
    if array.dtype.kind not in "biuf":
        raise _not_numbers(name, f"an array of {array.dtype}")
    if array.dtype.kind == "u" and array.dtype.itemsize == 8 and array.size and int(array.max()) >= 2**63:
        raise DataError(where=name, got=int(array.max()), want="numbers below 2**63", fix="number them from 0")
    plain = f"{array.dtype.kind}{array.dtype.itemsize}"
    array = array.astype(_WIDER.get(plain, array.dtype.newbyteorder("=")), copy=False)
    if any(stride < 0 or stride % array.itemsize for stride in array.strides):
        array = np.ascontiguousarray(array)
    with warnings.catch_warnings():  # a read-only array is fine: danlu never writes to what it was given
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable", category=UserWarning)
        return torch.from_numpy(array)


def _not_numbers(name: str, got: str) -> DataError:
    return DataError(
        where=name,
        got=got,
        want="an array or tensor of real numbers, every row of the same shape",
        fix="encode text and categories as integers first; give several columns as a tuple of arrays",
    )


def check_finite(name: str, tensor: Tensor) -> None:
    """Raise a DataError that names the column, how many rows are bad and the first, if a number is NaN or infinite.

    Cost: one pass over the column, in blocks of at most 4 million numbers.
    """
    if tensor.dtype not in _FLOATS or not tensor.numel():
        return
    rows = max(1, (4 << 20) * len(tensor) // tensor.numel())
    blocks = torch.split(tensor, rows)
    if all(bool(torch.isfinite(torch.stack(torch.aminmax(block))).all()) for block in blocks):
        return
    bad = torch.cat([(~torch.isfinite(block)).reshape(len(block), -1).any(dim=1) for block in blocks])
    ids = bad.nonzero().flatten().tolist()
    raise DataError(
        where=name,
        got=f"NaN or infinity in {len(ids)} of {len(tensor)} rows, the first is row {ids[0]}",
        want="finite numbers",
        fix="drop these rows or fill them in before training",
    )


def input_rule(
    name: str, tensor: Tensor, *, scale: float | None, mean: PerChannel | None, std: PerChannel | None
) -> Rule:
    """Return the rule of an input column: pixels to [0, 1], floats to the default dtype, integers to int64."""
    if scale is None and mean is None and std is None and tensor.dtype in _INTEGERS:
        return Rule(torch.int64)
    pixels = tensor.dtype == torch.uint8 and tensor.ndim >= 3
    factor = (1 / 255 if pixels else 1.0) if scale is None else float(scale)
    spread = per_channel(f"std of {name}", std, tensor)
    if spread is not None and not bool((spread > 0).all()):
        raise DataError(where=f"std of {name}", got=spread.flatten().tolist(), want="numbers > 0", fix="use 1 instead")
    return Rule(None, factor, per_channel(f"mean of {name}", mean, tensor), spread)


def target_rule(tensor: Tensor) -> Rule:
    """Return the rule of a target column: integers and booleans to int64, floats to the default dtype."""
    return Rule(None if tensor.dtype in _FLOATS else torch.int64)


def per_channel(name: str, value: PerChannel | None, tensor: Tensor) -> Tensor | None:
    """Return one number, or one for each entry of dim 1, in a shape that broadcasts over a batch."""
    if value is None:
        return None
    numbers = torch.as_tensor(value, dtype=torch.float64).flatten()
    channels = tensor.shape[1] if tensor.ndim > 1 else 1
    if len(numbers) not in (1, channels) or not bool(torch.isfinite(numbers).all()):
        raise DataError(
            where=name,
            got=f"{len(numbers)} numbers, {numbers[:4].tolist()}",
            want=f"one finite number, or {channels}: one for each entry of dim 1",
            fix=f"match the input's shape {tuple(tensor.shape)}",
        )
    if len(numbers) == 1:
        return numbers.reshape(())
    return numbers.reshape(channels, *[1] * (tensor.ndim - 2))
