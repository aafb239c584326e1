"""Which picture files there are, and of which class each is: by the folders they lie in, or by an annotations file."""

import csv
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from danlu.data.source import Ids
from danlu.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".gif", ".webp")
PARTS = {"train": "train", "valid": "valid", "val": "valid", "validation": "valid", "test": "test"}  # folder to set
LAYOUT = "one subfolder of pictures for each class, or train/, valid/ and test/ with such subfolders"


class PictureFiles(NamedTuple):
    """The picture files of a data set, all its parts one after another.

    Fields:
        folder: where they lie.
        names: of each file, relative to the folder.
        labels: class number of each, int64.
        classes: names of the classes, by number.
        parts: rows of "train", and of "valid" and "test" where the folder has them.
        stamps: size in bytes and time of the last change in ns of each file, int64 (files, 2).
        left_out: other files that were seen.
    """

    folder: Path
    names: list[str]
    labels: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    parts: dict[str, Ids]
    stamps: npt.NDArray[np.int64]
    left_out: int


class _Found(NamedTuple):
    """One file: its name relative to the folder, its size and time, and its class by name."""

    name: str
    stamp: tuple[int, int]
    label: str


def from_folders(folder: Path) -> PictureFiles:
    """Return the pictures of a folder whose subfolders are the classes.

    Raises:
        DataError: there is no such folder, it has another layout, or a class that has no pictures or no other beside.
    """
    top = _subfolders(folder)
    parted = "train" in top and all(name in PARTS for name in top)
    others: list[str] = []
    parts: dict[str, list[_Found]] = {}
    for name in top if parted else ["."]:
        part = PARTS[name] if parted else "train"
        if part in parts:
            twice = ", ".join(other for other in top if PARTS[other] == part)
            raise _layout(folder, f"several folders for one set: {twice}")
        parts[part] = list(_classes(folder, folder / name if parted else folder, others))
    classes = sorted({one.label for one in parts["train"]})
    for part, found in parts.items():
        strange = next((one for one in found if one.label not in classes), None)
        if strange is not None:
            want = f"only classes that train/ has: {', '.join(classes)}"
            raise DataError(where=str(folder), got=f"{strange.label!r} in {part}", want=want, fix="rename that folder")
    return _files(folder, parts, classes, len(others))


def from_table(folder: Path, path: Path) -> PictureFiles:
    """Return the pictures that an annotations file names: CSV, a file relative to the folder and its label in each row.

    A first row that names no file is a header; its columns "file" and "label" count, or else the first two. Labels
    that are whole numbers are ordered as numbers.

    Raises:
        DataError: a file that is not there, with the line that names it, or a table that is none.
    """
    _subfolders(folder)
    rows = list(_rows(path))
    if not rows:
        raise DataError(where=str(path), got="no rows", want="a file and its label in each row", fix="check the file")
    first, second = 0, 1
    if not (folder / rows[0][1][0]).is_file() and not rows[0][1][0].lower().endswith(SUFFIXES):
        head = [cell.strip().lower() for cell in rows[0][1]]
        first = head.index("file") if "file" in head else 0
        second = head.index("label") if "label" in head else 1 if first == 0 else 0
        rows = rows[1:]
    found = [_annotated(folder, path, line, row, (first, second)) for line, row in rows]
    return _files(folder, {"train": found}, _ordered({one.label for one in found}), 0)


def _files(folder: Path, parts: Mapping[str, list[_Found]], classes: list[str], left_out: int) -> PictureFiles:
    found = [one for part in parts.values() for one in part]
    if len(classes) < 2:
        got = f"one class, {classes[0]!r}" if classes else f"no pictures ({', '.join(SUFFIXES)})"
        raise DataError(where=str(folder), got=got, want="pictures of at least two classes", fix=f"make it {LAYOUT}")
    number = {name: index for index, name in enumerate(classes)}
    ends = np.cumsum([len(part) for part in parts.values()])
    return PictureFiles(
        folder=folder,
        names=[one.name for one in found],
        labels=np.array([number[one.label] for one in found], np.int64),
        classes=tuple(_shown(name) for name in classes),
        parts={name: np.arange(end - len(parts[name]), end) for name, end in zip(parts, ends.tolist(), strict=True)},
        stamps=np.array([one.stamp for one in found], np.int64).reshape(-1, 2),
        left_out=left_out,
    )


def _classes(folder: Path, place: Path, others: list[str]) -> Iterator[_Found]:
    """Yield the pictures of every subfolder of `place`, in the order of their names."""
    classes = _subfolders(place)
    for name in classes:
        before = len(others)
        found = sorted(_below(place / name, (), others))
        if not found:
            got = f"{len(others) - before} other files" if len(others) > before else "an empty folder"
            fix = "put pictures there, or remove the folder"
            raise DataError(
                where=str(place / name), got=got, want=f"pictures of that class ({', '.join(SUFFIXES)})", fix=fix
            )
        yield from (_Found(path[len(str(folder)) + 1 :], stamp, name) for path, stamp in found)
    loose = [entry.name for entry in os.scandir(place) if entry.is_file() and not entry.name.startswith(".")]
    if loose and not classes:
        raise _layout(place, f"{len(loose)} files directly in it, the first {_shown(min(loose))!r}, and no subfolders")
    if not classes:
        raise _layout(place, "an empty folder")
    others += loose


def _below(
    folder: Path, above: tuple[tuple[int, int], ...], others: list[str]
) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield path, size and time of every picture in a folder and the folders in it."""
    with _readable(folder):
        place = os.stat(folder)
        entries = list(os.scandir(folder))
    if (place.st_dev, place.st_ino) in above:
        want, fix = "folders that end somewhere", "remove the link"
        raise DataError(where=str(folder), got="a link to a folder that it lies in", want=want, fix=fix)
    for entry in entries:
        if entry.name.startswith("."):
            continue
        with _readable(Path(entry.path)):
            if entry.is_dir():
                yield from _below(Path(entry.path), (*above, (place.st_dev, place.st_ino)), others)
            elif entry.name.lower().endswith(SUFFIXES) and (entry.is_file() or entry.is_symlink()):
                found = entry.stat()
                yield entry.path, (found.st_size, found.st_mtime_ns)
            else:
                others.append(entry.path)


def _subfolders(folder: Path) -> list[str]:
    if not folder.is_dir():
        got = "a file" if folder.exists() else "no such folder"
        raise DataError(where=str(folder), got=got, want=LAYOUT, fix="check the path")
    with _readable(folder):
        return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the line number and the cells of every row of a CSV file that is not empty."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            for row in reader:
                if any(cell.strip() for cell in row):
                    yield reader.line_num, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        got = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        want, fix = "a CSV file in UTF-8: file,label", "check the path and the file"
        raise DataError(where=str(path), got=got, want=want, fix=fix) from None


def _annotated(folder: Path, path: Path, line: int, row: list[str], columns: tuple[int, int]) -> _Found:
    where = f"{path}, line {line}"
    if len(row) <= max(columns) or not row[columns[1]].strip():
        got, want = f"{','.join(row)!r}", "a file and its label"
        raise DataError(where=where, got=got, want=want, fix="complete the row, or remove it")
    name = row[columns[0]].strip()
    try:
        found = os.stat(folder / name)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("no file")
        return _Found(name, (found.st_size, found.st_mtime_ns), row[columns[1]].strip())
    except (OSError, ValueError):
        got = f"{_shown(name)!r}, which is not there"
        raise DataError(where=where, got=got, want=f"a file in {folder}", fix="mend or remove the row") from None


def _ordered(labels: Iterable[str]) -> list[str]:
    names = sorted(labels)
    try:
        return sorted(names, key=int)
    except ValueError:
        return names


def _shown(name: str) -> str:
    """Return a file's name as text that can be written: it may hold bytes that are none."""
    return name.encode("utf-8", "backslashreplace").decode()


def _layout(folder: Path, got: str) -> DataError:
    fix = "sort the pictures into folders named after the classes, or name an annotations file: csv"
    return DataError(where=str(folder), got=got, want=LAYOUT, fix=fix)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Say which file or folder cannot be looked into."""
    try:
        yield
    except OSError as error:
        got, want = error.strerror or str(error), "files and folders that can be read"
        raise DataError(where=_shown(str(path)), got=got, want=want, fix="mend or remove it") from None
