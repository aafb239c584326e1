"""The loader: the same batches as PyTorch's on the same indices, with and without workers, and no process left."""

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
import torch
from torch.utils import data as torch_data

from danlu.zero import random
from danlu.zero.tensor import Tensor, wrap
from danlu.zero.utils import data

X, Y = np.random.default_rng(0).normal(size=(23, 2, 3)).astype(np.float32), np.arange(23)


@pytest.fixture(autouse=True)
def no_process_left():
    yield
    gc.collect()
    assert multiprocessing.active_children() == []


def arrays(batches):
    return [[part._array if isinstance(part, Tensor) else part.numpy() for part in batch] for batch in batches]


def same(left, right):
    left, right = arrays(left), arrays(right)
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y, strict=True)


class Reversed(data.Sampler):
    """One of your own."""

    def __init__(self, length):
        self.length = length

    def __iter__(self):
        return iter(range(self.length - 1, -1, -1))

    def __len__(self):
        return self.length


class Slow(data.Dataset):
    """The same samples one by one, by a data set of one's own."""

    def __len__(self):
        return len(X)

    def __getitem__(self, i):
        return X[i], int(Y[i])


OPTIONS = [
    {},
    {"batch_size": 5},
    {"batch_size": 5, "drop_last": True},
    {"batch_size": 23},
    {"batch_size": 100},
    {"batch_size": 100, "drop_last": True},
    {"batch_size": None},
    {"batch_size": 4, "sampler": Reversed(23)},
    {"batch_sampler": [[3, 1], [22], [0, 0, 5]]},
    {"batch_size": 3, "sampler": [5, 1, 2, 2]},
    {"batch_size": 4, "collate_fn": lambda samples: [samples[0][0], samples[-1][1]]},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_batches_are_pytorchs(options):
    pairs = data.TensorDataset(wrap(X), wrap(Y)), torch_data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    ours, theirs = data.DataLoader(pairs[0], **options), torch_data.DataLoader(pairs[1], **options)
    same(ours, theirs)
    assert len(ours) == len(theirs) == len(list(ours))
    subsets = (
        data.Subset(data.Subset(pairs[0], range(22, -1, -1)), range(23)),
        torch_data.Subset(pairs[1], range(22, -1, -1)),
    )
    same(data.DataLoader(subsets[0], **options), torch_data.DataLoader(subsets[1], **options))
    if options.get("batch_size", 1) and "collate_fn" not in options:
        same(data.DataLoader(Slow(), **options), theirs)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("dataset", [data.TensorDataset(wrap(X), wrap(Y)), Slow()])
def test_workers_bring_the_same_batches_in_the_same_order(dataset, shuffle, workers):
    epochs = []
    for count in (0, workers):
        random.manual_seed(5)
        loader = data.DataLoader(dataset, 4, shuffle=shuffle, num_workers=count)
        epochs.append([*loader, *loader])
    same(*epochs)
    assert all(part._array.dtype is np.dtype(part._array.dtype.type) for part in epochs[1][0])


def test_shuffle_is_repeatable_and_gathering_is_as_one_by_one():
    def epochs(dataset, **options):
        loader = data.DataLoader(dataset, 4, shuffle=True, generator=random.Generator().manual_seed(2), **options)
        return [*loader, *loader]

    gathered = epochs(data.TensorDataset(wrap(X), wrap(Y)))
    same(gathered, epochs(data.TensorDataset(wrap(X), wrap(Y))))
    same(gathered, epochs(Slow()))
    order = np.concatenate([y._array for _, y in gathered])
    assert sorted(order[:23]) == sorted(order[23:]) == list(range(23))
    assert order[:23].tolist() != order[23:].tolist()


def test_a_batch_is_a_copy():
    source = X.copy()
    for batch, _ in data.DataLoader(data.TensorDataset(wrap(source), wrap(Y)), 8):
        batch._array[...] = 0
    np.testing.assert_array_equal(source, X)


class Count(data.IterableDataset):
    def __init__(self, length, share=False):
        self.length, self.share = length, share

    def __iter__(self):
        info = data.get_worker_info()
        if self.share and info is not None:
            return iter(range(info.id, self.length, info.num_workers))
        return iter(range(self.length))

    def __len__(self):
        return self.length


class TorchCount(torch_data.IterableDataset):
    def __init__(self, length, share=False):
        self.length, self.share = length, share

    def __iter__(self):
        info = torch_data.get_worker_info()
        return iter(range(info.id, self.length, info.num_workers) if self.share and info else range(self.length))

    def __len__(self):
        return self.length


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("options", [{"batch_size": 4}, {"batch_size": 4, "drop_last": True}, {"batch_size": None}])
def test_iterable_data_sets(options, workers):
    ours = data.DataLoader(Count(11, share=True), num_workers=workers, **options)
    theirs = torch_data.DataLoader(TorchCount(11, share=True), num_workers=workers, **options)
    mine, other = list(ours), list(theirs)
    if options["batch_size"]:
        same([[x] for x in mine], [[x] for x in other])
    else:
        assert mine == other
    assert len(ours) == len(theirs)


class Who(data.Dataset):
    """What a worker knows of itself."""

    def __len__(self):
        return 6

    def __getitem__(self, i):
        info = data.get_worker_info()
        drawn = random.default().np.integers(1 << 30)
        return {"id": info.id, "of": info.num_workers, "seed": info.seed, "pid": os.getpid(), "drawn": int(drawn)}


def first_of_each(loader):
    return [{k: v._array.tolist() for k, v in batch.items()} for batch in loader][:2]


def test_workers_know_their_number_and_draw_their_own_numbers():
    assert data.get_worker_info() is None
    random.manual_seed(1)
    loader = data.DataLoader(Who(), 3, num_workers=2)
    one, two = first_of_each(loader)
    assert (one["id"], two["id"], one["of"]) == ([0] * 3, [1] * 3, [2] * 3)
    assert two["seed"][0] == one["seed"][0] + 1
    assert one["drawn"] != two["drawn"]
    random.manual_seed(1)
    assert first_of_each(data.DataLoader(Who(), 3, num_workers=2))[1]["drawn"] == two["drawn"]


class Faulty(data.Dataset):
    def __init__(self, fault):
        self.fault = fault

    def __len__(self):
        return 8

    def __getitem__(self, i):
        return self.fault() if i == 5 else i


class OddError(Exception):
    def __init__(self, one, two):
        super().__init__(one, two)


def raising(error):
    def fault():
        raise error

    return fault


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ValueError("bad sample"), ValueError),
        (KeyError("bad sample"), KeyError),
        (OddError("bad sample", 2), RuntimeError),
    ],
)
def test_an_exception_in_a_worker_is_raised_here_with_its_traceback(error, kind):
    loader = data.DataLoader(Faulty(raising(error)), 2, num_workers=2)
    seen = []
    with pytest.raises(kind, match=r"(?s)in DataLoader worker process 0.*in fault\n.*bad sample"):
        seen.extend(batch._array.tolist() for batch in loader)
    assert seen == [[0, 1], [2, 3]]


def test_a_worker_that_dies_is_an_error():
    with pytest.raises(RuntimeError, match=r"worker \(pid \d+\) exited unexpectedly, with exit code -9"):
        list(data.DataLoader(Faulty(lambda: os.kill(os.getpid(), signal.SIGKILL)), 2, num_workers=2))
    with pytest.raises(RuntimeError, match="exit code 3"):
        list(data.DataLoader(Faulty(lambda: os._exit(3)), 2, num_workers=1))


def test_a_worker_that_takes_too_long_is_an_error():
    began = time.monotonic()
    with pytest.raises(RuntimeError, match="timed out"):
        list(data.DataLoader(Faulty(lambda: time.sleep(60)), 2, num_workers=1, timeout=0.3))
    assert time.monotonic() - began < 10


def test_what_cannot_be_sent_is_an_error():
    with pytest.raises(AttributeError, match="pickle"):
        list(data.DataLoader(Faulty(lambda: None), 1, num_workers=1, collate_fn=lambda samples: lambda: samples))


def test_worker_init_fn_is_called_and_its_exception_raised():
    def init(number):
        os.environ["DANLU_TEST_WORKER"] = str(number + 10)

    class Environment(Faulty):
        def __getitem__(self, i):
            return int(os.environ["DANLU_TEST_WORKER"])

    loader = data.DataLoader(Environment(None), 4, num_workers=2, worker_init_fn=init)
    assert [batch._array.tolist() for batch in loader] == [[10] * 4, [11] * 4]
    with pytest.raises(ZeroDivisionError, match="worker process 0"):
        list(data.DataLoader(Slow(), 4, num_workers=1, worker_init_fn=lambda number: 1 // 0))


def test_leaving_an_epoch_stops_the_workers():
    for _ in data.DataLoader(Slow(), 2, num_workers=2):
        break
    gc.collect()
    assert multiprocessing.active_children() == []


def test_large_batches_and_many_indices_do_not_block():
    big = data.TensorDataset(wrap(np.zeros((40_000, 50), np.float32)))
    assert sum(len(x._array) for (x,) in data.DataLoader(big, 20_000, num_workers=2)) == 40_000


def test_ctrl_c_leaves_no_process():
    program = """
        import numpy as np, os, time
        from danlu.zero.utils import data

        class Slow(data.Dataset):
            def __len__(self):
                return 1000
            def __getitem__(self, i):
                time.sleep(0.02)
                return os.getpid()

        for batch in data.DataLoader(Slow(), 2, num_workers=2):
            print(batch._array[0], flush=True)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    pids = {int(process.stdout.readline()) for _ in range(2)}
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert len(pids) == 2
    assert errors.count("Traceback") == 1
    assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)


MISUSE = {
    "workers": {"num_workers": -1},
    "timeout": {"timeout": -1},
    "prefetch": {"prefetch_factor": 2},
    "negative prefetch": {"prefetch_factor": -2, "num_workers": 1},
    "sampler and shuffle": {"sampler": [1], "shuffle": True},
    "batch_sampler and size": {"batch_sampler": [[1]], "batch_size": 3},
    "batch_sampler and shuffle": {"batch_sampler": [[1]], "shuffle": True},
    "no batches, drop_last": {"batch_size": None, "drop_last": True},
    "batch_size 0": {"batch_size": 0},
    "context without workers": {"multiprocessing_context": "fork"},
    "unknown context": {"multiprocessing_context": "knife", "num_workers": 1},
}


@pytest.mark.parametrize("case", MISUSE)
def test_misuse_raises_what_pytorch_raises(case):
    for module in (data, torch_data):
        with pytest.raises(ValueError, match=r"."):  # the sentences differ
            module.DataLoader(range(10), **MISUSE[case])


@pytest.mark.parametrize("options", [{"shuffle": True}, {"sampler": [1]}, {"batch_sampler": [[1]]}])
def test_an_iterable_data_set_has_its_own_order(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        data.DataLoader(Count(3), **options)


@pytest.mark.parametrize(
    ("name", "value"), [("in_order", False), ("pin_memory_device", "cuda"), ("persistent_workers", True)]
)
def test_what_is_not_supported_is_named(name, value):
    with pytest.raises(NotImplementedError, match=name):
        data.DataLoader(range(3), **{name: value})


def test_pinned_memory_warns():
    with pytest.warns(UserWarning, match="pin_memory"):
        assert len(list(data.DataLoader(range(10), 2, pin_memory=True))) == 5
