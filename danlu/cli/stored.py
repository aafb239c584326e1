"""`danlu data convert` and `danlu data verify`."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from danlu import data as data_room
from danlu import keyed
from danlu.cli.text import bytes_of, counted
from danlu.cli.training import telling
from danlu.data import Data, Samples
from danlu.errors import DataError
from danlu.train.reference import is_reference, load_reference

MOST_SHOWN = 20  # damaged blocks that are listed


def convert(
    source: str, folder: Path, *, target: str | None, valid: float | None, seed: int, shuffle: bool, workers: int
) -> None:
    """Write a stored set, and say where it lies."""
    with telling("loading the data"):
        data = _found(source, target, valid, seed)
    if isinstance(data.train, Samples):
        for part in data.sets().values():
            part.workers = workers  # type: ignore[attr-defined]
    if shuffle:
        order = keyed.order(keyed.number("convert", seed), 0, len(data.train))
        weights = None if data.weights is None else data.weights[order]
        data = replace(data, train=data.train.take(order), weights=weights)
    with bar("converting") as progress:
        place = data_room.convert(data, folder, progress=progress)
    size = sum(file.stat().st_size for file in place.iterdir())
    sets = ", ".join(f"{len(part):,} {name}" for name, part in data.sets().items())
    print(f"{place}: {sets} samples, {bytes_of(size)}")
    print(f"look at it: danlu data info {place}; train on it: data.name = {str(place)!r}")


def verify(folder: Path) -> None:
    """Check every block of a stored set; damaged ones are listed, and the command fails."""
    with bar("checking") as progress:
        found = data_room.verify(folder, progress=progress)
    for line in found[:MOST_SHOWN]:
        print(line)
    if found:
        more = f", {len(found) - MOST_SHOWN} more" if len(found) > MOST_SHOWN else ""
        got, want = f"{counted(len(found), 'damaged block')}{more}", "sound blocks"
        raise DataError(where=str(folder), got=got, want=want, fix="restore the files from a copy, or convert again")
    print(f"{folder}: all blocks are sound")


@contextmanager
def bar(what: str) -> Iterator[Callable[[int, int], None] | None]:
    """Show a progress bar on standard error, where that is a terminal."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns: list[Any] = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(what, total=None)
        yield lambda done, rows: shown.update(task, completed=done, total=rows)


def _found(source: str, target: str | None, valid: float | None, seed: int) -> Data:
    """Return the data that a command's SOURCE names."""
    split: dict[str, Any] = {"valid": "default" if valid is None else valid, "seed": seed}
    path = Path(source)
    if is_reference(source):
        return data_room.as_data(load_reference(source, "SOURCE")(), **split)
    if source in data_room.names() or data_room.is_stored(path):
        return data_room.load(source, **split)
    if path.is_dir():
        return data_room.idx(path, **split)
    if path.suffix in data_room.SUFFIXES:
        return data_room.as_data(data_room.read_file(path, target=target), **split)
    want = "a data set's name, file.py:function, a folder of IDX files, or an .npy, .npz, .csv or .parquet file"
    raise DataError(where="SOURCE", got=source, want=want, fix="check it; `danlu data` lists the names")
