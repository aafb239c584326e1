"""Weights as named arrays: read from a run, a checkpoint or anybody's safetensors file; written for anybody."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np

from danlu.errors import RunError
from danlu.save import checkpoint
from danlu.save.files import sha256_of, write_atomic
from danlu.save.runfolder import holds_run
from danlu.save.tensors import Array, read_tensors

PICKLES = (".pt", ".pth", ".tar", ".ckpt", ".bin", ".pkl", ".pickle")
WANTED = "a run, a checkpoint or a safetensors file"


@final
@dataclass(frozen=True)
class NamedWeights:
    """A model's weights by name, and where they come from.

    Fields:
        source: for people: "runs/a, update 400, average".
        sha256: of the file that holds them, 64 hexadecimal digits.
        arrays: by name.
        dtypes: by name, as they are stored; bfloat16 is float32 among `arrays`.
        ties: further names of tensors that are stored once, and the name that each is stored under.
        update: of the checkpoint they are from; None where they are from another file.
    """

    source: str
    sha256: str
    arrays: dict[str, Array]
    dtypes: dict[str, str]
    ties: dict[str, str] = field(default_factory=dict)
    update: int | None = None

    def every(self) -> dict[str, Array]:
        """Return the arrays by every name they have, tied ones included."""
        return {**self.arrays, **{name: self.arrays[kept] for name, kept in self.ties.items()}}


def read_weights(source: Path, *, at: str | int = "best", average: bool | None = None) -> NamedWeights:
    """Read weights.

    Args:
        source: a run's folder, a checkpoint's, or a safetensors file.
        at: of a run: "best", "last", or an update's number.
        average: of a run that keeps an average of its weights: whether to read that; None: where there is one.

    Raises:
        RunError: there is nothing to read, it is damaged, or only unpickling could read it.

    Cost:
        the file is read twice: for its checksum, and for what it holds.
    """
    if holds_run(source):
        step = checkpoint_at(source, at)
        return _of_checkpoint(checkpoint.folder(source, step), average, f"{source}, update {step:,}", step)
    if (source / "manifest.json").exists():
        return _of_checkpoint(source, average, str(source), None)
    if source.is_dir():
        fix = "check the path; `danlu runs` lists what is there"
        raise RunError(where=str(source), got="a folder with neither in it", want=WANTED, fix=fix)
    if is_pickle(source):
        got = "a file that only unpickling can read, which may run any program that it contains"
        fix = 'convert it to safetensors, or read nothing but its tensors with allow_pickle="weights-only"'
        raise RunError(where=str(source), got=got, want=WANTED, fix=fix)
    stored = read_tensors(source, WANTED)
    ties = {name: kept for name, kept in stored.metadata.items() if kept in stored.arrays and name not in stored.arrays}
    return NamedWeights(str(source), sha256_of(source), stored.arrays, stored.dtypes, ties)


def is_pickle(path: Path) -> bool:
    """Say whether a file can only be read by unpickling it, from how it begins and what it is called."""
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            begins = file.read(9)
    except OSError:
        return False  # whoever reads it says what is wrong
    return begins[8:] != b"{" and (begins[:2] == b"PK" or begins[:1] == b"\x80" or path.suffix.lower() in PICKLES)


def _of_checkpoint(folder: Path, average: bool | None, source: str, step: int | None) -> NamedWeights:
    tensors, state = checkpoint.read(folder)
    if average and "ema" not in tensors:
        fix = "leave the average out, or train with ema"
        raise RunError(where=source, got="no average", want="a run that keeps an average of its weights", fix=fix)
    group = "ema" if "ema" in tensors and average is not False else "model"
    if group not in tensors:
        fix = "use another checkpoint"
        raise RunError(where=source, got="a checkpoint without weights", want="one of a model", fix=fix)
    arrays = tensors[group]
    learner = state.get("learner")
    known = learner.get("ties") if isinstance(learner, dict) else None
    ties = {name: kept for name, kept in known.items() if kept in arrays} if isinstance(known, dict) else {}
    update = state.get("updates_done") if step is None else step
    return NamedWeights(
        source=f"{source}, average" if group == "ema" else source,
        sha256=checkpoint.checksum(folder, f"{group}.safetensors"),
        arrays=arrays,
        dtypes={name: array.dtype.name for name, array in arrays.items()},
        ties=ties,
        update=update if isinstance(update, int) else None,
    )


def checkpoint_at(run: Path, at: str | int) -> int:
    """Return the update of the checkpoint that `at` names: "best", "last", or its number.

    Raises:
        RunError: the run has no such checkpoint.
    """
    known, at = checkpoint.steps(run), str(at)
    if not known:
        fix = "let the run reach its first evaluation"
        raise RunError(where=str(run), got="no checkpoint", want="a run with checkpoints", fix=fix)
    if at == "last":
        return known[-1]
    if at != "best":
        if at in map(str, known):
            return int(at)
        fix = f"choose best, last or one of {known}"
        raise RunError(where=str(run), got=f"no checkpoint {at}", want="one that is there", fix=fix)
    best = checkpoint.read_state(checkpoint.folder(run, known[-1])).get("best")
    step = best.get("step") if isinstance(best, dict) else None
    if step is None or step not in known:
        got = "no evaluation that gave a number" if best is None else f"no checkpoint of its best update {step}"
        raise RunError(where=str(run), got=got, want="a best checkpoint", fix='use at="last"')
    return int(step)


def write_weights(path: Path, arrays: Mapping[str, Array], metadata: Mapping[str, str], *, force: bool = False) -> None:
    """Write weights as one safetensors file that anybody can load, whole or not at all.

    Args:
        path: the file.
        arrays: by name, any strides.
        metadata: texts that stand beside them.
        force: replace a file that is there.

    Raises:
        RunError: something lies there already, or the disk refuses; nothing is changed then.

    Cost:
        a copy of all arrays, and two fsyncs.
    """
    from safetensors.numpy import save

    if os.path.lexists(path) and (not force or not path.is_file()):
        fix = "choose another path, or overwrite it with --force" if path.is_file() else "choose another path"
        raise RunError(where=str(path), got="something that is there already", want="a path that is free", fix=fix)
    row_major = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    try:
        write_atomic(path, save(row_major, dict(metadata)))
    except OSError as error:
        got = (error.strerror or str(error)).lower()
        want, fix = "a path that can be written to", "choose another path, or free some space"
        raise RunError(where=str(path), got=got, want=want, fix=fix) from None


def described(weights: NamedWeights) -> list[tuple[str, tuple[int, ...], str]]:
    """Return name, shape and stored type of every tensor, tied ones under each of their names."""
    kinds: dict[str, Any] = {**weights.dtypes, **{name: weights.dtypes[kept] for name, kept in weights.ties.items()}}
    return [(name, array.shape, kinds[name]) for name, array in weights.every().items()]
