"""Loading weights into a model of either framework: by name, by copying, and all or nothing where they do not fit."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from danlu import save
from danlu.errors import ModelError, RecipeError, unknown_name
from danlu.optim.framework import is_zero
from danlu.recipe import Off, Weights
from danlu.save import NamedWeights
from danlu.train.learner import Array
from danlu.train.legacy import read_legacy
from danlu.train.loaded import Loaded, listed, percent
from danlu.train.names import paired, renamed

Pickles = Literal["weights-only"] | Off


def load_weights(
    model: Any,
    source: str | Path,
    *,
    at: str | int = "best",
    rename: Mapping[str, str] | None = None,
    partial: bool = False,
    least: float = 0.5,
    allow_pickle: Pickles = "off",
) -> Loaded:
    """Copy weights into a model: of a run, of a checkpoint, or of anybody's safetensors file.

    Names match with or without what DataParallel ("module.") and torch.compile ("_orig_mod.") add. The model's tensors
    keep their type, device and layout; another type is converted.

    Args:
        model: any `nn.Module` of PyTorch or danlu.zero; where anything is refused it is as it was.
        source: a run's folder, a checkpoint's, or a file.
        at: of a run: "best", "last", or an update's number; the average of its weights, where it keeps one.
        rename: patterns over the source's names and what stands instead, `{"encoder.*": "backbone.*"}`; "" leaves out.
        partial: load what fits, where names are missing, unexpected, or of another shape.
        least: share of the model's parameters that a partial source must have, from 0 to 1.
        allow_pickle: "weights-only" reads the tensors, and nothing else, of a file by `torch.save`.

    Returns:
        a report that prints as a table.

    Raises:
        RunError: there is nothing to read, it is damaged, or only unpickling could read it.
        ModelError: it does not fit the model. RecipeError: `rename` matches nothing, or an argument is wrong.
    """
    _check_arguments(source, allow_pickle)
    if not 0 <= least <= 1:
        raise RecipeError(where="least", got=least, want="a share from 0 to 1", fix="use 0.5 for half the parameters")
    weights = _read(Path(source), at, allow_pickle)
    return _fit(model, weights, rename or {}, partial=partial, least=least)


def _check_arguments(source: object, allow_pickle: object) -> None:
    if not isinstance(source, str | os.PathLike):
        named = isinstance(source, Mapping)
        fix = "call model.load_state_dict(state_dict)" if named else "give the path of a run or of a safetensors file"
        raise RecipeError(where="source", got=f"an object of type {type(source).__name__}", want="a path", fix=fix)
    if allow_pickle not in ("weights-only", "off"):
        fix = 'use allow_pickle="weights-only" for a file by torch.save, or leave it out'
        raise RecipeError(where="allow_pickle", got=allow_pickle, want='"weights-only" or "off"', fix=fix)


def load_part(model: Any, part: Weights | Off) -> Loaded | None:
    """Load the weights that a recipe starts from, if it names any; raise as `load_weights` does."""
    if part == "off":
        return None
    own = {"at": part.at, "rename": part.rename, "partial": part.partial, "least": part.least}
    for key in part.options:
        raise unknown_name(RecipeError, f"weights.{key}", key, [*own, "source", "allow_pickle"], "key of weights")
    if not part.source:
        want, fix = "a run, a checkpoint or a safetensors file", 'set [weights] source, or weights = "off"'
        raise RecipeError(where="weights.source", got="nothing", want=want, fix=fix)
    return load_weights(model, part.source, **own, allow_pickle=part.allow_pickle)  # type: ignore[arg-type]


@dataclass
class _Slot:
    """A tensor of a model, and every name it has; the first is its own."""

    tensor: Any
    is_parameter: bool
    names: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.names[0]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.tensor.shape)

    @property
    def dtype(self) -> str:
        return str(self.tensor.dtype).rpartition(".")[2]


def _read(source: Path, at: str | int, allow_pickle: str) -> NamedWeights:
    if allow_pickle == "weights-only" and save.is_pickle(source):
        return read_legacy(source)
    return save.read_weights(source, at=at)


def _fit(model: Any, weights: NamedWeights, rename: Mapping[str, str], *, partial: bool, least: float) -> Loaded:
    """Copy what fits, once everything is known to be as the caller wants it."""
    arrays, slots = weights.every(), _slots(model)
    names = renamed(arrays, rename)
    found = _found(names, {name for slot in slots for name in slot.names})
    chosen = {slot.name: _chosen(slot, found, arrays, weights) for slot in slots}
    report = _report(slots, chosen, weights, _unused(names, found, weights))
    _check(report, partial, least)
    for slot in slots:
        if slot.name in report.loaded:
            _copy(slot.tensor, arrays[chosen[slot.name]])
    return report


def _slots(model: Any) -> list[_Slot]:
    """Return every tensor of a model's state once."""
    parameters = {id(parameter) for parameter in model.parameters()}
    found: dict[int, _Slot] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if is_lazy(tensor):
            fix, want = "run one batch through the model first", "a model whose shapes are known"
            raise ModelError(where=name, got="a lazy layer without sizes", want=want, fix=fix)
        if isinstance(tensor, Tensor) or is_zero(tensor):  # a module's extra state may be anything
            slot = found.setdefault(id(tensor), _Slot(tensor, id(tensor) in parameters))
            slot.names.append(name)
    return list(found.values())


def _found(names: Mapping[str, str], wanted: set[str]) -> dict[str, str]:
    """Return for the model's names the source's own."""
    pairs = paired(names.values(), wanted)
    return {pairs[new]: old for old, new in names.items() if new in pairs}


def _unused(names: Mapping[str, str], found: Mapping[str, str], weights: NamedWeights) -> tuple[str, ...]:
    """Return the names that the model does not have; a tied tensor is used under any of its names."""
    used = {weights.ties.get(old, old) for old in found.values()}
    return tuple(old for old in weights.arrays if old in names and old not in used)


def _chosen(slot: _Slot, found: Mapping[str, str], arrays: Mapping[str, Array], weights: NamedWeights) -> str:
    """Return the source's name for one tensor, "" where it has none; refuse two that differ for a tied one."""
    sources = [found[name] for name in slot.names if name in found]
    for other in sources[1:]:
        if not np.array_equal(arrays[sources[0]], arrays[other], equal_nan=arrays[other].dtype.kind in "fc"):
            got, want = f"{sources[0]} and {other}, which differ", "one tensor: the model ties them"
            fix = f'leave one of them out: rename = {{"{other}" = ""}}'
            raise ModelError(where=weights.source, got=got, want=want, fix=fix)
    return next(iter(sources), "")


def _report(
    slots: list[_Slot], chosen: Mapping[str, str], weights: NamedWeights, unexpected: tuple[str, ...]
) -> Loaded:
    every, misfits, cast = weights.every(), dict[str, str](), dict[str, str]()
    for slot in slots:
        old = chosen[slot.name]
        if not old:
            continue
        shape, dtype = every[old].shape, weights.dtypes[weights.ties.get(old, old)]
        if shape != slot.shape or _kind(dtype) != _kind(slot.dtype):
            misfits[slot.name] = f"{_form(shape, dtype)} for {_form(slot.shape, slot.dtype)}"
        elif dtype != slot.dtype:
            cast[slot.name] = f"{dtype} to {slot.dtype}"
    loaded = tuple(slot.name for slot in slots if chosen[slot.name] and slot.name not in misfits)
    sizes = {slot.name: math.prod(slot.shape) for slot in slots if slot.is_parameter}
    return Loaded(
        source=weights.source,
        sha256=weights.sha256,
        loaded=loaded,
        missing=tuple(slot.name for slot in slots if not chosen[slot.name]),
        unexpected=unexpected,
        misfits=misfits,
        cast=cast,
        parameters=sum(size for name, size in sizes.items() if name in loaded),
        parameters_total=sum(sizes.values()),
    )


def _kind(dtype: str) -> str:
    return next((kind for kind in ("float", "complex", "bool", "int") if kind in dtype), dtype)


def _form(shape: tuple[int, ...], dtype: str) -> str:
    return f"{dtype} {shape}"


def _check(report: Loaded, partial: bool, least: float) -> None:
    """Refuse what does not fit, before anything is copied."""
    if not partial and not report.complete:
        fix = "rename what has another name, or set partial to load what fits"
        got, want = report.line.removeprefix(f"{report.source}: "), "every tensor of the model, and no other"
        raise ModelError(where=report.source, got=got, want=want, fix=fix)
    if partial and (report.share < least or not report.loaded):
        shown = f"the model has {listed(report.missing or report.misfits, 2)}"
        shown += f", the source {listed(report.unexpected, 2)}" if report.unexpected else ""
        got, want = f"{percent(report.share)} of the model's parameters", f"at least {percent(least)}"
        raise ModelError(where=report.source, got=got, want=want, fix=f"rename, or set least lower: {shown}")


def _copy(tensor: Any, array: Array) -> None:
    """Copy, never assign: a tensor of another alignment or layout would compute other bits."""
    if isinstance(tensor, Tensor):
        with torch.no_grad():
            tensor.copy_(torch.from_numpy(array))
    else:
        with np.errstate(over="ignore"):  # beyond a narrower type's range is inf, as in PyTorch
            np.copyto(tensor.detach().numpy(), array, casting="unsafe")
