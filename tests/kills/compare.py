"""What differs between two runs of the same recipe, in words: `python tests/kills/compare.py runs/a runs/b`.

Compared bit for bit: every checkpoint that was kept (weights, buffers, optimizer, average, sums, schedule, counters,
what hooks remember), the rows of metrics, documents and findings, how the run ended, and TensorBoard's points.
Timings and events are outside the promise.
"""

import json
import sqlite3
import struct
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event

from danlu import save

TABLES = ("metrics", "documents", "findings")
ENDED = ("status", "reason", "epochs", "updates", "samples_seen", "best", "final")
DERIVED = ("media", "graph")  # sub-runs of TensorBoard without points
MOST = 5  # differences that are shown of one kind


def differences(whole: Path, other: Path) -> list[str]:
    """Return what is otherwise in `other`, a line for each difference; nothing where the runs are equal."""
    found = [*_checkpoints(whole, other), *_ended(whole, other)]
    for table in TABLES:
        found += _rows(table, _table(whole, table), _table(other, table))
    return found + _rows("TensorBoard", points(whole), points(other))


def _checkpoints(whole: Path, other: Path) -> list[str]:
    steps, others = save.steps(whole), save.steps(other)
    best = save.read_json(save.folder(whole, steps[-1]) / "state.json")["best"] or {"step": steps[-1]}
    kept = {
        steps[-1],
        best["step"],
    }  # of the others, which were asked for faster than they were written, any may be there
    fits = kept <= set(others) and steps[-1] == others[-1] and len(steps) == len(others)
    found = [] if fits else [f"checkpoints: kept {steps}, here {others}"]
    for step in sorted(set(steps) & set(others)):
        ours, theirs = (save.read(save.folder(run, step)) for run in (whole, other))
        place = f"checkpoint {step}"
        found += _arrays(place, ours[0], theirs[0])
        found += [f"{place}, {line}" for line in _values("state", ours[1], theirs[1])]
    return found


def _arrays(place: str, ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """Compare groups of named arrays."""
    flat = [
        {f"{group}/{name}": a for group, named in each.items() for name, a in named.items()} for each in (ours, theirs)
    ]
    found = [
        f"{place}: {name} is only in {'the other' if name in flat[1] else 'the whole run'}"
        for name in flat[0].keys() ^ flat[1].keys()
    ]
    for name in sorted(flat[0].keys() & flat[1].keys()):
        a, b = flat[0][name], flat[1][name]
        if (a.shape, a.dtype) != (b.shape, b.dtype):
            found.append(f"{place}: {name} is {a.dtype}{a.shape}, here {b.dtype}{b.shape}")
        elif a.tobytes() != b.tobytes():
            found.append(f"{place}: {name}, {_numbers(a, b)}")
    return found


def _numbers(a: np.ndarray, b: np.ndarray) -> str:
    """Say how two arrays of one shape differ."""
    a, b = np.atleast_1d(a), np.atleast_1d(b)
    bits = np.frombuffer(a.tobytes(), np.uint8) != np.frombuffer(b.tobytes(), np.uint8)
    where = bits.reshape(*a.shape, -1).any(axis=-1)
    first = tuple(int(i) for i in np.argwhere(where)[0])
    largest = np.abs(a[where].astype(np.float64) - b[where].astype(np.float64)).max()
    return (
        f"{where.sum()} of {a.size} numbers differ, by up to {largest:.3g}; at {first} {a[first]!r}, here {b[first]!r}"
    )


def _values(place: str, ours: Any, theirs: Any) -> list[str]:
    """Compare plain values, down to what differs."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        found = [f"{place}.{key}: only in one of them" for key in sorted(ours.keys() ^ theirs.keys())]
        for key in sorted(ours.keys() & theirs.keys()):
            found += _values(f"{place}.{key}", ours[key], theirs[key])
        return found
    return [] if save.to_json(ours) == save.to_json(theirs) else [f"{place}: {ours!r}, here {theirs!r}"]


def _ended(whole: Path, other: Path) -> list[str]:
    ours, theirs = (json.loads((run / "summary.json").read_text()) for run in (whole, other))
    return _values("summary", {key: ours[key] for key in ENDED}, {key: theirs[key] for key in ENDED})


def _table(run: Path, table: str) -> list[tuple[Any, ...]]:
    """Return a table's rows, floats as the bits that they are."""
    with sqlite3.connect(f"file:{run / 'metrics.sqlite'}?mode=ro", uri=True) as store:
        rows = store.execute(f"SELECT rowid, * FROM {table} ORDER BY rowid").fetchall()
    return [tuple(_exact(cell) for cell in row) for row in rows]


def _exact(cell: Any) -> Any:
    return f"{cell!r} ({struct.pack('>d', cell).hex()})" if isinstance(cell, float) else cell


def points(run: Path) -> list[tuple[Any, ...]]:
    """Return TensorBoard's points as a viewer reads them, (sub-run, tag, step, value), each curve in its own order."""
    found = []
    files = [file for file in (run / "tensorboard").glob("*/events.out.tfevents.*") if file.parent.name not in DERIVED]
    for file in sorted(files, key=_made):
        for event in events(file):
            for value in event.summary.value:
                found.append((file.parent.name, value.tag, event.step, _exact(float(value.simple_value))))
    return sorted(found, key=lambda point: point[:2])  # a stable sort: within a curve the order is that of the files


def _made(path: Path) -> tuple[int, ...]:
    """Return when an event file was made, as its name says it: second, process, number in it."""
    parts = path.name.split(".")
    return int(parts[3]), int(parts[-2]), int(parts[-1])


def events(file: Path) -> Iterable[Any]:
    """Yield an event file's records, up to the first that is torn."""
    for record in RawEventFileLoader(str(file)).Load():
        event = Event()
        event.ParseFromString(record)
        yield event


def _rows(name: str, ours: list[tuple[Any, ...]], theirs: list[tuple[Any, ...]]) -> list[str]:
    """Compare rows one by one."""
    found = [] if len(ours) == len(theirs) else [f"{name}: {len(ours)} rows, here {len(theirs)}"]
    pairs = list(zip(ours, theirs, strict=False))
    found += [f"{name}: row {n} is {a}, here {b}" for n, (a, b) in enumerate(pairs, start=1) if a != b]
    longer = ours if len(ours) > len(theirs) else theirs
    found += [f"{name}: row {n} only in one of them: {longer[n - 1]}" for n in range(len(pairs) + 1, len(longer) + 1)]
    return found if len(found) <= MOST else [*found[:MOST], f"{name}: and {len(found) - MOST} more"]


if __name__ == "__main__":
    said = differences(Path(sys.argv[1]), Path(sys.argv[2]))
    print("\n".join(said) or "no difference")
    sys.exit(bool(said))
