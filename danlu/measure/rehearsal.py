"""The rehearsal: two updates, an evaluated batch, a save and a resume, compared bit for bit before training begins."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from danlu import save
from danlu.errors import DanluError
from danlu.measure.trial import Attributes, attributes_of, fetched, one_update, untouched
from danlu.measure.untouched import State, copied
from danlu.train import Training

SEEDED = "; draw from danlu.data.rng(), random, numpy.random or torch, which are seeded for every sample"
NAMED = 3  # so many of the things that differ are named


def rehearse(training: Training, out: Path | None = None) -> list[str]:
    """Try out whether a run can be resumed exactly, and leave everything as it was.

    The first two updates are run, with one validation batch between them; the state after the first is saved and read
    again, and the second update is run once more from there, on batches that are fetched anew. A model that draws
    from Python's or NumPy's generator gets a plan in which these are seeded for every update, too.

    Args:
        training: prepared and not begun.
        out: where the run will lie; the state is saved beside it, and removed again. None: it never leaves memory.

    Returns:
        a sentence for each reason why a resumed run would not equal one that was never killed; none where it would.

    Raises:
        ModelError: an operation without a deterministic kernel, which the recipe refuses.
        RunError: the state cannot be saved.

    Cost:
        three updates, one batch of evaluation, a checkpoint written and read, and three copies of the state.
    """
    learner = training.learner
    with learner.session():
        try:
            with untouched(training) as (_, attributes):
                return _findings(training, attributes, out)
        except DanluError:
            raise
        except Exception:  # it will come up again in the run itself, which says where
            return []


def _findings(training: Training, attributes: Attributes, out: Path | None) -> list[str]:
    learner = training.learner
    first, second = fetched(training, 0), fetched(training, 1)
    moved = _generators()
    one_update(training, 0, first)
    if _generators() != moved:
        training.plan = learner.plan = replace(training.plan, generators="all")
    _evaluate(training)
    before = copied(learner.state())
    after = copied(before) if out is None else _saved_and_read(before, out)
    findings = [f"what was saved and read again differs: {_listed(names)}"] if (names := _differ(before, after)) else []
    one_update(training, 1, second)
    whole = copied(learner.state())
    learner.load(*after)
    findings += _data_findings(training, first, second)
    one_update(training, 1, second)
    names = _differ(whole, learner.state())
    return findings + ([_explained(names, training, attributes)] if names else [])


def _evaluate(training: Training) -> None:
    batches = next(iter(training.valid.values()), None)
    if batches is not None:
        with training.learner.evaluating():
            training.learner.evaluate(batches.batch(0, 0))
            training.learner.evaluation_figures()


def _saved_and_read(state: State, out: Path) -> State:
    """Save a state on the run's disk, and read it again."""
    place = next(folder for folder in out.absolute().parents if folder.is_dir())
    with TemporaryDirectory(prefix=".rehearsal-", dir=place) as home:
        tensors, values = save.read(save.write(Path(home) / "state", *state))
    return {group: tensors.get(group, {}) for group in state[0]}, values  # a group without tensors has no file


def _data_findings(training: Training, first: list[Any], second: list[Any]) -> list[str]:
    """Fetch the batches again, in another order and by the workers, and compare."""
    if not (
        _same_batches(training, second, fetched(training, 1)) and _same_batches(training, first, fetched(training, 0))
    ):
        return [f"the data: the same samples, fetched twice, differ in their values{SEEDED}"]
    if not _same_batches(training, first[:1], [next(training.train.iterate(0, 0))]):
        return [f"the data: the same samples, fetched by worker processes, differ in their values{SEEDED}"]
    return []


def _explained(names: list[str], training: Training, before: Attributes) -> str:
    """Say what differs after a resume, and what may be the reason."""
    moved = [
        ".".join(filter(None, key)) for key, seen in attributes_of(training).items() if seen.moved(before.get(key))
    ]
    text = f"an update after a resume differs from the same update without one, in {_listed(names)}"
    if len(moved) > 1:
        return f"{text}; {_listed(moved)} change in training and are in no state dict: make them buffers"
    if moved:
        return f"{text}; {moved[0]} changes in training and is in no state dict: make it a buffer"
    return f"{text}; model, step or optimizer remember something that is in no state dict"


def _listed(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def _same_batches(training: Training, one: list[Any], two: list[Any]) -> bool:
    left, right = ([training.learner.array(leaf) for leaf in _leaves(batches)] for batches in (one, two))
    return len(left) == len(right) and all(map(_same, left, right))


def _leaves(tree: Any) -> Iterator[Any]:
    if isinstance(tree, Mapping | list | tuple):
        for branch in tree.values() if isinstance(tree, Mapping) else tree:
            yield from _leaves(branch)
    elif tree is not None:
        yield tree


def _differ(one: State, two: State) -> list[str]:
    """Return the names of what differs between two states, bit for bit."""
    left, right = (
        {f"{group}/{name}": a for group, named in s[0].items() for name, a in named.items()} for s in (one, two)
    )
    names = sorted(left.keys() ^ right.keys())
    names += [name for name in left if name in right and not _same(left[name], right[name])]
    return names + [key for key in one[1] if save.to_json(one[1][key]) != save.to_json(two[1].get(key))]


def _flat(tensors: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {f"{group}/{name}": array for group, named in tensors.items() for name, array in named.items()}


def _same(one: Any, two: Any) -> bool:
    return bool(one.dtype == two.dtype and one.shape == two.shape and one.tobytes() == two.tobytes())


def _generators() -> tuple[Any, ...]:
    """Return where Python's and NumPy's generators stand."""
    name, words, *rest = np.random.get_state()
    return random.getstate(), name, bytes(words), rest  # type: ignore[arg-type]
