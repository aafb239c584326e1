"""From a source to its batches."""

import torch

from danlu.data.batch import Batches
from danlu.data.dataset import Loader, Samples
from danlu.data.fetching import FetchedBatches
from danlu.data.hosted import kind_for
from danlu.data.loader import LoaderBatches
from danlu.data.sampling import Order, Sampler, order_of
from danlu.data.source import Arrays, Source
from danlu.data.store_batches import StoredBatches
from danlu.data.store_source import Stored
from danlu.errors import DataError


def batches(
    source: Source,
    batch_size: int,
    *,
    device: torch.device | str = "cpu",
    seed: int = 0,
    sampler: Sampler = "in_order",
    workers: int = 0,
    drop_last: bool = False,
) -> Batches:
    """Return the batches of a source.

    Args:
        source: where samples come from. A `Loader` is iterated as it stands: all but `device` and `seed` is its own.
        batch_size: samples per batch. An in-order epoch may have fewer samples than that, any other may not.
        device: where the batches shall be; arrays are moved there once, now, where they find room.
        seed: with the epoch's number it decides the order.
        sampler: "shuffle", "in_order", "balanced", "block_shuffle", or one weight for each sample.
        workers: processes that fetch samples of a `Dataset` (threads, for pictures); its own number counts if larger.
        drop_last: leave out a last batch that is not full.

    Raises:
        DataError: a batch size that does not fit, or what `order_of` raises.

    Cost: float64 columns and those of at most 16 MiB after conversion are converted now, others in each batch.
    """
    where = torch.device(device)
    if isinstance(source, Loader):
        return LoaderBatches(source, where, seed, sampler=sampler)
    order = order_of(source, sampler, seed)
    size = _checked_size(batch_size, order)
    samples = order.samples // size * size if drop_last else order.samples
    if isinstance(source, Samples):
        workers = max(workers, source.workers)
        return FetchedBatches(source, order, samples, batch_size=size, device=where, workers=workers)
    return _of_columns(source, order, samples, size=size, where=where)


def _of_columns(source: Source, order: Order, samples: int, *, size: int, where: torch.device) -> Batches:
    """Return the batches of arrays, or of a stored set, which becomes arrays where it fits in memory."""
    if isinstance(source, Stored):
        resident = source.resident(where)
        if resident is None:
            return StoredBatches(source, order, samples, batch_size=size, device=where)
        source = resident
    if isinstance(source, Arrays):
        return kind_for(source.columns, where)(source, order, samples, batch_size=size, device=where)
    want = "Arrays, Samples, Stored or Loader"
    raise DataError(where="source", got=f"a {type(source).__name__}", want=want, fix="see danlu.data.as_data")


def _checked_size(batch_size: int, order: Order) -> int:
    if batch_size < 1:
        raise DataError(where="batch_size", got=batch_size, want="a whole number >= 1", fix="set batch_size")
    if batch_size > order.samples and order.kind != "in_order":
        raise DataError(
            where="batch_size",
            got=batch_size,
            want=f"at most {order.samples}, the number of training samples",
            fix=f"set batch_size to {order.samples} or less",
        )
    return min(batch_size, order.samples)
