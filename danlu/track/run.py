"""A run as a person reads it, finished or going on: summary, history, events; and several runs side by side."""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NotRequired, Self, TypedDict

import msgspec

from danlu.errors import RunError, unknown_name
from danlu.save.files import damaged, plain, read_json
from danlu.save.runfolder import holds_run
from danlu.track.store import MetricStore

if TYPE_CHECKING:
    from polars import DataFrame

RUNNING, EPOCH, LR = "running", "epoch", "lr"


Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class Best(TypedDict):
    """The best evaluation of a run."""

    step: Count
    metric: str
    value: float


class Summary(TypedDict):
    """What summary.json holds; more is left alone."""

    status: str
    reason: NotRequired[str]
    epochs: float
    updates: Count
    samples_seen: Count
    seconds: float
    samples_per_s: float
    percent_of_limit: NotRequired[float | None]
    limit: NotRequired[dict[str, float | str]]
    measured_on: NotRequired[str]
    best: Best | None
    final: dict[str, float]


class Run:
    """What a run recorded. It reads and never writes; every access reads anew, so a run can be watched. Final.

    Args:
        folder: the run's folder.

    Raises:
        RunError: the folder holds no run.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder: Path | None = Path(folder)
        self._store: MetricStore | None = None
        self._summary: Mapping[str, Any] = {}
        self._recipe = ""
        if not holds_run(self.folder):
            want, fix = "a run's folder", "check the path; `danlu runs` lists what is there"
            raise RunError(where=str(self.folder), got="a folder that holds no run", want=want, fix=fix)

    @classmethod
    def of(cls, store: MetricStore, summary: Mapping[str, Any], recipe: str = "") -> Self:
        """Return a run that has no folder, from its open store, its summary and its recipe's text."""
        run = cls.__new__(cls)
        run.folder, run._store, run._summary, run._recipe = None, store, summary, recipe
        return run

    @property
    def summary(self) -> dict[str, Any]:
        """How it ended: status, reason, counts, speed, best and final figures; empty before the end."""
        if self.folder is None:
            return dict(self._summary)
        path = self.folder / "summary.json"
        return _checked(path) if path.exists() else {}

    @property
    def best(self) -> dict[str, Any] | None:
        """The best evaluation: {"step", "metric", "value"}; None before the end, or where none was made."""
        return self.summary.get("best")

    @property
    def recipe(self) -> str:
        """The recipe as TOML; empty where none was kept."""
        path = self.folder / "recipe.toml" if self.folder else None
        if path is None or not path.exists():
            return self._recipe
        try:
            return plain(path, "a recipe").read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise damaged(path, error, "a recipe") from None

    @property
    def events(self) -> list[tuple[int, str, str]]:
        """What happened, as (step, kind, text)."""
        with self._open() as store:
            return store.events()

    @property
    def bad_samples(self) -> list[tuple[int, str, int, str, str, int]]:
        """The samples that could not be used, each once, as (step, set, id, path, error, epoch)."""
        with self._open() as store:
            return store.bad_samples()

    @property
    def findings(self) -> list[tuple[int, str, str]]:
        """What was found out about the run, as (step, kind, text)."""
        with self._open() as store:
            return store.findings()

    @property
    def history(self) -> "DataFrame":
        """One row for each update at which a set was evaluated or a training average closed.

        Columns: "step", "epoch" where it is known, then every metric that has a value at one of these updates, in the
        order of their first rows. A value that was not recorded is null; NaN is NaN.
        """
        import polars as pl

        with self._open() as store:
            rows = store.rows()
            epochs = {step: value for step, _, value in store.timings(EPOCH) + store.rows(EPOCH) if isfinite(value)}
        at: dict[int, dict[str, float]] = {
            step: {} for step in sorted({step for step, name, _ in rows if _is_epoch_level(name)})
        }
        names: dict[str, None] = {}
        for step, name, value in rows:
            if step in at and name != EPOCH:
                at[step][name] = value
                names[name] = None
        columns = [pl.Series("step", list(at), pl.Int64)]
        if known := [epochs[step] for step in at if step in epochs]:
            kind = pl.Int64 if all(value == int(value) for value in known) else pl.Float64
            columns.append(pl.Series(EPOCH, [epochs.get(step) for step in at], pl.Float64).cast(kind))
        columns += [pl.Series(name, [values.get(name) for values in at.values()], pl.Float64) for name in names]
        return pl.DataFrame(columns)

    def metrics(self, name: str) -> "DataFrame":
        """Return every row of one metric, columns "step" and "value".

        Raises:
            RunError: the run has no such metric.
        """
        import polars as pl

        with self._open() as store:
            steps, values = store.series(name)
            if not len(steps):
                raise unknown_name(RunError, str(self.folder or "run"), name, store.names(), "metric of this run")
        return pl.DataFrame({"step": steps, "value": values})

    def __repr__(self) -> str:
        summary, best = self.summary, self.best
        parts = [summary.get("status", "unfinished")]
        if "epochs" in summary:
            parts.append(f"{summary['epochs']:g} epochs")
        if best:
            parts.append(f"best {best['metric']} {best['value']:.4g} at update {best['step']}")
        return f"Run({str(self.folder or 'in memory')!r}: {', '.join(parts)})"

    @contextmanager
    def _open(self) -> Iterator[MetricStore]:
        """Give the store to read from; a run that has not got one yet has an empty one."""
        if self._store is not None:
            yield self._store
            return
        path = self.folder / "metrics.sqlite" if self.folder else None
        with MetricStore.open(path) if path and path.exists() else MetricStore(None) as store:
            yield store


def _checked(path: Path) -> dict[str, Any]:
    """Read a summary; refuse one whose figures are no figures."""
    known = read_json(path)
    try:
        msgspec.convert(known, Summary)
    except msgspec.ValidationError as error:
        raise damaged(path, error, "the summary of a run") from None
    return dict(known)


def _is_epoch_level(name: str) -> bool:
    prefix, slash, _ = name.partition("/")
    return bool(slash) and prefix not in (RUNNING, LR)


def list_runs(parent: Path | str) -> list[Run]:
    """Return the runs in a folder, by name, `digits-2` before `digits-10`.

    Raises:
        RunError: there is no such folder.
    """
    try:
        entries = list(Path(parent).iterdir())
    except OSError as error:
        raise damaged(Path(parent), error, "a folder of runs") from None
    return [Run(entry) for entry in sorted(entries, key=_natural) if holds_run(entry)]


def _natural(path: Path) -> list[tuple[int, str]]:
    parts = re.split(r"([0-9]+)", path.name)  # every second one is a number
    return [(int(part), "") if index % 2 else (0, part) for index, part in enumerate(parts)]


def compare(runs: Sequence[Run]) -> "DataFrame":
    """Return a table with a row for each run.

    Columns: "name", "status", "epochs", "updates", "best_metric", "best_value", the final losses ("train/loss" and so
    on), "seconds", and those recipe keys ("optim.lr") in which the runs differ. What a run lacks is null.
    """
    import polars as pl

    summaries = [run.summary for run in runs]
    finals = [summary.get("final") or {} for summary in summaries]
    bests = [summary.get("best") or {} for summary in summaries]
    recipes = [_keys(run) for run in runs]
    columns: dict[str, list[Any]] = {
        "name": _names(runs),
        "status": [summary.get("status", "unfinished") for summary in summaries],
        "epochs": [summary.get("epochs") for summary in summaries],
        "updates": [summary.get("updates") for summary in summaries],
        "best_metric": [best.get("metric") for best in bests],
        "best_value": [best.get("value") for best in bests],
    }
    for loss in dict.fromkeys(name for final in finals for name in final if name.endswith("/loss")):
        columns[loss] = [final.get(loss) for final in finals]
    columns["seconds"] = [summary.get("seconds") for summary in summaries]
    for key in dict.fromkeys(key for recipe in recipes for key in recipe):
        values = [recipe.get(key) for recipe in recipes]
        if any(value != values[0] for value in values):
            columns[key] = values
    return pl.DataFrame([pl.Series(name, _one_type(values), strict=False) for name, values in columns.items()])


def _one_type(values: list[Any]) -> list[Any]:
    """Return a column's values as they are if they are all numbers, all flags or all texts, else as texts."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int, float}:
        return [None if value is None else float(value) for value in values]
    return values if len(kinds) <= 1 else [None if value is None else str(value) for value in values]


def _names(runs: Sequence[Run]) -> list[str]:
    """Return short names, or whole paths where two short ones are equal."""
    names = [run.folder.name if run.folder else "in memory" for run in runs]
    if len(set(names)) == len(names):
        return names
    return [str(run.folder or "in memory") for run in runs]


def _keys(run: Run) -> dict[str, Any]:
    """Return a recipe's keys, dotted; a list is one value, as JSON text."""
    try:
        tree = tomllib.loads(run.recipe)
    except (ValueError, RecursionError) as error:
        raise damaged(Path(run.folder or ".") / "recipe.toml", error, "a recipe") from None
    flat: dict[str, Any] = {}
    waiting = [("", tree)]
    while waiting:
        prefix, table = waiting.pop(0)
        for key, value in table.items():
            if isinstance(value, dict):
                waiting.append((f"{prefix}{key}.", value))
            else:
                flat[prefix + key] = json.dumps(value, default=str) if isinstance(value, list) else value
    return flat
