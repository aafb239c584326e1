"""Sources over PyTorch's own: any map-style `Dataset`, or a ready `DataLoader`."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast, final

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from danlu.data.bad import ACTION, QUOTA, Action, BadPolicy, Quota
from danlu.data.columns import stored
from danlu.data.pictures import Pictures
from danlu.data.source import Ids, Source, checked_ids
from danlu.errors import DataError
from danlu.recipe import Normalise


@final
class Samples(Source):
    """Any map-style `torch.utils.data.Dataset`. Samples are fetched one by one with `__getitem__`.

    What it returns for a sample may be `(inputs, target)`, `(inputs, more inputs, ..., target)`, a dict, or inputs
    alone; see `danlu.data.canonical`. Random numbers inside `__getitem__` and `transform` (`random`, `numpy.random`,
    `torch`, `danlu.data.rng()`) are seeded from (seed, epoch, sample), so they are the same for any number of workers.

    A sample is bad if fetching it raises, if a float among its inputs is NaN or infinite, or, with PyTorch's own
    collate function, if its shapes are not those of the others. Running out of memory or of file handles is nobody's
    fault and always ends the run.

    Args:
        dataset: has `__len__` and `__getitem__(int)`; for arrays use `TensorDataset(inputs, target)`.
        collate_fn: makes a batch of a list of samples; the default is PyTorch's.
        workers: processes that fetch; 0 fetches in this one.
        target: for samples that are dicts, the key of the target; None looks for target, label, labels, y.
        transform: called with what the dataset returned for a sample, in the process that fetches it; any Python.
        bad: "raise", "skip" a bad sample or "replace" it by one drawn at random; None leaves it to the recipe.
        bad_quota: how many samples may be bad before the run stops: a number (int) or a share (float).

    Raises:
        DataError: an `IterableDataset`, a dataset without length, an empty one, or a policy that is none.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        *,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        workers: int = 0,
        target: str | None = None,
        transform: Callable[[Any], Any] | None = None,
        bad: Action | None = None,
        bad_quota: Quota | None = None,
    ) -> None:
        if isinstance(dataset, IterableDataset):
            raise DataError(
                where=type(dataset).__name__,
                got="an IterableDataset",
                want="a map-style Dataset, so that any sample can be fetched by its number",
                fix="give it __len__ and __getitem__, or pass a DataLoader over it (danlu promises less for one)",
            )
        self.dataset, self.collate_fn, self.workers, self.target = dataset, collate_fn, workers, target
        self.transform = transform
        self._bad, self._bad_quota = bad, bad_quota
        self.policy = BadPolicy(bad or ACTION, QUOTA if bad_quota is None else bad_quota)
        self.rows: Ids | None = None
        self.normalise: Normalise | None = None  # done to every batch of inputs, on the device
        self.pictures = isinstance(dataset, Pictures) and transform is None and collate_fn is None
        self.scaled = True  # pictures become floats from 0 to 1, on the device
        self._length = _length(dataset)

    def __len__(self) -> int:
        """Return how many samples there are."""
        return self._length

    def targets(self) -> npt.NDArray[Any] | None:
        """Return the targets where the dataset keeps them in one place (see `known_targets`), else None."""
        known = known_targets(self.dataset)
        return known if known is None or self.rows is None else known[self.rows]

    def take(self, ids: npt.ArrayLike) -> "Samples":
        """Return the samples `ids` of the same dataset."""
        rows = checked_ids(ids, len(self))
        part = copy.copy(self)
        part.rows, part._length = (rows if self.rows is None else self.rows[rows]), len(rows)
        return part

    def refusing(self) -> "Samples":
        """Return the same samples, none of which may be bad."""
        part = copy.copy(self)
        part.policy = BadPolicy()
        return part

    def skipping(self) -> "Samples":
        """Return the same samples, of which the bad ones are left out where others would take their place."""
        part = copy.copy(self)
        part.policy = self.policy if self.policy.action == "raise" else replace(self.policy, action="skip", least=0)
        return part

    def unscaled(self) -> "Samples":
        """Return the same samples, whose pictures stay uint8 in batches; for those who copy them."""
        part = copy.copy(self)
        part.scaled = False
        return part

    def with_policy(self, policy: BadPolicy) -> "Samples":
        """Return the same samples under another policy for bad ones; what they were given themselves still counts."""
        part = copy.copy(self)
        own_quota = policy.quota if self._bad_quota is None else self._bad_quota
        part.policy = replace(policy, action=self._bad or policy.action, quota=own_quota)
        return part


@final
class Loader(Source):
    """A ready `DataLoader`, iterated as it stands: its own batch size, order, workers and collation.

    The promise is weaker than for the other sources: no sample can be fetched by number, order and augmentation are
    the loader's own. Before each epoch its generator (PyTorch's default one if it has none) is seeded from
    (seed, epoch), so that two runs with the same seed agree; starting in the middle of an epoch fetches and drops
    what comes before.

    Args:
        dataloader: its number of batches must be known.
        target: as for `Samples`.
    """

    def __init__(self, dataloader: "DataLoader[Any]", *, target: str | None = None) -> None:
        try:
            batches = len(dataloader)
        except TypeError as error:
            raise DataError(
                where="DataLoader",
                got=f"a loader of unknown length ({error})",
                want="a known number of batches per epoch",
                fix="give its dataset a __len__",
            ) from error
        self.dataloader, self.target = dataloader, target
        self.normalise: Normalise | None = None
        self._length = _length(dataloader.dataset)
        if not batches:
            raise DataError(where="DataLoader", got="no batches", want="at least one", fix="check its batch size")

    def __len__(self) -> int:
        """Return how many samples the loader's dataset has."""
        return self._length

    def targets(self) -> npt.NDArray[Any] | None:
        """Return None: a ready loader's samples are known only by iterating."""
        return None

    def take(self, ids: npt.ArrayLike) -> Source:
        """Raise a DataError: a ready loader has no random access."""
        raise DataError(
            where="DataLoader",
            got="a part of a ready DataLoader was asked for",
            want="arrays or a map-style Dataset",
            fix="pass loader.dataset instead, or give training and validation loaders of their own",
        )


def pictures_of(source: Source) -> Pictures | None:
    """Return the picture files that a source serves; None where it serves something else."""
    if not (isinstance(source, Samples) and source.pictures):
        return None
    return cast("Pictures", source.dataset)


def known_targets(dataset: object) -> npt.NDArray[Any] | None:
    """Return a dataset's targets where they are known without fetching its samples.

    That is so for a `TensorDataset` of at least two tensors (the last one), for any dataset whose attribute `targets`
    is an array, tensor or list with one number per sample (torchvision's data sets), and for a `Subset` or
    `ConcatDataset` of these.
    """
    if isinstance(dataset, TensorDataset):
        return dataset.tensors[-1].detach().cpu().numpy() if len(dataset.tensors) > 1 else None
    if isinstance(dataset, Subset):
        whole = known_targets(dataset.dataset)
        return None if whole is None else whole[np.asarray(dataset.indices)]
    if isinstance(dataset, ConcatDataset):
        parts = [known_targets(part) for part in dataset.datasets]
        return None if any(part is None for part in parts) else np.concatenate(cast("list[npt.NDArray[Any]]", parts))
    targets = getattr(dataset, "targets", None)
    if not isinstance(targets, np.ndarray | Tensor | list | tuple) or len(targets) != _length(dataset):
        return None
    try:
        array = stored("targets", targets).numpy()
    except DataError:
        return None
    return array


def _length(dataset: object) -> int:
    try:
        length = len(cast("Any", dataset))
    except (TypeError, NotImplementedError) as error:
        raise DataError(
            where=type(dataset).__name__, got="no length", want="a dataset that knows its length", fix="define __len__"
        ) from error
    if not length:
        raise DataError(
            where=type(dataset).__name__,
            got="an empty set",
            want="at least one sample",
            fix="check where it reads from",
        )
    return length
