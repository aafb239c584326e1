"""The law: for a given (seed, epoch, sample id) the changed pixels are the same, whatever they are fetched with."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from danlu import Augment, keyed
from danlu.data import Arrays, Batches, Loader, Samples, Source, augment_batches, augmented, batches
from danlu.data.augment import KINDS
from danlu.data.augment_mixing import partners
from danlu.errors import DataError

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than cores, on purpose

N, SEED, EPOCH = 37, 3, 2
PIXELS = np.random.default_rng(0).integers(0, 256, (N, 3, 11, 9), dtype=np.uint8)
CLASSES = np.arange(N) % 5
CHANGES = {
    "random_crop": [Augment("random_crop", padding=3)],
    "reflected": [Augment("random_crop", padding=3, mode="reflect")],
    "random_resized_crop": [Augment("random_resized_crop", size=[7, 13])],
    "horizontal_flip": ["horizontal_flip"],
    "vertical_flip": [Augment("vertical_flip", p=0.3)],
    "rotation": [Augment("rotation", degrees=30)],
    "erase": [Augment("erase", p=0.7, value=0.5)],
    "noise": [Augment("noise", std=0.1)],
    "mixup": [Augment("mixup", alpha=0.4)],
    "all of them": [
        Augment("random_crop", padding=2),
        Augment("rotation", degrees=10),
        "horizontal_flip",
        Augment("noise", std=0.05),
        Augment("mixup", alpha=1.0),
        Augment("random_resized_crop", size=8),
        "vertical_flip",
        "erase",
        Augment("noise", std=0.05),
    ],
}


class Pictures(Dataset[tuple[Tensor, int]]):
    """The same pictures, one by one."""

    def __len__(self) -> int:
        return N

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.from_numpy(PIXELS[index]) * (1 / 255), int(CLASSES[index])


def made(augment: object, *, source: Source | None = None, size: int = 8, workers: int = 0, **given: object) -> Batches:
    plain = batches(source or Arrays(PIXELS, CLASSES), size, seed=SEED, sampler="shuffle", workers=workers)
    return augmented(plain, augment, **{"seed": SEED, "classes": 5, **given})


def by_id(served: Batches, pairs: object = None) -> dict[int, tuple[Tensor, Tensor]]:
    """Return inputs and target of each sample of the epoch."""
    lists = list(served.lists(EPOCH))
    pairs = served.iterate(EPOCH) if pairs is None else pairs
    found = {}
    for ids, (inputs, target) in zip(lists, pairs, strict=True):
        assert len(ids) == len(inputs) == len(target)
        found |= {int(i): (x, y) for i, x, y in zip(ids, inputs, target, strict=True)}
    assert len(found) == N
    return found


def assert_same(one: dict[int, tuple[Tensor, Tensor]], other: dict[int, tuple[Tensor, Tensor]]) -> None:
    assert one.keys() == other.keys()
    for number, (inputs, target) in one.items():
        assert torch.equal(inputs, other[number][0]), number
        assert torch.equal(target, other[number][1]), number


HOW = {
    "batches of 1": {"size": 1},
    "batches of 13": {"size": 13},
    "one batch": {"size": N},
    "a Dataset": {"source": Samples(Pictures())},
    "a Dataset in batches of 5": {"source": Samples(Pictures()), "size": 5},
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("how", HOW)
def test_a_sample_is_changed_in_the_same_way_wherever_it_is_served(name: str, how: str) -> None:
    wanted = by_id(made(CHANGES[name]))
    assert_same(wanted, by_id(made(CHANGES[name], **HOW[how])))


@pytest.mark.parametrize("name", CHANGES)
def test_a_sample_is_changed_in_the_same_way_however_it_is_asked_for(name: str) -> None:
    served = made(CHANGES[name])
    wanted = by_id(served)
    assert_same(wanted, by_id(served, [served.batch(EPOCH, position) for position in range(len(served))]))
    assert_same(wanted, by_id(served, [*map(served.batch, [EPOCH] * 2, range(2)), *served.iterate(EPOCH, 2)]))
    backwards = served.fetch(EPOCH, np.arange(N)[::-1].copy())
    assert_same({i: pair for i, pair in enumerate(zip(*(part.flip(0) for part in backwards), strict=True))}, wanted)


@pytest.mark.parametrize("workers", [1, 4])
def test_workers_change_nothing(workers: int) -> None:
    served = made(CHANGES["all of them"], source=Samples(Pictures()), workers=workers)
    try:
        assert_same(by_id(served), by_id(made(CHANGES["all of them"])))
        assert_same(by_id(served), by_id(made(CHANGES["all of them"])))  # the workers go on with another list
        tail = list(served.iterate(EPOCH, 3))
        assert torch.equal(tail[0][0], served.batch(EPOCH, 3)[0])
        assert len(tail) == len(served) - 3
    finally:
        served.close()


@pytest.mark.parametrize("kind", ["arrays", "dataset"])
def test_two_halves_of_a_world_of_two_are_the_whole(kind: str) -> None:
    source = Arrays(PIXELS, CLASSES) if kind == "arrays" else Samples(Pictures())
    one = made(CHANGES["all of them"])
    ranks = [made(CHANGES["all of them"], source=source) for _ in range(2)]
    for position, ids in enumerate(one.lists(EPOCH)):
        halves = [next(rank.visit(EPOCH, [ids[r::2]])) for r, rank in enumerate(ranks)]
        whole = one.batch(EPOCH, position)
        for r, half in enumerate(halves):
            assert torch.equal(half[0], whole[0][r::2])
            assert torch.equal(half[1], whole[1][r::2])


def test_threads_change_nothing() -> None:
    before = torch.get_num_threads()
    wanted = by_id(made(CHANGES["all of them"], size=N))
    try:
        torch.set_num_threads(2)
        assert_same(by_id(made(CHANGES["all of them"], size=N)), wanted)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("name", CHANGES)
def test_another_epoch_seed_or_sample_is_changed_otherwise(name: str) -> None:
    alike = Arrays(np.repeat(PIXELS[:1], N, axis=0), CLASSES)
    ids = np.arange(N)
    served, other = made(CHANGES[name], source=alike), made(CHANGES[name], source=alike, seed=SEED + 1)
    first = served.fetch(0, ids)[0]
    if name == "mixup":  # equal pictures stay what they are when they are mixed
        served, other = made(CHANGES[name]), made(CHANGES[name], seed=SEED + 1)
        first = served.fetch(0, ids)[0]
    else:
        assert not (first == first[:1]).all()
    assert not torch.equal(served.fetch(1, ids)[0], first)
    assert not torch.equal(other.fetch(0, ids)[0], first)


def test_the_partner_is_any_sample_as_it_is_changed_itself() -> None:
    crop = Augment("random_crop", padding=3)
    single = {i: x for i, (x, _) in by_id(made([crop])).items()}
    mixed = by_id(made([crop, Augment("mixup", alpha=1.0)]))
    for number, (inputs, target) in mixed.items():
        share = target[CLASSES[number]]
        for partner in range(N):
            weight = share if CLASSES[partner] != CLASSES[number] else None
            if weight is not None and torch.equal(inputs, single[number] * weight + single[partner] * (1 - weight)):
                assert target[CLASSES[partner]] == 1 - weight
                break
        else:
            assert target[CLASSES[number]] == pytest.approx(1.0)  # mixed with a sample of its own class, or itself


def test_every_sample_is_a_partner() -> None:
    drawn = partners(0, 0, np.arange(20_000), purpose="x", samples=50)
    counts = np.bincount(drawn, minlength=50)
    assert counts.size == 50
    assert ((counts - 400) ** 2 / 400).sum() < 49 + 5 * np.sqrt(2 * 49)
    assert partners(0, 0, np.array([7]), purpose="x", samples=1).tolist() == [0]


def test_classes_become_probabilities_and_floats_are_mixed_as_they_are() -> None:
    mix = [Augment("mixup", alpha=1.0)]
    _, target = made(mix, size=N).batch(0, 0)
    assert target.shape == (N, 5)
    assert target.dtype == torch.float32
    torch.testing.assert_close(target.sum(1), torch.ones(N))
    assert ((target > 0).sum(1) <= 2).all()
    numbers = np.linspace(0, 1, N, dtype=np.float32)
    _, mixed = made(mix, size=N, source=Arrays(PIXELS, numbers)).batch(0, 0)
    assert mixed.shape == (N,)
    assert 0 <= mixed.min() < mixed.max() <= 1
    ignored = np.where(CLASSES == 4, -100, CLASSES)
    _, target = made(mix, size=N, source=Arrays(PIXELS, ignored)).batch(0, 0)
    assert (target.sum(1) <= 1 + 1e-6).all()
    assert (target[:, 4] == 0).all()


def test_without_augmentation_the_batches_are_what_they_were() -> None:
    plain = batches(Arrays(PIXELS, CLASSES), 8)
    assert augmented(plain, [], seed=0) is plain


def test_the_data_stays_as_it_was() -> None:
    floats = np.random.default_rng(0).random((N, 1, 8, 8), dtype=np.float32)
    before = floats.copy()
    for name in CHANGES:
        list(made(CHANGES[name], source=Arrays(floats, CLASSES)).iterate(0))
    assert np.array_equal(floats, before)


@pytest.mark.parametrize("shape", [(N, 6), (N, 4, 5)])
def test_noise_and_mixup_take_inputs_of_any_shape(shape: tuple[int, ...]) -> None:
    source = Arrays(np.zeros(shape, np.float32), CLASSES)
    inputs, _ = made([Augment("noise", std=1.0), "mixup"], source=source, size=N).batch(0, 0)
    assert inputs.shape == shape
    assert 0.5 < inputs.std() < 1.1


@pytest.mark.parametrize(
    ("source", "augment", "says"),
    [
        (Arrays(np.zeros((N, 6)), CLASSES), "horizontal_flip", r"augment: got inputs of shape \(6,\); want pictures"),
        (Arrays(np.zeros((N, 6), int), CLASSES), "mixup", "augment: got inputs of torch.int64; want one floating"),
        (Arrays((np.zeros((N, 2)), np.zeros(N)), CLASSES), "mixup", "augment: got 2 inputs for each sample"),
        (Arrays(PIXELS, np.zeros((N, 11, 9), int)), "vertical_flip", r"augment: got targets of shape \(11, 9\)"),
        (Arrays(PIXELS, np.zeros((N, 2), int)), "mixup", "augment mixup: got whole numbers of shape"),
        (Arrays(PIXELS), "mixup", "augment mixup: got no targets"),
        (
            Arrays(PIXELS, CLASSES),
            Augment("random_crop", padding=9, mode="reflect"),
            "augment random_crop: got padding 9 for pictures of 9 pixels; .* at most 8",
        ),
    ],
)
def test_inputs_that_do_not_fit_are_one_line(source: Source, augment: object, says: str) -> None:
    with pytest.raises(DataError, match=says):
        made([augment], source=source).batch(0, 0)


def test_an_unknown_number_of_classes_and_a_ready_loader_are_one_line() -> None:
    with pytest.raises(DataError, match="set classes of mixup"):
        made(["mixup"], classes=0).batch(0, 0)
    assert made([Augment("mixup", classes=7)], classes=0).batch(0, 0)[1].shape == (8, 7)
    ready = batches(Loader(DataLoader(Pictures(), batch_size=4)), 4)
    with pytest.raises(DataError, match=r"augment: got a ready DataLoader.*loader\.dataset"):
        augmented(ready, ["horizontal_flip"], seed=0)


def test_draws_are_made_for_many_batches_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    plain = augment_batches.words
    monkeypatch.setattr(
        augment_batches, "words", lambda *given, **named: calls.append(len(given[2])) or plain(*given, **named)
    )
    list(made(["horizontal_flip", "vertical_flip"], size=2).iterate(0))
    assert calls == [N, N]


def test_more_samples_than_are_drawn_at_once() -> None:
    n = keyed.CHUNK + 100
    source = Arrays(np.zeros((n, 1), np.float32), np.arange(n))
    served = augmented(batches(source, 1000, sampler="shuffle"), [Augment("noise", std=1.0)], seed=0)
    last = list(served.iterate(0, 60))
    assert torch.equal(last[-1][0], served.batch(0, len(served) - 1)[0])
    assert sum(len(target) for _, target in last) == n - 60_000


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", CHANGES)
def test_a_gpu_changes_samples_as_a_cpu_does(name: str) -> None:
    ids = np.arange(N)
    cpu = made(CHANGES[name]).fetch(EPOCH, ids)
    plain = batches(Arrays(PIXELS, CLASSES), 8, device="cuda", seed=SEED, sampler="shuffle")
    gpu = augmented(plain, CHANGES[name], seed=SEED, classes=5).fetch(EPOCH, ids)
    interpolated = name in ("random_resized_crop", "rotation", "all of them")
    torch.testing.assert_close(gpu[0].cpu(), cpu[0], rtol=0, atol=1e-5 if interpolated else 0)
    assert torch.equal(gpu[1].cpu(), cpu[1])


def test_every_kind_is_in_the_matrix() -> None:
    named = {part if isinstance(part, str) else part.name for parts in CHANGES.values() for part in parts}
    assert named == set(KINDS)
