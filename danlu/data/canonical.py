"""One form for what a collate function returns: `(inputs, target)`."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from danlu.data.columns import Batch, Convert, Inputs
from danlu.data.fresh import fresh
from danlu.errors import DataError
from danlu.recipe import Normalise

TARGET_KEYS = ("target", "label", "labels", "y")


def pair(collated: Any, target: str | None = None) -> Batch:
    """Return `(inputs, target)`.

    A pair stays as it is; of a longer tuple or list the last entry is the target; of a dict the entry `target`, or the
    one of `TARGET_KEYS` that it has; a lone tensor has no target.

    Raises:
        DataError: anything else, or entries that are not tensors.
    """
    if isinstance(collated, Tensor):
        return collated, None
    if isinstance(collated, Mapping):
        return _from_dict(collated, target)
    if isinstance(collated, tuple | list) and collated:
        *first, last = collated
        if not first:
            return _inputs(last), None
        return _inputs(first[0] if len(first) == 1 else first), _tensor("target", last)
    raise DataError(
        where="a batch",
        got=f"a {type(collated).__name__}",
        want="(inputs, target), a dict of tensors, or a tensor",
        fix="return one of these from the dataset or from collate_fn",
    )


def settle(batch: Batch, device: torch.device, convert: Convert | None = None) -> Batch:
    """Move a batch to `device`; float64 becomes the default dtype, and targets of whole numbers or bool int64.

    With `convert` a single tensor of inputs is changed there; several are a DataError.
    """
    inputs, target = batch
    moved: Inputs
    if isinstance(inputs, Tensor):
        moved = _plain(inputs, device)
    elif isinstance(inputs, dict):
        moved = {key: _plain(value, device) for key, value in inputs.items()}
    else:
        moved = tuple(_plain(value, device) for value in inputs)
    if convert is not None:
        moved = convert(only(moved))
    if target is None:
        return moved, None
    whole = not target.dtype.is_floating_point and not target.dtype.is_complex
    return moved, target.to(device, torch.int64, non_blocking=True) if whole else _plain(target, device)


def converter(by: Normalise | None, device: torch.device, *, pixels: bool = False) -> Convert | None:
    """Return what normalises a batch of inputs on `device`, `pixels` after making them 0 to 1; None for nothing."""
    if by is None:
        return _from_pixels if pixels else None
    mean, std = (torch.tensor(numbers, dtype=torch.get_default_dtype()).to(device) for numbers in (by.mean, by.std))

    def convert(inputs: Tensor) -> Tensor:
        if pixels:
            return _from_pixels(inputs).sub_(_spread(mean, inputs)).div_(_spread(std, inputs))
        return (inputs - _spread(mean, inputs)) / _spread(std, inputs)

    return convert


def _from_pixels(inputs: Tensor) -> Tensor:
    dtype = torch.get_default_dtype()
    if inputs.device.type == "cpu":
        return fresh(inputs.shape, dtype).copy_(inputs).mul_(1 / 255)
    return inputs.to(dtype).mul_(1 / 255)


def only(inputs: Inputs) -> Tensor:
    """Return inputs that are one tensor; a DataError where they are several."""
    if isinstance(inputs, Tensor):
        return inputs
    fix = "leave data.normalise out, and normalise in the dataset"
    raise DataError(where="data.normalise", got=f"{len(inputs)} inputs for each sample", want="a single one", fix=fix)


def _plain(tensor: Tensor, device: torch.device) -> Tensor:
    dtype = torch.get_default_dtype() if tensor.dtype == torch.float64 else tensor.dtype
    return tensor.to(device, dtype, non_blocking=True)


def _spread(numbers: Tensor, inputs: Tensor) -> Tensor:
    """Return numbers in a shape that broadcasts over a batch."""
    if numbers.numel() == 1:
        return numbers
    channels = inputs.shape[1] if inputs.ndim > 1 else 1
    if numbers.numel() != channels:
        raise DataError(
            where="data.normalise",
            got=f"{numbers.numel()} numbers for inputs of shape {tuple(inputs.shape[1:])}",
            want=f"one number, or {channels}",
            fix="give one for each channel",
        )
    return numbers.view(-1, *[1] * (inputs.ndim - 2))


def _from_dict(collated: Mapping[Any, Any], target: str | None) -> Batch:
    keys = [target] if target is not None else [key for key in TARGET_KEYS if key in collated]
    if not keys or keys[0] not in collated:
        raise DataError(
            where="a batch",
            got=f"a dict of {', '.join(map(repr, collated))}",
            want=f"the target under {target!r}" if target else f"the target under one of {', '.join(TARGET_KEYS)}",
            fix="name it: Samples(dataset, target='...')",
        )
    inputs = {str(key): _tensor(repr(key), value) for key, value in collated.items() if key != keys[0]}
    return inputs, _tensor(repr(keys[0]), collated[keys[0]])


def _inputs(value: Any) -> Inputs:
    if isinstance(value, Mapping):
        return {str(key): _tensor(repr(key), part) for key, part in value.items()}
    if isinstance(value, tuple | list):
        return tuple(_tensor(f"inputs[{index}]", part) for index, part in enumerate(value))
    return _tensor("inputs", value)


def _tensor(name: str, value: Any) -> Tensor:
    if not isinstance(value, Tensor):
        raise DataError(
            where=f"{name} of a batch",
            got=f"a {type(value).__name__}",
            want="a tensor",
            fix="return numbers of the same shape for every sample, or pass a collate_fn that makes a tensor",
        )
    return value
