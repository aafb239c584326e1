"""Batches whose samples are changed at random, each by numbers that follow from (seed, epoch, sample id) alone."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice, tee
from typing import final

import numpy as np
import torch
from torch import Tensor

from danlu import keyed
from danlu.data.augment import make_transforms
from danlu.data.augment_geometry import Transform
from danlu.data.augment_mixing import Mixup, partners
from danlu.data.batch import Batches, Mate, NamedBatches, Served
from danlu.data.columns import Batch, Inputs
from danlu.data.source import Ids
from danlu.device import words
from danlu.errors import DataError
from danlu.recipe import Augment


def augmented(batches: Batches, augment: Sequence[Augment | str], *, seed: int, classes: int = 0) -> Batches:
    """Return batches whose samples are changed at random, in the order of `augment`, on the batches' own device.

    A sample's changes follow from (seed, epoch, sample id) alone: not from the batch it is in, its place there, or the
    number of processes that fetch. A sample that is drawn twice in an epoch is changed in the same way twice, and one
    that stands in for a bad one as it is changed everywhere.

    Args:
        batches: a training set's; their inputs are one floating tensor, pictures (B, C, H, W) where pixels move.
        augment: names or recipe parts; none returns `batches` as they are.
        seed: the run's seed.
        classes: how many there are, for mixup; 0 where nobody knows.

    Raises:
        RecipeError: an unknown name or option.
        DataError: a ready `DataLoader`, whose samples have no ids.

    Cost: a few small kernels for each change; random words are drawn for 65,536 samples at a time.
    """
    transforms = make_transforms(augment)
    if not transforms:
        return batches
    if not isinstance(batches, NamedBatches):
        raise DataError(
            where="augment",
            got="a ready DataLoader, whose samples have no ids",
            want="arrays or a map-style Dataset",
            fix="pass loader.dataset instead of the loader, or augment in its dataset",
        )
    return AugmentedBatches(batches, transforms, seed=seed, classes=classes)


@final
@dataclass(frozen=True)
class Planned:
    """One batch to be: what is fetched for it, and each transform's words for it.

    Fields:
        ids: what is fetched; with mixup the samples of the batch, then their partners.
        words: for each transform, int64 (samples, numbers).
    """

    ids: Ids
    words: tuple[Tensor, ...]


@final
class AugmentedBatches(Batches):
    """Batches of other batches, changed."""

    def __init__(self, plain: NamedBatches, transforms: Sequence[Transform], *, seed: int, classes: int) -> None:
        super().__init__(plain.samples, plain.batch_size, plain.device)
        self._batches, self._transforms, self._seed, self._classes = plain, transforms, seed, classes
        self._mixup = next((i for i, one in enumerate(transforms) if isinstance(one, Mixup)), None)
        self._mate: Mate | None = None
        if self._mixup is not None:
            purpose = f"{self._purpose(self._mixup)} partner"
            self._mate = partial(partners, seed, purpose=purpose, samples=self.samples)
        self.bad, self.hosted = plain.bad, plain.hosted

    def ids(self, epoch: int, position: int) -> Ids:
        """Return the sample ids of one batch."""
        return self._batches.ids(epoch, position)

    def lists(self, epoch: int, start: int = 0) -> Iterator[Ids]:
        """Yield the sample ids of each batch."""
        return self._batches.lists(epoch, start)

    def batch(self, epoch: int, position: int) -> Batch:
        """Return one batch, whatever was iterated before."""
        return self._one(epoch, self.ids(epoch, position), position)

    def fetch(self, epoch: int, ids: Ids) -> Batch:
        """Return a batch of any samples."""
        return self._one(epoch, ids, None)

    def iterate(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from position `start` on."""
        return self.visit(epoch, self.lists(epoch, start), start)

    def visit(self, epoch: int, lists: Iterable[Ids], start: int = 0) -> Iterator[Batch]:
        """Yield a batch of each list of sample ids."""
        planned, asked = tee(self._planned(epoch, lists))
        served = self._batches.serve(epoch, (one.ids for one in asked), start=start, mate=self._mate)
        both = zip(planned, served, strict=True)
        return (self._changed(epoch, plan, made) for plan, made in both if made is not None)

    def close(self) -> None:
        """End worker processes, if there are any."""
        self._batches.close()

    def _one(self, epoch: int, ids: Ids, position: int | None) -> Batch:
        (planned,) = self._drawn(epoch, self._paired(epoch, [ids]))
        return self._changed(
            epoch, planned, self._batches.serve_one(epoch, planned.ids, position=position, mate=self._mate)
        )

    def _planned(self, epoch: int, lists: Iterable[Ids]) -> Iterator[Planned]:
        rest, size = iter(lists), max(1, keyed.CHUNK // self.batch_size)
        while group := list(islice(rest, size)):
            yield from self._drawn(epoch, self._paired(epoch, group))

    def _drawn(self, epoch: int, group: list[Ids]) -> list[Planned]:
        """Draw the words of many batches at once: few large kernels are far cheaper than many small ones."""
        own = group if self._mixup is None else [ids[: len(ids) // 2] for ids in group]
        columns = [
            self._words(epoch, index, group if self._mixup is not None and index < self._mixup else own)
            for index in range(len(self._transforms))
        ]
        return [Planned(ids, words) for ids, words in zip(group, zip(*columns, strict=True), strict=True)]

    def _paired(self, epoch: int, group: list[Ids]) -> list[Ids]:
        """Return what is to be fetched for each batch: with mixup also the partners of its samples."""
        mate = self._mate
        return group if mate is None else [np.concatenate((ids, mate(epoch, ids))) for ids in group]

    def _words(self, epoch: int, index: int, group: list[Ids]) -> tuple[Tensor, ...]:
        ids = torch.from_numpy(np.concatenate(group)).to(self.device)
        count, purpose = self._transforms[index].numbers, self._purpose(index)
        return torch.split(words(self._seed, epoch, ids, purpose=purpose, count=count), [len(one) for one in group])

    def _purpose(self, index: int) -> str:
        return f"augment {index} {type(self._transforms[index]).__name__}"

    def _changed(self, epoch: int, planned: Planned, served: Served) -> Batch:
        if served.ids is not planned.ids and not np.array_equal(served.ids, planned.ids):  # some were bad
            (planned,) = self._drawn(epoch, [served.ids])
        inputs, target = _checked(served.batch[0]), served.batch[1]
        for transform, words_BK in zip(self._transforms, planned.words, strict=True):
            if transform.moves:
                _check_pictures(inputs, target)
            transform.fits(inputs)
            if isinstance(transform, Mixup):
                target = transform.targets(target, words_BK, self._classes)
            inputs = transform(inputs, words_BK)
        return inputs, target


def _checked(inputs: Inputs) -> Tensor:
    if isinstance(inputs, Tensor) and inputs.is_floating_point():
        return inputs
    got = f"inputs of {inputs.dtype}" if isinstance(inputs, Tensor) else f"{len(inputs)} inputs for each sample"
    fix = "return floats from the dataset, such as image / 255" if isinstance(inputs, Tensor) else "leave augment empty"
    raise DataError(where="augment", got=got, want="one floating tensor of inputs", fix=fix)


def _check_pictures(inputs: Tensor, target: Tensor | None) -> None:
    if inputs.ndim != 4:
        got, want = f"inputs of shape {tuple(inputs.shape[1:])}", "pictures: channels, height, width"
        fix = "give the arrays the shape (N, C, H, W), or use noise or mixup, which take any shape"
        raise DataError(where="augment", got=got, want=want, fix=fix)
    if target is not None and target.ndim > 2:
        got, want = f"targets of shape {tuple(target.shape[1:])}", "targets that do not move with the pixels"
        fix = "augment inputs and targets together, in a Dataset of your own"
        raise DataError(where="augment", got=got, want=want, fix=fix)
