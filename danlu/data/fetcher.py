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
from danlu.data.dataset import Samples
from danlu.data.fitting import form_of, misfit, path_of
from danlu.data.sampling import Order
from danlu.data.source import Ids

DRAWS = 32  # samples drawn at most in place of a bad one
PROBES = 5  # samples of which the commonest form is the set's
LONGEST_ERROR = 300  # letters of what is wrong with a sample
_MACHINE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # out of files or memory: no sample's fault


class Request(NamedTuple):
    """What is to be fetched for one batch.

    Fields:
        epoch: counted from 0.
        ids: the samples' numbers in the set.
        known: rows of the dataset that are known to be bad; they are not fetched.
        form: what every sample has to look like; None where they may differ.
        least: samples that the batch keeps at least.
    """

    epoch: int
    ids: Ids
    known: frozenset[int]
    form: str | None
    least: int


class Fault(NamedTuple):
    """A sample that is bad, and the error that says so; from a worker its type and text."""

    culprit: Culprit
    cause: Any


class Delivered(NamedTuple):
    """One batch as it was fetched.

    Fields:
        collated: what the collate function made of it; None where no sample is left.
        culprits: bad samples that came up and were not known.
        stand_ins: samples of this batch that took the place of bad ones.
        fault: what ends the run; None where nothing does.
    """

    collated: Any
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
        good: list[tuple[int, Any]] = []
        culprits: dict[int, Culprit] = {}
        bad_rows: list[int] = []
        stand_ins = 0
        for row in self._rows_of(request.ids):
            found = self._sample(request, row, culprits)
            if isinstance(found, Fault):
                if self._action == "raise":
                    return Delivered(None, [], fault=found)
                bad_rows.append(row)
                found = self._stand_in(request, row, culprits) if self._action == "replace" else found
                stand_ins += not isinstance(found, Fault)
            if not isinstance(found, Fault):
                good.append((row, found))
        for row in bad_rows:
            if len(good) >= min(request.least, len(request.ids)):
                break
            found = self._stand_in(request, row, culprits)
            if not isinstance(found, Fault):
                good.append((row, found))
                stand_ins += 1
        return self._collated(good, request.epoch)._replace(culprits=list(culprits.values()), stand_ins=stand_ins)

    def probe(self, known: frozenset[int]) -> str | None:
        """Return the form that most of a few samples, spread over the set, have; None where no form is asked for."""
        if not self._alike or self._action == "raise":
            return None
        ids = np.unique(np.linspace(0, self._order.samples - 1, PROBES).astype(np.int64))
        request = Request(0, ids, known, None, 0)
        found = [self._sample(request, row, {}) for row in self._rows_of(ids)]
        forms = Counter(form_of(sample) for sample in found if not isinstance(sample, Fault))
        return forms.most_common(1)[0][0] if forms else None

    def _rows_of(self, ids: Ids) -> list[int]:
        return (ids if self._rows is None else self._rows[ids]).tolist()  # type: ignore[no-any-return]

    def _sample(self, request: Request, row: int, culprits: dict[int, Culprit]) -> Any:
        """Return one sample, or a Fault where it is bad; add it to the culprits where that is news."""
        if row in culprits or row in request.known:
            return _KNOWN
        try:
            with addressed(self._order.seed, request.epoch, row):
                sample = self._dataset[row]
                sample = sample if self._transform is None else self._transform(sample)
                wrong = misfit(sample, request.form, self._target)
        except MemoryError:
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno in _MACHINE:
                raise
            fault = Fault(self._culprit(request.epoch, row, _line(error), error), error)
        else:
            if wrong is None:
                return sample
            fault = Fault(self._culprit(request.epoch, row, wrong), None)
        culprits[row] = fault.culprit
        return fault

    def _stand_in(self, request: Request, row: int, culprits: dict[int, Culprit]) -> Any:
        """Return a sample drawn in place of a bad one, or a Fault where none of `DRAWS` draws is good."""
        for other in self._rows_of(self._order.drawn(request.epoch, row, DRAWS)):
            found = self._sample(request, other, culprits)
            if not isinstance(found, Fault):
                return found
        return _KNOWN

    def _collated(self, good: list[tuple[int, Any]], epoch: int) -> Delivered:
        """Return the batch; of samples whose shapes differ the first that is not like most, where they must not."""
        if not good:
            return Delivered(None, [])
        try:
            return Delivered(self._collate([sample for _, sample in good]), [])
        except Exception as error:
            forms = [form_of(sample) for _, sample in good]
            usual = Counter(forms).most_common(1)[0][0]
            odd = next((row for (row, _), form in zip(good, forms, strict=True) if form != usual), None)
            if odd is None or not self._alike:
                raise
            wrong = f"a sample of shape {next(form for form in forms if form != usual)}, others have {usual}"
            return Delivered(None, [], fault=Fault(self._culprit(epoch, odd, wrong), error))

    def _culprit(self, epoch: int, row: int, wrong: str, error: Exception | None = None) -> Culprit:
        return Culprit(row, _writable(path_of(self._dataset, row, error)), _writable(wrong)[:LONGEST_ERROR], epoch)


_KNOWN = Fault(Culprit(-1, "", "", -1), None)  # stands for a bad sample that is no news


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
