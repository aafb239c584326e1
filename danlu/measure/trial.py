"""Trying out an update or two, and leaving a training as it was."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch

from danlu import keyed, zero
from danlu.measure.untouched import State, copied
from danlu.train import Training
from danlu.train.learner import Result
from danlu.train.step import without_kernel

PLAIN = (bool, int, float, complex, str, bytes, type(None))
COLLECTIONS = (list, dict, set)
KINDS = (*PLAIN, *COLLECTIONS, torch.Tensor, zero.Tensor, np.ndarray)


class Seen(NamedTuple):
    """An attribute as it was: its value, and a number that a change within it moves."""

    value: Any
    edits: int

    def moved(self, before: "Seen | None") -> bool:
        """Say whether it is another one than before, or the same one and changed."""
        if before is None or self.edits != before.edits:
            return True
        both_plain = isinstance(self.value, PLAIN) and isinstance(before.value, PLAIN)
        return bool(self.value != before.value) if both_plain else self.value is not before.value


Attributes = dict[tuple[str, str], Seen]  # by their object's name and their own


@contextmanager
def untouched(training: Training) -> Iterator[tuple[State, Attributes]]:
    """Give a copy of a training's state and of its objects' attributes, and put both back at the end.

    What is changed in place within an attribute's object stays changed.
    """
    learner = training.learner
    state, attributes = copied(learner.state()), attributes_of(training)
    try:
        yield state, attributes
    finally:
        _put_back(training, attributes)
        learner.load(*state)
        learner.bad_updates()  # read, so that none of these is taken for one of the run's


def attributes_of(training: Training) -> Attributes:
    """Return plain values, tensors and collections that are attributes of what learns; no parameter or buffer is."""
    found: Attributes = {}
    for name, one in training.learner.objects().items():
        held = vars(one)
        saved = {*held.get("_parameters", ()), *held.get("_buffers", ())}
        kinds = PLAIN if name == "optimizer" else KINDS  # an optimizer's tensors are in its state dict
        found |= {
            (name, key): Seen(v, _edits(v)) for key, v in held.items() if isinstance(v, kinds) and key not in saved
        }
    return found


def _edits(value: Any) -> int:
    """Return a number that a change in place moves: a collection's length, or how often a tensor was written to."""
    if isinstance(value, COLLECTIONS):
        return len(value)
    if isinstance(value, zero.Tensor):
        return value._version[0]
    return value._version if isinstance(value, torch.Tensor) and not value.is_inference() else 0


def _put_back(training: Training, attributes: Attributes) -> None:
    """Set attributes that have another value now; what was changed in place stays as it is."""
    objects = training.learner.objects()
    for (name, attribute), seen in attributes.items():
        if vars(objects[name]).get(attribute) is not seen.value:
            setattr(objects[name], attribute, seen.value)


def fetched(training: Training, update: int) -> list[Any]:
    """Return an update's micro-batches, fetched now."""
    epoch, index = divmod(update, training.updates_per_epoch)
    start = index * training.recipe.accumulate
    stop = min(start + training.recipe.accumulate, training.batches_per_epoch)
    return [training.train.batch(epoch, position) for position in range(start, stop)]


def one_update(training: Training, number: int, batches: list[Any]) -> Result:
    """Do one update as the loop does it; inside a session."""
    learner = training.learner
    learner.seed(keyed.number("update", training.recipe.seed, number, 0))
    try:
        result = learner.update(batches, None)
    except RuntimeError as error:
        raise without_kernel(error) or error from error
    if learner.schedule_per == "update":
        learner.step_schedule()
    return result


def shapes(tree: Any) -> Any:
    """Return the shapes and types of a batch."""
    if isinstance(tree, torch.Tensor):
        return [list(tree.shape), str(tree.dtype)]
    if isinstance(tree, dict):
        return {key: shapes(one) for key, one in tree.items()}
    return None if tree is None else [shapes(one) for one in tree]
