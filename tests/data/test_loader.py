import numpy as np
import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from danlu.data import Loader, batches
from danlu.errors import DataError

SET = TensorDataset(torch.arange(20.0)[:, None], torch.arange(20))


def order(made: object, epoch: int, start: int = 0) -> list[int]:
    return torch.cat([target for _, target in made.iterate(epoch, start)]).tolist()


@pytest.mark.parametrize(
    "make",
    [
        lambda: DataLoader(SET, 3, shuffle=True),
        lambda: DataLoader(SET, 3, shuffle=True, generator=torch.Generator()),
        lambda: DataLoader(SET, 3, sampler=RandomSampler(SET, generator=torch.Generator())),
        lambda: DataLoader(SET, batch_sampler=BatchSampler(RandomSampler(SET, generator=torch.Generator()), 3, False)),
        lambda: DataLoader(SET, 3, sampler=WeightedRandomSampler(torch.ones(20), 20)),
    ],
)
def test_two_runs_with_a_seed_agree(make: object) -> None:
    first, second = (batches(Loader(make()), 1, seed=4) for _ in range(2))
    torch.rand(5)
    wanted = [order(first, epoch) for epoch in (0, 1)]
    torch.rand(7)
    assert [order(second, epoch) for epoch in (0, 1)] == wanted
    assert wanted[0] != wanted[1]
    assert order(batches(Loader(make()), 1, seed=5), 0) != wanted[0]
    assert order(second, 1, start=4) == wanted[1][12:]
    assert second.batch(0, 2)[1].tolist() == wanted[0][6:9]
    assert (len(first), first.batch_size, first.samples) == (7, 3, 20)


def test_sizes_are_the_loaders() -> None:
    dropping = batches(Loader(DataLoader(SET, 3, drop_last=True)), 99)
    assert (len(dropping), dropping.samples) == (6, 18)
    unbatched = batches(Loader(DataLoader(SET, batch_size=None)), 99)
    assert (len(unbatched), unbatched.batch_size, unbatched.samples) == (20, 1, 20)
    few = batches(Loader(DataLoader(SET, 4, sampler=WeightedRandomSampler(torch.ones(20), 10))), 99)
    assert (len(few), few.samples) == (3, 10)


def test_streams_of_known_length_and_dicts() -> None:
    class Stream(IterableDataset):
        def __len__(self) -> int:
            return 5

        def __iter__(self) -> object:
            return iter({"a": np.float64(i), "kind": i} for i in range(5))

    made = batches(Loader(DataLoader(Stream(), 2), target="kind"), 1)
    inputs, target = made.batch(0, 1)
    assert inputs["a"].dtype == torch.float32
    assert target.tolist() == [2, 3]


def test_what_a_ready_loader_cannot_do() -> None:
    source = Loader(DataLoader(SET, 3))
    with pytest.raises(DataError, match=r"pass loader\.dataset"):
        source.take([1])
    with pytest.raises(DataError, match="order"):
        batches(source, 3).ids(0, 0)
    for sampler in ("balanced", np.ones(20)):
        with pytest.raises(DataError, match="own order"):
            batches(source, 3, sampler=sampler)
    with pytest.raises(IndexError):
        batches(source, 3).batch(0, 7)
    assert source.targets() is None
