"""Normalization layers."""

from typing import Any

import numpy as np

from danlu.zero.arguments import require
from danlu.zero.nn import init
from danlu.zero.nn.linear import empty
from danlu.zero.nn.module import Module
from danlu.zero.nn.parameter import Parameter
from danlu.zero.ops import norm as ops
from danlu.zero.tensor import Tensor, wrap


class _Normalization(Module):
    """What all have: a weight that starts at 1 and a bias that starts at 0, or None."""

    weight: Parameter | None
    bias: Parameter | None

    def _make(self, shape: tuple[int, ...], weight: bool, bias: bool, factory: dict[str, Any]) -> None:
        self.register_parameter("weight", empty(self, *shape, **factory) if weight else None)
        self.register_parameter("bias", empty(self, *shape, **factory) if weight and bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set weight 1 and bias 0."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)


class _BatchNorm(_Normalization):
    """Statistics of the batch in training, and running ones that move towards them."""

    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None
    ndims: tuple[int, ...]
    _shown = ("num_features", "eps=", "momentum=", "affine=", "bias=", "track_running_stats=")

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        bias: bool = True,
        **factory: Any,
    ) -> None:
        super().__init__()
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        for name in ("running_mean", "running_var"):
            self.register_buffer(
                name, wrap(empty(self, num_features, **factory)._array) if track_running_stats else None
            )
        self.register_buffer("num_batches_tracked", wrap(np.array(0, np.int64)) if track_running_stats else None)
        self._make((num_features,), affine, bias, factory)

    def reset_running_stats(self) -> None:
        """Set mean 0, variance 1, and no batch seen."""
        for buffer, value in ((self.running_mean, 0), (self.running_var, 1), (self.num_batches_tracked, 0)):
            if buffer is not None:
                init.constant_(buffer, value)

    def reset_parameters(self) -> None:
        """Set weight 1 and bias 0, and forget the running statistics."""
        self.reset_running_stats()
        super().reset_parameters()

    def forward(self, input: Tensor) -> Any:
        """Normalize by the batch in training (or where nothing is tracked), else by the running statistics."""
        require(
            input._array.ndim in self.ndims, f"an input of {self.ndims} dimensions is wanted", ValueError, input=input
        )
        share, tracked = self.momentum or 0.0, self.num_batches_tracked
        if self.training and tracked is not None:
            tracked._array += 1
            tracked._version[0] += 1
            share = 1 / int(tracked._array) if self.momentum is None else self.momentum
        by_batch = self.training or self.running_mean is None
        moving = (self.running_mean, self.running_var) if not self.training or self.track_running_stats else (None,) * 2
        return ops.batch_norm(input, *moving, self.weight, self.bias, by_batch, share, self.eps)


class BatchNorm1d(_BatchNorm):
    """Normalizes every channel of (N, C) or (N, C, L) over the batch."""

    ndims = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Normalizes every channel of (N, C, H, W) over the batch."""

    ndims = (4,)


class LayerNorm(_Normalization):
    """Normalizes over the last dimensions, whose sizes are `normalized_shape`."""

    _shown = ("normalized_shape", "eps=", "elementwise_affine=", "bias=")

    def __init__(
        self,
        normalized_shape: Any,
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        **factory: Any,
    ) -> None:
        super().__init__()
        self.normalized_shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        self._make(self.normalized_shape, elementwise_affine, bias, factory)

    def forward(self, input: Tensor) -> Any:
        """Return the normalized input."""
        return ops.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)


class GroupNorm(_Normalization):
    """Normalizes every one of `num_groups` groups of channels of every sample of (N, C, ...)."""

    _shown = ("num_groups", "num_channels", "eps=", "affine=", "bias=")

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        *,
        bias: bool = True,
        **factory: Any,
    ) -> None:
        super().__init__()
        fits = num_channels % num_groups == 0
        require(fits, "num_channels is divisible by num_groups", ValueError, channels=num_channels, groups=num_groups)
        self.num_groups, self.num_channels, self.eps, self.affine = num_groups, num_channels, eps, affine
        self._make((num_channels,), affine, bias, factory)

    def forward(self, input: Tensor) -> Any:
        """Return the normalized input."""
        return ops.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)
