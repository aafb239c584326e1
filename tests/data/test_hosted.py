"""Batches of arrays that stay on the host are those of arrays on the device, in whatever way they are asked for."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

import danlu
from danlu.data import Arrays, Batches, Data, augmented, batches
from danlu.data import hosted as hosted_file
from danlu.data.hosted import HostedBatches, kind_for
from danlu.data.resident import ResidentBatches
from danlu.device import Copier, room_for_data
from danlu.recipe import Augment
from danlu.train import prepare

GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, GPU])]


@pytest.fixture
def no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosted_file, "room_for_data", lambda device: 0)


def pixels(n: int = 50) -> Arrays:
    rng = np.random.default_rng(0)
    return Arrays(rng.integers(0, 256, (n, 1, 6, 6), np.uint8), rng.integers(0, 3, n), mean=0.2, std=0.5)


def columns(n: int = 50) -> Arrays:
    rng = np.random.default_rng(1)
    return Arrays({"wide": rng.random((n, 4)), "ids": rng.integers(0, 9, (n, 3))}, rng.random(n, np.float32))


def part(n: int = 50) -> Arrays:
    return pixels(2 * n).take(np.random.default_rng(2).permutation(2 * n)[:n])


def leaves(tree: object) -> Iterator[Tensor]:
    if isinstance(tree, Tensor):
        yield tree
    elif tree is not None:
        for one in tree.values() if isinstance(tree, dict) else tree:
            yield from leaves(one)


def assert_alike(one: object, other: object) -> None:
    ours, theirs = list(leaves(one)), list(leaves(other))
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == b.dtype
        assert a.device == b.device
        assert torch.equal(a, b)


def both(source: Arrays, device: str, monkeypatch: pytest.MonkeyPatch, sampler: str) -> tuple[Batches, Batches]:
    given = {"device": device, "sampler": sampler, "seed": 3}
    resident = batches(source, 8, **given)
    monkeypatch.setattr(hosted_file, "room_for_data", lambda device: 0)
    monkeypatch.setattr(type(source.columns), "is_resident", lambda self, device: False)
    hosted = batches(source, 8, **given)
    assert isinstance(resident, ResidentBatches)
    assert isinstance(hosted, HostedBatches)
    return resident, hosted


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("sampler", ["shuffle", "in_order", "balanced"])
@pytest.mark.parametrize("make", [pixels, columns, part])
def test_they_are_the_batches_of_arrays_on_the_device(
    make: object, sampler: str, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if sampler == "balanced" and make is columns:
        pytest.skip("balanced batches want classes")
    resident, hosted = both(make(), device, monkeypatch, sampler)
    for epoch, start in ((0, 0), (1, 3), (1, 7)):
        ours, theirs = list(hosted.iterate(epoch, start)), list(resident.iterate(epoch, start))
        assert len(ours) == len(theirs) == 7 - start
        for one, other in zip(ours, theirs, strict=True):
            assert_alike(one, other)
    assert_alike(hosted.batch(2, 6), resident.batch(2, 6))
    assert_alike(hosted.fetch(0, np.arange(40)), resident.fetch(0, np.arange(40)))
    assert hosted.ids(1, 2).tolist() == resident.ids(1, 2).tolist()


@pytest.mark.parametrize("device", DEVICES)
def test_batches_stay_as_they_are_while_others_come(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two epochs at once and single batches between them take turns with the same buffers."""
    resident, hosted = both(pixels(), device, monkeypatch, "shuffle")
    wanted = [list(resident.iterate(epoch)) for epoch in (0, 1)]
    kept = []
    for position, pair in enumerate(zip(hosted.iterate(0), hosted.iterate(1), strict=True)):
        kept.append((pair, hosted.fetch(0, np.arange(position, position + 30))))
    for position, (pair, fetched) in enumerate(kept):
        for one, other in zip(pair, (wanted[0][position], wanted[1][position]), strict=True):
            assert_alike(one, other)
        assert_alike(fetched, resident.fetch(0, np.arange(position, position + 30)))


@pytest.mark.parametrize("device", DEVICES)
def test_augmented_batches_are_the_same_and_say_where_the_data_are(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = [Augment("random_crop", padding=1), Augment("mixup")]
    made = [augmented(one, changes, seed=3, classes=3) for one in both(pixels(), device, monkeypatch, "shuffle")]
    assert [one.hosted for one in made] == [False, True]
    for one, other in zip(made[0].iterate(1), made[1].iterate(1), strict=True):
        assert_alike(one, other)


def test_the_next_batch_is_on_its_way_while_one_is_used(no_room: None, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []
    send = Copier.send
    monkeypatch.setattr(Copier, "send", lambda self, ids: sent.append(len(ids)) or send(self, ids))
    hosted = batches(pixels(20), 8, sampler="shuffle")
    seen = [(len(batch[1]), len(sent)) for batch in hosted.iterate(0)]
    assert seen == [(8, 2), (8, 3), (4, 3)]


def test_what_finds_room_lies_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    source, cpu = pixels(), torch.device("cpu")
    size = sum(one.nbytes for one in source.columns.tensors)
    assert room_for_data(cpu) is None
    assert kind_for(source.columns, cpu) is ResidentBatches
    monkeypatch.setattr(hosted_file, "room_for_data", lambda device: size)
    assert kind_for(source.columns, cpu) is ResidentBatches
    monkeypatch.setattr(hosted_file, "room_for_data", lambda device: size - 1)
    assert kind_for(source.columns, cpu) is HostedBatches
    held = source.columns.resident(cpu)
    assert kind_for(source.columns, cpu) is ResidentBatches  # they are there, so they cost nothing more
    del held


def test_a_run_on_data_from_the_host_is_the_same_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def weights() -> list[bytes]:
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(36, 3))
        data = Data(pixels(), {"valid": part(20)})
        recipe = danlu.Recipe(epochs=2, batch_size=8, rehearse=False)
        training = prepare(model, data, recipe)
        found.append((training.plan.data, training.learner.plan.data, *training.notices))
        danlu.fit(model, data, recipe, quiet=True)
        return [p.detach().numpy().tobytes() for p in model.parameters()]

    found: list[tuple[str, ...]] = []
    want = weights()
    monkeypatch.setattr(hosted_file, "room_for_data", lambda device: 0)
    assert weights() == want
    assert found[0] == ("device", "device")
    assert found[1][:2] == ("host", "host")
    assert found[1][2].startswith("train, valid: larger than half of the free memory of cpu less 1 GiB; it stays in")


@pytest.mark.gpu
@GPU
def test_room_is_half_of_what_is_free_less_a_reserve() -> None:
    free, _ = torch.cuda.mem_get_info()
    room = room_for_data(torch.device("cuda:0"))
    assert room is not None
    assert abs(room - (free - 2**30) // 2) < 2**28
