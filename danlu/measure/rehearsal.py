"""The rehearsal: two updates, an evaluated batch, a save and a resume, compared bit for bit before training begins."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from danlu import keyed, save
from danlu.errors import DanluError
from danlu.train import Training
from danlu.train.step import without_kernel

State = tuple[dict[str, dict[str, Any]], dict[str, Any]]
Plain = dict[tuple[str, str], Any]  # attributes by their object's name and their own
PLAIN = (bool, int, float, complex, str, bytes, type(None))
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
        state, plain = _copy(learner.state()), _attributes(training)
        try:
            return _findings(training, plain, out)
        except DanluError:
            raise
        except Exception:  # it will come up again in the run itself, which says where
            return []
        finally:
            for (name, attribute), value in plain.items():
                setattr(learner.objects()[name], attribute, value)
            learner.load(*state)
            learner.bad_updates()  # read, so that none of the rehearsal's is taken for one of the run's


def _findings(training: Training, plain: Plain, out: Path | None) -> list[str]:
    learner = training.learner
    first, second = _fetched(training, 0), _fetched(training, 1)
    moved = _generators()
    _update(training, 0, first)
    if _generators() != moved:
        training.plan = learner.plan = replace(training.plan, generators="all")
    _evaluate(training)
    before = _copy(learner.state())
    after = _copy(before) if out is None else _saved_and_read(before, out)
    findings = [f"what was saved and read again differs: {_listed(names)}"] if (names := _differ(before, after)) else []
    _update(training, 1, second)
    whole = _copy(learner.state())
    learner.load(*after)
    findings += _data_findings(training, first, second)
    _update(training, 1, second)
    names = _differ(whole, learner.state())
    return findings + ([_explained(names, training, plain)] if names else [])


def _update(training: Training, number: int, batches: list[Any]) -> None:
    """Do one update as the loop does it."""
    learner = training.learner
    learner.seed(keyed.number("update", training.recipe.seed, number, 0))
    try:
        learner.update(batches, None)
    except RuntimeError as error:
        raise without_kernel(error) or error from error
    if learner.schedule_per == "update":
        learner.step_schedule()


def _evaluate(training: Training) -> None:
    batches = next(iter(training.valid.values()), None)
    if batches is not None:
        with training.learner.evaluating():
            training.learner.evaluate(batches.batch(0, 0))
            training.learner.evaluation_figures()


def _fetched(training: Training, update: int) -> list[Any]:
    """Return an update's micro-batches, fetched now."""
    epoch, index = divmod(update, training.updates_per_epoch)
    start = index * training.recipe.accumulate
    stop = min(start + training.recipe.accumulate, training.batches_per_epoch)
    return [training.train.batch(epoch, position) for position in range(start, stop)]


def _saved_and_read(state: State, out: Path) -> State:
    """Save a state on the run's disk, and read it again."""
    place = next(folder for folder in out.absolute().parents if folder.is_dir())
    with TemporaryDirectory(prefix=".rehearsal-", dir=place) as home:
        tensors, values = save.read(save.write(Path(home) / "state", *state))
    return {group: tensors.get(group, {}) for group in state[0]}, values  # a group without tensors has no file


def _data_findings(training: Training, first: list[Any], second: list[Any]) -> list[str]:
    """Fetch the batches again, in another order and by the workers, and compare."""
    if not (
        _same_batches(training, second, _fetched(training, 1)) and _same_batches(training, first, _fetched(training, 0))
    ):
        return ["the data: a batch fetched twice differs, so a resumed run would not see the same samples"]
    if not _same_batches(training, first[:1], [next(training.train.iterate(0, 0))]):
        return ["the data: a batch differs when worker processes fetch it, so it depends on which of them does"]
    return []


def _explained(names: list[str], training: Training, plain: Plain) -> str:
    """Say what differs after a resume, and what may be the reason."""
    now = _attributes(training)
    moved = [".".join(filter(None, key)) for key, value in now.items() if key not in plain or plain[key] != value]
    text = f"an update after a resume differs from the same update without one, in {_listed(names)}"
    if moved:
        return f"{text}; {_listed(moved)} changes in training and is in no state dict: make it a buffer"
    return f"{text}; model, step or optimizer remember something that is in no state dict"


def _attributes(training: Training) -> Plain:
    """Return plain attributes by the name of their module and their own."""
    objects = training.learner.objects().items()
    return {(name, key): v for name, one in objects for key, v in vars(one).items() if isinstance(v, PLAIN)}


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


def _copy(state: State) -> State:
    tensors = {group: {name: np.array(a, order="C") for name, a in named.items()} for group, named in state[0].items()}
    return tensors, save.from_json(save.to_json(state[1]))


def _generators() -> tuple[Any, ...]:
    """Return where Python's and NumPy's generators stand."""
    name, words, *rest = np.random.get_state()
    return random.getstate(), name, bytes(words), rest  # type: ignore[arg-type]
