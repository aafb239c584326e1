"""The operations of layers as functions: `torch.nn.functional`.

It offers every function of the modules in `_HOMES`; what is written here takes `inplace` or another argument that only
functions have.
"""

from collections.abc import Callable
from functools import wraps
from importlib import import_module
from inspect import Parameter, signature
from types import FunctionType
from typing import TYPE_CHECKING, Any

from danlu.zero.arguments import require
from danlu.zero.inplace import derived
from danlu.zero.ops import activation as _ops
from danlu.zero.ops.embedding import embedding as _embedding
from danlu.zero.ops.unary import relu as _relu
from danlu.zero.ops.unary import sigmoid as sigmoid
from danlu.zero.ops.unary import tanh as tanh
from danlu.zero.tape import Mode
from danlu.zero.tensor import Tensor

_HOMES = "activation attention conv cross_entropy dropout linear loss norm padding pool"
for _home in (import_module(f"danlu.zero.ops.{name}") for name in _HOMES.split()):
    for _name, _value in vars(_home).items():
        if isinstance(_value, FunctionType) and _value.__module__ == _home.__name__ and _name[0] != "_":
            globals()[_name] = _value

if TYPE_CHECKING:

    def __getattr__(name: str) -> Any: ...


def _with_inplace(operation: Callable[..., Tensor]) -> Any:
    """Return the operation with a last option, `inplace`, that overwrites the input."""
    change, known = derived(operation), signature(operation)
    most = sum(p.kind is p.POSITIONAL_OR_KEYWORD for p in known.parameters.values())

    @wraps(operation)
    def call(input: Tensor, *args: Any, inplace: bool = False, **options: Any) -> Tensor:
        if len(args) > most:
            *args, inplace = args  # type: ignore[assignment]
        return (change if inplace else operation)(input, *args, **options)

    last = Parameter("inplace", Parameter.POSITIONAL_OR_KEYWORD, default=False)
    call.__signature__ = known.replace(parameters=[*known.parameters.values(), last])  # type: ignore[attr-defined]
    return call


relu, relu6, leaky_relu = (_with_inplace(f) for f in (_relu, _ops.relu6, _ops.leaky_relu))
elu, selu, silu, mish = (_with_inplace(f) for f in (_ops.elu, _ops.selu, _ops.silu, _ops.mish))
hardtanh, hardsigmoid, hardswish = (_with_inplace(f) for f in (_ops.hardtanh, _ops.hardsigmoid, _ops.hardswish))
relu_, elu_, selu_, leaky_relu_ = (derived(f) for f in (_relu, _ops.elu, _ops.selu, _ops.leaky_relu))


def check_padding(rows: int, padding_idx: int | None, max_norm: float | None) -> None:
    """Raise an error where an embedding's arguments do not fit a table of so many rows."""
    require(max_norm is None, "embedding: not supported", NotImplementedError, max_norm=max_norm)
    fits = padding_idx is None or -rows <= padding_idx < rows
    require(fits, f"padding_idx is one of {rows} rows", AssertionError, padding_idx=padding_idx)


def embedding(
    input: Tensor,
    weight: Any,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """Return weight[input]: indices of any shape become rows of the table; `padding_idx` gets no gradient.

    `sparse`: the gradient is dense all the same, and `weight.grad_rows` lists the index arrays since its last change.
    """
    check_padding(len(weight._array), padding_idx, max_norm)
    if sparse and Mode.record and weight.requires_grad:
        if weight.__dict__.get("grad_rows_version") != weight._version[0]:  # the list starts anew after a change
            weight.grad_rows, weight.grad_rows_version = [], weight._version[0]
        weight.grad_rows.append(input._array)
    return _embedding(input, weight, padding_idx, scale_grad_by_freq)
