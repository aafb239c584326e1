"""Gradients: `backward`, `grad`, hooks, what switches recording on and off, operations of one's own, and checks."""

import sys
from collections.abc import Callable, Sequence
from contextlib import ContextDecorator
from typing import Any

import numpy as np

from danlu.zero.arguments import require
from danlu.zero.function import Function as Function
from danlu.zero.function import gradcheck as gradcheck
from danlu.zero.tape import Array, Edge, Mode, edge_of, walk
from danlu.zero.tensor import Tensor, wrap

function = sys.modules["danlu.zero.function"]  # `autograd.function.Function` is PyTorch's other name for it
Tensors = Tensor | Sequence[Tensor]


def backward(
    tensors: Tensors,
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    *,
    inputs: Tensors | None = None,
) -> None:
    """Add to the leaves' `grad` the gradient of the sum of `tensors`, each weighted by its `grad_tensors`.

    `retain_graph` keeps what the graph holds, so that it can be walked again; `inputs` limits it to these tensors.
    Raises RuntimeError for no graph, one already freed, a tensor changed since, or a wrong weight.
    """
    roots = _roots(_listed(tensors), grad_tensors, create_graph)
    if inputs is None:
        walk(roots, bool(retain_graph))
        return
    targets = _listed(inputs)
    require(targets, "'inputs' argument to backward() cannot be empty.")
    wanted: dict[Edge, Any] = {_edge(tensor): None for tensor in targets}
    walk(roots, bool(retain_graph), wanted)
    for tensor in targets:
        _add_to_grad(tensor, wanted.pop(edge_of(tensor), None))


def grad(
    outputs: Tensors,
    inputs: Tensors,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    *,
    allow_unused: bool | None = None,
    materialize_grads: bool = False,
) -> tuple[Tensor | None, ...]:
    """Return the gradients of the sum of `outputs` for every one of `inputs`, and leave every `grad` alone.

    An input that the outputs do not depend on raises RuntimeError; `allow_unused` returns None for it, and
    `materialize_grads` zeros.
    """
    targets = _listed(inputs)
    wanted: dict[Edge, Any] = {_edge(tensor): None for tensor in targets}
    walk(_roots(_listed(outputs), grad_outputs, create_graph), bool(retain_graph), wanted)
    found = [wanted[edge_of(tensor)] for tensor in targets]
    if materialize_grads:
        found = [np.zeros_like(x._array) if g is None else g for x, g in zip(targets, found, strict=True)]
    for i, gradient in enumerate(found):
        text = f"the outputs do not depend on tensor {i} of inputs; set allow_unused=True if that is meant"
        require(gradient is not None or allow_unused, text)
    return tuple(None if gradient is None else wrap(gradient.copy()) for gradient in found)


def _roots(tensors: Sequence[Tensor], weights: Any, create_graph: bool) -> list[tuple[Edge, Array]]:
    """Return where to start, and with what. Raises RuntimeError where that cannot be."""
    if create_graph:
        raise NotImplementedError("create_graph=True is not supported: gradients cannot be differentiated again")
    given = [None] * len(tensors) if weights is None else _listed(weights)
    require(len(given) == len(tensors), "a gradient is wanted for every tensor", tensors=len(tensors), grads=len(given))
    return [(_edge(tensor), _weight(tensor, weight)) for tensor, weight in zip(tensors, given, strict=True)]


def _edge(tensor: Tensor) -> Edge:
    edge = edge_of(tensor)
    why = "nothing that it was computed from requires grad, or it was computed under no_grad() or after detach()"
    require(edge[0] is not None, f"the tensor does not require grad and does not have a grad_fn: {why}", tensor=tensor)
    return edge


def _weight(tensor: Tensor, weight: Tensor | None) -> Array:
    array = tensor._array
    if weight is None:
        if array.size != 1:
            text = "grad can be implicitly created only for scalar outputs: reduce it, e.g. with .sum() or .mean()"
            require(False, f"{text}, or pass gradient=", output=array)
        return np.ones(array.shape, array.dtype)
    require(isinstance(weight, Tensor), "gradients can be either Tensors or None", TypeError, gradient=weight)
    fits = weight._array.shape == array.shape
    require(fits, "the gradient has to have the output's shape", gradient=weight, output=array)
    return weight._array.astype(array.dtype, copy=False)


def _listed(tensors: Any) -> Sequence[Any]:
    return (tensors,) if isinstance(tensors, Tensor) else tuple(tensors)


def _add_to_grad(tensor: Tensor, gradient: Any) -> None:
    if gradient is not None:
        tensor.grad = wrap(gradient.copy() if tensor.grad is None else np.asarray(tensor.grad._array + gradient))


class RemovableHandle:
    """What registering a hook returns: `remove()` takes the hook away again."""

    def __init__(self, hooks: list[Any], hook: Any) -> None:
        self._hooks, self._hook = hooks, hook

    def remove(self) -> None:
        """Take the hook away; a second time changes nothing."""
        if self._hook in self._hooks:
            self._hooks.remove(self._hook)


def backward_of_one(
    self: Tensor,
    gradient: Tensor | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Tensors | None = None,
) -> None:
    """Add to the leaves' `grad` the gradient of this tensor; see `autograd.backward`."""
    backward(self, (gradient,), retain_graph, create_graph, inputs=inputs)


def register_hook(self: Tensor, hook: Callable[[Tensor], Any]) -> RemovableHandle:
    """Call `hook(gradient)` whenever the tensor's gradient is known; what it returns replaces the gradient.

    The handle that it returns takes the hook away again: `handle.remove()`.
    """

    def on_array(gradient: Array) -> Array | None:
        with no_grad():
            changed: Any = hook(wrap(gradient))
        if changed is None:
            return None
        fits = isinstance(changed, Tensor) and changed._array.shape == gradient.shape
        require(fits, f"hook {hook} has to return None or a gradient of one shape", gradient=gradient, returned=changed)
        return np.asarray(changed._array)

    hooks = _hooks_of(self, "register a hook on")
    hooks.insert(len(hooks) - self.retains_grad, on_array)  # `retain_grad` sees what hooks made of the gradient
    return RemovableHandle(hooks, on_array)


def retain_grad(self: Tensor) -> None:
    """Keep the gradient in `grad` although the tensor is no leaf."""
    hooks = _hooks_of(self, "retain_grad() of")
    if self.grad_fn is not None and not self.retains_grad:
        self.retains_grad = True
        hooks.append(lambda gradient: _add_to_grad(self, gradient))


METHODS = {"backward": backward_of_one, "register_hook": register_hook, "retain_grad": retain_grad}


def _hooks_of(tensor: Tensor, what: str) -> list[Any]:
    node, slot = edge_of(tensor)
    if node is None:
        raise RuntimeError(f"cannot {what} a tensor that doesn't require gradient")
    if node.hooks is None:
        node.hooks = {}
    return node.hooks.setdefault(slot, [])


class _Switch(ContextDecorator):
    """Sets one field of Mode in a `with` block, or while a decorated function runs."""

    field, value = "record", True

    def __new__(cls, function: Any = None, **settings: Any) -> Any:
        """Return the switch, or the decorated function where it is used as `@no_grad`."""
        return cls()(function) if callable(function) else super().__new__(cls)

    def __init__(self, function: Any = None) -> None:
        self.before: list[bool] = []

    def __enter__(self) -> None:
        self.before.append(getattr(Mode, self.field))
        setattr(Mode, self.field, self.value)

    def __exit__(self, *exception: object) -> None:
        setattr(Mode, self.field, self.before.pop())


class no_grad(_Switch):  # noqa: N801 - PyTorch's name
    """Record nothing: `with no_grad():`, or `@no_grad()` over a function."""

    value = False


class enable_grad(_Switch):  # noqa: N801 - PyTorch's name
    """Record, also inside `no_grad`."""


class inference_mode(_Switch):  # noqa: N801 - PyTorch's name
    """Record nothing; the same as `no_grad` here."""

    def __init__(self, mode: bool = True) -> None:
        super().__init__()
        self.value = Mode.record and not mode


class set_grad_enabled(_Switch):  # noqa: N801 - PyTorch's name
    """Record or not from now on; as a context manager, until its end; as a decorator, only inside the function."""

    def __init__(self, mode: bool) -> None:
        self.before, self.earlier, self.value = [], getattr(Mode, self.field), bool(mode)
        setattr(Mode, self.field, self.value)

    def __enter__(self) -> None:
        self.before.append(self.earlier)
        setattr(Mode, self.field, self.value)

    def __call__(self, function: Any) -> Any:
        """Return the decorated function; outside of it the setting stays as it was."""
        setattr(Mode, self.field, self.earlier)
        return super().__call__(function)


class detect_anomaly(_Switch):  # noqa: N801 - PyTorch's name
    """Where NaN appears, forward or backward, raise RuntimeError that names the operation and its line of code."""

    field = "anomaly"

    def __init__(self, check_nan: bool = True) -> None:
        super().__init__()
        self.value = check_nan


class set_detect_anomaly(set_grad_enabled):  # noqa: N801 - PyTorch's name
    """Look for NaN or not from now on, as `detect_anomaly` does; as a context manager, until its end."""

    field = "anomaly"

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        super().__init__(mode and check_nan)


def is_grad_enabled() -> bool:
    """Tell whether operations are recorded."""
    return Mode.record
