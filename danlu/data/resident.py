"""Batches of arrays that lie on the device: gathered, or cut in storage order, and converted there."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, final

import torch
from torch import Tensor

from danlu.data.batch import NamedBatches, first_sample, span
from danlu.data.columns import Batch, Convert, Inputs
from danlu.data.sampling import Order
from danlu.data.source import Arrays, Ids, Keys
from danlu.errors import DataError


@final
class ResidentBatches(NamedBatches):
    """Batches of arrays that lie on the device: one gather per column, or a slice where the order is that of storage.

    Cost: about 2 us of Python per batch; no copy between host and device but the order, 65,536 positions at a time.
    """

    def __init__(self, source: Arrays, order: Order, samples: int, *, batch_size: int, device: torch.device) -> None:
        super().__init__(samples, batch_size, device)
        self._order = order
        self._resident = source.columns.resident(device)
        self._rows = None if source.rows is None else torch.from_numpy(source.rows).to(device)
        self._sliced = order.kind == "in_order" and self._rows is None
        columns = list(zip(self._resident.tensors, self._resident.converters, strict=True))
        self._pick = assemble([_gather(*column) for column in columns], source.keys, source.has_target)
        self._cut = assemble([_slice(*column) for column in columns], source.keys, source.has_target)
        self._views = [tensor for tensor, convert in columns if convert is None] if self._sliced else []
        self._versions = [tensor._version for tensor in self._views]

    def ids(self, epoch: int, position: int) -> Ids:
        """Return the sample ids of one batch."""
        return self._order.ids(epoch, *span(self, position))

    def lists(self, epoch: int, start: int = 0) -> Iterator[Ids]:
        """Yield the sample ids of each batch."""
        return self._order.lists(epoch, first_sample(self, start), self.samples, batch_size=self.batch_size)

    def fetch(self, epoch: int, ids: Ids) -> Batch:
        """Return a batch of any samples. Cost: one small copy of the ids to the device."""
        return self._pick(self._on_device(ids))

    def batch(self, epoch: int, position: int) -> Batch:
        """Return one batch."""
        if self._sliced:
            self._check_unchanged()
            return self._cut(slice(*span(self, position)))
        return self._pick(self._on_device(self.ids(epoch, position)))

    def iterate(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from position `start` on."""
        first = first_sample(self, start)
        return self._slices(first) if self._sliced else self._gathered(epoch, first)

    def close(self) -> None:
        """Do nothing: there are no processes."""

    def _gathered(self, epoch: int, first: int) -> Iterator[Batch]:
        pick, size = self._pick, self.batch_size
        for chunk in self._order.chunks(epoch, first, self.samples, batch_size=size):
            for ids in torch.split(self._on_device(chunk), size):
                yield pick(ids)

    def _slices(self, first: int) -> Iterator[Batch]:
        cut, size = self._cut, self.batch_size
        for start in range(first, self.samples, size):
            self._check_unchanged()
            yield cut(slice(start, min(start + size, self.samples)))

    def _on_device(self, ids: Ids) -> Tensor:
        moved = torch.from_numpy(ids).to(self.device)
        return moved if self._rows is None else self._rows.index_select(0, moved)

    def _check_unchanged(self) -> None:
        """Slices are views of the data: a model that writes into its input would change the data for good."""
        for tensor, version in zip(self._views, self._versions, strict=True):
            if tensor._version != version:
                raise DataError(
                    where="a batch in storage order",
                    got="an operation that changed it in place, and with it the data",
                    want="a model and a loss that leave their inputs as they are",
                    fix="use inplace=False in the first layer, or clone the input, and load the data again",
                )


def _gather(column: Tensor, convert: Convert | None) -> Callable[[Tensor], Tensor]:
    select = partial(column.index_select, 0)
    return select if convert is None else lambda ids: convert(select(ids))


def _slice(column: Tensor, convert: Convert | None) -> Callable[[slice], Tensor]:
    return column.__getitem__ if convert is None else lambda part: convert(column[part])


def assemble(columns: list[Callable[[Any], Tensor]], keys: Keys, has_target: bool) -> Callable[[Any], Batch]:
    """Return a function that makes a batch of a part; the usual case of one input and a target has the least to do."""
    inputs = columns[:-1] if has_target else columns
    form: Callable[[Any], Inputs] = inputs[0]
    if isinstance(keys, int):
        form = partial(_tuple_of, inputs)
    elif keys is not None:
        form = partial(_dict_of, list(zip(keys, inputs, strict=True)))
    if not has_target:
        return lambda part: (form(part), None)
    target = columns[-1]
    return lambda part: (form(part), target(part))


def _tuple_of(columns: list[Callable[[Any], Tensor]], part: Any) -> tuple[Tensor, ...]:
    return tuple(column(part) for column in columns)


def _dict_of(columns: list[tuple[str, Callable[[Any], Tensor]]], part: Any) -> dict[str, Tensor]:
    return {key: column(part) for key, column in columns}
