"""Operations of one's own, a forward and a backward on tensors, and a check of any gradients."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from danlu.zero.arguments import require
from danlu.zero.bookkeeping import changed_since
from danlu.zero.tape import Array, Mode, edge_of, record, recording, walk
from danlu.zero.tensor import Tensor, wrap


class Context:
    """What `forward` leaves for `backward`; further attributes may be set freely.

    Fields:
        needs_input_grad: for every input of `forward`, whether its gradient is wanted.
    """

    needs_input_grad: tuple[bool, ...] = ()
    _saved: tuple[tuple[Any, int], ...] = ()
    _constant: tuple[Tensor, ...] = ()

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep tensors for `backward`, which notices when they were changed in place since."""
        self._saved = tuple((x, 0 if x is None else x._version[0]) for x in tensors)

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """The tensors that were kept. Raises RuntimeError where one has changed since."""
        for x, version in self._saved:
            if x is not None and x._version[0] != version:
                raise RuntimeError(changed_since("a Function", x._version, version))
        return tuple(x for x, _ in self._saved)

    def mark_non_differentiable(self, *outputs: Tensor) -> None:
        """Let these outputs have no gradient."""
        self._constant = outputs


class Function:
    """An operation of one's own: subclass it, and call `apply`.

    class Square(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return 2 * x * g
    """

    @staticmethod
    def forward(ctx: Any, *inputs: Any, **options: Any) -> Any:
        """Compute the output, or a tuple of outputs."""
        raise NotImplementedError("You must implement the forward function for custom autograd.Function.")

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """Return a gradient (or None) for every input, from a gradient for every output."""
        raise NotImplementedError("You must implement the backward method for your custom autograd.Function.")

    @classmethod
    def apply(cls, *inputs: Any, **options: Any) -> Any:
        """Run `forward` and record it."""
        context = Context()
        context.needs_input_grad = tuple(isinstance(x, Tensor) and x._requires_grad for x in inputs)
        with recording(False):
            result = cls.forward(context, *inputs, **options)
        given = result if isinstance(result, tuple) else (result,)
        outputs = [y.detach() if any(y is x for x in inputs) else y for y in given]
        # A saved output is kept without history, lest it hold itself by way of its own node.
        aliases = {id(y): y.detach() for y in given if isinstance(y, Tensor)}
        context._saved = tuple((aliases.get(id(x), x), version) for x, version in context._saved)
        constant = {id(x) for x in context._constant}
        floating = [isinstance(y, Tensor) and y._array.dtype.kind == "f" for y in given]
        places = [i for i, y in enumerate(given) if floating[i] and id(y) not in constant]
        if Mode.record and any(context.needs_input_grad) and places:
            likes = [(y._array.shape, y._array.dtype) if isinstance(y, Tensor) else None for y in outputs]
            shapes = [x._array.shape if isinstance(x, Tensor) else None for x in inputs]
            gradients = _gradients(cls, context, places, likes, shapes)
            node = record(f"{cls.__name__}Backward", inputs, gradients, *(outputs[i] for i in places))
            node.holds = bool(context._saved)
        return tuple(outputs) if isinstance(result, tuple) else outputs[0]


def _gradients(
    cls: type[Function], context: Context, places: list[int], likes: list[Any], shapes: list[Any]
) -> Callable[..., Any]:
    """Return what the tape calls: from the outputs' gradients to the inputs'."""

    def gradients(given: Any) -> list[Array | None]:
        arrived = [None if like is None else np.zeros(*like) for like in likes]
        for i, g in zip(places, given if len(places) > 1 else (given,), strict=True):
            arrived[i] = arrived[i] if g is None else g
        with recording(False):
            results = cls.backward(context, *(None if g is None else wrap(g) for g in arrived))
        results = results if isinstance(results, (tuple, list)) else (results,)
        wanted = context.needs_input_grad
        fits = len(results) >= len(wanted) and all(x is None for x in results[len(wanted) :])
        text = f"{cls.__name__}.backward returned an incorrect number of gradients"
        require(fits, text, expected=len(wanted), returned=len(results))
        for i, (x, need) in enumerate(zip(results, wanted, strict=False)):
            if need and isinstance(x, Tensor) and not _sums_to(shapes[i], x._array.shape):
                got = f"{list(x._array.shape)}, of an input of shape {list(shapes[i])}"
                raise RuntimeError(f"{cls.__name__}.backward returned gradient {i} of shape {got}")
        # views, as the backward may have returned a tensor that it keeps
        return [x._array[...] if isinstance(x, Tensor) and need else None for x, need in zip(results, wanted)]  # noqa: B905

    return gradients


def _sums_to(shape: tuple[int, ...], wide: tuple[int, ...]) -> bool:
    """Tell whether a gradient of shape `wide` can be summed over broadcast dimensions to `shape`."""
    ends = zip(reversed(shape), reversed(wide), strict=False)
    return len(shape) <= len(wide) and all(size in (1, long) for size, long in ends)


def gradcheck(
    func: Callable[..., Any],
    inputs: Tensor | Sequence[Any],
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
) -> bool:
    """Compare the gradients of `func(*inputs)` with central differences, (f(x + eps) - f(x - eps)) / (2 eps).

    `inputs` that require grad are checked, and should be float64. Where gradients differ by more than `atol` and `rtol`
    allow, it raises RuntimeError, or returns False.
    """
    arguments = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    checked = [x for x in arguments if isinstance(x, Tensor) and x._requires_grad]
    require(checked, "gradcheck expects at least one input tensor to require gradient", ValueError)

    def outputs() -> list[Tensor]:
        results = func(*arguments)
        results = results if isinstance(results, (tuple, list)) else (results,)
        return [y for y in results if isinstance(y, Tensor) and y._array.dtype.kind == "f"]

    for i, output in enumerate(outputs()):
        for j, (x, analytic) in enumerate(zip(checked, _analytic(output, checked), strict=True)):
            numeric = _numeric(lambda i=i: outputs()[i]._array, x._array, eps)  # type: ignore[misc]
            if not np.allclose(analytic, numeric, rtol, atol, equal_nan=True):
                text = f"Jacobian mismatch for output {i} with respect to input {j}"
                require(not raise_exception, f"{text},\nnumerical:{numeric}\nanalytical:{analytic}")
                return False
    return True


def _analytic(output: Tensor, checked: list[Tensor]) -> list[Array]:
    """Return d output / d x for every x, as (elements of x, elements of the output), one walk for every column."""
    columns = [np.zeros((x.numel(), output.numel())) for x in checked]
    root = edge_of(output)
    for k in range(output.numel() if root[0] is not None else 0):
        weight = np.zeros(output.shape, output._array.dtype)
        weight.reshape(-1)[k] = 1
        wanted: dict[Any, Any] = {edge_of(x): None for x in checked}
        walk([(root, weight)], True, wanted)
        for column, x in zip(columns, checked, strict=True):
            if wanted[edge_of(x)] is not None:
                column[:, k] = wanted[edge_of(x)].reshape(-1)
    return columns


def _numeric(output: Callable[[], Array], x: Array, eps: float) -> Array:
    """Return d output / d x by differences, as (elements of x, elements of the output)."""
    rows = []
    with recording(False):
        for index in np.ndindex(x.shape):
            before = x[index].copy()
            sides = []
            for step in (eps, -eps):
                x[index] = before + step
                sides.append(output().astype(np.float64).reshape(-1))
            x[index] = before
            rows.append((sides[0] - sides[1]) / (2 * eps))
    return np.array(rows).reshape(x.size, -1)
