"""Rows looked up in a table."""

import numpy as np

from danlu.zero.ops.sizes import Result, Value, add_rows, require
from danlu.zero.tape import op


@op
def embedding(
    input: Value, weight: Value, /, padding_idx: int | None = None, scale_grad_by_freq: bool = False
) -> Result:
    """y = W[i]; dL/dW[r] = sum of g over all places where i = r, none for r = padding_idx."""
    fits = weight.ndim == 2 and input.dtype.kind in "iu" and input.dtype.itemsize >= 4
    require(fits, "embedding: Long or Int indices, and a 2-D weight, are wanted", input=input, weight=weight)
    (rows, width), kind = weight.shape, weight.dtype
    if input.size and not (input.min() >= 0 and input.max() < rows):
        raise IndexError(f"index out of range in self: {input.min()} to {input.max()} in a table of {rows} rows")

    def gradient(g: Value) -> Value:
        ids, g = input.reshape(-1), g.reshape(-1, width)
        if scale_grad_by_freq:
            g = g / np.bincount(ids, minlength=rows)[ids][:, None].astype(kind)
        total = np.zeros((rows, width), g.dtype)
        add_rows(total, ids, g)
        if padding_idx is not None:
            total[padding_idx] = 0
        return total

    return weight[input], (None, gradient)
