"""Data sets, samplers and collating, against PyTorch on the same indices."""

from collections import Counter, OrderedDict, namedtuple

import numpy as np
import pytest
import torch
from torch.utils import data as torch_data

from danlu.zero import random
from danlu.zero.tensor import Tensor, wrap
from danlu.zero.utils import data

Point = namedtuple("Point", "x y")


def as_numpy(value):
    """The same nested value with arrays for tensors, and where tensors were, their kind."""
    if isinstance(value, Tensor | torch.Tensor):
        array = value._array if isinstance(value, Tensor) else value.numpy()
        return ("tensor", array.dtype, array.shape, array.tolist())
    if isinstance(value, dict):
        return type(value)({key: as_numpy(part) for key, part in value.items()})
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return type(value)(as_numpy(part) for part in value)
    return type(value)(*map(as_numpy, value)) if hasattr(value, "_fields") else value


def tensors(value, make):
    """Replace arrays marked by `Tensor` placeholders: a tuple ("t", array) becomes a tensor."""
    if isinstance(value, tuple) and len(value) == 2 and value[0] == "t":
        return make(value[1])
    if isinstance(value, dict):
        return type(value)({key: tensors(part, make) for key, part in value.items()})
    if isinstance(value, list):
        return [tensors(part, make) for part in value]
    if isinstance(value, tuple):
        parts = [tensors(part, make) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return value


def t(*values, dtype=np.float32):
    return ("t", np.array(values, dtype))


BATCHES = {
    "tensors": [t(1, 2), t(3, 4)],
    "tensors without dimensions": [("t", np.array(1)), ("t", np.array(2))],
    "pairs": [(t(1, 2), 3), (t(4, 5), 6)],
    "lists": [[1, 2.5], [3, 4.5]],
    "dicts": [{"a": 1, "b": t(1)}, {"a": 2, "b": t(2)}],
    "ordered dicts": [OrderedDict(a=1), OrderedDict(a=2)],
    "named tuples": [Point(1, t(1)), Point(2, t(2))],
    "nested": [{"a": [Point(1, (2.0, "x"))]}, {"a": [Point(3, (4.0, "y"))]}],
    "integers": [1, 2, 3],
    "floats": [1.0, 2.0],
    "bools": [True, False],
    "strings": ["a", "b"],
    "bytes": [b"a", b"b"],
    "arrays": [np.arange(3), np.arange(3) * 2],
    "float32 arrays": [np.ones((2, 2), np.float32)],
    "array scalars": [np.float32(1), np.float32(2)],
    "bool scalars": [np.bool_(True), np.bool_(False)],
    "ranges": [range(2), range(1, 3)],
    "one": [(t(1), 2)],
}


@pytest.mark.parametrize("case", BATCHES)
def test_collate_is_pytorchs(case):
    ours, theirs = (tensors(BATCHES[case], make) for make in (wrap, lambda a: torch.from_numpy(np.asarray(a))))
    mine, other = data.default_collate(ours), torch_data.default_collate(theirs)
    assert as_numpy(mine) == as_numpy(other)
    assert type(mine) is type(other) or isinstance(mine, Tensor)
    for sample, reference in zip(ours, theirs, strict=True):
        assert as_numpy(data.default_convert(sample)) == as_numpy(torch_data.default_convert(reference))


@pytest.mark.parametrize(
    "batch", [[object()], [None], [t(1), t(1, 2)], [[1], [1, 2]], [np.array(["a"])], [{"a": 1}, {"b": 1}], [(1, 2), 3]]
)
def test_collate_refuses_what_pytorch_refuses(batch):
    kinds = []
    for module, make in ((data, wrap), (torch_data, torch.from_numpy)):
        with pytest.raises(Exception) as caught:  # noqa: PT011 - the type is what is compared
            module.default_collate(tensors(batch, make))
        kinds.append(caught.type)
    assert kinds[0] is kinds[1]


class Squares(data.Dataset):
    def __init__(self, length=10):
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, i):
        if not 0 <= i < self.length:
            raise IndexError(i)
        return i * i


class Count(data.IterableDataset):
    def __init__(self, length):
        self.length = length

    def __iter__(self):
        return iter(range(self.length))

    def __len__(self):
        return self.length


def test_data_sets():
    joined = Squares(3) + Squares(2)
    assert isinstance(joined, data.ConcatDataset)
    assert ([joined[i] for i in range(5)], joined[-1], len(joined)) == ([0, 1, 4, 0, 1], 1, 5)
    with pytest.raises(IndexError):
        joined[5]
    with pytest.raises(ValueError, match="out of range"):
        joined[-6]
    part = data.Subset(Squares(), [3, 1])
    assert (part[0], len(part)) == (9, 2)
    pair = data.TensorDataset(wrap(np.eye(3)), wrap(np.arange(3)))
    x, y = pair[1]
    assert (x._array.tolist(), y._array.item(), len(pair)) == ([0, 1, 0], 1, 3)


@pytest.mark.parametrize(
    ("build", "kind"),
    [
        (lambda: data.Dataset()[0], NotImplementedError),
        (lambda: data.TensorDataset(wrap(np.ones(2)), wrap(np.ones(3))), AssertionError),
        (lambda: data.ConcatDataset([]), AssertionError),
        (lambda: data.ConcatDataset([Count(2)]), AssertionError),
        (lambda: data.random_split(Squares(), [3, 3]), ValueError),
        (lambda: data.random_split(Squares(), [1.5, -0.5]), ValueError),
        (lambda: iter(data.Sampler()), NotImplementedError),
        (lambda: data.RandomSampler([]), ValueError),
        (lambda: data.RandomSampler([1], num_samples=0), ValueError),
        (lambda: data.BatchSampler([1], True, False), ValueError),
        (lambda: data.WeightedRandomSampler([[1.0]], 1), ValueError),
        (lambda: data.WeightedRandomSampler([1.0], 0), ValueError),
        (lambda: list(data.WeightedRandomSampler([1.0, 0.0], 2, False)), RuntimeError),
        (lambda: list(data.WeightedRandomSampler([1.0, -1.0], 2)), RuntimeError),
    ],
)
def test_misuse_raises(build, kind):
    with pytest.raises(kind):
        build()


@pytest.mark.parametrize("lengths", [[7, 3], [0.5, 0.25, 0.25], [0.35, 0.65], [1.0], [10, 0]])
def test_random_split_parts_are_pytorchs_lengths(lengths):
    parts = data.random_split(Squares(), lengths, random.Generator().manual_seed(1))
    assert [len(part) for part in parts] == [len(part) for part in torch_data.random_split(range(10), lengths)]
    assert sorted(i for part in parts for i in part.indices) == list(range(10))
    again = data.random_split(Squares(), lengths, random.Generator().manual_seed(1))
    assert [part.indices for part in parts] == [part.indices for part in again]


def test_random_split_warns_of_an_empty_part():
    with pytest.warns(UserWarning, match="index 1 is 0"):
        data.random_split(Squares(1), [0.5, 0.5])


def test_samplers():
    source = range(7)
    assert list(data.SequentialSampler(source)) == list(source)
    shuffled = data.RandomSampler(source, generator=random.Generator().manual_seed(0))
    first, second = list(shuffled), list(shuffled)
    assert sorted(first) == sorted(second) == list(source)
    assert first != second
    more = list(data.RandomSampler(source, num_samples=17))
    assert len(more) == 17
    assert [sorted(more[:7]), sorted(more[7:14]), len(set(more[14:]))] == [list(source)] * 2 + [3]
    drawn = list(data.RandomSampler(source, replacement=True, num_samples=200))
    assert len(drawn) == 200
    assert set(drawn) == set(source)
    assert sorted(data.SubsetRandomSampler([5, 3, 8])) == [3, 5, 8]
    assert all(isinstance(i, int) for i in first + more + drawn)


def test_weighted_sampler_follows_its_weights():
    generator = random.Generator().manual_seed(0)
    drawn = Counter(data.WeightedRandomSampler([1, 0, 3], 4000, generator=generator))
    assert set(drawn) == {0, 2}
    assert 2.6 < drawn[2] / drawn[0] < 3.4
    once = list(data.WeightedRandomSampler(wrap(np.array([1.0, 2, 0, 3])), 3, replacement=False))
    assert sorted(once) == [0, 1, 3]


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("size", [1, 3, 5, 20])
def test_batch_sampler_is_pytorchs(size, drop_last):
    ours, theirs = (module.BatchSampler(range(10), size, drop_last) for module in (data, torch_data))
    assert list(ours) == list(theirs)
    assert len(ours) == len(theirs)


def test_manual_seed_makes_orders_repeatable():
    orders = []
    for _ in range(2):
        random.manual_seed(3)
        orders.append([list(data.RandomSampler(range(50))), list(data.SubsetRandomSampler(range(9)))])
    assert orders[0] == orders[1]
