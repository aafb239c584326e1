"""The tape: how an operation is recorded, and how `backward` walks back over what was recorded.

An operation is a function on arrays that returns its result and how a gradient goes back through it:

    @op
    def mul(a, b, /):
        '''y = a b; dy/da = b, dy/db = a.'''
        a, b = promote(a, b)
        try:
            y = a * b
        except ValueError:
            raise mismatch(a, b) from None
        return y, (
            None if type(a) is not np.ndarray else lambda g: g * b,
            None if type(b) is not np.ndarray else lambda g: g * a,
        )

Parameters before the `/` are tensors (or plain numbers), the rest are options. The second value is a function for
every input, or one function for all of them (it returns a tuple), or None where nothing can be differentiated. They
work on arrays too; what was broadcast is summed by the tape. An array that they name, here `a` and `b`, is saved until
the backward pass; in the rows `unary(...)` the gradient's second argument, `x` or `y`, says whether input or output is.
"""

import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from functools import wraps
from heapq import heappop, heappush
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt

from danlu.zero.bookkeeping import (
    check_unchanged,
    complete,
    fit,
    held,
    leading_to,
    look_for_nan,
    note_view,
    source_line,
)
from danlu.zero.tensor import Tensor, wrap

Array = npt.NDArray[Any]
Edge = tuple["Node | None", int]  # a node, and which of its outputs
Needed = dict["Node", bool] | None  # the nodes to reach, and whether anything beyond them is wanted; None: all
NOWHERE: Edge = (None, 0)
FREED = (
    "Trying to backward through the graph a second time (or directly access saved tensors after they have already "
    "been freed). Saved intermediate values of the graph are freed when you call .backward() or autograd.grad(). "
    "Specify retain_graph=True if you need to backward through the graph a second time."
)
_numbers = count(1)
_quiet = copy_context()  # what runs in it hears nothing from NumPy of inf and NaN; `errstate` would take a microsecond
_quiet.run(np.seterr, all="ignore")


class _Mode(threading.local):
    """What is switched on, in every thread by itself: whether operations are recorded, and NaN is looked for."""

    record = True
    anomaly = False


Mode = _Mode()


class Node:
    """One recorded operation: where its gradient goes, and how it is computed.

    Fields:
        next_functions: for every input, the node (and its output's number) that its gradient goes to.
        gradients: the functions that the operation returned; None once they are freed.
        likes: shape and dtype of every input: what its gradient must have.
        saved: tensors that the gradient functions read, as (their version counter, its value then).
        holds: whether the gradient functions hold any array; those that hold none need not be freed.
        hooks: by output number, called with that output's whole gradient; what one returns replaces it.
    """

    __slots__ = ("gradients", "holds", "hooks", "label", "likes", "line", "next_functions", "order", "outputs", "saved")

    def __init__(self, label: str, edges: list[Edge], gradients: Any, likes: list[Any]) -> None:
        self.label, self.next_functions, self.gradients, self.likes = label, edges, gradients, likes
        self.order, self.outputs, self.holds = -next(_numbers), 1, False  # later operations come first
        self.saved: list[tuple[list[int], int]] = []
        self.hooks: dict[int, list[Callable[[Array], Array | None]]] | None = None
        self.line = source_line() if Mode.anomaly else ""

    def name(self) -> str:
        """Return the operation's name, as PyTorch calls it: `MulBackward0`."""
        return self.label

    def __repr__(self) -> str:
        return f"<{self.label} object at {id(self):#x}>"

    def apply(self, arrived: list[Any], shared: set[int], needed: Needed) -> list[tuple[Edge, Array]]:
        """Return (where to, gradient) for every input that needs one; see `walk` for the arguments."""
        functions, g = self.gradients, arrived[0] if self.outputs == 1 else arrived
        if functions is None:
            raise RuntimeError(FREED)
        if self.saved:
            check_unchanged(self)
        if type(functions) is tuple:
            results = [
                None if function is None or (needed is not None and edge[0] not in needed) else function(g)
                for function, edge in zip(functions, self.next_functions, strict=True)
            ]
        else:
            results = functions(g)
        handed = []
        for edge, result, like in zip(self.next_functions, results, self.likes, strict=True):
            if result is not None and edge[0] is not None:
                if type(result) is not np.ndarray or result.shape != like[0] or result.dtype is not like[1]:
                    result = fit(result, like)
                elif result is g:
                    shared.add(id(g))
                handed.append((edge, result))
        if Mode.anomaly:
            look_for_nan(self.label, "backward", [result for _, result in handed], arrived, self.line)
        return handed


class AccumulateGrad(Node):
    """Where a gradient ends: it is added to a leaf's `grad`. The leaf owns it, and it only knows the leaf."""

    __slots__ = ("_leaf",)

    def __init__(self, leaf: Tensor) -> None:
        super().__init__("AccumulateGrad", [], None, [])
        self._leaf, self.order = weakref.ref(leaf), next(_numbers)  # after all operations

    @property
    def variable(self) -> Tensor | None:
        """The leaf, None when nobody holds it any more."""
        return self._leaf()

    def apply(self, arrived: list[Any], shared: set[int], needed: Needed) -> list[tuple[Edge, Array]]:
        """Add to the leaf's gradient; a first one is kept as it is where nothing else holds it."""
        leaf, gradient = self._leaf(), arrived[0]
        if leaf is not None and gradient is not None:
            if leaf.grad is not None:
                leaf.grad._array += gradient
                leaf.grad._version[0] += 1
            else:
                leaf.grad = wrap(gradient.copy() if gradient.base is not None or id(gradient) in shared else gradient)
        return []


def op(forward: Callable[..., tuple[Any, Any]]) -> Callable[..., Tensor]:
    """Make an operation on tensors of a function on arrays; see the top of this file."""
    inputs = forward.__code__.co_posonlyargcount
    label = "".join(part.capitalize() for part in forward.__name__.split("_")) + "Backward0"

    @wraps(forward)
    def call(*arguments: Any, **options: Any) -> Tensor:
        if len(arguments) < inputs:
            arguments = complete(forward, arguments, options)
        tensors = arguments[:inputs]
        arrays = [x._array if isinstance(x, Tensor) else x for x in tensors]
        y, gradients = _quiet.copy().run(forward, *arrays, *arguments[inputs:], **options)
        output = wrap(y if type(y) is np.ndarray else np.asarray(y))
        if y is arrays[0] or output._array.base is not None:
            note_view(output, call, arguments, options)
        if Mode.record and gradients is not None:
            for x in tensors:
                if isinstance(x, Tensor) and x._requires_grad:
                    record(label, tensors, gradients, output)
                    break
        if Mode.anomaly:
            look_for_nan(label, "forward", [output._array], arrays, source_line())
        return output

    return call


def quietly(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Call a function on arrays in a context where NumPy says nothing of inf and NaN."""
    return _quiet.copy().run(function, *arguments, **options)


def record(label: str, inputs: Sequence[Any], gradients: Any, *outputs: Tensor) -> Node:
    """Put one operation on the tape: its node becomes the outputs' `grad_fn`."""
    edges: list[Edge] = []
    likes: list[Any] = []
    for x in inputs:
        if isinstance(x, Tensor):
            edges.append(edge_of(x))
            likes.append((x._array.shape, x._array.dtype))
        else:
            edges.append(NOWHERE)
            likes.append(None)
    if type(gradients) is not tuple:
        arrays = held((gradients,), set())
    else:
        if NOWHERE in edges:  # what is only for inputs that need no gradient is neither called nor kept
            gradients = tuple([None if edge is NOWHERE else f for f, edge in zip(gradients, edges, strict=True)])
        arrays = held(gradients, set())
    node = Node(label, edges, gradients, likes)
    if arrays:
        node.holds = True
        for x in (*inputs, *outputs):
            if isinstance(x, Tensor) and id(x._array) in arrays:
                node.saved.append((x._version, x._version[0]))
    node.outputs = len(outputs)
    for number, output in enumerate(outputs):
        output.grad_fn, output.output_nr, output._requires_grad = node, number, True
    return node


def edge_of(tensor: Tensor) -> Edge:
    """Return where a tensor's gradient goes: to the operation that made it, or into its own `grad`."""
    if tensor.grad_fn is not None:
        return tensor.grad_fn, tensor.output_nr
    if not tensor._requires_grad:
        return NOWHERE
    if tensor._accumulate is None:
        tensor._accumulate = AccumulateGrad(tensor)
    return tensor._accumulate, 0


def walk(roots: list[tuple[Edge, Array]], keep: bool, wanted: dict[Edge, Any] | None = None) -> None:
    """Carry gradients from `roots` to the leaves, latest operation first, so that a node has its whole gradient.

    What the graph holds is freed on the way unless `keep`; where `wanted`, only these edges' gradients are filled in.
    """
    pending: dict[Node, list[Any]] = {}  # by node, what has arrived for each of its outputs
    queue: list[tuple[int, Node]] = []
    shared = {id(gradient) for _, gradient in roots}  # gradients that something else holds, too
    needed = None if wanted is None else leading_to(wanted, [edge for edge, _ in roots])
    handed = roots
    with np.errstate(all="ignore"):
        while True:
            for (node, slot), gradient in handed:
                if node is None or (needed is not None and node not in needed):
                    continue
                waiting = pending.get(node)
                if waiting is None:
                    waiting = pending[node] = [None] * node.outputs
                    heappush(queue, (node.order, node))
                waiting[slot] = gradient if waiting[slot] is None else np.asarray(waiting[slot] + gradient)
            if not queue:
                return
            node = heappop(queue)[1]
            arrived = pending.pop(node)
            if node.hooks is not None:
                _call_hooks(node, arrived, shared)
            if wanted is not None and needed is not None:
                wanted.update({(node, i): g for i, g in enumerate(arrived) if (node, i) in wanted})
                if not needed[node]:
                    handed = []
                    continue
            handed = node.apply(arrived, shared, needed)
            if node.holds and not keep:
                node.gradients, node.saved = None, []


def _call_hooks(node: Node, arrived: list[Any], shared: set[int]) -> None:
    for slot, hooks in (node.hooks or {}).items():
        for hook in list(hooks):
            if arrived[slot] is not None and (changed := hook(arrived[slot])) is not None:
                arrived[slot] = changed
    shared.update(map(id, arrived))


@contextmanager
def recording(on: bool) -> Iterator[None]:
    """Switch recording on or off for a while."""
    before, Mode.record = Mode.record, on
    try:
        yield
    finally:
        Mode.record = before
