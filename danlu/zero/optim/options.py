"""An optimizer's options, declared once: its constructor, its signature and its checks follow from their defaults."""

from collections.abc import Callable
from inspect import Parameter, Signature
from math import inf
from typing import Any, TypeVar

from danlu.zero.arguments import bound
from danlu.zero.optim.optimizer import Optimizer, number
from danlu.zero.tensor import Tensor

Kind = TypeVar("Kind", bound=type[Optimizer])
FUSED = {"foreach": None, "differentiable": False, "fused": None}  # PyTorch's other ways to compute the same
CAPTURABLE = {"foreach": None, "differentiable": False, "capturable": False}


def takes(refused: dict[str, Any], /, **defaults: Any) -> Callable[[Kind], Kind]:
    """Let a class of optimizers be made of `params` and these options, which are checked; all have `maximize`.

    Args:
        refused: options, with their defaults, that a caller may name but not switch on.
        defaults: the options in PyTorch's order.
    """
    by_name = {"maximize": False, **refused}
    signature = Signature(
        [
            *(Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in ("self", "params")),
            *(_parameter(name, value, Parameter.POSITIONAL_OR_KEYWORD) for name, value in defaults.items()),
            *(_parameter(name, value, Parameter.KEYWORD_ONLY) for name, value in by_name.items()),
        ]
    )

    def write(kind: Kind) -> Kind:
        def init(self: Optimizer, *args: Any, **given: Any) -> None:
            options = bound(type(self).__name__, signature, self, *args, **given)
            del options["self"]
            params = options.pop("params")
            for name, value in options.items():
                _check(name, value, name in refused)
            kind._settle(options)  # type: ignore[attr-defined]
            Optimizer.__init__(self, params, options)
            self._opt_called = False

        init.__signature__ = signature  # type: ignore[attr-defined]
        kind.__init__ = init  # type: ignore[method-assign]
        return kind

    return write


def _parameter(name: str, default: Any, kind: Any) -> Parameter:
    plain = {bool: bool, int: float, float: float}
    annotation = Any if name == "lr" else plain.get(type(default), Any)  # a learning rate may be a tensor
    return Parameter(name, kind, default=default, annotation=annotation)


def _check(name: str, value: Any, refused: bool) -> None:
    """Raise for a value that the option `name` cannot have."""
    if refused and value:
        raise NotImplementedError(f"{name}={value} is not supported: there is one implementation, in NumPy")
    if refused or isinstance(value, bool) or name == "dampening":
        return
    if name == "betas":
        for i, beta in enumerate(value):
            if not 0.0 <= beta < 1.0:
                raise ValueError(f"Invalid beta parameter at index {i}: {beta}; it must be in [0, 1)")
        return
    if isinstance(value, Tensor) and value._array.size != 1:
        raise ValueError(f"Tensor {name} must be 1-element, got shape {value._array.shape}")
    highest = 1.0 if name == "rho" else inf
    if not 0.0 <= number(value) <= highest:
        spoken = {"lr": "learning rate", "eps": "epsilon value"}.get(name, f"{name} value")
        raise ValueError(f"Invalid {spoken}: {value}; {name} must be in [0, {highest:g}]")
