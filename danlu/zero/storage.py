"""Saving and loading: one safetensors file holds the tensors by name, and everything else as text. Never a pickle.

A state dict is stored under its own names, so `safetensors.torch.load_file` gives it to PyTorch, and a file that
`safetensors.torch.save_file` wrote loads here.
"""

import json
import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from danlu.zero.device import check
from danlu.zero.tensor import Size, Tensor, wrap

Array = npt.NDArray[Any]

TREE = "danlu.zero"  # the metadata key under which everything but the tensors stands
_CODES = {"F16": "f2", "F32": "f4", "F64": "f8", "U8": "u1", "I8": "i1", "I16": "i2", "I32": "i4", "I64": "i8"}
_TYPES = {**{code: np.dtype(name) for code, name in _CODES.items()}, "BOOL": np.dtype(bool)}
_SEQUENCES: dict[str, type] = {"list": list, "tuple": tuple}
_MAPPINGS: dict[str, type] = {"dict": dict, "OrderedDict": OrderedDict}
_KINDS = {kind: name for name, kind in (*_SEQUENCES.items(), *_MAPPINGS.items())} | {Size: "tuple"}
_PICKLE = (
    "{}: this is a pickle, as PyTorch's torch.save writes it. Loading one can run any program it contains, so only "
    "safetensors files are read. Write it anew with PyTorch: safetensors.torch.save_file(state, new), where `state` is "
    "the state dict that torch.load reads."
)


def save(obj: Any, f: Any) -> None:
    """Write tensors, or lists, tuples and dictionaries of tensors, numbers, text, True, False and None.

    `f` is a path, where the file appears whole or not at all, or a file open for writing bytes. Raises TypeError for
    anything else inside `obj`; it says where that stands.
    """
    from safetensors.numpy import save as to_bytes

    arrays: dict[str, Array] = {}
    tree = json.dumps(_packed(obj, "", "obj", arrays), separators=(",", ":"))
    content = to_bytes(arrays, metadata={"format": "pt", TREE: tree})
    if isinstance(f, (str, os.PathLike)):
        _write_whole(content, os.path.realpath(f))
    else:
        f.write(content)


def load(f: Any, map_location: Any = None, weights_only: bool = True) -> Any:
    """Read what `save` wrote, or the state dict that a safetensors file from elsewhere holds.

    `f` is a path, or a file open for reading bytes; both values of `weights_only` mean that only data is read.
    """
    for place in map_location.values() if isinstance(map_location, dict) else [map_location]:
        try:
            check(None if callable(place) else place)
        except RuntimeError as error:
            raise RuntimeError(f"map_location={place!r}: {error}") from None
    if isinstance(f, (str, os.PathLike)):
        name, content = os.fspath(f), Path(f).read_bytes()
    else:
        name, content = repr(f), f.read()
    arrays, tree = _parsed(name, content)
    if tree is None:
        return {key: wrap(array) for key, array in arrays.items()}
    try:
        return _unpacked(json.loads(tree), arrays)
    except (ValueError, KeyError, TypeError) as error:
        raise RuntimeError(f"{name}: the text beside the tensors is damaged ({error!r}); save the file anew") from error


def _packed(value: Any, path: str, where: str, arrays: dict[str, Array]) -> Any:
    """Return JSON that describes a value; arrays go into `arrays` under their path."""
    if value is None or isinstance(value, bool | int | float | str):
        return value.item() if isinstance(value, np.generic) else value
    if isinstance(value, np.generic) and value.dtype.kind in "biuf":
        return value.item()
    if isinstance(value, Tensor):
        name = path or "tensor"
        while name in arrays:
            name += "~"
        arrays[name] = value._array if value._array.flags.c_contiguous else value._array.copy()
        return {"tensor": name, "requires_grad": True} if value.requires_grad else {"tensor": name}
    start = f"{path}." if path else ""
    kind = "OrderedDict" if isinstance(value, OrderedDict) else _KINDS.get(type(value))
    if kind in _SEQUENCES:
        return {kind: [_packed(x, f"{start}{i}", f"{where}[{i}]", arrays) for i, x in enumerate(value)]}
    if kind in _MAPPINGS:
        return {kind: [_packed_item(key, x, start, f"{where}[{key!r}]", arrays) for key, x in value.items()]}
    raise TypeError(
        f"{where} has the type {type(value).__name__}, which cannot be saved: a file holds tensors, numbers, text, "
        f"True, False, None, and lists, tuples and dictionaries of them.{_advice(value)}"
    )


def _packed_item(key: Any, value: Any, start: str, where: str, arrays: dict[str, Array]) -> list[Any]:
    if not (key is None or isinstance(key, bool | int | float | str)):
        raise TypeError(f"{where}: a saved dictionary has text or numbers as keys, not {type(key).__name__}")
    return [_packed(key, "", where, arrays), _packed(value, f"{start}{key}", where, arrays)]


def _advice(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return " Make a tensor of the array first: torch.from_numpy(array)."
    if callable(getattr(value, "state_dict", None)):
        return " Save its state_dict()."
    return ""


def _unpacked(node: Any, arrays: dict[str, Array]) -> Any:
    if not isinstance(node, dict):
        return node
    if "tensor" in node:
        return wrap(arrays[node["tensor"]]).requires_grad_(node.get("requires_grad", False))
    ((kind, content),) = node.items()
    if kind in _SEQUENCES:
        return _SEQUENCES[kind](_unpacked(x, arrays) for x in content)
    return _MAPPINGS[kind]((key, _unpacked(x, arrays)) for key, x in content)


def _write_whole(content: bytes, path: str) -> None:
    """Put a file in its place at once: a reader, or a crash, never meets half of one."""
    folder, name = os.path.split(path)
    if not os.path.isdir(folder):
        raise RuntimeError(f"Parent directory {folder} does not exist.")
    passing = os.path.join(folder, f".{name}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
    try:
        with open(passing, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(passing, path)
    except BaseException:
        if os.path.exists(passing):
            os.unlink(passing)
        raise


def _parsed(name: str, content: bytes) -> tuple[dict[str, Array], str | None]:
    """Return the arrays of a safetensors file, and the text that `save` put beside them."""
    from safetensors import SafetensorError, deserialize

    if (content[:2] == b"PK" or content[:1] == b"\x80") and content[8:9] != b"{":
        raise RuntimeError(_PICKLE.format(name))
    try:
        found = deserialize(content)  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise RuntimeError(
            f"{name}: not a whole safetensors file ({len(content)} bytes; {error}). It was cut short, or something "
            "else wrote it; copy it again from where it was made"
        ) from None
    arrays = {}
    for key, entry in found:
        kind = _TYPES.get(entry["dtype"])
        if kind is None:
            raise TypeError(f"{name}: '{key}' has the type {entry['dtype']}; convert it, say to float32, before saving")
        arrays[key] = np.frombuffer(bytearray(entry["data"]), kind).reshape(entry["shape"])
    head = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return arrays, head.get("__metadata__", {}).get(TREE)
