import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu import keyed
from danlu.data import Arrays, batches
from danlu.data.columns import SMALL_BYTES
from danlu.errors import DataError


def numbered(n: int) -> Arrays:
    return Arrays(np.arange(n, dtype=np.float32)[:, None] * 2, np.arange(n))


def targets_of(made: object, epoch: int, start: int = 0) -> list[int]:
    return [number for _, target in made.iterate(epoch, start) for number in target.tolist()]


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 300), st.integers(1, 64), st.integers(0, 5), st.sampled_from(["shuffle", "in_order"]), st.booleans()
)
def test_every_sample_once_and_random_access(n: int, size: int, epoch: int, sampler: str, drop_last: bool) -> None:
    size = min(size, n)
    made = batches(numbered(n), size, seed=3, sampler=sampler, drop_last=drop_last)
    served = list(made.iterate(epoch))
    assert len(served) == len(made) == (n // size if drop_last else -(-n // size))
    seen = np.concatenate([target.numpy() for _, target in served])
    assert len(seen) == made.samples
    assert len(np.unique(seen)) == len(seen)
    if not drop_last:
        assert sorted(seen) == list(range(n))
    for position, (inputs, target) in enumerate(served):
        again, same = made.batch(epoch, position)
        assert torch.equal(again, inputs)
        assert torch.equal(same, target)
        assert made.ids(epoch, position).tolist() == target.tolist()
        assert torch.equal(inputs[:, 0], target * 2.0)
    for start in {0, 1, len(made) // 2, len(made)}:
        rest = list(itertools.chain.from_iterable(t.tolist() for _, t in made.iterate(epoch, start)))
        assert rest == seen[start * size :].tolist()


def test_the_order_is_the_keyed_one_and_epochs_and_seeds_differ() -> None:
    made = batches(numbered(500), 32, seed=7, sampler="shuffle")
    assert targets_of(made, 4) == keyed.order(7, 4, 500).tolist()
    assert targets_of(made, 4) != targets_of(made, 5)
    assert targets_of(made, 4) != targets_of(batches(numbered(500), 32, seed=8, sampler="shuffle"), 4)
    assert targets_of(batches(numbered(500), 32), 4) == list(range(500))


def test_orders_longer_than_a_chunk() -> None:
    n = 2 * keyed.CHUNK + 12_345
    made = batches(numbered(n), 1000, sampler="shuffle")
    assert targets_of(made, 1) == keyed.order(0, 1, n).tolist()
    assert targets_of(made, 1, start=70) == keyed.order(0, 1, n)[70_000:].tolist()


def test_large_pixels_stay_small_and_batches_are_converted() -> None:
    n = SMALL_BYTES // (4 * 28 * 28) + 100
    x = np.random.default_rng(0).integers(0, 256, (n, 1, 28, 28), dtype=np.uint8)
    source = Arrays(x, np.arange(n))
    assert source.columns.resident(torch.device("cpu")).tensors[0].data_ptr() == x.ctypes.data
    for sampler in ("shuffle", "in_order"):
        for inputs, target in itertools.islice(batches(source, 64, sampler=sampler).iterate(0), 3):
            assert torch.equal(inputs, torch.from_numpy(x[target.numpy()]).float() * (1 / 255))


def test_parts_of_one_set_share_one_copy_on_the_device() -> None:
    source = Arrays(np.zeros((10, 2)), np.arange(10))  # float64: converted once
    first, second = source.take([0, 2]), source.take([1, 3])
    device = torch.device("cpu")
    held = first.columns.resident(device)
    assert second.columns.resident(device) is held


def test_shuffled_batches_are_fresh_memory() -> None:
    x = np.ones((8, 2), np.float32)
    for inputs, _ in batches(Arrays(x), 8, sampler="shuffle").iterate(0):
        inputs.zero_()
    assert x.min() == 1


@pytest.mark.parametrize("access", ["iterate", "batch"])
def test_a_model_that_writes_into_the_data_is_caught(access: str) -> None:
    made = batches(numbered(10), 5)
    with pytest.raises(DataError, match="inplace=False"):  # noqa: PT012
        for position in range(2):
            inputs, _ = made.batch(0, position) if access == "batch" else next(made.iterate(0, position))
            torch.nn.functional.relu(inputs, inplace=True)


def test_balanced_draws_classes_equally() -> None:
    y = np.repeat([3, 7, 9], [900, 90, 10])
    made = batches(Arrays(np.zeros(1000), y), 100, sampler="balanced")
    drawn = np.concatenate([targets_of(made, epoch) for epoch in range(30)])
    shares = [np.mean(drawn == label) for label in (3, 7, 9)]
    # 30,000 draws: the standard error of a share is 0.0027
    np.testing.assert_allclose(shares, 1 / 3, atol=0.011)
    assert targets_of(made, 0) != targets_of(made, 1)
    assert made.ids(2, 3).tolist() == batches(Arrays(np.zeros(1000), y), 100, sampler="balanced").ids(2, 3).tolist()


def test_weights_draw_in_proportion() -> None:
    weights = np.array([0.0, 1.0, 3.0, 0.0])
    made = batches(numbered(4), 4, sampler=weights)
    drawn = np.concatenate([targets_of(made, epoch) for epoch in range(2000)])
    counts = np.bincount(drawn, minlength=4)
    assert counts[0] == counts[3] == 0
    assert abs(counts[2] / counts.sum() - 0.75) < 0.02  # standard error 0.005


@pytest.mark.parametrize(
    ("sampler", "says"),
    [
        ("shufle", "did you mean shuffle"),
        ([1.0, 2.0], "shape \\(2,\\)"),
        ([1.0] * 9 + [-1.0], "from -1.0"),
        ([0.0] * 10, "not all of them 0"),
        ([np.nan] * 10, "finite"),
        (["a"] * 10, "weight"),
    ],
)
def test_samplers_that_are_none(sampler: object, says: str) -> None:
    with pytest.raises(DataError, match=says):
        batches(numbered(10), 2, sampler=sampler)


@pytest.mark.parametrize("target", [None, np.zeros(10), np.zeros((10, 2), int)])
def test_balanced_needs_classes(target: object) -> None:
    with pytest.raises(DataError, match="targets"):
        batches(Arrays(np.zeros(10), target), 2, sampler="balanced")


def test_batch_sizes_that_do_not_fit() -> None:
    with pytest.raises(DataError, match="batch_size: got 11; want at most 10"):
        batches(numbered(10), 11, sampler="shuffle")
    with pytest.raises(DataError, match="batch_size"):
        batches(numbered(10), 0)
    evaluation = batches(numbered(10), 11)
    assert (len(evaluation), evaluation.batch_size, evaluation.samples) == (1, 10, 10)
    with pytest.raises(IndexError):
        evaluation.batch(0, 1)
    with pytest.raises(IndexError):
        evaluation.iterate(0, 2)


def test_in_order_part_of_a_set_keeps_its_order() -> None:
    part = numbered(100).take([9, 3, 50])
    assert targets_of(batches(part, 2), 0) == [9, 3, 50]
    shuffled = batches(part, 2, sampler="shuffle")
    assert sorted(targets_of(shuffled, 0)) == [3, 9, 50]
    assert [[9, 3, 50][i] for i in shuffled.ids(0, 0)] == shuffled.batch(0, 0)[1].tolist()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_batches_on_the_gpu_are_those_on_the_cpu() -> None:
    x = np.random.default_rng(0).integers(0, 256, (9000, 1, 28, 28), dtype=np.uint8)
    source = Arrays(x, np.arange(9000)).take(np.arange(0, 9000, 2))
    pairs = zip(
        batches(source, 64, sampler="shuffle").iterate(1),
        batches(source, 64, device="cuda", sampler="shuffle").iterate(1),
        strict=True,
    )
    for (cpu_x, cpu_y), (gpu_x, gpu_y) in pairs:
        assert torch.equal(cpu_x, gpu_x.cpu())
        assert torch.equal(cpu_y, gpu_y.cpu())
