"""Layers with weights of their own: linear, bilinear and embedding."""

import math
from typing import Any

import numpy as np

from danlu.zero.arguments import require
from danlu.zero.device import check
from danlu.zero.dtypes import get_default_dtype
from danlu.zero.nn import functional as F
from danlu.zero.nn import init
from danlu.zero.nn.module import Module
from danlu.zero.nn.parameter import Parameter
from danlu.zero.ops.linear import bilinear, linear
from danlu.zero.tensor import Tensor, wrap


def empty(layer: Module, *shape: int, device: Any = None, dtype: Any = None, **unknown: Any) -> Parameter:
    """Return a layer's parameter whose numbers are still to be set; the layer's `**factory` are the keywords."""
    check(device)
    for name in unknown:
        raise TypeError(f"{type(layer).__name__}: unexpected keyword argument '{name}'")
    require(min(shape) >= 0, "a layer's sizes are not negative", shape=shape)
    return Parameter(wrap(np.empty(shape, (dtype or get_default_dtype()).numpy)))


def draw_within(bound: float, *parameters: Parameter | None) -> None:
    """Draw parameters, None left out, uniformly from [-bound, bound]."""
    for parameter in parameters:
        if parameter is not None:
            init.uniform_(parameter, -bound, bound)


class Affine(Module):
    """What has a weight and perhaps a bias, drawn within 1 / sqrt(how many inputs an output has)."""

    weight: Parameter
    bias: Parameter | None

    def _make(self, shape: tuple[int, ...], outputs: int, bias: bool, factory: dict[str, Any]) -> None:
        self.weight = empty(self, *shape, **factory)
        self.register_parameter("bias", empty(self, outputs, **factory) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias uniformly within 1 / sqrt(inputs)."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        draw_within(1 / math.sqrt(max(1, math.prod(self.weight._array.shape[1:]))), self.bias)


class Linear(Affine):
    """y = x W^T + b for x of shape (..., in_features); W has shape (out_features, in_features)."""

    _shown = ("in_features=", "out_features=", "bias=")

    def __init__(self, in_features: int, out_features: int, bias: bool = True, **factory: Any) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self._make((out_features, in_features), out_features, bias, factory)

    def forward(self, input: Tensor) -> Tensor:
        """Return x W^T + b."""
        if not isinstance(input, Tensor):
            raise TypeError(f"Linear: argument 'input' must be a Tensor, not {type(input).__name__}")
        return linear(input, self.weight, self.bias)


class Bilinear(Affine):
    """y_k = x1^T W_k x2 + b_k for x1 of shape (..., in1_features) and x2 of shape (..., in2_features)."""

    _shown = ("in1_features=", "in2_features=", "out_features=", "bias=")

    def __init__(
        self, in1_features: int, in2_features: int, out_features: int, bias: bool = True, **factory: Any
    ) -> None:
        super().__init__()
        require(in1_features > 0, "in1_features is greater than zero", ValueError, in1_features=in1_features)
        self.in1_features, self.in2_features, self.out_features = in1_features, in2_features, out_features
        self._make((out_features, in1_features, in2_features), out_features, bias, factory)

    def reset_parameters(self) -> None:
        """Draw weight and bias uniformly within 1 / sqrt(in1_features)."""
        draw_within(1 / math.sqrt(self.in1_features), self.weight, self.bias)

    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        """Return x1^T W x2 + b."""
        return bilinear(input1, input2, self.weight, self.bias)


class Embedding(Module):
    """y = weight[input]: indices of any shape (...) become vectors (..., embedding_dim).

    The row `padding_idx` starts at zero and gets no gradient. With `sparse=True` the gradient is dense all the same;
    `weight.grad_rows` is then the list of the index arrays that were looked up since the table was last changed, and
    SparseAdam changes no other rows.
    """

    weight: Parameter

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        **factory: Any,
    ) -> None:
        super().__init__()
        F.check_padding(num_embeddings, padding_idx, max_norm)
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.padding_idx = None if padding_idx is None else padding_idx % num_embeddings
        self.max_norm, self.norm_type, self.scale_grad_by_freq = max_norm, norm_type, scale_grad_by_freq
        self.sparse, self.weight = sparse, empty(self, num_embeddings, embedding_dim, **factory)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the table normally; the row `padding_idx` is zero."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            self.weight._array[self.padding_idx] = 0

    @classmethod
    def from_pretrained(
        cls, embeddings: Tensor, freeze: bool = True, padding_idx: int | None = None, **options: Any
    ) -> "Embedding":
        """Return an embedding of a table (rows, dim) that is there already; `freeze`: it is not trained."""
        require(
            embeddings._array.ndim == 2, "a table of two dimensions is wanted", AssertionError, embeddings=embeddings
        )
        rows, width = embeddings._array.shape
        layer = cls(rows, width, padding_idx, **options)
        layer.weight = Parameter(embeddings, not freeze)
        return layer

    def forward(self, input: Tensor) -> Tensor:
        """Return the rows of the table."""
        return F.embedding(input, self.weight, self.padding_idx, None, 2.0, self.scale_grad_by_freq, self.sparse)

    def extra_repr(self) -> str:
        """Return the sizes, and what is not as usual."""
        settings = {name: getattr(self, name) for name in ("padding_idx", "scale_grad_by_freq", "sparse")}
        unusual = [f"{name}={value}" for name, value in settings.items() if value is not None and value is not False]
        return ", ".join([f"{self.num_embeddings}, {self.embedding_dim}", *unusual])
