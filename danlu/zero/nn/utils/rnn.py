"""Sequences of different lengths in one batch: padded to equal length, or packed without padding."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from danlu.zero.arguments import require
from danlu.zero.ops.shape import cat
from danlu.zero.tape import op
from danlu.zero.tensor import Tensor, wrap

Array = npt.NDArray[Any]


class _Packed(NamedTuple):
    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None
    unsorted_indices: Tensor | None


class PackedSequence(_Packed):
    """A batch without padding: rows time by time, longest sequence first; `batch_sizes[t]` sequences have a step t.

    `sorted_indices` says which sequence of the original batch stands where; None: they were sorted already.
    """

    __slots__ = ()

    def __new__(
        cls, data: Tensor, batch_sizes: Tensor, sorted_indices: Any = None, unsorted_indices: Any = None
    ) -> "PackedSequence":
        """Work out `unsorted_indices` where it is not given."""
        back = invert_permutation(sorted_indices) if unsorted_indices is None else unsorted_indices
        return super().__new__(cls, data, batch_sizes, sorted_indices, back)


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """Return the permutation that undoes this one."""
    return None if permutation is None else wrap(np.argsort(permutation._array))


def pack_padded_sequence(
    input: Tensor, lengths: Tensor | Sequence[int], batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Pack padded sequences (T, B, *), or (B, T, *) with `batch_first`; the padding behind each length is left out."""
    sizes = _as_lengths(lengths)
    require(input._array.ndim > 1, "a padded batch has dimensions for time and batch", IndexError, input=input)
    batch, steps = input._array.shape[:2] if batch_first else input._array.shape[1::-1]
    fits = sizes.shape == (batch,) and batch > 0 and sizes.min() > 0 and sizes.max() <= steps
    require(fits, f"a length from 1 to {steps} steps for each of {batch} sequences", lengths=sizes.tolist())
    order = None if enforce_sorted else np.argsort(-sizes, kind="stable")
    sizes = sizes if order is None else sizes[order]
    fits = (sizes[1:] <= sizes[:-1]).all()
    require(fits, "lengths fall, the longest first, unless enforce_sorted=False", lengths=sizes.tolist())
    places, batch_sizes = _places(sizes, order, batch_first)
    orders = () if order is None else (wrap(order), wrap(np.argsort(order)))
    return PackedSequence(_take(input, places), wrap(batch_sizes), *orders)


def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0, total_length: int | None = None
) -> tuple[Tensor, Tensor]:
    """Return a packed batch as (padded (T, B, *), lengths (B)), sequences in their original order."""
    batch_sizes = sequence.batch_sizes._array
    longest, batch = len(batch_sizes), int(batch_sizes[0])
    steps = longest if total_length is None else total_length
    require(steps >= longest, f"total_length is at least the longest, {longest}", ValueError, total_length=steps)
    sizes = np.add.reduce(batch_sizes[:, None] > np.arange(batch), 0, dtype=np.int64)
    order = None if sequence.sorted_indices is None else sequence.sorted_indices._array
    places, _ = _places(sizes, order, batch_first)
    padded = _put(sequence.data, places, (batch, steps) if batch_first else (steps, batch), padding_value)
    back = sequence.unsorted_indices
    return padded, wrap(sizes if back is None else sizes[back._array])


def pad_sequence(
    sequences: Iterable[Tensor], batch_first: bool = False, padding_value: float = 0.0, padding_side: str = "right"
) -> Tensor:
    """Join sequences (L, *) of different lengths into (T, B, *), or (B, T, *) with `batch_first`."""
    tensors = list(sequences) if isinstance(sequences, Iterable) else []
    fits = tensors and padding_side in ("left", "right")
    require(fits, "pad_sequence: tensors and a side, left or right", sequences=sequences, padding_side=padding_side)
    shapes = [t._array.shape for t in tensors]
    fits = all(shape[1:] == shapes[0][1:] for shape in shapes)
    require(fits, "sequences may differ in their first dimension only", shapes=shapes)
    sizes = np.array([shape[0] for shape in shapes])
    steps, batch = int(sizes.max()), len(sizes)
    starts = np.cumsum(sizes) - sizes - (steps - sizes if padding_side == "left" else 0)
    time = np.arange(sizes.sum()) - np.repeat(starts, sizes)
    sequence = np.repeat(np.arange(batch), sizes)
    turn = -1 if batch_first else 1
    return _put(cat(tensors), (time, sequence)[::turn], (steps, batch)[::turn], padding_value)


def pack_sequence(sequences: Sequence[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Pack sequences (L, *) of different lengths."""
    lengths = [t._array.shape[0] for t in sequences]
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def _as_lengths(lengths: Tensor | Sequence[int]) -> Array:
    return np.asarray(lengths._array if isinstance(lengths, Tensor) else lengths).astype(np.int64)


def _places(sizes: Array, order: Array | None, batch_first: bool) -> tuple[tuple[Array, Array], Array]:
    """Return where in the padded batch each packed row stands, and the batch size of each step."""
    alive = sizes > np.arange(sizes[0])[:, None]
    time, sequence = np.nonzero(alive)
    if order is not None:
        sequence = order[sequence]
    batch_sizes = np.add.reduce(alive, 1, dtype=np.int64)
    return ((sequence, time) if batch_first else (time, sequence)), batch_sizes


@op
def _take(x: Any, /, places: tuple[Array, Array]) -> tuple[Any, Any]:
    """y[k] = x[places[k]], no place twice; dx[places[k]] = g[k], 0 elsewhere."""
    shape = x.shape
    return x[places], (lambda g: _spread(g, places, shape, 0),)


@op
def _put(x: Any, /, places: tuple[Array, Array], shape: tuple[int, int], value: float) -> tuple[Any, Any]:
    """y[places[k]] = x[k], `value` elsewhere; dx[k] = g[places[k]]."""
    return _spread(x, places, (*shape, *x.shape[1:]), value), (lambda g: g[places],)


def _spread(x: Array, places: tuple[Array, Array], shape: tuple[int, ...], value: float) -> Array:
    y = np.full(shape, value, x.dtype)
    y[places] = x
    return y
