"""The metric store: what a run recorded, in one SQLite file; every view (TensorBoard, figures, tables) derives from it.

Rows are buffered and written in one transaction by `flush`. While a run is going on the file has a write-ahead log
beside it (on a network disk a journal); closed, it is one plain file.
"""

import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from danlu.errors import RunError
from danlu.save.files import from_json, plain, to_json

Row = tuple[Any, ...]

VERSION = 1
_BAD = ("id INTEGER NOT NULL", "path TEXT NOT NULL", "error TEXT NOT NULL", "epoch INTEGER NOT NULL")
_TABLES = {
    "metrics": ("step INTEGER NOT NULL", "name TEXT NOT NULL", "value REAL"),  # NULL is NaN
    "timings": ("step INTEGER NOT NULL", "name TEXT NOT NULL", "value REAL"),  # wall-clock figures: never repeatable
    "events": ("step INTEGER NOT NULL", "kind TEXT NOT NULL", "text TEXT NOT NULL"),
    "findings": ("step INTEGER NOT NULL", "kind TEXT NOT NULL", "text TEXT NOT NULL"),
    "documents": ("step INTEGER NOT NULL", "name TEXT NOT NULL", "json TEXT NOT NULL"),
    "bad_samples": ("step INTEGER NOT NULL", "name TEXT NOT NULL", *_BAD),
}
_ADDED = ("bad_samples",)  # what the first stores had not got
_KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("metrics", "timings"), (int, float, type(None))),
    **dict.fromkeys(("events", "findings", "documents"), (str,)),
    "bad_samples": (int,),
}
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_NETWORK = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "fuse.sshfs", "9p", "lustre", "ceph", "gpfs")


class MetricStore:
    """Rows of a run: metrics, timings, events, findings and documents. Final.

    Args:
        path: the SQLite file, made if it is missing; None keeps everything in memory.

    Raises:
        RunError: the file is no metric store, or cannot be written to.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        try:
            _check_files(path)
            self._database = _connect(path)
            _check_schema(self._database)
        except sqlite3.Error as error:
            raise _unusable(path, error) from None
        self._pending: dict[str, list[Row]] = {table: [] for table in _TABLES}
        self._writable = True

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a store to read it, of a finished run or one that is going on; nothing on disk is made or changed.

        Raises:
            RunError: there is no such file, or it is no metric store.
        """
        store = cls.__new__(cls)
        store.path, store._writable = path, False
        store._pending = {table: [] for table in _TABLES}
        try:
            _check_files(path)
            store._database = _connect_to_read(path)
            _check_schema(store._database)
            _stand_in_for_added(store._database)
            for table in _TABLES:
                store._database.execute(f"SELECT * FROM {table} LIMIT 0")
        except (sqlite3.Error, OSError) as error:
            raise _unusable(path, error) from None
        return store

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Buffer metric rows of update `step`; NaN and infinities are kept as they are."""
        self._pending["metrics"].extend([(int(step), name, float(value)) for name, value in values.items()])

    def timing(self, step: int, values: Mapping[str, float]) -> None:
        """Buffer wall-clock figures (seconds, samples per second), which no second run repeats."""
        self._pending["timings"].extend([(int(step), name, float(value)) for name, value in values.items()])

    def event(self, step: int, kind: str, text: str) -> None:
        """Buffer something that happened: "resumed", "best", "stopped"."""
        self._pending["events"].append((int(step), kind, text))

    def finding(self, step: int, kind: str, text: str) -> None:
        """Buffer something that was found out about the run and that a person should read."""
        self._pending["findings"].append((int(step), kind, text))

    def document(self, step: int, name: str, value: object) -> None:
        """Buffer a plain value with a structure of its own, such as a confusion matrix as nested lists."""
        self._pending["documents"].append((int(step), name, to_json(value)))

    def bad_sample(self, step: int, name: str, culprit: tuple[int, str, str, int]) -> None:
        """Buffer a bad sample of the set `name`: its row in the dataset, its file, what is wrong, in which epoch."""
        self._pending["bad_samples"].append((int(step), name, *culprit))

    def flush(self, *, durable: bool = False) -> bool:
        """Write the buffered rows in one transaction.

        Args:
            durable: also wait until they are on the disk and in the file itself, not in the log beside it; without
                it they survive the process, though not a power cut.

        Returns:
            False if another program holds the file: the rows stay buffered, and the next flush tries again.

        Raises:
            RunError: the disk is full or fails; the rows stay buffered.

        Cost:
            about 0.1 ms; `durable` some ms more.
        """
        try:
            if any(self._pending.values()):
                with self._database:
                    for table, rows in self._pending.items():
                        places = ", ".join("?" * len(_TABLES[table]))
                        self._database.executemany(f"INSERT INTO {table} VALUES ({places})", rows)
                self._pending = {table: [] for table in _TABLES}
            return not durable or not self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in _BUSY:
                return False
            raise _unusable(self.path, error) from None

    def mark(self) -> dict[str, int]:
        """Return the last row's number in each table, buffered rows included; a checkpoint keeps it for `cut`."""
        self.flush()
        last = {
            table: self._database.execute(f"SELECT MAX(rowid) FROM {table}").fetchone()[0] or 0 for table in _TABLES
        }
        return {table: number + len(self._pending[table]) for table, number in last.items()}

    def cut(self, mark: Mapping[str, int]) -> None:
        """Take away every row after a `mark`: a resumed run writes them again.

        Raises:
            RunError: another program holds the file, or the disk fails.
        """
        self._pending = {table: [] for table in _TABLES}
        try:
            with self._database:
                for table in _TABLES:
                    self._database.execute(f"DELETE FROM {table} WHERE rowid > ?", (mark.get(table, 0),))
        except sqlite3.Error as error:
            raise _unusable(self.path, error) from None

    def rows(self, name: str | None = None) -> list[tuple[int, str, float]]:
        """Return metric rows (step, name, value) as they were logged, of one name or of all."""
        return [_number(row) for row in self._read("metrics", name)]

    def timings(self, name: str | None = None) -> list[tuple[int, str, float]]:
        """Return wall-clock rows (step, name, value) as they were logged, of one name or of all."""
        return [_number(row) for row in self._read("timings", name)]

    def names(self) -> list[str]:
        """Return the metrics' names, sorted."""
        return sorted(self.last())

    def series(self, name: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """Return one metric's steps and values as arrays of shape (n,)."""
        rows = self.rows(name)
        return np.array([row[0] for row in rows], np.int64), np.array([row[2] for row in rows], np.float64)

    def last(self) -> dict[str, float]:
        """Return each metric's latest value."""
        latest = "rowid IN (SELECT MAX(rowid) FROM metrics GROUP BY name)"
        return {name: value for _, name, value in map(_number, self._read("metrics", where=latest))}

    def events(self) -> list[tuple[int, str, str]]:
        """Return what happened, as (step, kind, text)."""
        return [(step, kind, text) for step, kind, text in self._read("events")]

    def findings(self) -> list[tuple[int, str, str]]:
        """Return what was found, as (step, kind, text)."""
        return [(step, kind, text) for step, kind, text in self._read("findings")]

    def bad_samples(self) -> list[tuple[int, str, int, str, str, int]]:
        """Return bad samples as (step, set, id, path, error, epoch)."""
        return [(step, name, *rest) for step, name, *rest in self._read("bad_samples")]

    def documents(self, name: str | None = None) -> list[tuple[int, str, Any]]:
        """Return documents as (step, name, value), of one name or of all."""
        try:
            return [(step, own, from_json(text)) for step, own, text in self._read("documents", name)]
        except ValueError as error:
            raise _unusable(self.path, error) from None

    def close(self, timeout_s: float = 5.0) -> None:
        """Write what is buffered and leave one plain file; closing twice is once.

        Args:
            timeout_s: how long to wait for a program that holds the file or reads it.

        Raises:
            RunError: it was held for all that time, or the disk fails; the store stays open, its rows buffered.
        """
        deadline_s = time.monotonic() + timeout_s
        while self._writable and not self._settled():
            if time.monotonic() > deadline_s:
                count = sum(map(len, self._pending.values()))
                if not count:
                    break  # only read: the rows are safe in the log beside the file, which the next writer takes up
                got = f"a file that another program holds, with {count} rows to write"
                want, fix = "a file that can be written to", "end that program, then close again"
                raise RunError(where=str(self.path), got=got, want=want, fix=fix)
            time.sleep(0.02)
        self._database.close()
        self._writable = False

    def _settled(self) -> bool:
        """Write all rows and give up the log; False while another program is in the way."""
        if not self.flush(durable=True):
            return False
        try:
            mode: str = self._database.execute("PRAGMA journal_mode = DELETE").fetchone()[0]
        except sqlite3.OperationalError:
            return False
        return mode in ("delete", "memory")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self, table: str, name: str | None = None, *, where: str = "1") -> list[Row]:
        """Return a table's rows, the buffered ones last."""
        if self._writable:
            self.flush()
        if name is not None:
            where = "name = :name"
        try:
            query = f"SELECT * FROM {table} WHERE {where} ORDER BY rowid"
            stored = self._database.execute(query, {"name": name}).fetchall()
        except (sqlite3.Error, OverflowError) as error:
            raise _unusable(self.path, error) from None
        if any(list(map(type, row[:2])) != [int, str] or not isinstance(row[2], _KINDS[table]) for row in stored):
            raise _unusable(self.path, ValueError(f"a row in {table} that is no step, name and value"))
        return stored + [row for row in self._pending[table] if name is None or row[1] == name]


def _number(row: Row) -> tuple[int, str, float]:
    step, name, value = row
    return step, name, float("nan") if value is None else value


def _check_files(path: Path | None) -> None:
    """Refuse a link or a pipe where SQLite would read or write a file."""
    for name in ("", "-wal", "-shm", "-journal") if path is not None else ():
        if os.path.lexists(f"{path}{name}"):
            plain(Path(f"{path}{name}"), "a metric store")


def _check_schema(database: sqlite3.Connection) -> None:
    """Refuse a file with anything that computes: a view may never end, a trigger acts when a row is written."""
    kinds = database.execute("SELECT type, sql FROM sqlite_master").fetchall()
    for kind, text in kinds:
        if kind not in ("table", "index") or "VIRTUAL TABLE" in str(text).upper():
            raise sqlite3.DatabaseError(f"a {kind} that no metric store has")


def _connect(path: Path | None) -> sqlite3.Connection:
    """Open or make a store; once open it never waits for a lock, since training must go on."""
    database = sqlite3.connect(":memory:" if path is None else path, timeout=5)
    if path is not None:
        database.execute(f"PRAGMA journal_mode = {'TRUNCATE' if _is_network_disk(path) else 'WAL'}")
        database.execute("PRAGMA synchronous = NORMAL")
    with database:
        for table, columns in _TABLES.items():
            database.execute(f"CREATE TABLE IF NOT EXISTS {table} ({', '.join(columns)})")
    database.execute(f"PRAGMA user_version = {VERSION}")
    database.execute("PRAGMA busy_timeout = 0")
    return database


def _stand_in_for_added(database: sqlite3.Connection) -> None:
    """Give an older store, opened to read, the tables that it has not got yet; they are empty and in memory."""
    there = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
    for table in _ADDED if there else ():
        if table not in there:
            database.execute(f"CREATE TEMP TABLE {table} ({', '.join(_TABLES[table])})")


def _connect_to_read(path: Path) -> sqlite3.Connection:
    """Open a store without making a file beside it, whatever state its last writer left it in."""
    with path.open("rb") as file:
        has_log = file.read(20)[18:20] == b"\x02\x02"  # the file format's bytes 18 and 19: 2 where a log is in use
    log = Path(f"{path}-wal")
    options = "mode=ro"
    if has_log and not log.exists():
        options = "immutable=1"  # nobody writes: a writer's log would be there
    elif has_log and not Path(f"{path}-shm").exists():
        return _recovered(path, log)
    return sqlite3.connect(f"{path.absolute().as_uri()}?{options}", uri=True, timeout=5)


def _recovered(path: Path, log: Path) -> sqlite3.Connection:
    """Return a copy in memory of a file and its log, without the index that SQLite would have to make beside them."""
    with tempfile.TemporaryDirectory() as place:
        copy = Path(shutil.copy(path, place))
        shutil.copy(log, place)
        source, target = sqlite3.connect(copy), sqlite3.connect(":memory:")
        source.backup(target)
        source.close()
    return target


def _is_network_disk(path: Path, mounts: Path = Path("/proc/mounts")) -> bool:
    """Say whether a path lies on a network disk: a write-ahead log needs memory that all its users share."""
    if not mounts.exists():
        return False
    lines = [line.split() for line in mounts.read_text().splitlines()]
    place = path.resolve()
    around = [(len(Path(line[1]).parts), line[2]) for line in lines if place.is_relative_to(line[1])]
    return bool(around) and max(around, key=lambda mount: mount[0])[1] in _NETWORK


def _unusable(path: Path | None, error: Exception) -> RunError:
    got = "no such file" if isinstance(error, FileNotFoundError) else str(error)
    want, fix = "a metric store that can be used", "check the path, the permissions and the space on the disk"
    return RunError(where=str(path), got=got, want=want, fix=fix)
