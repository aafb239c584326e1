"""The folder that a run lives in: whether it is free, and how it is made so without losing anything."""

import os
from pathlib import Path

from danlu.errors import RunError

MARKS = ("recipe.toml", "metrics.sqlite", "checkpoints")
STARTED = (".lock", ".probe-", ".recipe.toml.")  # what a process that is killed leaves before any of them


def holds_run(path: Path) -> bool:
    """Say whether a folder holds a run, finished or not."""
    return any((path / mark).exists() for mark in MARKS)


def is_free(path: Path) -> bool:
    """Say whether a folder is empty, but for what a run that was killed at its very start may have left."""
    return path.is_dir() and all(entry.name.startswith(STARTED) for entry in path.iterdir())


def free_name(base: Path) -> Path:
    """Return `base` if nothing has that name, else `base-2`, `base-3` and so on."""
    number, path = 1, base
    while os.path.lexists(path):
        number += 1
        path = base.with_name(f"{base.name}-{number}")
    return path


def claim(out: Path, *, force: bool = False) -> tuple[Path, str | None]:
    """Prepare an empty folder for a new run.

    Args:
        out: the folder; missing parents are made.
        force: where a run lies there already, move it aside to `<out>.old-1` (the next number that is free).

    Returns:
        `out`, and where a run was moved, a notice that says so.

    Raises:
        RunError: the folder holds a run (without `force`) or other files, or cannot be made or written to.
    """
    try:
        notice = _make_way(out, force)
        out.mkdir(parents=True, exist_ok=True)
        _try_writing(out)
    except OSError as error:
        fix = "choose another --out, or mend the permissions"
        if isinstance(error, FileExistsError | NotADirectoryError):
            fix = "choose another --out, or move that file away"
        got = _reason(error)
        raise RunError(where=str(out), got=got, want="a folder that can be written to", fix=fix) from None
    return out, notice


def _reason(error: OSError) -> str:
    if isinstance(error, FileExistsError | NotADirectoryError):
        return "a path with a file in its way"
    return (error.strerror or str(error)).lower()


def _make_way(out: Path, force: bool) -> str | None:
    if not out.is_dir() or is_free(out):
        return None
    if not holds_run(out):
        want, fix = "a new or empty folder", "choose another --out"
        raise RunError(where=str(out), got="a folder with files that are no run", want=want, fix=fix)
    if not force:
        fix = "choose another --out, or pass --force to move that run aside"
        raise RunError(where=str(out), got="a folder that already holds a run", want="a new or empty folder", fix=fix)
    number, home = 1, out if out.name else out.resolve()
    while os.path.lexists(aside := home.with_name(f"{home.name}.old-{number}")):
        number += 1
    home.rename(aside)
    return f"{out} held a run; that run was moved to {aside}"


def _try_writing(folder: Path) -> None:
    """Make a file and take it away again: permission bits do not tell of a read-only disk, or of root."""
    probe = folder / f".probe-{os.getpid()}"
    probe.touch()
    probe.unlink()
