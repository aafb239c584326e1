"""Checkpoints: a folder of safetensors files and JSON that appears complete or not at all.

    step-00000400/
      manifest.json           the files that belong to it, with sizes in bytes and SHA-256 checksums
      model.safetensors       one such file for every group of tensors that has any
      state.json              everything that is no tensor

Nothing is believed that is read: every file is checked against the manifest, and the manifest against itself.
A folder is written beside its place, under a name that begins with a dot, and renamed when all of it is on the disk.
"""

import hashlib
import os
import re
import shutil
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from danlu.errors import RunError
from danlu.save.files import damaged, fsync, read_json, sha256_of, to_json, write_atomic, write_json
from danlu.save.tensors import Array, read_tensors

Tensors = Mapping[str, Mapping[str, Array]]
Checkpoint = tuple[dict[str, dict[str, Array]], dict[str, Any]]

FORMAT = 2
_MEMBER = re.compile(r"[a-z][a-z0-9_]*\.safetensors|state\.json")
_NAME = re.compile(r"step-([0-9]{8,})")
_GROUP = re.compile(r"[a-z][a-z0-9_]*")
_DTYPES = re.compile(r"bool|u?int(8|16|32|64)|float(16|32|64)|complex64")


def folder(run: Path, step: int) -> Path:
    """Return where the checkpoint of update `step` lies in a run folder."""
    return run / "checkpoints" / f"step-{step:08d}"


def steps(run: Path) -> list[int]:
    """Return the updates that a run folder has checkpoints of, ascending; unfinished ones do not count."""
    names = [entry.name for entry in _entries(run)]
    found = (_NAME.fullmatch(name) or _NAME.fullmatch(name.removeprefix(".replaced-")) for name in names)
    return sorted({int(match[1]) for match in found if match})


def _entries(run: Path) -> list[Path]:
    """Return what lies among a run's checkpoints; refuse to look, prune or write where a link leads."""
    home = run / "checkpoints"
    if home.is_symlink():
        want, fix = "a folder of the run's own", "put the folder itself there"
        raise RunError(where=str(home), got="a link", want=want, fix=fix)
    return list(home.iterdir()) if home.is_dir() else []


def write(folder: Path, tensors: Tensors, state: Mapping[str, Any], *, overwrite: bool = False) -> Path:
    """Write a checkpoint.

    Args:
        folder: where it will lie; missing parents are made.
        tensors: groups ("model", "optimizer") of named arrays, any shape, strides and byte order; a group becomes one
            file, an empty one none.
        state: plain values, see `to_json`.
        overwrite: replace a checkpoint that is there; the old one goes when the new one is on the disk.

    Returns:
        `folder`.

    Raises:
        RunError: something lies there already, or the disk refuses; nothing is changed then.
        TypeError: a value that is neither array nor plain, by name.

    Cost:
        an fsync for each file and for two folders; a copy of arrays that are not contiguous.
    """
    return write_encoded(folder, tensors, encoded(state), overwrite=overwrite)


def encoded(state: Mapping[str, Any]) -> bytes:
    """Return the content of state.json; raise `TypeError` for a value that is not plain, by name."""
    return (to_json(state, indent=2) + "\n").encode()


def write_encoded(folder: Path, tensors: Tensors, state: bytes, *, overwrite: bool = False) -> Path:
    """Write a checkpoint as `write` does, its state being encoded already."""
    check_names(tensors)
    present = _present(folder)
    if present.exists() and not overwrite:
        want, fix = "a place that is free", "choose another folder, or overwrite it on purpose"
        raise RunError(where=str(folder), got="a checkpoint that is there already", want=want, fix=fix)
    unfinished = folder.parent / f".writing-{folder.name}"
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        _fill(unfinished, tensors, state)
        _exchange(unfinished, folder)
    except OSError as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        got, fix = error.strerror or str(error), "free some space or mend the permissions, then save again"
        raise RunError(where=str(folder), got=got, want="a folder that can be written to", fix=fix) from error
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return folder


def read(folder: Path) -> Checkpoint:
    """Read a checkpoint.

    Returns:
        the groups of arrays that hold any, each array the owner of its memory; and the state.

    Raises:
        RunError: a file is missing, damaged or no plain file, by name.

    Cost:
        every file is read twice: for its checksum, and for what it holds.
    """
    tensors = {}
    for name in check(folder):
        path = _present(folder) / name
        if path.suffix == ".safetensors":
            tensors[path.stem] = read_tensors(path, "tensors").arrays
    return tensors, read_state(folder)


def read_state(folder: Path) -> dict[str, Any]:
    """Return what a checkpoint holds besides arrays, its checksum unchecked; raise `RunError` as `read` does."""
    path = _own(folder) / "state.json"
    state = read_json(path)
    if not isinstance(state, dict):
        raise damaged(path, ValueError(f"a {type(state).__name__}"), "a checkpoint's state")
    return state


def checksum(folder: Path, name: str) -> str:
    """Return the SHA-256 that a checkpoint's manifest has for one of its files."""
    return _manifest(_own(folder) / "manifest.json")[name][1]


def check(folder: Path) -> list[str]:
    """Check every file of a checkpoint against its manifest; return the files' names.

    Raises:
        RunError: a file is missing, damaged, of another size, or no plain file in this folder, by name.
    """
    home = _own(folder)
    files = _manifest(home / "manifest.json")
    for name, (size_bytes, checksum) in files.items():
        path = home / name
        try:
            found = path.lstat()
            if not stat.S_ISREG(found.st_mode):
                raise ValueError("something that is no plain file")
            if found.st_size != size_bytes:
                raise ValueError(f"{found.st_size} bytes")
            if sha256_of(path) != checksum:
                raise ValueError("content that was changed")
        except (OSError, ValueError) as error:
            raise damaged(path, error, f"the {size_bytes} bytes that were saved") from None
    return list(files)


def _manifest(path: Path) -> dict[str, tuple[int, str]]:
    """Return size and checksum of each file that a manifest names, once it is known to be whole."""
    content = read_json(path)
    known = content if isinstance(content, dict) else {}
    if "format" in known and (type(known["format"]) is not int or known["format"] != FORMAT):
        fix = "read it with the danlu that wrote it"
        raise RunError(where=str(path), got=f"format {known['format']}", want=f"format {FORMAT}", fix=fix)
    files = known.get("files")
    if "format" not in known or not isinstance(files, dict) or known.get("sha256") != _sha256_of(files):
        raise damaged(path, ValueError("a manifest that is not as it was written"), "the manifest that was saved")
    for name, entry in files.items():
        if not isinstance(entry, tuple | list) or list(map(type, entry)) != [int, str]:
            raise damaged(path, ValueError(f"{name} without its size and checksum"), "the manifest that was saved")
        if not _MEMBER.fullmatch(name):
            got = f"a file called {name}"
            raise RunError(where=str(path), got=got, want="a file of a checkpoint", fix="do not use this checkpoint")
    if "state.json" not in files:
        raise damaged(path, ValueError("no state.json"), "a whole checkpoint")
    return files


def _sha256_of(files: Mapping[str, Any]) -> str:
    return hashlib.sha256(to_json(files).encode()).hexdigest()


def newest(run: Path) -> tuple[int, Checkpoint, list[str]]:
    """Return the newest sound checkpoint of a run.

    Returns:
        its update; its tensors and state; and a notice for each newer one that is damaged.

    Raises:
        RunError: the run has no sound checkpoint.
    """
    notices: list[str] = []
    for step in reversed(steps(run)):
        try:
            return step, read(folder(run, step)), notices
        except RunError as error:
            why = f"{error.where}: {error.got}; want {error.want}"
            notices.append(f"the checkpoint of update {step:,} cannot be used ({why})")
    got = "no checkpoint" if not notices else f"no sound checkpoint; {notices[0]}"
    raise RunError(where=str(run), got=got, want="a checkpoint to go on from", fix="train it anew in another folder")


def remove(folder: Path) -> None:
    """Remove a checkpoint; one that is half removed has no checkpoint's name."""
    _discard(folder.rename(folder.with_name(f".trash-{folder.name}")))


def tidy(run: Path) -> None:
    """Remove what a killed process left half written or half removed."""
    for entry in _entries(run):
        if entry.name.startswith((".writing-", ".trash-")):
            _discard(entry)


def _discard(entry: Path) -> None:
    """Delete a folder and what is in it; of a link only the link."""
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry)
    else:
        entry.unlink()


def _own(folder: Path) -> Path:
    """Return where the checkpoint lies now; refuse a link, which may lead out of the run."""
    home = _present(folder)
    if home.is_symlink():
        raise damaged(home, ValueError("a link"), "a folder with a checkpoint")
    return home


def _present(folder: Path) -> Path:
    """Return where the checkpoint lies now: after a crash between the two renames of `_exchange`, beside its place."""
    aside = folder.parent / f".replaced-{folder.name}"
    return aside if aside.exists() and not folder.exists() else folder


def _exchange(new: Path, folder: Path) -> None:
    """Rename `new` to `folder`; what was there is kept until the new one is on the disk, and comes back if it fails."""
    aside = folder.parent / f".replaced-{folder.name}"
    if folder.exists():
        shutil.rmtree(aside, ignore_errors=True)
        folder.rename(aside)
    try:
        new.rename(folder)
        fsync(folder.parent)
    except OSError:
        with suppress(OSError):
            if folder.exists():
                folder.rename(new)  # nobody may take it for durable
            if aside.exists():
                aside.rename(folder)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _fill(place: Path, tensors: Tensors, state: bytes) -> None:
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    write_atomic(place / "state.json", state)
    mode = (place / "state.json").stat().st_mode
    for group, arrays in tensors.items():
        if not arrays:
            continue
        path = place / f"{group}.safetensors"
        # safetensors reads memory front to back and ignores strides: only row-major arrays come out as they went in
        row_major = {name: np.asarray(array, order="C") for name, array in arrays.items()}
        try:
            save_file(row_major, path)
        except SafetensorError as error:
            number = re.search(r"os error (\d+)", str(error))  # the system's own words are plainer
            raise OSError(*((int(number[1]), os.strerror(int(number[1]))) if number else (str(error),))) from None
        path.chmod(mode)  # safetensors makes files that only their owner can read
        fsync(path)
    files = {path.name: (path.stat().st_size, sha256_of(path)) for path in sorted(place.iterdir())}
    write_json(place / "manifest.json", {"format": FORMAT, "files": files, "sha256": _sha256_of(files)})
    fsync(place)


def check_names(tensors: Tensors) -> None:
    """Raise `TypeError` for what is no array, or has a name or a type that a checkpoint cannot hold."""
    for group, arrays in tensors.items():
        if not _GROUP.fullmatch(group):
            raise TypeError(f"{group!r}: a group of tensors is named like a variable, in lower case")
        for name, array in arrays.items():
            if not isinstance(array, np.ndarray | np.generic):
                raise TypeError(f"{group}.{name}: {type(array).__qualname__} is no NumPy array")
            if not _DTYPES.fullmatch(array.dtype.name) or name == "__metadata__":
                raise TypeError(f"{group}.{name}: an array of {array.dtype} cannot be written as safetensors")
