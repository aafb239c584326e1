"""What the mean of a loss is divided by, counted from the targets without reading a number back."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor

Counted = Literal["classes", "elements", "samples", "rows"]
Denominator = Callable[[Any, Any], float | Tensor]


def make_denominator(
    counted: Counted, reduction: str, ignore_index: int | None, *, weight: Tensor | None
) -> Denominator:
    """Return the function that counts what a named loss's mean is divided by."""
    if counted == "classes" and ignore_index is not None:
        table = None if weight is None else _weight_table(weight)
        return functools.partial(_class_count, ignore_index, table)
    if counted == "rows":
        return _rows
    return _samples if counted == "samples" and reduction != "mean" else _elements


def _weight_table(weight: Tensor) -> Tensor:
    """Return float64 weights, shape (C + 1,), with a last entry of 0 that ignored targets point at."""
    return torch.cat((weight.detach().double(), weight.new_zeros(1, dtype=torch.float64)))


def _class_count(ignore_index: int, table: Tensor | None, target: Tensor, _: object) -> float | Tensor:
    """Count targets that are not ignored, or sum their weights; PyTorch divides class probabilities by their number."""
    if target.is_floating_point():
        return class_positions(target, None)
    indices = target if target.dtype is torch.int64 else target.long()
    if table is None:
        return indices.ne(ignore_index).count_nonzero()
    return table.index_select(0, indices.masked_fill(indices.eq(ignore_index), table.numel() - 1).reshape(-1)).sum()


def class_positions(target: Tensor, _: object) -> float:
    """Count class indices (N, ...), or rows of class probabilities (N, C, ...)."""
    if target.is_floating_point():
        return float(target.numel() // max(1, target.size(min(1, target.ndim - 1))))
    return float(target.numel())


def _elements(target: Tensor, _: object) -> float:
    return float(target.numel())


def _samples(target: Tensor, _: object) -> float:
    return float(target.size(0))


def _rows(target: Tensor, _: object) -> float:
    return float(target.numel() // max(1, target.size(-1)))


def samples_of_any(target: Any, output: Any) -> float:
    """Count samples: the length of the first tensor found in the target, else in the output."""
    for tree in (target, output):
        first = first_tensor(tree)
        if first is not None:
            return float(first.size(0)) if first.ndim else 1.0
    return 1.0


def first_tensor(tree: Any) -> Tensor | None:
    """Return the first tensor in nested tuples, lists and dicts, or None."""
    if isinstance(tree, Tensor):
        return tree
    leaves = list(tree.values()) if isinstance(tree, Mapping) else tree if isinstance(tree, list | tuple) else ()
    found = (first_tensor(leaf) for leaf in leaves)
    return next((leaf for leaf in found if leaf is not None), None)
