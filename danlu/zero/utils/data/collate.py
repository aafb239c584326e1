"""How samples become a batch."""

import copy
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

import numpy as np

from danlu.zero.ops.shape import stack
from danlu.zero.tape import Mode
from danlu.zero.tensor import Tensor, wrap


def default_collate(batch: Sequence[Any]) -> Any:
    """Stack samples: tensors, arrays and numbers to tensors, dicts, tuples and lists by their parts; strings stay.

    Raises:
        TypeError: for any other type.
        RuntimeError: tensors of different shapes, or lists of different lengths.
    """
    first = batch[0]
    if isinstance(first, Tensor):
        return _stacked(batch)
    if isinstance(first, str | bytes):
        return batch
    if isinstance(first, Mapping):
        return _mapping(first, {key: default_collate([sample[key] for sample in batch]) for key in first})
    if isinstance(first, Sequence):
        if any(len(sample) != len(first) for sample in batch):
            raise RuntimeError("each element in list of batch should be of equal size")
        return _sequence(first, [default_collate(parts) for parts in zip(*batch, strict=True)])
    if isinstance(first, float):
        return wrap(np.array(batch, np.float64))
    if isinstance(first, int):  # bools are integers to Python, not to tensors
        return wrap(np.array(batch, np.bool_ if all(isinstance(value, bool) for value in batch) else np.int64))
    tensors = [default_convert(sample) for sample in batch]
    if not isinstance(tensors[0], Tensor):
        raise TypeError(
            "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; "
            f"found {type(first)}; pass a collate_fn for it"
        )
    return _stacked(tensors)


def default_convert(data: Any) -> Any:
    """Turn the arrays in one sample into tensors, and leave the rest; used where there are no batches."""
    if isinstance(data, np.ndarray | np.bool_ | np.number):
        return data if data.dtype.kind in "USO" else wrap(np.asarray(data))
    if isinstance(data, Mapping):
        return _mapping(data, {key: default_convert(value) for key, value in data.items()})
    if isinstance(data, Sequence) and not isinstance(data, str | bytes):
        return _sequence(data, [default_convert(value) for value in data])
    return data


def _stacked(tensors: Sequence[Tensor]) -> Tensor:
    if Mode.record and any(tensor.requires_grad for tensor in tensors):
        return stack(tensors)
    shapes = [tensor._array.shape for tensor in tensors]
    if shapes.count(shapes[0]) != len(shapes):
        raise RuntimeError(f"samples of a batch need one shape, but they have {sorted(set(shapes))}")
    return wrap(np.stack([tensor._array for tensor in tensors]))


def _mapping(like: Any, parts: dict[Any, Any]) -> Any:
    """Return parts in a mapping of the same kind where one can be made by a copy, as it may have fields of its own."""
    if not isinstance(like, MutableMapping):
        return parts
    clone = copy.copy(like)
    clone.update(parts)
    return clone


def _sequence(like: Any, parts: list[Any]) -> Any:
    """Return parts in a named tuple of the same kind, or else in a list."""
    return type(like)(*parts) if isinstance(like, tuple) and type(like) is not tuple else parts
