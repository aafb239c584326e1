"""Changes in place: `x.add_(1)`, `x += 1`, `x[0] = v`.

The form that ends in `_` is derived from the operation: it computes the new numbers, writes them over the old ones,
counts the change up (so that `backward` notices when it needed the old ones), and the tensor takes over the new
numbers' history. A view writes into its base, so the base's history becomes "the old numbers, with the view's new
numbers pasted in", and every view of it is taken again from there.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from danlu.zero import dtypes
from danlu.zero.arguments import require
from danlu.zero.random import choose
from danlu.zero.tape import Array, Mode, quietly, record
from danlu.zero.tensor import Tensor, wrap

DERIVED = """
    abs acos add asin atan bitwise_and bitwise_not bitwise_or bitwise_xor ceil clamp clip cos cosh cumprod cumsum div
    erf exp expm1 floor floor_divide index_add log log10 log1p log2 logical_and logical_not logical_or logical_xor
    masked_fill mul nan_to_num neg pow reciprocal relu remainder round rsqrt scatter scatter_add sigmoid sign sin sinh
    sqrt square sub tan tanh tril triu trunc
""".split()  # noqa: SIM905 - one name a line is no easier to read


def methods(offered: dict[str, Callable[..., Any]]) -> dict[str, Callable[..., Any]]:
    """Return, by name, all that changes a tensor in place."""
    own = {f.__name__: f for f in (copy_, fill_, zero_, uniform_, normal_)}
    return {**{f"{name}_": derived(offered[name]) for name in DERIVED}, **own, "__setitem__": assign}


def derived(operation: Callable[..., Any]) -> Callable[..., Tensor]:
    """Return an operation's in-place form."""

    def change(self: Tensor, *arguments: Any, **options: Any) -> Tensor:
        check(self)
        before = self
        given = (self, *arguments, *options.values())
        if Mode.record and any(isinstance(x, Tensor) and x._requires_grad for x in given):
            before = wrap(self._array.copy())  # what the gradient functions may save
            before.grad_fn, before.output_nr, before._requires_grad = self.grad_fn, self.output_nr, self._requires_grad
        after = operation(before, *arguments, **options)
        _overwrite(self, after._array)
        if after._requires_grad:
            _take_history(self, after)
        return self

    change.__name__ = change.__qualname__ = f"{operation.__name__}_"
    change.__doc__ = f"Change the tensor in place to what `{operation.__name__}` returns, and return it."
    return change


def check(self: Tensor) -> None:
    """Raise RuntimeError where a tensor must not be changed in place now."""
    root = self if self._base is None else self._base
    if Mode.record and root._requires_grad and root.grad_fn is None:
        what = "a leaf Variable" if root is self else "a view of a leaf Variable"
        text = f"{what} that requires grad is being used in an in-place operation"
        raise RuntimeError(f"{text}. Do it under torch.no_grad(), or on a clone().")
    if not self._array.flags.writeable:
        text = "several elements lie in one place of memory, or it is read-only: clone() the tensor before changing it"
        raise RuntimeError(text)


def _overwrite(self: Tensor, new: Array) -> None:
    old = self._array
    require(new.shape == old.shape, "a change in place keeps the shape", tensor=old, result=new)
    fits = new.dtype is old.dtype or dtypes.can_cast(dtypes.of(new), dtypes.of(old))
    require(fits, "the result can't be cast to the tensor's type", tensor=old, result=new)
    quietly(np.copyto, old, new, casting="unsafe")
    self._version[0] += 1


def _take_history(self: Tensor, after: Tensor) -> None:
    """Let the tensor, its base and all their views be what `after` was computed from."""
    base = self if self._base is None else self._base
    if base is not self:
        after = _pasted(base, self, after)
    base.grad_fn, base.output_nr, base._requires_grad = after.grad_fn, after.output_nr, True
    for reference in list(base._views or ()):  # in the order they were taken, so a view's source is done before it
        view = reference()
        if view is not None and view._view is not None:
            source, call, arguments, options = view._view
            again = call(source, *arguments, **options)
            view.grad_fn, view.output_nr, view._requires_grad = again.grad_fn, again.output_nr, again._requires_grad


def _pasted(base: Tensor, view: Tensor, after: Tensor) -> Tensor:
    """Return the base with the view's new numbers in it, as an operation of both."""
    steps = []
    step = view
    while step._view is not None:
        source, call, arguments, options = step._view
        steps.append((getattr(call, "__wrapped__"), arguments, options))  # noqa: B009 - the function on arrays
        step = source
    order = np.argsort([-abs(stride) for stride in base._array.strides], kind="stable")

    def gradients(g: Array) -> tuple[Array, Array]:
        rest = np.array(g.transpose(order), order="C").transpose(np.argsort(order))  # laid out as the base
        part = rest
        for forward, arguments, options in reversed(steps):
            part = forward(part, *arguments, **options)[0]
        changed = part.copy()
        part[...] = 0
        return rest, changed

    pasted = wrap(base._array)
    record("CopySlices", (base, after), gradients, pasted)
    return pasted


def assign(self: Tensor, index: Any, value: Any) -> None:
    """Write a value (a number, or a tensor that can be broadcast) where the index says."""
    check(self)
    index = _on_arrays(index)
    array = value._array if isinstance(value, Tensor) else value
    try:
        quietly(self._array.__setitem__, index, array)
    except ValueError:
        require(False, f"shape mismatch: the value does not fit into {index} of the tensor", tensor=self, value=array)
    self._version[0] += 1
    if not Mode.record or not (self._requires_grad or (isinstance(value, Tensor) and value._requires_grad)):
        return
    shape = np.shape(array)

    def gradients(g: Array) -> tuple[Array, Array]:
        rest, part = g.copy(), g[index]
        rest[index] = 0
        return rest, part if part.ndim >= len(shape) else part.reshape((1,) * (len(shape) - part.ndim) + part.shape)

    after = wrap(self._array)
    record("CopyBackwards" if index is Ellipsis else "IndexPutBackward0", (self, value), gradients, after)
    _take_history(self, after)


def _on_arrays(index: Any) -> Any:
    if isinstance(index, tuple):
        return tuple(_on_arrays(item) for item in index)
    if isinstance(index, list) and any(isinstance(item, Tensor) for item in index):
        return [_on_arrays(item) for item in index]
    if isinstance(index, slice) and index.step is not None and index.step <= 0:
        raise ValueError("step must be greater than zero")
    return index._array if isinstance(index, Tensor) else index


def copy_(self: Tensor, src: Any, non_blocking: bool = False) -> Tensor:
    """Overwrite the tensor with another, which is broadcast and cast to it, and return it."""
    assign(self, ..., src)
    return self


def fill_(self: Tensor, value: Any) -> Tensor:
    """Overwrite every element with one number, and return the tensor."""
    fits = np.ndim(value._array if isinstance(value, Tensor) else value) == 0
    require(fits, "fill_: a number or a tensor of no dimension is wanted", value=value)
    assign(self, ..., value)
    return self


def zero_(self: Tensor) -> Tensor:
    """Overwrite every element with zero, and return the tensor."""
    assign(self, ..., 0)
    return self


def uniform_(self: Tensor, from_: float = 0, to: float = 1, *, generator: Any = None, **named: float) -> Tensor:
    """Overwrite the tensor with numbers drawn evenly from [from, to), and return it."""
    start = named.get("from", from_)
    require(start <= to, "uniform_: from is not above to", start=start, to=to)
    return copy_(self, choose(generator).uniform(start, to, self._array.shape))


def normal_(self: Tensor, mean: float = 0, std: float = 1, *, generator: Any = None) -> Tensor:
    """Overwrite the tensor with numbers of a normal distribution, and return it."""
    require(std >= 0, "normal_: std is not negative", std=std)
    return copy_(self, choose(generator).normal(mean, std, self._array.shape))
