"""Whether one sample fits the others: the same shapes, finite inputs; and which file it came from."""

import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset

from danlu.data.canonical import TARGET_KEYS

_TABLES = ("samples", "imgs", "files", "paths")  # where datasets keep paths, as torchvision's ImageFolder does
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def form_of(sample: Any) -> str:
    """Return a sample's structure and shapes as text, such as "(3x32x32, number)"; types of numbers do not count."""
    if isinstance(sample, Tensor | np.ndarray) and sample.ndim:
        return "x".join(map(str, sample.shape))
    if isinstance(sample, Tensor | np.ndarray | np.generic | bool | int | float):
        return "number"
    if isinstance(sample, Mapping):
        return f"{{{', '.join(f'{key}: {form_of(sample[key])}' for key in sorted(sample, key=str))}}}"
    if isinstance(sample, tuple | list):
        return f"({', '.join(map(form_of, sample))})"
    return type(sample).__name__


def misfit(sample: Any, form: str | None, target: str | None) -> str | None:
    """Return what is wrong with a sample, or None.

    Args:
        sample: as the dataset returned it.
        form: what its form has to be; None where samples may differ.
        target: the key of the target, where samples are dicts.
    """
    if form is not None and (own := form_of(sample)) != form:
        return f"a sample of shape {own}, others have {form}"
    return None if _finite(_inputs(sample, target)) else "NaN or infinity in its inputs"


def _inputs(sample: Any, target: str | None) -> Any:
    """Return a sample without its target."""
    if isinstance(sample, Mapping):
        keys = [target] if target is not None else [key for key in TARGET_KEYS if key in sample]
        return [value for key, value in sample.items() if key not in keys[:1]]
    return sample[:-1] if isinstance(sample, tuple | list) and len(sample) > 1 else sample


def _finite(value: Any) -> bool:
    if isinstance(value, Tensor):
        if value.dtype not in _FLOATS or value.layout != torch.strided or value.device.type != "cpu":
            return True  # on another device the answer would have to be waited for
        return math.isfinite(float(value.sum())) or bool(torch.isfinite(value).all())  # a sum may overflow
    if isinstance(value, np.ndarray | np.generic):
        return value.dtype.kind not in "fc" or bool(np.isfinite(value).all())
    if isinstance(value, Mapping):
        return all(map(_finite, value.values()))
    if isinstance(value, tuple | list):
        return all(map(_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def path_of(dataset: object, row: int, error: BaseException | None = None) -> str:
    """Return the file of a sample, where the error or the dataset knows it, else "".

    A dataset knows it by an attribute `samples`, `imgs`, `files` or `paths`: one path, or tuple that begins with a
    path, for each sample; a `Subset` and a `ConcatDataset` by the datasets that they are made of.
    """
    named = getattr(error, "filename", None) if isinstance(error, OSError) else None
    if isinstance(named, str | bytes | os.PathLike):
        return os.fsdecode(named)
    if isinstance(dataset, Subset):
        return path_of(dataset.dataset, int(dataset.indices[row]))
    if isinstance(dataset, ConcatDataset):
        part = int(np.searchsorted(dataset.cumulative_sizes, row, side="right"))
        return path_of(dataset.datasets[part], row - (dataset.cumulative_sizes[part - 1] if part else 0))
    for name in _TABLES:
        table = getattr(dataset, name, None)
        if isinstance(table, list | tuple | np.ndarray) and len(table) == len(dataset):  # type: ignore[arg-type]
            entry = table[row]
            first = entry[0] if isinstance(entry, tuple | list) and entry else entry
            if isinstance(first, str | os.PathLike):
                return os.fspath(first)
    return ""
