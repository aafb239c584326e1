"""Data sets of danlu.zero, as what the other sources are made of."""

import sys
from typing import Any, final

import torch
from torch.utils.data import Dataset

from danlu.errors import DataError


@final
class FromZero(Dataset[Any]):
    """A map-style data set of danlu.zero whose tensors come as PyTorch's."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        return _converted(self.dataset[index])


def from_zero(obj: object) -> object:
    """Return arrays for a `TensorDataset` of two tensors, a `Dataset` for another data set, all else as it is.

    Raises:
        DataError: a `DataLoader` of danlu.zero, whose order and workers are its own.
    """
    if "danlu.zero" not in sys.modules:
        return obj
    from danlu.zero import Tensor
    from danlu.zero.utils import data

    if isinstance(obj, data.DataLoader):
        want, fix = "its data set, which danlu reads in an order of its own", "pass loader.dataset"
        raise DataError(where="data", got="a DataLoader of danlu.zero", want=want, fix=fix)
    if isinstance(obj, data.TensorDataset) and len(obj.tensors) == 2:
        obj = obj.tensors
    if isinstance(obj, data.Dataset) and not isinstance(obj, data.IterableDataset):
        return FromZero(obj)
    if isinstance(obj, tuple):
        return tuple(one.numpy() if isinstance(one, Tensor) else one for one in obj)
    return obj


def _converted(sample: Any) -> Any:
    from danlu.zero import Tensor

    if isinstance(sample, Tensor):
        return torch.from_numpy(sample.detach().numpy().copy())
    if isinstance(sample, tuple | list):
        return type(sample)(map(_converted, sample))
    return {key: _converted(one) for key, one in sample.items()} if isinstance(sample, dict) else sample
