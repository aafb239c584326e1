"""Gradient clipping."""

from collections.abc import Iterable

from torch import Tensor
from torch.nn.utils import clip_grad_norm_, clip_grad_value_


def clip(parameters: Iterable[Tensor], *, norm: float | None = None, value: float | None = None) -> Tensor | None:
    """Clip the gradients of `parameters` in place; with both limits the norm comes first, and both then hold.

    Args:
        parameters: those without a gradient are passed over.
        norm: largest joint L2 norm of all gradients.
        value: largest absolute value of any gradient.

    Returns:
        the joint norm before clipping, a tensor of shape () on the gradients' device; None where `norm` is None.

    Cost:
        no sync; a norm that is not finite is passed on, not raised.
    """
    parameters = list(parameters)
    total = None if norm is None else clip_grad_norm_(parameters, norm)
    if value is not None:
        clip_grad_value_(parameters, value)
    return total
