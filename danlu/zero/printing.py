"""How a tensor looks in print: exactly as PyTorch shows it."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from danlu.zero import dtypes
from danlu.zero.tensor import Tensor

Array = npt.NDArray[Any]

OPTIONS: dict[str, Any] = {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80, "sci_mode": None}


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    *,
    sci_mode: bool | None = None,
) -> None:
    """Set digits after the point, how many elements are summarised and how many shown then, and the line's width.

    `sci_mode` is scientific notation always or never; None: where the magnitudes call for it.
    """
    given = {"precision": precision, "threshold": threshold, "edgeitems": edgeitems, "linewidth": linewidth}
    OPTIONS.update({name: value for name, value in given.items() if value is not None}, sci_mode=sci_mode)


def text(tensor: Tensor) -> str:
    """Return `tensor([1., 2.], requires_grad=True)`."""
    array, default, suffixes = tensor._array, dtypes.get_default_dtype(), []
    if array.ndim != 1 if array.size == 0 else not OPTIONS["edgeitems"]:
        suffixes.append(f"size={array.shape}")
    if tensor.dtype is not default and (array.size == 0 or tensor.dtype not in (dtypes.int64, dtypes.bool_)):
        suffixes.append(f"dtype={tensor.dtype}")
    if tensor.grad_fn is not None:
        suffixes.append(f"grad_fn=<{tensor.grad_fn.name()}>")
    elif tensor.requires_grad:
        suffixes.append("requires_grad=True")
    brief = array.size > OPTIONS["threshold"]
    numbers = _nested(array, 7, brief, _Format(_shown(array) if brief else array)) if array.size else "[]"
    return _with_suffixes(f"tensor({numbers}", suffixes, 7)


def formatted(tensor: Tensor, spec: str) -> str:
    """Return `f"{tensor:.3f}"`: a 0-d tensor as its number, any other as it prints."""
    return format(tensor.item(), spec) if tensor._array.ndim == 0 else object.__format__(tensor, spec)


METHODS = {"__repr__": text, "__format__": formatted}


class _Format:
    """How one number of an array is written, so that all of them align."""

    def __init__(self, array: Array) -> None:
        self.floating, self.whole, self.scientific, self.width = array.dtype.kind == "f", True, False, 1
        if not self.floating:
            self.width = max((len(str(value)) for value in array.ravel().tolist()), default=1)
            return
        finite = array[np.isfinite(array) & (array != 0)].astype(np.float64)
        if finite.size == 0:
            return
        low, high = float(np.abs(finite).min()), float(np.abs(finite).max())
        self.whole = bool((finite == np.ceil(finite)).all())
        self.scientific = high / low > 1000.0 or high > 1e8 or low < 1e-4
        if OPTIONS["sci_mode"] is not None:
            self.scientific = OPTIONS["sci_mode"]
        self.width = max(len(self.one(value)) for value in finite.tolist())

    def one(self, value: Any) -> str:
        if not self.floating:
            return str(value).rjust(self.width)
        if self.scientific:
            written = f"{value:.{OPTIONS['precision']}e}"
        elif self.whole:
            written = f"{value:.0f}" + ("." if math.isfinite(value) else "")
        else:
            written = f"{value:.{OPTIONS['precision']}f}"
        return written.rjust(self.width)


def _nested(array: Array, indent: int, brief: bool, style: _Format) -> str:
    if array.ndim == 0:
        return style.one(array.item())
    edge = OPTIONS["edgeitems"]
    cut = brief and len(array) > 2 * edge
    if array.ndim == 1:
        return _row(array, indent, brief, style)
    parts = [_nested(part, indent + 1, brief, style) for part in (array[:edge] if cut else array)]
    if cut:
        last = array[len(array) - edge :]
        parts += ["...", *(_nested(part, indent + 1, brief, style) for part in last)]
    return "[" + ("," + "\n" * (array.ndim - 1) + " " * (indent + 1)).join(parts) + "]"


def _row(array: Array, indent: int, brief: bool, style: _Format) -> str:
    edge = OPTIONS["edgeitems"]
    if brief and not edge:
        words = ["..."]
    elif brief and len(array) > 2 * edge:
        words = [style.one(v) for v in array[:edge].tolist()]
        words += [" ...", *(style.one(v) for v in array[-edge:].tolist())]
    else:
        words = [style.one(v) for v in array.tolist()]
    per_line = max(1, (OPTIONS["linewidth"] - indent) // (style.width + 2))
    lines = [", ".join(words[i : i + per_line]) for i in range(0, len(words), per_line)]
    return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"


def _shown(array: Array) -> Array:
    """Return the part of an array that a summary shows."""
    edge = OPTIONS["edgeitems"]
    for dim, size in enumerate(array.shape):
        if size > 2 * edge:
            array = array.take([*range(edge), *range(size - edge, size)], axis=dim)
    return array


def _with_suffixes(start: str, suffixes: list[str], indent: int) -> str:
    parts, length = [start], len(start) - start.rfind("\n") + 1
    for suffix in suffixes:
        if length + len(suffix) + 2 > OPTIONS["linewidth"]:
            parts.append(",\n" + " " * indent + suffix)
            length = indent + len(suffix)
        else:
            parts.append(", " + suffix)
            length += len(suffix) + 2
    return "".join(parts) + ")"
