"""danlu.zero is a deep-learning framework from zero, on NumPy, with the names and rules of PyTorch: `import danlu.zero
as torch`. It must never know PyTorch itself, nor anything of danlu but its errors.
"""

# ruff: noqa: F401 - a namespace: what is imported here is what it offers

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np

from danlu.zero import doors as _doors
from danlu.zero import dtypes as _dtypes
from danlu.zero import random as random
from danlu.zero.autograd import detect_anomaly, enable_grad, inference_mode, is_grad_enabled, no_grad, set_grad_enabled
from danlu.zero.device import cuda, device
from danlu.zero.draw import draw
from danlu.zero.dtypes import can_cast, dtype, get_default_dtype, result_type, set_default_dtype
from danlu.zero.printing import set_printoptions
from danlu.zero.random import (
    Generator,
    default_generator,
    get_rng_state,
    initial_seed,
    manual_seed,
    seed,
    set_rng_state,
)
from danlu.zero.tensor import Size, Tensor

if TYPE_CHECKING:
    from danlu.zero import autograd, nn, optim, utils
    from danlu.zero.creation import tensor
    from danlu.zero.storage import load, save

# Operations that PyTorch has in torch.nn.functional, as methods or as operators alone.
_ELSEWHERE = """
    contiguous elu expand expand_as gelu getitem glu hardsigmoid hardswish hardtanh leaky_relu logsigmoid mish
    one_hot relu6 repeat reshape_as silu softmin softplus softshrink softsign tanhshrink unfold view view_as
""".split()  # noqa: SIM905
_LATER = {"save": "storage", "load": "storage", "autograd": "", "nn": "", "optim": "", "utils": ""}

_operations = _doors.attach()
globals().update({**_doors.defined("creation"), **_doors.defined("sampling")})
globals().update({name: value for name, value in _operations.items() if name not in _ELSEWHERE})
numel, is_floating_point = Tensor.numel, Tensor.is_floating_point

inf, nan, pi, e, newaxis = np.inf, np.nan, np.pi, np.e, None
strided, contiguous_format, preserve_format = "torch.strided", "torch.contiguous_format", "torch.preserve_format"


def is_tensor(obj: Any, /) -> "bool":
    """Tell whether something is a tensor."""
    return isinstance(obj, Tensor)


_types = {name: value for name, value in vars(_dtypes).items() if isinstance(value, dtype)}
globals().update({name.removesuffix("_"): value for name, value in _types.items()})  # last: they hide Python's `float`


def __getattr__(name: str) -> Any:
    home = _LATER.get(name)
    if home is None:
        raise AttributeError(f"module 'danlu.zero' has no attribute {name!r}")
    found = importlib.import_module(f"danlu.zero.{home or name}")
    if name == "utils":
        importlib.import_module("danlu.zero.utils.data")  # so that `torch.utils.data` needs no import of its own
    value = globals()[name] = getattr(found, name) if home else found
    return value


def __dir__() -> "list[str]":
    return sorted({*globals(), *_LATER})
