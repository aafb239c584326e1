"""One batch of a `Dataset`: fetched sample by sample, judged, bad ones left out or replaced, collated.

It runs in this process or in a worker. What it gives depends on the request alone, never on who fetches.
"""

import errno
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple, final

import numpy as np
from torch.utils.data import Dataset, default_collate

from danlu.data.addressed import addressed
from danlu.data.bad import Culprit
from danlu.data.batch import Mate
from danlu.data.dataset import Samples
from danlu.data.fitting import form_of, misfit, path_of
from danlu.data.sampling import Order
from danlu.data.source import Ids

DRAWS = 32  # samples drawn at most in place of a bad one
PROBES = 5  # samples of which the commonest form is the set's
LONGEST_ERROR = 300  # letters of what is wrong with a sample
_NONE = np.zeros(0, dtype=np.int64)
_MACHINE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


class Request(NamedTuple):
    """What is to be fetched for one batch.

    Fields:
        epoch: counted from 0.
        ids: the samples' numbers in the set; with a mate the batch's own, then those that they are mixed with.
        known: rows of the dataset that are known to be bad; they are not fetched.
        form: what every sample has to look like; None where they may differ.
        least: samples that the batch keeps at least.
        mate: says which sample another is mixed with; None where none is.
    """

    epoch: int
    ids: Ids
    known: frozenset[int]
    form: str | None
    least: int
    mate: Mate | None = None


class Fault(NamedTuple):
    """A sample that is bad, and the error that says so; from a worker its type and text."""

    culprit: Culprit
    cause: Any


class Good(NamedTuple):
    """A sample that can be used, by its number in the set."""

    id: int
    sample: Any


class Delivered(NamedTuple):
    """One batch as it was fetched.

    Fields:
        collated: what the collate function made of it; None where no sample is left.
        ids: the samples in it; where they are mixed the batch's own, then one for each to be mixed with.
        culprits: bad samples that came up and were not known.
        stand_ins: samples of this batch that took the place of bad ones.
        fault: what ends the run; None where nothing does.
    """

    collated: Any
    ids: Ids
    culprits: list[Culprit]
    stand_ins: int = 0
    fault: Fault | None = None


class Cause(NamedTuple):
    """An error on its way out of a worker: many cannot travel as they are."""

    kind: type[Exception] | None
    name: str
    text: str
    trace: str


@final
class Fetcher(Dataset[Delivered]):
    """Fetches batches; for PyTorch's workers it is a dataset whose every "sample" is a batch."""

    def __init__(self, source: Samples, order: Order) -> None:
        self._dataset, self._transform, self._target = source.dataset, source.transform, source.target
        self._collate: Callable[[list[Any]], Any] = source.collate_fn or default_collate
        self._rows, self._order, self._action = source.rows, order, source.policy.action
        self._alike = source.collate_fn is None  # PyTorch's own collate function wants equal shapes

    def __getitem__(self, request: Request) -> Delivered:
        """Return a batch in a form that crosses to another process."""
        made = self.fetch(request)
        if made.fault is None or made.fault.cause is None:
            return made
        return made._replace(fault=made.fault._replace(cause=_packed(made.fault.cause)))

    def fetch(self, request: Request) -> Delivered:
        """Return a batch."""
        found: dict[int, Fault] = {}  # by row: bad samples that came up and were not known
        own, stand_ins = self._own(request, found)
        good = own + self._mates(request, own, found)
        if found and self._action == "raise":
            return Delivered(None, _NONE, [], fault=next(iter(found.values())))
        culprits = [fault.culprit for fault in found.values()]
        return self._collated(good, request.epoch)._replace(culprits=culprits, stand_ins=stand_ins)

    def probe(self, known: frozenset[int]) -> str | None:
        """Return the form that most of a few samples, spread over the set, have; None where no form is asked for."""
        if not self._alike or self._action == "raise":
            return None
        ids = np.unique(np.linspace(0, self._order.samples - 1, PROBES).astype(np.int64))
        request = Request(0, ids, known, None, 0)
        found = [self._sample(request, one, {}) for one in ids.tolist()]
        forms = Counter(form_of(good.sample) for good in found if good is not None)
        return forms.most_common(1)[0][0] if forms else None

    def _own(self, request: Request, found: dict[int, Fault]) -> tuple[list[Good], int]:
        """Return the batch's own samples, and how many of them stand in for others."""
        wanted = request.ids if request.mate is None else request.ids[: len(request.ids) // 2]
        good: list[Good] = []
        bad: list[int] = []
        stand_ins = 0
        for one in wanted.tolist():
            sample = self._sample(request, one, found)
            if sample is None:
                if self._action == "raise":
                    break
                bad.append(one)
                sample = self._stand_in(request, one, found) if self._action == "replace" else None
                stand_ins += sample is not None
            good += [] if sample is None else [sample]
        for one in bad:
            if len(good) >= min(request.least, len(wanted)):
                break
            sample = self._stand_in(request, one, found)
            stand_ins += sample is not None
            good += [] if sample is None else [sample]
        return good, stand_ins

    def _mates(self, request: Request, own: list[Good], found: dict[int, Fault]) -> list[Good]:
        """Return a sample for each to be mixed with: in place of a bad one another, or itself where none is good."""
        if request.mate is None or not own or (found and self._action == "raise"):
            return []
        good: list[Good] = []
        mates = request.mate(request.epoch, _ids_of(own))
        for one, itself in zip(mates.tolist(), own, strict=True):
            sample = self._sample(request, one, found)
            if sample is None and self._action == "raise":
                break
            good.append(sample or self._stand_in(request, one, found) or itself)
        return good

    def _row_of(self, one: int) -> int:
        return one if self._rows is None else int(self._rows[one])

    def _sample(self, request: Request, one: int, found: dict[int, Fault]) -> Good | None:
        """Return one sample, or None where it is bad; add it to those found where that is news."""
        row = self._row_of(one)
        if row in found or row in request.known:
            return None
        try:
            with addressed(self._order.seed, request.epoch, row):
                sample = self._dataset[row]
                sample = sample if self._transform is None else self._transform(sample)
                wrong = misfit(sample, request.form, self._target)
        except Exception as error:
            if not is_the_samples_fault(error):
                raise
            found[row] = Fault(self._culprit(request.epoch, row, _line(error), error), error)
            return None
        if wrong is None:
            return Good(one, sample)
        found[row] = Fault(self._culprit(request.epoch, row, wrong), None)
        return None

    def _stand_in(self, request: Request, one: int, found: dict[int, Fault]) -> Good | None:
        """Return a sample drawn in place of a bad one, or None where none of `DRAWS` draws is good."""
        for other in self._order.drawn(request.epoch, self._row_of(one), DRAWS).tolist():
            sample = self._sample(request, other, found)
            if sample is not None:
                return sample
        return None

    def _collated(self, good: list[Good], epoch: int) -> Delivered:
        """Return the batch; of samples whose shapes differ the first that is not like most, where they must not."""
        if not good:
            return Delivered(None, _NONE, [])
        try:
            return Delivered(self._collate([one.sample for one in good]), _ids_of(good), [])
        except Exception as error:
            forms = [form_of(one.sample) for one in good]
            usual = Counter(forms).most_common(1)[0][0]
            odd = next((one.id for one, form in zip(good, forms, strict=True) if form != usual), None)
            if odd is None or not self._alike:
                raise
            wrong = f"a sample of shape {next(form for form in forms if form != usual)}, others have {usual}"
            return Delivered(None, _NONE, [], fault=Fault(self._culprit(epoch, self._row_of(odd), wrong), error))

    def _culprit(self, epoch: int, row: int, wrong: str, error: Exception | None = None) -> Culprit:
        return Culprit(row, _writable(path_of(self._dataset, row, error)), _writable(wrong)[:LONGEST_ERROR], epoch)


def is_the_samples_fault(error: Exception) -> bool:
    """Return whether an error speaks of a sample, not of a machine that is out of files or memory."""
    return not isinstance(error, MemoryError) and not (isinstance(error, OSError) and error.errno in _MACHINE)


def _ids_of(good: list[Good]) -> Ids:
    return np.array([one.id for one in good], dtype=np.int64)


def _writable(text: str) -> str:
    """Return one line that any file takes: names of files may hold bytes that are no text."""
    return " ".join(text.encode("utf-8", "backslashreplace").decode().splitlines())


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}".removesuffix(": ")


def _packed(error: BaseException) -> Cause:
    kind = type(error)
    importable = getattr(sys.modules.get(kind.__module__), kind.__name__, None) is kind
    text = error.args[0] if len(error.args) == 1 and isinstance(error.args[0], str) else str(error)
    trace = "".join(traceback.format_exception(error))
    return Cause(kind if importable else None, kind.__name__, text, trace)  # type: ignore[arg-type]


def unpacked(cause: Any) -> BaseException | None:
    """Return the error that came out of a worker, of its own type where its text is enough to make one."""
    if not isinstance(cause, Cause):
        return cause  # type: ignore[no-any-return]
    try:
        error: Exception = RuntimeError(f"{cause.name}: {cause.text}") if cause.kind is None else cause.kind(cause.text)
    except Exception:
        error = RuntimeError(f"{cause.name}: {cause.text}")
    error.add_note(f"in a worker process:\n{cause.trace}")
    return error
