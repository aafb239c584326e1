"""PyTorch's global settings and the default generators: set for a run, and put back as they were."""

import contextlib
import os
import random
from collections.abc import Iterator

import numpy as np
import torch

from danlu import keyed
from danlu.device.allocator import memory_kept


@contextlib.contextmanager
def exact(*, deterministic: bool, threads: int, keep_memory: bool = False, tf32: bool = False) -> Iterator[None]:
    """Hold the settings that fix every bit of a run, and put the caller's back at the end.

    Args:
        deterministic: refuse operations whose sums have no fixed order.
        threads: intra-op threads; always set, because another number gives other bits.
        keep_memory: freed memory stays with the process meanwhile; changes no bit.
        tf32: let CUDA round the factors of float32 products to 10 bits of mantissa.
    """
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.utils.deterministic.fill_uninitialized_memory,  # type: ignore[attr-defined]
        torch.backends.cudnn.benchmark,
        torch.get_num_threads(),
        torch.get_float32_matmul_precision(),
    )
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read by CUDA when it starts
    try:
        torch.use_deterministic_algorithms(deterministic)
        # the fill makes a torch.empty cost 22 us instead of 2, for code that reads what it never wrote
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        torch.backends.cudnn.benchmark = False
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
        with memory_kept(keep_memory):
            yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.utils.deterministic.fill_uninitialized_memory = before[2]  # type: ignore[attr-defined]
        torch.backends.cudnn.benchmark = before[3]
        torch.set_num_threads(before[4])
        torch.set_float32_matmul_precision(before[5])


def use_threads(threads: int) -> None:
    """Let PyTorch compute by so many threads from here on, until the run's settings end."""
    torch.set_num_threads(threads)


@contextlib.contextmanager
def blas_threads(threads: int) -> Iterator[None]:
    """Let NumPy's matrix products use so many threads; without `threadpoolctl` they use what they are set to."""
    try:
        import threadpoolctl
    except ModuleNotFoundError:
        yield
        return
    with threadpoolctl.threadpool_limits(threads, user_api="blas"):
        yield


@contextlib.contextmanager
def kept_generators() -> Iterator[None]:
    """Put the default generators of Python, NumPy and PyTorch (with its CUDA devices) back at the end."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if _cuda_runs() else None
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)


def seed_all(number: int) -> None:
    """Seed the default generators of Python, NumPy and PyTorch. Cost: about 30 us; once a run, not once an update."""
    random.seed(number)
    np.random.seed(keyed.number("numpy", number))
    seed_torch(number)


def seed(number: int, generators: str) -> None:
    """Seed the default generators that a plan names: those of "torch", or "all"."""
    (seed_all if generators == "all" else seed_torch)(number)


def seed_torch(number: int) -> None:
    """Seed PyTorch's default generators directly, on the CPU and on CUDA once it runs. Cost: about 2 us.

    `torch.manual_seed` does the same for every back-end and takes over 200 us.
    """
    torch.default_generator.manual_seed(number)
    if _cuda_runs():
        for generator in torch.cuda.default_generators:
            generator.manual_seed(number)


def _cuda_runs() -> bool:
    started: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return started
