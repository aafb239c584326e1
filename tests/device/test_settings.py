import os
import random
from contextlib import nullcontext

import numpy as np
import pytest
import torch

from danlu import keyed
from danlu.device import exact, kept_generators, seed_all, seed_torch

GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")


def settings():
    return {
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "warn_only": torch.is_deterministic_algorithms_warn_only_enabled(),
        "fill": torch.utils.deterministic.fill_uninitialized_memory,
        "benchmark": torch.backends.cudnn.benchmark,
        "threads": torch.get_num_threads(),
    }


@pytest.fixture(autouse=True)
def _the_callers_settings_stay():
    before = settings()
    with kept_generators():
        yield
    torch.use_deterministic_algorithms(before["deterministic"], warn_only=before["warn_only"])
    torch.utils.deterministic.fill_uninitialized_memory = before["fill"]
    torch.backends.cudnn.benchmark = before["benchmark"]
    torch.set_num_threads(before["threads"])


def drawn():
    return random.random(), float(np.random.rand()), float(torch.rand(()))


@pytest.mark.parametrize("deterministic", [True, False])
def test_exact_holds_the_settings_that_fix_the_bits(deterministic):
    with exact(deterministic=deterministic, threads=2):
        wanted = {"deterministic": deterministic, "warn_only": False, "fill": False, "benchmark": False, "threads": 2}
        assert settings() == wanted
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"]


@pytest.mark.parametrize("warn_only", [True, False])
@pytest.mark.parametrize("fails", [True, False])
def test_exact_puts_the_callers_settings_back(warn_only, fails):
    torch.use_deterministic_algorithms(True, warn_only=warn_only)
    torch.utils.deterministic.fill_uninitialized_memory = True
    torch.backends.cudnn.benchmark = True
    torch.set_num_threads(2)
    before = settings()
    with pytest.raises(KeyboardInterrupt) if fails else nullcontext(), exact(deterministic=False, threads=1):
        assert settings() != before
        if fails:
            raise KeyboardInterrupt
    assert settings() == before


def test_exact_puts_settings_back_when_one_cannot_be_set():
    before = settings()
    with pytest.raises(RuntimeError), exact(deterministic=True, threads=0):
        pass
    assert settings() == before


def test_exact_inside_exact_goes_back_to_the_outer_one():
    with exact(deterministic=True, threads=2):
        with exact(deterministic=False, threads=1):
            pass
        assert settings()["deterministic"]
        assert settings()["threads"] == 2


def test_exact_refuses_sums_without_an_order():
    places, values = torch.tensor([0, 0]), torch.ones(2)
    with exact(deterministic=False, threads=1):
        torch.zeros(4).put_(places, values)
    refused = pytest.raises(RuntimeError, match="does not have a deterministic implementation")
    with exact(deterministic=True, threads=1), refused:
        torch.zeros(4).put_(places, values)


def test_a_user_choice_of_the_cublas_workspace_stays(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    with exact(deterministic=True, threads=1):
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"


@pytest.mark.parametrize("fails", [True, False])
def test_kept_generators_go_on_as_if_nothing_was_drawn(fails):
    seed_all(3)
    want = drawn()
    seed_all(3)
    with pytest.raises(ZeroDivisionError) if fails else nullcontext(), kept_generators():
        seed_all(99)
        drawn()
        if fails:
            raise ZeroDivisionError
    assert drawn() == want


@pytest.mark.parametrize("number", [0, 1, 12345, 2**32 - 1])
def test_seed_torch_is_manual_seed(number):
    torch.manual_seed(number)
    want, state = torch.randn(7), torch.get_rng_state()
    seed_torch(number)
    assert torch.equal(torch.randn(7), want)
    assert torch.equal(torch.get_rng_state(), state)


def test_seed_torch_forgets_the_half_of_a_pair_of_normal_numbers():
    seed_torch(5)
    want = torch.randn(3)
    torch.randn(1)  # an odd count leaves one number of a pair behind
    seed_torch(5)
    assert torch.equal(torch.randn(3), want)


def test_seed_torch_leaves_python_and_numpy_alone():
    seed_all(1)
    want = drawn()[:2]
    seed_all(1)
    seed_torch(2)
    assert drawn()[:2] == want


def test_seed_all_seeds_each_generator():
    seed_all(7)
    want = drawn()
    drawn()
    seed_all(7)
    assert drawn() == want
    random.seed(7)
    np.random.seed(keyed.number("numpy", 7))
    torch.manual_seed(7)
    assert drawn() == want
    seed_all(8)
    assert all(one != other for one, other in zip(drawn(), want, strict=True))


@pytest.mark.gpu
@GPU
def test_seed_torch_is_manual_seed_on_cuda():
    torch.cuda.manual_seed_all(3)
    want = torch.randn(5, device="cuda")
    seed_torch(3)
    assert torch.equal(torch.randn(5, device="cuda"), want)


@pytest.mark.gpu
@GPU
def test_kept_generators_keep_those_of_cuda():
    seed_torch(3)
    want = torch.randn(5, device="cuda")
    seed_torch(3)
    with kept_generators():
        torch.randn(99, device="cuda")
    assert torch.equal(torch.randn(5, device="cuda"), want)
