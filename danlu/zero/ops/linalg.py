"""Matrix products, what is built of them, and sums of products after Einstein."""

import string
from collections.abc import Sequence
from typing import Any

import numpy as np

from danlu.zero.dtypes import promote
from danlu.zero.ops.elementwise import add, mul
from danlu.zero.ops.shape import _joined
from danlu.zero.ops.sizes import Result, Value, require, unfit
from danlu.zero.tape import op, quietly
from danlu.zero.tensor import Tensor


@op
def matmul(a: Value, b: Value, /) -> Result:
    """y = a b, of matrices, vectors, and batches of them; dL/da = g bᵀ, dL/db = aᵀ g."""
    try:
        y = a @ b if a.dtype is b.dtype else None
    except ValueError:
        y = None
    if y is None:
        raise unfit("matmul", a, b)
    if a.ndim == 2 and b.ndim == 2:
        return y, (lambda g: g @ b.T, lambda g: a.T @ g)
    return y, (lambda g: _to_left(g, a, b), lambda g: _to_right(g, a, b))


def _to_left(g: Value, a: Value, b: Value) -> Value:
    if b.ndim == 1:
        return g[..., None] * b
    if a.ndim == 1:
        return _folded((b @ g[..., None])[..., 0], 1)
    return g @ b.swapaxes(-1, -2)


def _to_right(g: Value, a: Value, b: Value) -> Value:
    if a.ndim == 1:
        return g * a if b.ndim == 1 else a[:, None] * g[..., None, :]
    if b.ndim == 1:
        return _folded((a.swapaxes(-1, -2) @ g[..., None])[..., 0], 1)
    if b.ndim == 2:  # one product instead of a batch of them that is summed
        return a.reshape(-1, a.shape[-1]).T @ g.reshape(-1, g.shape[-1])
    return a.swapaxes(-1, -2) @ g


def _folded(g: Value, ndim: int) -> Value:
    """Sum over all dimensions but the last so many."""
    return np.add.reduce(g, tuple(range(g.ndim - ndim))) if g.ndim > ndim else g


def _ranked(name: str, ranks: tuple[int, int], text: str) -> Any:
    """Return the matrix product of tensors with exactly so many dimensions."""

    def product(input: Tensor, other: Tensor) -> Tensor:
        a, b = input._array, other._array
        fits = (a.ndim, b.ndim) == ranks and (ranks != (3, 3) or len(a) == len(b))
        require(fits, f"{name}: {ranks} dimensions are wanted, and batches of one size", input=a, other=b)
        if a.dtype is not b.dtype or a.shape[-1] != b.shape[-min(2, b.ndim)]:
            raise unfit(name, a, b)
        return matmul(input, other)

    product.__name__, product.__doc__ = name, text
    return product


mm = _ranked("mm", (2, 2), "Return the product of two matrices.")
bmm = _ranked("bmm", (3, 3), "Return the products of two batches of matrices.")
mv = _ranked("mv", (2, 1), "Return matrix times vector.")
dot = _ranked("dot", (1, 1), "Return the sum of the products of two vectors.")


@op
def outer(a: Value, b: Value, /) -> Result:
    """y_ij = a_i b_j; dL/da = g b, dL/db = gᵀ a."""
    a, b = promote(a, b)
    require(a.ndim == b.ndim == 1, "outer: two vectors are wanted", input=a, vec2=b)
    return a[:, None] * b, (lambda g: g @ b, lambda g: a @ g)


def addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """Return beta input + alpha mat1 mat2."""
    return add(input if beta == 1 else mul(input, beta), mm(mat1, mat2), alpha=alpha)


@op
def trace(x: Value, /) -> Result:
    """y = Σ x_ii; dy/dx = 1 on the diagonal."""
    require(x.ndim == 2, "trace: a matrix is wanted", input=x)
    shape = x.shape
    return np.trace(x), (lambda g: g * np.eye(*shape, dtype=g.dtype),)


def einsum(equation: str, *operands: Any) -> Tensor:
    """Return the sum that the equation names: "ij,jk->ik". Each operand's gradient is an einsum, too.

    With y = Σ a b ... over the letters, dL/da = Σ g b ..., summed over the letters that a does not have.
    """
    tensors: Sequence[Tensor] = operands[0] if len(operands) == 1 and not isinstance(operands[0], Tensor) else operands
    arrays = [x._array for x in tensors]
    try:
        terms, result = _letters(equation, [x.ndim for x in arrays])
        y = quietly(np.einsum, ",".join(terms) + "->" + result, *arrays, optimize=len(arrays) > 1)
    except ValueError as error:
        raise RuntimeError(f"einsum(): {equation!r} of shapes {[list(x.shape) for x in arrays]}: {error}") from None

    def back(g: Value) -> tuple[Value, ...]:
        return tuple(_slope(g, i, arrays, terms, result) for i in range(len(arrays)))

    return _joined("EinsumBackward0", tensors, back, np.asarray(y))


def _letters(equation: str, ranks: list[int]) -> tuple[list[str], str]:
    """Return every operand's letters and the result's; `...` becomes letters that the equation does not use."""
    left, arrow, result = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    free = "".join(c for c in string.ascii_letters if c not in equation)
    hidden = [rank - len(term) + 3 if "..." in term else 0 for term, rank in zip(terms, ranks, strict=True)]
    widest = free[: max(hidden)]
    terms = [t.replace("...", widest[len(widest) - n :]) for t, n in zip(terms, hidden, strict=True)]
    named = "".join(terms)
    once = sorted(c for c in set(named) if named.count(c) == 1 and c not in widest)
    return terms, result.replace("...", widest) if arrow else widest + "".join(once)


def _slope(g: Value, i: int, arrays: list[Value], terms: list[str], result: str) -> Value:
    """Return one operand's gradient."""
    term, shape = terms[i], arrays[i].shape
    letters = "".join(dict.fromkeys(term))  # "ii" has one
    others = [j for j in range(len(arrays)) if j != i]
    known = set(result).union(*(terms[j] for j in others))
    sum_ = ",".join([result, *(terms[j] for j in others)]) + "->" + "".join(c for c in letters if c in known)
    part = np.einsum(sum_, g, *(arrays[j] for j in others), optimize=len(others) > 1)
    for axis, c in enumerate(letters):
        if c not in known:  # it was summed away in the operand itself
            part = np.expand_dims(part, axis)
    sizes = dict(zip(term, shape, strict=True))
    stretched = [axis for axis, c in enumerate(letters) if sizes[c] == 1 and part.shape[axis] != 1]
    part = np.broadcast_to(np.add.reduce(part, tuple(stretched), keepdims=True), [sizes[c] for c in letters])
    if len(letters) == len(term):
        return part
    whole = np.zeros(shape, g.dtype)
    np.einsum(term + "->" + letters, whole)[...] = part  # the diagonal, as a view
    return whole
