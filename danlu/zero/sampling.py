"""Random tensors, drawn from the default generator or from the one given."""

from typing import Any

import numpy as np
import numpy.typing as npt

from danlu.zero import dtypes
from danlu.zero.arguments import DType, floating, like, refuse, require, shape_of
from danlu.zero.ops.sizes import together
from danlu.zero.random import Generator, choose
from danlu.zero.tensor import Tensor, wrap

Array = npt.NDArray[Any]
Source = Generator | None


def rand(
    *sizes: Any,
    size: Any = None,
    generator: Source = None,
    dtype: DType = None,
    requires_grad: bool = False,
    **rest: Any,
) -> Tensor:
    """Draw evenly from [0, 1)."""
    refuse("rand", **rest)
    kind, shape = floating("rand", dtype, drawn=True), shape_of("rand", sizes, size)
    if kind.itemsize >= 4:
        return wrap(choose(generator).random(shape, kind)).requires_grad_(requires_grad)
    coarse = np.floor(choose(generator).random(shape, np.float32) * 2048) / 2048  # what float16 holds exactly
    return wrap(np.asarray(coarse, kind)).requires_grad_(requires_grad)


def randn(
    *sizes: Any,
    size: Any = None,
    generator: Source = None,
    dtype: DType = None,
    requires_grad: bool = False,
    **rest: Any,
) -> Tensor:
    """Draw from the normal distribution with mean 0 and standard deviation 1."""
    refuse("randn", **rest)
    kind = floating("randn", dtype, drawn=True)
    return wrap(_gaussian(shape_of("randn", sizes, size), kind, generator)).requires_grad_(requires_grad)


def randint(
    *bounds_and_size: Any, generator: Source = None, dtype: DType = None, requires_grad: bool = False, **rest: Any
) -> Tensor:
    """Draw whole numbers evenly: `randint(high, size)` from 0, `randint(low, high, size)` from low; never high."""
    names = ("low", "high", "size")
    named = {name: rest.pop(name) for name in names if name in rest}
    short = len(bounds_and_size) + len(named) < 3
    given = {"low": 0, **dict(zip(names[short:], bounds_and_size, strict=False)), **named}
    refuse("randint", **rest)
    fits = len(given) == 3 and not isinstance(given["size"], int)
    require(fits, "randint: (high, size) or (low, high, size), size a tuple of ints", TypeError, **given)
    low, high = int(given["low"]), int(given["high"])
    require(low < high, "randint: low is less than high", low=low, high=high)
    drawn = choose(generator).integers(low, high, shape_of("randint", (given["size"],)))
    return wrap(np.asarray(drawn, dtypes.known(dtype or int).numpy)).requires_grad_(requires_grad)


def normal(
    mean: Any = 0.0,
    std: Any = 1.0,
    size: Any = None,
    *,
    generator: Source = None,
    dtype: DType = None,
    requires_grad: bool = False,
    **rest: Any,
) -> Tensor:
    """Draw from a normal distribution: of one mean and deviation in a `size`, or of a tensor of either."""
    refuse("normal", **rest)
    tensors = [x for x in (mean, std) if isinstance(x, Tensor)]
    mean, std = (x._array if isinstance(x, Tensor) else x for x in (mean, std))
    require(not np.any(np.less(std, 0)), "normal: no std is negative", std=std)
    fits = (size is None) == bool(tensors)
    require(fits, "normal: (mean, std, size) of numbers, or tensors and no size", TypeError, size=size)
    if not tensors:
        shape, kind = shape_of("normal", (size,)), floating("normal", dtype, drawn=True)
    else:
        shape, kind = together(np.add, mean, std).shape, tensors[0]._array.dtype
    return wrap(np.asarray(_gaussian(shape, kind, generator) * std + mean, kind)).requires_grad_(requires_grad)


def randperm(
    n: int, *, generator: Source = None, dtype: DType = None, requires_grad: bool = False, **rest: Any
) -> Tensor:
    """Return the whole numbers from 0 to n - 1 in random order."""
    refuse("randperm", **rest)
    require(n >= 0, "randperm: n is not negative", n=n)
    drawn = choose(generator).permutation(n)
    return wrap(np.asarray(drawn, dtypes.known(dtype or int).numpy)).requires_grad_(requires_grad)


def bernoulli(input: Tensor, p: float | None = None, *, generator: Source = None, out: None = None) -> Tensor:
    """Draw 1 with the probability that stands in every place of `input` (or with `p` everywhere), otherwise 0."""
    refuse("bernoulli", out=out)
    likely = input._array if p is None else np.asarray(p)
    fits = p is not None or likely.dtype.kind == "f"
    require(fits, "bernoulli: probabilities are floating", NotImplementedError, input=input)
    require(np.all((likely >= 0) & (likely <= 1)), "bernoulli: a probability lies between 0 and 1", p=likely)
    drawn = choose(generator).random(input._array.shape) < likely
    return wrap(drawn.astype(input._array.dtype))


def multinomial(
    input: Tensor, num_samples: int, replacement: bool = False, *, generator: Source = None, out: None = None
) -> Tensor:
    """Draw `num_samples` indices from every row of weights (n,) or (rows, n), likely ones more often."""
    refuse("multinomial", out=out)
    weights = input._array
    floating_rows = weights.dtype.kind == "f" and weights.ndim in (1, 2)
    likely = np.all((weights >= 0) & np.isfinite(weights)) and np.all(weights.sum(axis=-1) > 0)
    require(
        floating_rows and likely,
        "multinomial: rows of floating weights, none negative nor all 0 nor inf nor NaN",
        input=input,
    )
    fits = num_samples > 0 and (replacement or num_samples <= weights.shape[-1])
    require(
        fits,
        "multinomial: at least one sample, and no more than there are without replacement",
        num_samples=num_samples,
    )
    rows = np.atleast_2d(weights.astype(np.float64))
    if replacement:
        edges = rows.cumsum(axis=1)
        edges /= edges[:, -1:]
        points = choose(generator).random((len(rows), num_samples))
        drawn = np.stack([np.searchsorted(edge, row, side="right") for edge, row in zip(edges, points, strict=True)])
    else:  # the smallest of exponential times, each with its weight as rate, come first
        times = choose(generator).standard_exponential(rows.shape)
        with np.errstate(divide="ignore"):
            drawn = np.argsort(times / rows, axis=1)[:, :num_samples]
    return wrap(drawn.reshape(*weights.shape[:-1], num_samples).astype(np.int64, copy=False))


rand_like, randn_like = like(rand), like(randn)


def _gaussian(shape: tuple[int, ...], kind: np.dtype[Any], generator: Source) -> Array:
    return np.asarray(choose(generator).standard_normal(shape, kind if kind.itemsize >= 4 else np.float32), kind)
