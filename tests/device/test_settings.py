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


def products():
    backends = torch.backends
    kinds = (backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn, backends.mkldnn.matmul)
    return [kind.fp32_precision for kind in kinds]


@pytest.mark.parametrize("tf32", [False, True])
@pytest.mark.parametrize("callers", ["none", "older", "newer", "both"])
def test_float32_products_are_what_the_plan_says_and_go_back(tf32, callers):
    first = products()
    legacy = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    try:
        if callers == "older":
            torch.set_float32_matmul_precision("high")
            torch.backends.cudnn.allow_tf32 = False
        if callers in ("newer", "both"):
            torch.backends.cudnn.conv.fp32_precision = "ieee"
        if callers == "both":  # reading an older setting raises from here on
            torch.backends.cuda.matmul.fp32_precision = "tf32"
        before = products()
        with exact(deterministic=True, threads=1, tf32=tf32):
            assert products()[:3] == ["tf32" if tf32 else "ieee"] * 3
            assert torch.backends.cudnn.allow_tf32 is tf32
            assert torch.get_float32_matmul_precision() == ("high" if tf32 else "highest")
        assert products() == before
    finally:
        torch.set_float32_matmul_precision(legacy[0])
        torch.backends.cudnn.allow_tf32 = legacy[1]
        for kind, precision in zip(
            (torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn), first, strict=False
        ):
            kind.fp32_precision = precision
        torch.backends.mkldnn.matmul.fp32_precision = first[3]


def test_a_setting_for_all_products_does_not_make_float32_something_else():
    before = torch.backends.fp32_precision
    try:
        torch.backends.fp32_precision = "tf32"
        with exact(deterministic=True, threads=1):
            assert products()[:3] == ["ieee"] * 3
    finally:
        torch.backends.fp32_precision = before
    assert torch.backends.fp32_precision == before


@pytest.mark.gpu
@GPU
@pytest.mark.parametrize("tf32", [False, True])
def test_convolutions_and_products_are_rounded_by_tf32_alone(tf32):
    if torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("this device has no units for tf32")
    x, w = torch.randn(4, 64, 16, 16, device="cuda"), torch.randn(64, 64, 3, 3, device="cuda")
    a, b = torch.randn(512, 512, device="cuda"), torch.randn(512, 512, device="cuda")
    with exact(deterministic=True, threads=1, tf32=tf32):
        found = [torch.nn.functional.conv2d(x, w), a @ b]
    wanted = [torch.nn.functional.conv2d(x.double(), w.double()), a.double() @ b.double()]
    for got, want in zip(found, wanted, strict=True):
        error = float((got.double() - want).norm() / want.norm())
        assert (1e-5 < error < 1e-2) if tf32 else error < 1e-5
