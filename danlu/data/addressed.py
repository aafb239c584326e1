"""Random numbers of one sample: the generators that it may draw from, seeded from (seed, epoch, row)."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np
import torch

from danlu import keyed
from danlu.errors import DataError


class _Address:
    """The sample that is being fetched, and its generator once somebody asked for it."""

    __slots__ = ("epoch", "generator", "row", "seed")

    def __init__(self, seed: int, epoch: int, row: int) -> None:
        self.seed, self.epoch, self.row = seed, epoch, row
        self.generator: np.random.Generator | None = None


_address: ContextVar[_Address | None] = ContextVar("address", default=None)


def rng() -> np.random.Generator:
    """Return the NumPy generator of the sample that is being fetched, for a dataset's `__getitem__` or a transform.

    Its numbers depend on (seed, epoch, sample) alone, not on the process that fetches. All calls for one sample return
    the same generator.

    Raises:
        DataError: no sample is being fetched by danlu in this thread.
    """
    address = _address.get()
    if address is None:
        raise DataError(
            where="danlu.data.rng",
            got="a call while no sample is being fetched",
            want="a call from a Dataset's __getitem__ or from a transform of danlu.data.Samples",
            fix="move it there, or use numpy.random.default_rng(seed) with a seed of your own",
        )
    if address.generator is None:
        address.generator = np.random.default_rng([keyed.number("rng", address.seed), address.epoch, address.row])
    return address.generator


@contextmanager
def addressed(seed: int, epoch: int, row: int) -> Iterator[None]:
    """Seed `random`, `numpy.random`, `torch` and `rng` for one sample. Cost: about 20 us."""
    number = keyed.number("sample", seed, epoch, row)
    random.seed(number)
    np.random.seed(number)
    torch.default_generator.manual_seed(number)
    token = _address.set(_Address(seed, epoch, row))
    try:
        yield
    finally:
        _address.reset(token)


@contextmanager
def own_randomness() -> Iterator[None]:
    """Put the generators of `random`, `numpy.random` and `torch` back where they stood.

    Cost: about 30 us.
    """
    python, legacy, default = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)
        torch.set_rng_state(default)
