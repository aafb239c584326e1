"""Cutting a set into pieces that share no sample: one permutation, cut; the same share of every class where asked."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np
import numpy.typing as npt

from danlu import keyed
from danlu.data.sampling import class_targets, is_classes
from danlu.data.source import Ids, Source
from danlu.errors import DataError

Share = float | Literal["default"]
Stratify = bool | Literal["default"]


@final
@dataclass(frozen=True)
class Ask:
    """How a caller wants a set cut.

    Fields:
        valid: share of the training samples held out for validation; "default" is the data set's own choice.
        stratify: hold out the same share of every class; "default" does so wherever targets are known classes.
        seed: another seed, another cut.
    """

    valid: Share = "default"
    stratify: Stratify = "default"
    seed: int = 0

    def shares(self, default: float, test: float = 0.0) -> dict[str, float]:
        """Return the shares of "valid" and "test" that are to be held out, without those that are 0."""
        asked = {"valid": default if self.valid == "default" else self.valid, "test": test}
        checked = {name: checked_share(name, share) for name, share in asked.items()}
        return {name: share for name, share in checked.items() if share}


def checked_share(name: str, share: object) -> float:
    """Return a share as a float; a DataError if it is none."""
    if isinstance(share, bool) or not isinstance(share, int | float | np.number) or not 0 <= float(share) < 1:
        raise DataError(
            where=name, got=share, want="a share >= 0 and < 1", fix=f"use {name}=0.2 to hold out a fifth, 0 for none"
        )
    return float(share)


def divide(source: Source, shares: Mapping[str, float], ask: Ask) -> dict[str, Source]:
    """Return "train" and the pieces that `shares` names; without shares "train" is the source itself."""
    if not shares:
        return {"train": source}
    classes = classes_for(source, ask.stratify)
    pieces = cut(len(source), shares, seed=ask.seed, classes=classes)
    return {name: source.take(ids) for name, ids in pieces.items()}


def classes_for(source: Source, stratify: Stratify) -> npt.NDArray[Any] | None:
    """Return the classes to stratify by, or None."""
    if stratify == "default":
        targets = source.targets()
        return targets.reshape(-1) if targets is not None and is_classes(targets) else None
    return class_targets(source) if stratify else None


def cut(
    samples: int, shares: Mapping[str, float], *, seed: int, classes: npt.NDArray[Any] | None = None
) -> dict[str, Ids]:
    """Return ids of disjoint pieces, each in rising order: one for every share, and "train" with the rest.

    Args:
        samples: how many there are.
        shares: share of all samples for each piece; a piece has `round(samples * share)` samples, at least one.
        seed: decides the permutation that is cut.
        classes: shape (samples,): every piece gets the same share of each class, rounded by largest remainder.

    Raises:
        DataError: nothing would be left to train on.
    """
    sizes = {name: max(1, round(samples * share)) for name, share in shares.items()}
    if sum(sizes.values()) >= samples:
        raise DataError(
            where="valid, test",
            got=f"{', '.join(f'{size} samples for {name}' for name, size in sizes.items())} of {samples}",
            want="at least one sample left to train on",
            fix="hold out less",
        )
    order = keyed.order(keyed.number("split", seed), 0, samples)
    labels = np.zeros(samples, np.int64) if classes is None else classes
    _, class_ids, counts = np.unique(labels, return_inverse=True, return_counts=True)
    permuted = class_ids[order]
    grouped = order[np.argsort(permuted, kind="stable")]  # class after class, each in the permutation's order
    _, first_seen = np.unique(permuted, return_index=True)
    begin = np.cumsum(counts) - counts
    end = begin + counts
    pieces = {}
    for name, size in sizes.items():
        takes = largest_remainder(counts * shares[name], size, room=end - begin, tie=first_seen)
        pieces[name] = _runs(grouped, begin, begin + takes)
        begin = begin + takes
    return {"train": _runs(grouped, begin, end), **pieces}


def largest_remainder(
    quotas: npt.NDArray[np.floating[Any]], total: int, *, room: npt.NDArray[np.int64], tie: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Return whole numbers near `quotas` that sum to `total`, within `room`; of equal remainders the low `tie` wins.

    Source: the Hamilton method of apportionment.
    """
    whole: npt.NDArray[np.int64] = np.minimum(np.floor(quotas).astype(np.int64), room)
    order = np.lexsort((tie, -np.round(quotas - whole, 9)))  # 9 digits: remainders that differ by rounding are equal
    missing = total - int(whole.sum())
    while missing:
        chosen = order[(whole < room)[order]][:missing]
        whole[chosen] += 1
        missing -= len(chosen)
    return whole


def _runs(ids: Ids, begin: npt.NDArray[np.int64], end: npt.NDArray[np.int64]) -> Ids:
    """Return, sorted, the entries of all runs [begin, end)."""
    return np.sort(np.concatenate([ids[start:stop] for start, stop in zip(begin, end, strict=True)]))
