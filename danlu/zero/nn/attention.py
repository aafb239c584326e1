"""Attention as a layer with several heads."""

import math
from typing import Any

import numpy as np

from danlu.zero.arguments import require
from danlu.zero.nn import init
from danlu.zero.nn.linear import Linear, empty
from danlu.zero.nn.module import Module
from danlu.zero.ops.attention import attention_weights
from danlu.zero.ops.dropout import dropped
from danlu.zero.ops.linalg import matmul
from danlu.zero.ops.linear import linear
from danlu.zero.tensor import Tensor, wrap


class MultiheadAttention(Module):
    """Attention in `num_heads` subspaces: (L, B, E), (S, B, E), (S, B, E) to (L, B, E); batch first where asked.

    Source: Vaswani et al., Attention Is All You Need, 2017.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        **factory: Any,
    ) -> None:
        super().__init__()
        sizes = {"embed_dim": embed_dim, "num_heads": num_heads}
        require(embed_dim > 0 and num_heads > 0, "MultiheadAttention: sizes above 0 are wanted", ValueError, **sizes)
        require(embed_dim % num_heads == 0, "every head gets an equal share of embed_dim", AssertionError, **sizes)
        others = {"add_bias_kv": add_bias_kv, "add_zero_attn": add_zero_attn}
        require(not any(others.values()), "MultiheadAttention: not supported", NotImplementedError, **others)
        self.embed_dim, self.num_heads, self.head_dim = embed_dim, num_heads, embed_dim // num_heads
        self.kdim, self.vdim = embed_dim if kdim is None else kdim, embed_dim if vdim is None else vdim
        self.dropout, self.batch_first = dropout, batch_first
        same = self._qkv_same_embed_dim = self.kdim == self.vdim == embed_dim
        self.register_parameter("in_proj_weight", empty(self, 3 * embed_dim, embed_dim, **factory) if same else None)
        for name, width in (("q", embed_dim), ("k", self.kdim), ("v", self.vdim)):
            self.register_parameter(f"{name}_proj_weight", None if same else empty(self, embed_dim, width, **factory))
        self.register_parameter("in_proj_bias", empty(self, 3 * embed_dim, **factory) if bias else None)
        self.out_proj = Linear(embed_dim, embed_dim, bias, **factory)
        for name, weight in self.named_parameters():  # projections start as Glorot's, all biases at 0
            if name.endswith("bias"):
                init.zeros_(weight)
            elif name != "out_proj.weight":
                init.xavier_uniform_(weight)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Return (output, weights), the latter None without `need_weights`: the heads' mean (B, L, S), or every head's.

        Masks are True where a query must not look, or numbers that are added to its scores: `key_padding_mask` (B, S)
        for keys that are padding, `attn_mask` (L, S) or (B heads, L, S), which `is_causal` says is the causal one.
        """
        self._check(query, key, value)
        require(not is_causal or attn_mask is not None, "is_causal=True says what attn_mask is, so it needs attn_mask")
        single = query._array.ndim == 2
        inputs: tuple[Tensor, ...] = (query, key, value)
        if single:
            inputs = tuple(x.unsqueeze(0) for x in inputs)
            key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
        elif not self.batch_first:
            inputs = tuple(x.transpose(0, 1) for x in inputs)
        q, k, v = self._project(inputs)
        causal = is_causal and key_padding_mask is None and not need_weights
        mask = None if causal else self._mask(attn_mask, key_padding_mask, q, k)
        unseeing = math.nan if need_weights else 0.0
        weights = attention_weights(q, k, mask, self.head_dim**-0.5, causal, unseeing)
        if self.dropout and self.training:
            weights = dropped(weights, self.dropout)
        output = self.out_proj(matmul(weights, v).transpose(1, 2).reshape(inputs[0]._array.shape))
        shown = (weights.mean(1) if average_attn_weights else weights) if need_weights else None
        if single:
            return output.squeeze(0), None if shown is None else shown.squeeze(0)
        return output if self.batch_first else output.transpose(0, 1), shown

    def _check(self, *inputs: Tensor) -> None:
        """Raise AssertionError, as PyTorch does, where query, key and value do not fit the layer or each other."""
        query, key, value = shapes = [x._array.shape for x in inputs]
        fits = len(query) in (2, 3) and len(query) == len(key) and key[:-1] == value[:-1]
        fits = fits and [shape[-1] for shape in shapes] == [self.embed_dim, self.kdim, self.vdim]
        widths = f"{self.embed_dim}, {self.kdim} and {self.vdim} features"
        text = f"query, key and value have 2 or 3 dimensions, {widths}, and key and value are alike in the others"
        require(fits, text, AssertionError, query=query, key=key, value=value)

    def _project(self, inputs: tuple[Tensor, ...]) -> list[Tensor]:
        """Return queries, keys and values of every head: (B, heads, L or S, E / heads)."""
        width, projected = self.embed_dim, []
        for number, (name, x) in enumerate(zip("qkv", inputs, strict=True)):
            part = slice(number * width, (number + 1) * width)
            weight = self.in_proj_weight[part] if self._qkv_same_embed_dim else getattr(self, f"{name}_proj_weight")
            bias = None if self.in_proj_bias is None else self.in_proj_bias[part]
            batch, steps, _ = x._array.shape
            y = linear(x, weight, bias).reshape(batch, steps, self.num_heads, self.head_dim)
            projected.append(y.transpose(1, 2))
        return projected

    def _mask(self, attn_mask: Any, key_padding_mask: Any, q: Tensor, k: Tensor) -> Any:
        """Return both masks as one that is added to the scores (B, heads, L, S)."""
        batch, heads, steps, _ = q._array.shape
        keys, kind = k._array.shape[2], q._array.dtype
        if attn_mask is not None:
            allowed = ((steps, keys), (batch * heads, steps, keys))
            require(
                attn_mask._array.shape in allowed, f"attn_mask has one of the shapes {allowed}", attn_mask=attn_mask
            )
            attn_mask = _added("attn_mask", attn_mask, kind)
            attn_mask = attn_mask.reshape(batch, heads, steps, keys) if attn_mask.ndim == 3 else attn_mask
        if key_padding_mask is None:
            return attn_mask
        fits = key_padding_mask._array.shape == (batch, keys)
        require(
            fits, f"key_padding_mask has the shape {(batch, keys)}", AssertionError, key_padding_mask=key_padding_mask
        )
        padding = _added("key_padding_mask", key_padding_mask, kind).reshape(batch, 1, 1, keys)
        return padding if attn_mask is None else attn_mask + padding


def _added(name: str, mask: Tensor, kind: Any) -> Tensor:
    """Return a mask as numbers to add: a bool one is True where it forbids."""
    if mask._array.dtype == bool:
        return wrap(np.where(mask._array, np.asarray(-np.inf, kind), np.asarray(0, kind)))
    require(mask._array.dtype.kind == "f", f"{name} is of a bool or floating type", AssertionError, mask=mask)
    return mask
