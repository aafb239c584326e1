"""Batches of arrays that stay in host memory, for want of room on the device: gathered there and copied one ahead."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, final

import torch
from torch import Tensor

from danlu.data.batch import Mate, NamedBatches, Served, first_sample, span
from danlu.data.columns import Batch, Columns, Convert
from danlu.data.resident import ResidentBatches, assemble
from danlu.data.sampling import Order
from danlu.data.source import Arrays, Ids
from danlu.device import Copier, Sent, room_for_data


@final
class HostedBatches(NamedBatches):
    """Batches of arrays that stay in host memory; the numbers are those of `ResidentBatches`, whatever the device.

    While one batch is used the next is on its way. Its rows are converted on the device, so that pixels travel small.

    Cost: a gather on the CPU per batch, and two page-locked buffers of a batch; no sync.
    """

    hosted = True

    def __init__(self, source: Arrays, order: Order, samples: int, *, batch_size: int, device: torch.device) -> None:
        super().__init__(samples, batch_size, device)
        self._order = order
        self._rows = None if source.rows is None else torch.from_numpy(source.rows)
        columns = source.columns
        rules = zip(columns.tensors, columns.rules, strict=True)
        converters = [rule.converter(one.dtype, device) for one, rule in rules]
        picks: list[Callable[[Any], Tensor]] = [partial(_converted, i, convert) for i, convert in enumerate(converters)]
        self._made = assemble(picks, source.keys, source.has_target)
        self._copier = Copier(columns.tensors, device)

    def ids(self, epoch: int, position: int) -> Ids:
        """Return the sample ids of one batch."""
        return self._order.ids(epoch, *span(self, position))

    def lists(self, epoch: int, start: int = 0) -> Iterator[Ids]:
        """Yield the sample ids of each batch."""
        return self._order.lists(epoch, first_sample(self, start), self.samples, batch_size=self.batch_size)

    def fetch(self, epoch: int, ids: Ids) -> Batch:
        """Return a batch of any samples."""
        return self._received(self._sent(ids))

    def batch(self, epoch: int, position: int) -> Batch:
        """Return one batch."""
        return self.fetch(epoch, self.ids(epoch, position))

    def iterate(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from position `start` on."""
        return self.visit(epoch, self.lists(epoch, start), start)

    def visit(self, epoch: int, lists: Iterable[Ids], start: int = 0) -> Iterator[Batch]:
        """Yield a batch of each list of sample ids; the next one is under way meanwhile."""
        return (served.batch for served in self.serve(epoch, lists))

    def serve(self, epoch: int, lists: Iterable[Ids], *, start: int = 0, mate: Mate | None = None) -> Iterator[Served]:
        """Yield a batch of each list of sample ids, and these; the next one is under way meanwhile."""
        ahead: tuple[Sent, Ids] | None = None
        for ids in lists:
            sent = self._sent(ids), ids
            if ahead is not None:
                yield Served(self._received(ahead[0]), ahead[1])
            ahead = sent
        if ahead is not None:
            yield Served(self._received(ahead[0]), ahead[1])

    def close(self) -> None:
        """Do nothing: there are no processes."""

    def _sent(self, ids: Ids) -> Sent:
        chosen = torch.from_numpy(ids)
        return self._copier.send(chosen if self._rows is None else self._rows.index_select(0, chosen))

    def _received(self, sent: Sent) -> Batch:
        return self._made(self._copier.receive(sent))


def _converted(index: int, convert: Convert | None, tensors: Sequence[Tensor]) -> Tensor:
    return tensors[index] if convert is None else convert(tensors[index])


def kind_for(columns: Columns, device: torch.device) -> type[ResidentBatches] | type[HostedBatches]:
    """Return which batches serve columns on a device: resident ones where the columns find room there."""
    room = room_for_data(device)
    fits = room is None or columns.is_resident(device) or sum(one.nbytes for one in columns.tensors) <= room
    return ResidentBatches if fits else HostedBatches
