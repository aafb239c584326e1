"""Normalising inputs: statistics of a training set, and the same numbers applied to every set."""

import copy
import math
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import torch
from torch import Tensor

from danlu.data.batching import batches
from danlu.data.canonical import only
from danlu.data.dataset import Loader, Samples, pictures_of
from danlu.data.sets import Data
from danlu.data.source import Arrays, Source
from danlu.data.store_source import Stored
from danlu.errors import DataError
from danlu.recipe import Normalise

ROWS = 1024  # samples that are looked at together
PIXELS = 1 << 22  # numbers of pictures that are looked at together


def normalised(source: Source, by: Normalise) -> Source:
    """Return a source whose inputs are normalised; one that is normalised by the same numbers is left as it is.

    Raises:
        DataError: several inputs, or other numbers than those that it is normalised by already.
    """
    if not isinstance(source, Arrays | Samples | Loader | Stored):
        got = f"a {type(source).__name__}"
        raise DataError(where="data.normalise", got=got, want="Arrays, Samples, Stored or Loader", fix="leave it out")
    if source.normalise == by:
        return source
    if isinstance(source, Arrays | Stored):
        return source.normalised(by)
    other = copy.copy(source)
    other.normalise = by
    return other


def normalised_sets(data: Data, by: Normalise) -> Data:
    """Return data whose every set is normalised by the same numbers."""
    valid = {name: normalised(source, by) for name, source in data.valid.items()}
    test = None if data.test is None else normalised(data.test, by)
    return replace(data, train=normalised(data.train, by), valid=valid, test=test)


def statistics(source: Source, *, workers: int = 0) -> Normalise:
    """Return mean and standard deviation of a set's inputs, as they are before they are normalised.

    There is one pair for each entry of dim 1 (feature, channel) where inputs are (N, F), (N, C, H, W) or larger, else
    one for all numbers. A feature that never changes gets the standard deviation 1.

    Bad samples that may be skipped or replaced are left out; none of them becomes known to anybody else.

    Raises:
        DataError: several inputs, NaN, a bad sample where none may be, or more than the quota allows.

    Cost: one pass over the set, on the CPU; every sample of a `Dataset` is fetched.
    """
    count, mean, squares = 0, torch.zeros(()), torch.zeros(())
    for inputs in _all_inputs(source, workers):
        wide = _by_channel(inputs.double())
        own, own_mean = wide.shape[1], wide.mean(1)
        gap, total = own_mean - mean, count + own
        squares = squares + (wide - own_mean.unsqueeze(1)).square().sum(1) + gap.square() * (count * own / total)
        mean, count = mean + gap * (own / total), total
    std = (squares / count).sqrt()
    if not bool(torch.isfinite(std).all()):
        fix = "drop these samples or fill them in"
        raise DataError(where="data.normalise", got="NaN or infinity in the inputs", want="finite numbers", fix=fix)
    constant = std <= 1e-6 * mean.abs()  # what is left of it is rounding
    return Normalise(mean.tolist(), torch.where(constant, 1.0, std).tolist())


def _all_inputs(source: Source, workers: int) -> Iterator[Tensor]:
    source, pictures = source.skipping() if isinstance(source, Samples | Stored) else source, pictures_of(source)
    rows = ROWS if pictures is None else max(1, PIXELS // math.prod(pictures.form))
    with closing(batches(source, rows, workers=workers)) as made:
        if made.bad is not None:
            made.bad.name = "train"
        yield from (only(inputs) for inputs, _ in made.iterate(0))


def _by_channel(inputs: Tensor) -> Tensor:
    """Return numbers in one row for each channel, or all of them in one row."""
    apart = inputs.ndim == 2 or inputs.ndim >= 4
    return inputs.movedim(1, 0).reshape(inputs.shape[1], -1) if apart else inputs.reshape(1, -1)
