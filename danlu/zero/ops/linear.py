"""The affine maps behind the linear layers."""

import numpy as np

from danlu.zero.ops.sizes import Result, Value, require, unfit
from danlu.zero.tape import op


@op
def linear(input: Value, weight: Value, bias: Value = None, /) -> Result:
    """y = x W^T + b over the last dimension; dL/dx = g W, dL/dW = g^T x, dL/db = sum of g over all rows."""
    if input.dtype is not weight.dtype or (input.shape or (0,))[-1] != weight.shape[-1]:
        raise unfit("linear", input, weight.T, "mat1 and mat2 (input and transposed weight)")
    rows = input if input.ndim == 2 else input.reshape(-1, input.shape[-1])
    y = rows @ weight.T
    if bias is not None:
        if bias.dtype is not y.dtype:
            raise unfit("linear", bias, weight, "bias and weight")
        y += bias
    if input.ndim == 2 and weight.ndim == 2:
        return y, (lambda g: g @ weight, lambda g: g.T @ input, lambda g: _sum_rows(g))
    inputs, outputs = input.shape[-1], weight.shape[:-1]
    columns = outputs or (1,)
    return y.reshape(*input.shape[:-1], *outputs), (
        lambda g: (g.reshape(-1, *columns) @ weight.reshape(-1, inputs)).reshape(input.shape),
        lambda g: (g.reshape(-1, *columns).T @ input.reshape(-1, inputs)).reshape(weight.shape),
        lambda g: _sum_rows(g.reshape(-1, *columns)).reshape(outputs),
    )


def _sum_rows(g: Value) -> Value:
    """Return the sum of a matrix's rows; for many rows, a product with ones is several times as fast."""
    if len(g) < 64 or g.dtype.itemsize == 2:
        return np.add.reduce(g, 0)
    return np.ones(len(g), g.dtype) @ g


@op
def bilinear(a: Value, b: Value, weight: Value, bias: Value = None, /) -> Result:
    """y_k = a^T W_k b + c_k over the last dimension; dL/da = sum_k g_k W_k b, dL/dW_k = sum over rows g_k a b^T."""
    fits = a.shape[:-1] == b.shape[:-1] and a.shape[-1:] + b.shape[-1:] == weight.shape[1:]
    one_type = a.dtype == b.dtype == weight.dtype
    require(fits and one_type, "bilinear: (..., n), (..., m) and (k, n, m)", input1=a, input2=b, weight=weight)
    y = np.einsum("...n,knm,...m->...k", a, weight, b, optimize=True)
    if bias is not None:
        y = y + bias
    return y, (
        lambda g: np.einsum("...k,knm,...m->...n", g, weight, b, optimize=True),
        lambda g: np.einsum("...k,knm,...n->...m", g, weight, a, optimize=True),
        lambda g: np.einsum("...k,...n,...m->knm", g, a, b, optimize=True),
        lambda g: g,
    )
