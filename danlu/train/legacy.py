"""Files by `torch.save`: their tensors and nothing else, and only where the caller asks for exactly that, on one file.

PyTorch's restricted unpickler builds tensors, numbers, text and containers; it imports nothing and calls nothing that
the file names. What needs more, such as a whole model, is refused with the reason.
"""

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from danlu.errors import RunError
from danlu.save import NamedWeights, sha256_of
from danlu.train.weights import as_array

WHERE = (
    "state_dict", "model_state_dict", "model", "ema_state_dict", "ema", "net", "network", "module", "weights", "params",
)  # fmt: skip
_NAMED = re.compile(r"GLOBAL ([\w.]+)")
_ODD = re.compile(r"Unsupported \w+ \S+")


def read_legacy(path: Path) -> NamedWeights:
    """Read the tensors of a file by `torch.save`: a state dict, or a checkpoint that has one inside.

    Raises:
        RunError: it holds something that is no data, such as a whole model; it is damaged; it has no tensors by name.
    """
    try:
        with warnings.catch_warnings(), path.open("rb") as file:
            warnings.simplefilter("ignore")  # of TorchScript archives and old formats, refused below
            content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the unpickler makes of damaged or hostile bytes
        raise _unreadable(path, error) from None
    place, found = _state_dict(content)
    if not found:
        got = f"no tensors by name, but {_shown(content)}"
        fix = "save the model's state_dict() with safetensors.torch.save_file"
        raise RunError(where=str(path), got=got, want="a state dict, alone or inside a checkpoint", fix=fix)
    odd = [name for name, tensor in found.items() if tensor.layout != torch.strided or tensor.is_quantized]
    if odd:
        fix = "save it dequantised and dense"
        raise RunError(where=f"{path}, {odd[0]}", got="a sparse or quantised tensor", want="a dense one", fix=fix)
    source = f"{path}, {place}" if place else str(path)
    dtypes = {name: str(tensor.dtype).removeprefix("torch.") for name, tensor in found.items()}
    arrays = {name: as_array(tensor) for name, tensor in found.items()}
    return NamedWeights(source, sha256_of(path), arrays, dtypes)


def _state_dict(content: Any, depth: int = 0) -> tuple[str, dict[str, Tensor]]:
    """Return where in a checkpoint the tensors by name are, and them."""
    if not isinstance(content, Mapping) or depth > 3:
        return "", {}
    below = {key: _state_dict(content[key], depth + 1) for key in _ordered(content)}
    for key, (place, found) in below.items():
        if found and (key in WHERE or len([one for one in below.values() if one[1]]) == 1):
            own = {name: one for name, one in content.items() if isinstance(one, Tensor)}
            if key in WHERE or not own:
                return f"{key}.{place}" if place else key, found
    return "", {name: one for name, one in content.items() if isinstance(name, str) and isinstance(one, Tensor)}


def _ordered(content: Mapping[Any, Any]) -> list[str]:
    """Return the keys of what may hold tensors, those first that people use for a model."""
    names = [key for key, one in content.items() if isinstance(key, str) and isinstance(one, Mapping)]
    return [key for key in WHERE if key in names] + [key for key in names if key not in WHERE]


def _shown(content: Any) -> str:
    if isinstance(content, Mapping):
        return f"a dict with {', '.join(map(str, list(content)[:5])) or 'nothing'}"
    return f"a {type(content).__name__}"


def _unreadable(path: Path, error: Exception) -> RunError:
    """Say what the file holds that is no data, or that it is damaged; PyTorch's advice is to unpickle it."""
    said = str(error)
    got, fix = said.partition("\n")[0][:200] or type(error).__name__, "get the file again, or a safetensors file"
    if "TorchScript" in said:
        got = "a TorchScript archive, which is a program"
    elif named := _NAMED.search(said):
        got = f"{named[1]} inside, which only unpickling could make"
        fix = "have its author save model.state_dict() with safetensors.torch.save_file"
    elif "Weights only load failed" in said:
        odd = _ODD.search(said)
        got = f"a pickle that torch.save did not write{f' ({odd[0].lower()})' if odd else ''}"
    want = "tensors, numbers, text, and lists and dicts of them"
    return RunError(where=str(path), got=got, want=want, fix=fix)
