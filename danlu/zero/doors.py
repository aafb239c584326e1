"""The doors: operations as functions, methods and operators of Tensor, attached by name to their one definition.

Every public function that is defined in one of the operation modules is an operation. `attach()` is called once, when
the package is imported.
"""

from collections.abc import Callable
from functools import wraps
from importlib import import_module
from inspect import unwrap
from types import FunctionType
from typing import Any

from danlu.zero import autograd, casts, inplace, printing
from danlu.zero.tensor import Tensor

MODULES = "elementwise unary reduce shape arrange index linalg activation".split()  # noqa: SIM905

# What PyTorch offers as a function only: it joins several tensors, or belongs to torch.nn.functional.
FUNCTIONS_ONLY = frozenset(
    """
    atleast_1d atleast_2d atleast_3d block_diag broadcast_tensors bucketize cartesian_prod cat cdist celu
    column_stack combinations concat concatenate dstack einsum elu gelu getitem glu gumbel_softmax hardsigmoid
    hardswish hardtanh hstack leaky_relu linear logsigmoid meshgrid mish normalize one_hot relu6 rrelu searchsorted
    selu silu softmin softplus softshrink softsign stack std_mean tanhshrink tensordot threshold trapezoid trapz
    var_mean vstack where
""".split()  # noqa: SIM905 - one name a line is no easier to read
)

# Python's operators; those with two sides get their reflected form (`2 - x`) and their in-place form (`x -= 2`), too.
ONE_SIDED = {"__neg__": "neg", "__abs__": "abs", "__invert__": "bitwise_not", "__getitem__": "getitem"}
SPELLINGS = {"axis": "dim", "keepdims": "keepdim"}
COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")
TWO_SIDED = {
    **{"add": "add", "sub": "sub", "mul": "mul", "truediv": "div", "floordiv": "floor_divide", "mod": "remainder"},
    **{"pow": "pow", "matmul": "matmul", "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor"},
}


def defined(name: str) -> dict[str, Callable[..., Any]]:
    """Return the public functions that are defined in a module of this package."""
    module = import_module(f"danlu.zero.{name}")
    return {
        known: value
        for known, value in vars(module).items()
        if isinstance(value, FunctionType) and value.__module__ == module.__name__ and known[0] != "_"
    }


def operations() -> dict[str, Callable[..., Any]]:
    """Return all operations by name."""
    return {name: _either_way(found) for module in MODULES for name, found in defined(f"ops.{module}").items()}


def _either_way(operation: Callable[..., Any]) -> Callable[..., Any]:
    """Return an operation that takes NumPy's `axis` and `keepdims`, too, for `dim` and `keepdim`."""
    if "dim" not in unwrap(operation).__code__.co_varnames:
        return operation

    @wraps(operation)
    def call(*arguments: Any, **options: Any) -> Any:
        try:
            return operation(*arguments, **options)
        except TypeError:
            if options.keys().isdisjoint(SPELLINGS):
                raise
        return operation(*arguments, **{SPELLINGS.get(name, name): value for name, value in options.items()})

    return call


def attach() -> dict[str, Callable[..., Any]]:
    """Give Tensor its operations, and return them: methods, operators, forms that end in `_` and work in place."""
    offered = operations()
    methods: dict[str, Any] = {
        name: operation
        for name, operation in offered.items()
        if name not in FUNCTIONS_ONLY and name not in vars(Tensor)
    }
    methods |= {method: offered[name] for method, name in ONE_SIDED.items()}
    methods |= {f"__{name}__": _tolerant(offered[name]) for name in COMPARISONS}
    for method, name in TWO_SIDED.items():
        methods |= {f"__{method}__": offered[name], f"__r{method}__": _reflected(offered[name])}
    methods["where"] = lambda self, condition, other: offered["where"](condition, self, other)
    made = defined("creation")
    methods |= {f"new_{name}": _as_here(made[name]) for name in ("empty", "zeros", "ones", "full", "tensor")}
    changes = inplace.methods(offered)
    methods |= {f"__i{method}__": changes[f"{name}_"] for method, name in TWO_SIDED.items() if f"{name}_" in changes}
    for name, method in {**methods, **changes, **autograd.METHODS, **casts.METHODS, **printing.METHODS}.items():
        setattr(Tensor, name, method)
    return offered


def _reflected(operation: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    """Return the operation for `other + x`, where Python asks the right side."""
    return lambda self, other: operation(other, self)


def _as_here(make: Callable[..., Any]) -> Callable[..., Any]:
    """Return the creation function as a method, that gives what it makes the tensor's dtype."""
    return lambda self, *given, dtype=None, **rest: make(*given, dtype=dtype or self.dtype, **rest)


def _tolerant(operation: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    """Return a comparison that leaves what is neither tensor nor number to Python: `x == None` is False."""

    def compare(self: Tensor, other: Any) -> Any:
        try:
            return operation(self, other)
        except TypeError:
            return NotImplemented

    return compare
