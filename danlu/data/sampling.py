"""Which sample comes when: an order is a pure function of (seed, epoch, position)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np
import numpy.typing as npt

from danlu import keyed
from danlu.data.block_order import Blocks
from danlu.data.source import Ids, Source
from danlu.errors import DataError, unknown_name

Sampler = str | npt.ArrayLike
NAMES = ("shuffle", "in_order", "balanced", "block_shuffle")


@final
@dataclass(frozen=True)
class Order:
    """The order in which every epoch visits the samples.

    Fields:
        samples: how many samples a source has.
        kind: each once, shuffled; each once, by number; drawn with replacement; or each once, shuffled in windows.
        cumulative: for "weighted", the running sum of the weights.
        blocks: for "block_shuffle", how the set is cut.
    """

    samples: int
    seed: int
    kind: Literal["shuffle", "in_order", "weighted", "block_shuffle"]
    cumulative: npt.NDArray[np.float64] | None = None
    blocks: Blocks | None = None

    def ids(self, epoch: int, start: int, stop: int) -> Ids:
        """Return the sample ids at positions [start, stop) of an epoch."""
        if self.kind == "in_order":
            return np.arange(start, stop, dtype=np.int64)
        if self.cumulative is not None:
            return keyed.weighted(self.seed, epoch, self.cumulative, start, stop)
        if self.blocks is not None:
            return self.blocks.ids(self.seed, epoch, start, stop)
        return keyed.order(self.seed, epoch, self.samples, start, stop)

    def drawn(self, epoch: int, address: int, count: int) -> Ids:
        """Return ids drawn with replacement for somebody's address, each as likely as this order serves it."""
        numbers = keyed.uniform(self.seed, epoch, [address], "stand-in", (count,))[0]
        if self.cumulative is None:
            found: Ids = (numbers * self.samples).astype(np.int64)
        else:
            found = np.searchsorted(self.cumulative, numbers * self.cumulative[-1], side="right").astype(np.int64)
        return found.clip(max=self.samples - 1)

    def chunks(self, epoch: int, start: int, stop: int, *, batch_size: int) -> Iterator[Ids]:
        """Yield the ids at [start, stop), many whole batches at a time: few large calls are far cheaper than many."""
        size = -(-keyed.CHUNK // batch_size) * batch_size
        for first in range(start, stop, size):
            yield self.ids(epoch, first, min(first + size, stop))

    def lists(self, epoch: int, start: int, stop: int, *, batch_size: int) -> Iterator[Ids]:
        """Yield the ids of each batch at [start, stop)."""
        for chunk in self.chunks(epoch, start, stop, batch_size=batch_size):
            yield from (chunk[first : first + batch_size] for first in range(0, len(chunk), batch_size))


def order_of(source: Source, sampler: Sampler, seed: int) -> Order:
    """Return the order that `sampler` asks for.

    Args:
        source: asked for its targets by "balanced".
        sampler: "shuffle", "in_order", "balanced" (every class equally likely, drawn with replacement), "block_shuffle"
            (of a stored set, see `danlu.data.block_order`), or one weight for each sample (drawn with replacement, in
            proportion).
        seed: the run's seed.

    Raises:
        DataError: an unknown name, targets that are unknown or no classes, weights that do not fit.
    """
    samples = len(source)
    if not isinstance(sampler, str):
        return Order(samples, seed, "weighted", np.cumsum(_weights(sampler, samples)))
    if sampler not in NAMES:
        raise unknown_name(DataError, "sampler", sampler, NAMES, "sampler")
    if sampler == "balanced":
        _, class_ids, counts = np.unique(class_targets(source), return_inverse=True, return_counts=True)
        return Order(samples, seed, "weighted", np.cumsum(1.0 / counts[class_ids]))
    if sampler == "block_shuffle":
        return Order(samples, seed, "block_shuffle", blocks=_blocks_of(source))
    return Order(samples, seed, "shuffle" if sampler == "shuffle" else "in_order")


def _blocks_of(source: Source) -> Blocks:
    size = source.block_samples()
    if size is None:
        got, want = f"block_shuffle for {type(source).__name__}", "a stored set, whose samples lie side by side on disk"
        raise DataError(where="sampler", got=got, want=want, fix='use sampler = "shuffle"')
    return Blocks(len(source), size)


def class_targets(source: Source) -> npt.NDArray[Any]:
    """Return one whole number per sample, or raise a DataError where the targets are not known or no classes."""
    targets = source.targets()
    if targets is None:
        raise DataError(
            where="targets",
            got=f"a {type(source).__name__} whose targets are not known without fetching every sample",
            want="known classes, for balanced sampling and stratified splits",
            fix="give the dataset an attribute `targets`, or use sampler='shuffle' and stratify=False",
        )
    if not is_classes(targets):
        raise DataError(
            where="targets",
            got=f"targets of {targets.dtype}, shape {targets.shape}",
            want="one whole number for each sample",
            fix="use sampler='shuffle' and stratify=False for targets that are no classes",
        )
    return targets.reshape(-1)


def is_classes(targets: npt.NDArray[Any]) -> bool:
    """Return whether targets are one whole number (or bool) for each sample."""
    return targets.dtype.kind in "iub" and targets.size == len(targets)


def _weights(sampler: npt.ArrayLike, samples: int) -> npt.NDArray[np.float64]:
    try:
        weights = np.asarray(sampler, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise _bad_weights(f"{type(sampler).__name__}: {error}", samples) from error
    if weights.shape != (samples,):
        raise _bad_weights(f"weights of shape {weights.shape}", samples)
    if not np.isfinite(weights).all() or weights.min() < 0 or not weights.sum() > 0:
        raise _bad_weights(f"weights from {weights.min()} to {weights.max()}", samples)
    return weights


def _bad_weights(got: str, samples: int) -> DataError:
    return DataError(
        where="sampler",
        got=got,
        want=f"one finite weight >= 0 for each of {samples} samples, not all of them 0",
        fix="pass one weight for each sample, or 'shuffle', 'in_order', 'balanced'",
    )
