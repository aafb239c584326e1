import os
import random
import signal
import time

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, Dataset, IterableDataset, Subset, TensorDataset

from danlu.data import Arrays, Loader, Samples, batches
from danlu.data.dataset import known_targets
from danlu.errors import DataError

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than cores, on purpose


class Drawing(Dataset):
    """Every sample draws from all three generators."""

    def __init__(self, n: int = 40) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        drawn = [random.random(), np.random.rand(), torch.rand(()).item()]
        return torch.tensor([index, *drawn]), index

    def __getitems__(self, ids: list[int]) -> None:
        raise AssertionError("samples are to be fetched one by one")


class Failing(Drawing):
    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        if index == 17:
            raise KeyError("no such picture")
        return super().__getitem__(index)


class Reporting(Drawing):
    """Samples tell which process fetched them, with which threads and signals."""

    def __getitem__(self, index: int) -> dict:
        ignored = [signal.getsignal(kind) == signal.SIG_IGN for kind in (signal.SIGINT, signal.SIGTERM)]
        return {"pid": os.getpid(), "threads": torch.get_num_threads(), "ignored": sum(ignored), "y": index}


def epochs_of(made: object, epochs: int = 2, start: int = 0) -> list:
    return [pair for epoch in range(epochs) for pair in made.iterate(epoch, start)]


def same(first: list, second: list) -> bool:
    assert len(first) == len(second) > 0
    return all(torch.equal(a, b) and torch.equal(x, y) for (a, x), (b, y) in zip(first, second, strict=True))


@pytest.mark.parametrize("workers", [1, 4])
def test_workers_change_nothing(workers: int) -> None:
    alone = batches(Samples(Drawing()), 7, seed=5, sampler="shuffle")
    many = batches(Samples(Drawing(), workers=workers), 7, seed=5, sampler="shuffle")
    try:
        assert same(epochs_of(alone), epochs_of(many))
        assert same(epochs_of(alone, start=2), epochs_of(many, start=2))
        assert same([alone.batch(1, 3)], [many.batch(1, 3)])
        assert same([alone.batch(1, 3)], [list(alone.iterate(1))[3]])
    finally:
        many.close()


def test_the_order_is_that_of_arrays() -> None:
    n = 40
    resident = batches(Arrays(np.zeros(n), np.arange(n)), 7, seed=5, sampler="shuffle")
    fetched = batches(Samples(Drawing(n)), 7, seed=5, sampler="shuffle")
    for epoch in range(2):
        for position, ((_, wanted), (_, got)) in enumerate(
            zip(resident.iterate(epoch), fetched.iterate(epoch), strict=True)
        ):
            assert torch.equal(wanted, got)
            assert fetched.ids(epoch, position).tolist() == got.tolist()
    assert not same(list(fetched.iterate(0)), list(fetched.iterate(1)))


def test_a_sample_draws_the_same_in_any_part_batch_or_process() -> None:
    whole = batches(Samples(Drawing()), 40, seed=1).batch(0, 0)[0]
    part = batches(Samples(Drawing()).take([30, 4, 9]), 2, seed=1)
    rows = torch.cat([inputs for inputs, _ in part.iterate(0)])
    assert torch.equal(rows, whole[[30, 4, 9]])
    assert len(np.unique(whole[:, 1])) == 40
    assert not torch.equal(batches(Samples(Drawing()), 40, seed=1).batch(1, 0)[0], whole)


def test_the_callers_generators_stay_where_they_stood() -> None:
    made = batches(Samples(Drawing()), 7, sampler="shuffle")
    workers = batches(Samples(Drawing()), 7, sampler="shuffle", workers=1)
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    wanted = (random.random(), np.random.rand(), torch.rand(()).item())
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    epochs_of(made), epochs_of(workers)
    workers.close()
    assert (random.random(), np.random.rand(), torch.rand(()).item()) == wanted


def test_workers_ignore_signals_use_one_thread_and_end() -> None:
    made = batches(Samples(Reporting(), workers=2), 5)
    pids = set()
    for inputs, _ in made.iterate(0):
        assert inputs["threads"].unique().tolist() == [1]
        assert inputs["ignored"].unique().tolist() == [2]
        pids |= set(inputs["pid"].tolist())
    assert len(pids) == 2
    assert os.getpid() not in pids
    again = {pid for inputs, _ in made.iterate(1) for pid in inputs["pid"].tolist()}
    assert again == pids  # they stay for the next epoch
    made.close()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    fresh = {pid for inputs, _ in made.iterate(0) for pid in inputs["pid"].tolist()}
    assert fresh.isdisjoint(pids)
    del inputs, made  # dropping the batches ends them too
    deadline = time.monotonic() + 5
    while any(os.path.exists(f"/proc/{pid}") for pid in fresh):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_an_epoch_dropped_in_the_middle_leaves_nothing_behind() -> None:
    made = batches(Samples(Drawing(), workers=2), 7, sampler="shuffle")
    try:
        first = made.iterate(0)
        next(first)
        assert same(list(made.iterate(1)), list(batches(Samples(Drawing()), 7, sampler="shuffle").iterate(1)))
        with pytest.raises(DataError, match="one epoch at a time"):
            next(first)
    finally:
        made.close()


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_says_which_sample(workers: int) -> None:
    made = batches(Samples(Failing(), workers=workers), 5)
    with pytest.raises(DataError, match="sample 17, batch 3 of epoch 2: got KeyError: 'no such picture'") as caught:
        list(made.iterate(2))
    assert isinstance(caught.value.__cause__, KeyError)
    assert "batch 3 of epoch 2, sample ids 15, 16, 17, 18, 19" in "".join(caught.value.__notes__)
    with pytest.raises(DataError):  # and workers can start again
        list(made.iterate(0))
    made.close()


def test_balanced_uses_targets_that_are_known() -> None:
    y = torch.tensor([0] * 90 + [1] * 10)
    made = batches(Samples(TensorDataset(torch.zeros(100, 2), y)), 100, sampler="balanced")
    drawn = torch.cat([target for epoch in range(20) for _, target in made.iterate(epoch)])
    assert abs(drawn.float().mean().item() - 0.5) < 0.05  # standard error 0.011
    with pytest.raises(DataError, match="not known"):
        batches(Samples(Drawing()), 5, sampler="balanced")


def test_known_targets() -> None:
    tensors = TensorDataset(torch.zeros(4, 2), torch.tensor([3, 1, 2, 0]))
    assert known_targets(tensors).tolist() == [3, 1, 2, 0]
    assert known_targets(TensorDataset(torch.zeros(4, 2))) is None
    assert known_targets(Subset(tensors, [3, 0])).tolist() == [0, 3]
    assert known_targets(ConcatDataset([tensors, Subset(tensors, [0])])).tolist() == [3, 1, 2, 0, 3]
    assert known_targets(ConcatDataset([tensors, Drawing(2)])) is None
    pictures = Drawing(3)
    for targets in ([0, 1, 2], torch.arange(3), np.arange(3)):
        pictures.targets = targets
        assert known_targets(pictures).tolist() == [0, 1, 2]
        assert Samples(pictures).take([2, 0]).targets().tolist() == [2, 0]
    for wrong in ([0, 1], "abc", ["a", "b", "c"], None):
        pictures.targets = wrong
        assert known_targets(pictures) is None


def test_collate_and_target_name() -> None:
    made = batches(Samples(Reporting(), target="threads"), 4)
    inputs, target = made.batch(0, 0)
    assert set(inputs) == {"pid", "ignored", "y"}
    assert target.shape == (4,)
    summed = batches(Samples(Drawing(), collate_fn=lambda rows: torch.stack([row[0] for row in rows]).sum(0)), 4)
    assert summed.batch(0, 0)[0].shape == (4,)


def test_sets_that_cannot_be_fetched_from() -> None:
    class Stream(IterableDataset):
        def __iter__(self) -> object:
            return iter(range(3))

    class Endless(Dataset):
        def __getitem__(self, index: int) -> int:
            return index

    with pytest.raises(DataError, match="pass a DataLoader"):
        Samples(Stream())
    with pytest.raises(DataError, match="define __len__"):
        Samples(Endless())
    with pytest.raises(DataError, match="an empty set"):
        Samples(Drawing(0))
    with pytest.raises(DataError, match="batch_size"):
        batches(Samples(Drawing(5)), 6, sampler="shuffle")
    with pytest.raises(DataError, match="unknown length"):
        Loader(torch.utils.data.DataLoader(Stream()))
