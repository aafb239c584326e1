"""PyTorch's global settings and the default generators: set for a run, and put back as they were."""

import contextlib
import os
import random
from collections.abc import Callable, Iterator
from typing import Any

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
    )
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read by CUDA when it starts
    try:
        torch.use_deterministic_algorithms(deterministic)
        # the fill makes a torch.empty cost 22 us instead of 2, for code that reads what it never wrote
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        torch.backends.cudnn.benchmark = False
        torch.set_num_threads(threads)
        with _products(tf32=tf32), memory_kept(keep_memory):
            yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.utils.deterministic.fill_uninitialized_memory = before[2]  # type: ignore[attr-defined]
        torch.backends.cudnn.benchmark = before[3]
        torch.set_num_threads(before[4])


@contextlib.contextmanager
def _products(*, tf32: bool) -> Iterator[None]:
    """Hold how CUDA multiplies float32 in matrix products, convolutions and recurrent layers.

    PyTorch has older settings and newer ones for each kind, and reading an older one raises where a caller has set
    both. The older ones, when they are set, set the newer ones with them, so these are kept and put back last.
    """
    backends: Any = torch.backends
    kinds = (backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn, backends.mkldnn.matmul)
    newer = [kind.fp32_precision for kind in kinds]
    matmul, cudnn = _older(torch.get_float32_matmul_precision), _older(lambda: torch.backends.cudnn.allow_tf32)
    try:
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
        torch.backends.cudnn.allow_tf32 = tf32
        for kind in kinds[:3]:  # by name: "none" would follow a setting for all of them
            kind.fp32_precision = "tf32" if tf32 else "ieee"
        yield
    finally:
        if matmul is not None:
            torch.set_float32_matmul_precision(matmul)
        if cudnn is not None:
            torch.backends.cudnn.allow_tf32 = cudnn
        for kind, precision in zip(kinds, newer, strict=True):
            kind.fp32_precision = precision


def _older(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except RuntimeError:  # older and newer settings contradict each other
        return None


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
