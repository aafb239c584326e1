"""What this machine can do at best, measured now: a large product, a large copy, the smallest call.

A best figure that was taken once, while other programs ran, is too low, and whatever is compared with it looks too
good. So a `Gauge` is read around everything that is timed, and the better reading of the two counts.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, final

import torch

from danlu.device.precision import DTYPES

PRODUCT_CPU, PRODUCT = 1024, 8192  # rows and columns of both matrices
COPY_CPU, COPY = 48 << 20, 512 << 20  # bytes; more than any cache holds
CALLS = 100
REPEATS = 5  # of each measurement, the quickest of which counts
LONGEST_S = 0.1  # of all repeats of one measurement, but for the first two


@final
@dataclass(frozen=True)
class Limits:
    """The best that was seen of a machine.

    Fields:
        flops_per_s: floating-point operations of a product of two square matrices; a multiplication and an addition
            are two.
        bytes_per_s: bytes read and bytes written by a copy.
        call_s: seconds of an operation on one number, which is what a call costs.
        size: rows and columns of the matrices.
        dtype: their type.
    """

    flops_per_s: float
    bytes_per_s: float
    call_s: float
    size: int
    dtype: str

    @property
    def shape(self) -> str:
        """Name the product that `flops_per_s` is of."""
        return f"a {self.size} x {self.size} x {self.size} product in {self.dtype}"

    def best(self, other: "Limits") -> "Limits":
        """Return the better of two readings, figure by figure."""
        flops, copied = max(self.flops_per_s, other.flops_per_s), max(self.bytes_per_s, other.bytes_per_s)
        return Limits(flops, copied, min(self.call_s, other.call_s), self.size, self.dtype)

    def figures(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)


@final
class Gauge:
    """Measures a device again and again, with the threads and the precision of products that are set by then.

    Args:
        device: "cpu", "cuda:0".
        precision: of the recipe: "float32", "bf16" or "fp16"; the product is made in it.

    Cost: 110 MiB of memory on a CPU and 1.8 GiB elsewhere; no generator but its own is drawn from.
    """

    def __init__(self, device: str, precision: str = "float32") -> None:
        self._device = torch.device(device)
        cpu = self._device.type == "cpu"
        self._size, dtype = PRODUCT_CPU if cpu else PRODUCT, DTYPES.get(precision, torch.float32)
        generator = torch.Generator(self._device).manual_seed(0)  # of equal numbers a GPU makes quicker products
        shape = self._size, self._size
        self._factors = [torch.randn(shape, generator=generator, device=self._device).to(dtype) for _ in range(2)]
        self._product = torch.zeros(shape, dtype=dtype, device=self._device)
        self._source = torch.ones(COPY_CPU if cpu else COPY, dtype=torch.uint8, device=self._device)
        self._copy, self._one = torch.zeros_like(self._source), torch.zeros((), device=self._device)
        self.sample()  # libraries load their kernels in the first call

    def sample(self) -> Limits:
        """Measure now. Cost: 0.1 to 0.3 s, and a sync before and after each measurement."""
        with torch.no_grad():
            product_s = self._quickest(lambda: torch.mm(*self._factors, out=self._product))
            copy_s = self._quickest(lambda: self._copy.copy_(self._source))
            calls_s = self._quickest(lambda: [self._one.add_(1) for _ in range(CALLS)])
        dtype = str(self._product.dtype).removeprefix("torch.")
        copied = 2 * self._source.numel()
        return Limits(2 * self._size**3 / product_s, copied / copy_s, calls_s / CALLS, self._size, dtype)

    def wait(self) -> None:
        """Wait until the device has done all that it was given."""
        wait(self._device)

    def _quickest(self, action: Callable[[], object]) -> float:
        times: list[float] = []
        while len(times) < 2 or (len(times) < REPEATS and sum(times) < LONGEST_S):
            self.wait()
            start_s = time.perf_counter()
            action()
            self.wait()
            times.append(time.perf_counter() - start_s)
        return max(min(times), 1e-9)


def limits(device: str, precision: str = "float32", samples: int = 5) -> Limits:
    """Return the best of a device that so many samples show. Cost: about a second; the arguments are `Gauge`'s."""
    gauge = Gauge(device, precision)
    best = gauge.sample()
    for _ in range(samples - 1):
        best = best.best(gauge.sample())
    del gauge
    if device.startswith("cuda"):
        torch.cuda.empty_cache()  # its matrices are large, and others may want the memory
    return best


def wait(device: torch.device) -> None:
    """Wait until a device has done all that it was given; a CPU always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
