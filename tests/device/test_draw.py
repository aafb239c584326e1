import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.device import draw, expand, unit, words
from danlu.keyed import uniform

IDS = st.lists(st.integers(0, 2**62), min_size=1, max_size=20)
GOLDEN_WORDS = [[3515032018, 2621100429], [1266551266, 831751439], [3918275938, 3370789019]]
GOLDEN_EXPANDED = [[1684164658, 1580013426], [3950124170, 3474236918]]
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 2**64 - 1), epoch=st.integers(0, 10_000), ids=IDS, purpose=st.text(max_size=8))
def test_the_words_are_those_of_keyed_uniform(seed: int, epoch: int, ids: list[int], purpose: str) -> None:
    found = words(seed, epoch, torch.tensor(ids), purpose=purpose, count=3)
    assert found.dtype == torch.int64
    assert np.array_equal(found.numpy() * 2.0**-32, uniform(seed, epoch, ids, purpose, (3,)))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**64 - 1), ids=IDS)
def test_a_draw_is_keyed_uniform_cut_to_24_bits(seed: int, ids: list[int]) -> None:
    found = draw(seed, 1, torch.tensor(ids), purpose="crop", shape=(2, 2))
    assert found.dtype == torch.float32
    assert np.array_equal(found.numpy(), np.floor(uniform(seed, 1, ids, "crop", (2, 2)) * 2**24) * 2.0**-24)


def test_words_are_what_they_always_were() -> None:
    assert words(0, 0, torch.tensor([0, 1, 2**32]), purpose="flip", count=2).tolist() == GOLDEN_WORDS
    assert expand(torch.tensor([0, 2**32 - 1]), 2).tolist() == GOLDEN_EXPANDED


@settings(max_examples=40, deadline=None)
@given(ids=IDS, data=st.data())
def test_a_sample_has_its_numbers_whatever_is_asked_with_it(ids: list[int], data: st.DataObject) -> None:
    together = draw(4, 2, torch.tensor(ids), purpose="noise", shape=(3,))
    index = data.draw(st.integers(0, len(ids) - 1))
    assert torch.equal(draw(4, 2, torch.tensor([ids[index]]), purpose="noise", shape=(3,))[0], together[index])
    fewer = draw(4, 2, torch.tensor(ids), purpose="noise", shape=(2,))
    assert torch.equal(fewer, together[:, :2])


@pytest.mark.parametrize(("ids", "shape"), [([], ()), ([], (2, 3)), ([4], (0,)), ([4, 5], (1, 2, 3)), ([7], ())])
def test_shapes(ids: list[int], shape: tuple[int, ...]) -> None:
    found = draw(0, 0, torch.tensor(ids, dtype=torch.int64), purpose="x", shape=shape)
    assert found.shape == (len(ids), *shape)


def test_the_ids_stay_as_they_were() -> None:
    ids = torch.arange(5)
    draw(0, 0, ids, purpose="x", shape=(2,))
    assert ids.tolist() == [0, 1, 2, 3, 4]


def test_draws_are_uniform_and_below_one() -> None:
    drawn = draw(11, 4, torch.arange(50_000), purpose="noise", shape=(4,))
    assert drawn.min() >= 0
    assert drawn.max() < 1
    assert unit(torch.tensor([0, 2**32 - 1])).tolist() == [0.0, 1 - 2**-24]
    for flat in (drawn.flatten(), *drawn.T):
        counts = torch.bincount((flat * 256).long(), minlength=256).double()
        expected = flat.numel() / 256
        assert ((counts - expected) ** 2 / expected).sum().item() < 255 + 5 * np.sqrt(2 * 255)


@pytest.mark.parametrize("lag", [1, 2, 64])
def test_expanded_words_are_unrelated(lag: int) -> None:
    wide = unit(expand(words(0, 0, torch.arange(2000), purpose="noise", count=1)[:, 0], 100)).double() - 0.5
    for one, other in ((wide[:, lag:], wide[:, :-lag]), (wide[lag:], wide[:-lag])):
        assert abs((one * other).mean().item() * 12) < 5 / np.sqrt(one.numel())


@pytest.mark.gpu
@GPU
def test_a_gpu_draws_what_a_cpu_draws() -> None:
    ids = torch.arange(0, 2**40, 2**30 + 7)
    cpu, gpu = (draw(5, 6, ids.to(device), purpose="crop", shape=(9,)) for device in ("cpu", "cuda"))
    assert torch.equal(cpu, gpu.cpu())
