"""Checkpoints: a folder of safetensors files and JSON that appears complete or not at all.

    step-00000400/
      manifest.json           the files that belong to it, and their sizes in bytes
      model.safetensors       one such file for every group of tensors that has any
      state.json              everything that is no tensor

A folder is written beside its place, under a name that begins with a dot, and renamed when all of it is on the disk.
"""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from danlu.errors import RunError
from danlu.save.files import damaged, fsync, read_json, write_json

Array = np.ndarray[Any, np.dtype[Any]]
Tensors = Mapping[str, Mapping[str, Array]]

FORMAT = 1
_NAME = re.compile(r"step-(\d{8,})")
_GROUP = re.compile(r"[a-z][a-z0-9_]*")
_DTYPES = re.compile(r"bool|u?int(8|16|32|64)|float(16|32|64)|complex64")


def folder(run: Path, step: int) -> Path:
    """Return where the checkpoint of update `step` lies in a run folder."""
    return run / "checkpoints" / f"step-{step:08d}"


def steps(run: Path) -> list[int]:
    """Return the updates that a run folder has checkpoints of, ascending; unfinished ones do not count."""
    home = run / "checkpoints"
    names = [entry.name for entry in home.iterdir()] if home.is_dir() else []
    found = (_NAME.fullmatch(name) or _NAME.fullmatch(name.removeprefix(".replaced-")) for name in names)
    return sorted({int(match[1]) for match in found if match})


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
    _check_names(tensors)
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


def read(folder: Path) -> tuple[dict[str, dict[str, Array]], dict[str, Any]]:
    """Read a checkpoint.

    Returns:
        the groups of arrays that hold any, each array the owner of its memory; and the state.

    Raises:
        RunError: a file is missing or damaged, by name.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    place = _present(folder)
    manifest = place / "manifest.json"
    content = read_json(manifest)
    if not isinstance(content, dict) or content.get("format") != FORMAT or not isinstance(content.get("files"), dict):
        got = "a manifest of another kind"
        raise RunError(
            where=str(manifest), got=got, want=f"format {FORMAT}", fix="read it with the danlu that wrote it"
        )
    tensors = {}
    for name, size_bytes in content["files"].items():
        path = place / name
        try:
            found_bytes = path.stat().st_size
            if found_bytes != size_bytes:
                raise ValueError(f"{found_bytes} bytes")
            if path.suffix == ".safetensors":
                tensors[path.stem] = load_file(path)
        except (OSError, ValueError, SafetensorError) as error:
            raise damaged(path, error, f"the {size_bytes} bytes that were saved") from None
    return tensors, read_json(place / "state.json")


def _present(folder: Path) -> Path:
    """Return where the checkpoint lies now: after a crash between the two renames of `_exchange`, beside its place."""
    aside = folder.parent / f".replaced-{folder.name}"
    return aside if aside.exists() and not folder.exists() else folder


def _exchange(new: Path, folder: Path) -> None:
    """Rename `new` to `folder`; what was there is kept until the new one is on the disk."""
    aside = folder.parent / f".replaced-{folder.name}"
    if folder.exists():
        shutil.rmtree(aside, ignore_errors=True)
        folder.rename(aside)
    new.rename(folder)
    fsync(folder.parent)
    shutil.rmtree(aside, ignore_errors=True)


def _fill(place: Path, tensors: Tensors, state: Mapping[str, Any]) -> None:
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    write_json(place / "state.json", state)
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
            raise OSError(str(error)) from None
        path.chmod(mode)  # safetensors makes files that only their owner can read
        fsync(path)
    sizes = {path.name: path.stat().st_size for path in place.iterdir()}
    write_json(place / "manifest.json", {"format": FORMAT, "files": sizes})
    fsync(place)


def _check_names(tensors: Tensors) -> None:
    for group, arrays in tensors.items():
        if not _GROUP.fullmatch(group):
            raise TypeError(f"{group!r}: a group of tensors is named like a variable, in lower case")
        for name, array in arrays.items():
            if not isinstance(array, np.ndarray | np.generic):
                raise TypeError(f"{group}.{name}: {type(array).__qualname__} is no NumPy array")
            if not _DTYPES.fullmatch(array.dtype.name) or name == "__metadata__":
                raise TypeError(f"{group}.{name}: an array of {array.dtype} cannot be written as safetensors")
