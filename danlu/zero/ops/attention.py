"""Attention: every query takes a weighted mean of the values, weighted by how well it fits their keys."""

from typing import Any

import numpy as np

from danlu.zero.arguments import require
from danlu.zero.ops.dropout import dropped
from danlu.zero.ops.linalg import matmul
from danlu.zero.tape import op
from danlu.zero.tensor import Tensor


@op
def attention_weights(
    q: Any, k: Any, mask: Any = None, /, scale: float = 1.0, is_causal: bool = False, empty: float = 0.0
) -> tuple[Any, Any]:
    """P = softmax(scale q k^T + mask) over keys: (..., L, E), (..., S, E) and (..., L, S) to (..., L, S).

    With ds = P (g - sum over keys of g P): dq = scale ds k, dk = scale ds^T q, dmask = ds.
    A bool mask is True where a query may look; a causal one lets it look at keys up to its own place. A query that may
    look nowhere has weights `empty`.
    Source: Vaswani et al., Attention Is All You Need, 2017.
    """
    y = _weigh(q, k, mask, scale, is_causal, empty)

    def gradients(g: Any) -> tuple[Any, ...]:
        ds = g * y
        ds -= y * np.add.reduce(ds, -1, keepdims=True)
        return (ds @ k) * scale, (ds.swapaxes(-1, -2) @ q) * scale, ds

    return y, gradients


def _weigh(q: Any, k: Any, mask: Any, scale: float, is_causal: bool, empty: float) -> Any:
    y = (q * scale) @ k.swapaxes(-1, -2)
    allowed = np.tri(*y.shape[-2:]) > 0 if is_causal else mask
    if allowed is not None:
        y = np.where(allowed, y, np.asarray(-np.inf, y.dtype)) if allowed.dtype == bool else y + allowed
    top = np.maximum.reduce(y, -1, keepdims=True, initial=-np.inf)
    y -= np.where(top == -np.inf, np.zeros_like(top), top)
    np.exp(y, out=y)
    total = np.add.reduce(y, -1, keepdims=True)
    y /= total
    return y if allowed is None or total.all() else np.where(total == 0, np.asarray(empty, y.dtype), y)


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Return softmax(scale q k^T + mask) v: (..., L, E), (..., S, E), (..., S, V) to (..., L, V).

    `attn_mask` is True where a query may look, or numbers that are added; `scale` is 1 / sqrt(E) where None.
    """
    q, k, v = [tensor._array for tensor in (query, key, value)]
    require(not enable_gqa, "scaled_dot_product_attention: not supported", NotImplementedError, enable_gqa=enable_gqa)
    fits = min(q.ndim, k.ndim, v.ndim) >= 2 and q.shape[-1] == k.shape[-1] and k.shape[-2] == v.shape[-2]
    fits = fits and q.dtype == k.dtype == v.dtype and q.dtype.kind == "f"
    require(fits, "attention: one floating dtype, and shapes that fit", query=query, key=key, value=value)
    fits = attn_mask is None or (not is_causal and attn_mask._array.dtype in (np.dtype(bool), q.dtype))
    require(fits, "attn_mask is bool or of the query's dtype, and goes without is_causal", attn_mask=attn_mask)
    weights = attention_weights(query, key, attn_mask, q.shape[-1] ** -0.5 if scale is None else scale, is_causal)
    return matmul(dropped(weights, dropout_p) if dropout_p else weights, value)
