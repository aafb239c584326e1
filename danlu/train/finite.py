"""Updates whose loss or gradient is NaN or infinite: how they are noticed without waiting, and what the recipe does.

An update's numbers stay on the device. They are read when a row of the running loss is due, before every evaluation
and before every checkpoint, so that nothing is kept from after a bad update.
"""

from danlu.errors import DataError, TrainingError
from danlu.train.training import Training

KIND = "not finite"  # of the findings
IDS_SHOWN = 8
SKIPS_MAX = 100  # updates in a row that may be skipped


def check_finite(training: Training, *, skipped: bool, saving: bool) -> None:
    """Do what the recipe's `on_nan` says of bad updates; after every update.

    Args:
        training: as it stands after the update.
        skipped: whether the learner took this update back.
        saving: an evaluation or a checkpoint may follow, so that the numbers are read now, and the weights too.

    Raises:
        TrainingError: a bad update that is not to be skipped or recorded; nothing has been saved since.

    Cost: nothing but when numbers are read, every `log_every` updates and before evaluations and checkpoints.
    """
    state, learner, policy = training.state, training.learner, training.recipe.on_nan
    if skipped:
        _note(training, state.updates_done, "a loss or gradient that is NaN or infinite; the update was skipped")
        _check_way_out(training)
    if not saving and state.updates_done % training.recipe.log_every:
        return
    bad = {training.looked_at + 1 + index: what for index, what in learner.bad_updates().items()}
    training.looked_at = state.updates_done
    for update, what in bad.items():
        if policy == "stop":
            raise _failure(training, update, what)
        _note(training, update, what)
    if saving and policy != "record" and not learner.weights_finite():
        raise _failure(training, state.updates_done, "weights that are NaN or infinite, though no loss was")


def _check_way_out(training: Training) -> None:
    """Refuse to skip updates for ever, which leaves the weights as they are."""
    state = training.state
    if not training.learner.weights_finite():
        before = state.updates_done - 1
        raise _failure(training, before, "weights that are NaN or infinite, from a finite loss and gradient")
    if state.bad_in_a_row >= SKIPS_MAX:
        raise _failure(training, state.updates_done, f"{SKIPS_MAX} updates in a row that had to be skipped")


def _note(training: Training, update: int, what: str) -> None:
    """Count a bad update; record it, but for one that follows another and was not skipped."""
    state = training.state
    follows = state.last_bad == update - 1 and state.bad_updates > 0
    state.bad_in_a_row = state.bad_in_a_row + 1 if follows else 1
    state.bad_updates, state.last_bad = state.bad_updates + 1, update
    if training.recipe.on_nan == "skip" or not follows:
        _record(training, update, what)


def _record(training: Training, update: int, what: str) -> str:
    """Write a finding with the batch in words, and a document with all sample ids; return the words."""
    epoch, positions = training.place_of(update)
    ids = sample_ids(training, epoch, positions)
    text = f"{what}, {_batch_words(epoch, positions)}"
    if ids is not None:
        more = f" and {len(ids) - IDS_SHOWN} more" if len(ids) > IDS_SHOWN else ""
        text += f", sample ids {', '.join(map(str, ids[:IDS_SHOWN]))}{more}"
    training.store.finding(update, KIND, text)
    document = {"what": what, "epoch": epoch, "batches": positions, "sample_ids": ids}
    training.store.document(update, KIND, document)
    return text


def _failure(training: Training, update: int, what: str) -> TrainingError:
    state = training.state
    state.bad_updates, state.last_bad = state.bad_updates + 1, update
    text = _record(training, update, what)
    fix, recipe = 'mend the data, lower optim.lr, or set on_nan to "skip"', training.recipe
    if training.folder is not None:
        look = f"`danlu replay {training.folder} --update {update}`"
        if recipe.model is None or recipe.data is None:
            look = f'`danlu.replay("{training.folder}", {update}, model, data=data)`'
        fix = f"see what it was with {look}; {fix}, and resume the run, accepting the change"
    return TrainingError(where=f"update {update}", got=text, want="a finite loss and finite gradients", fix=fix)


def _batch_words(epoch: int, positions: list[int]) -> str:
    first, last = positions[0], positions[-1]
    return f"batch {first} of epoch {epoch}" if first == last else f"batches {first} to {last} of epoch {epoch}"


def sample_ids(training: Training, epoch: int, positions: list[int]) -> list[int] | None:
    """Return the training samples of some batches; None where a `DataLoader` keeps that to itself."""
    try:
        return [int(one) for position in positions for one in training.train.ids(epoch, position)]
    except DataError:
        return None
