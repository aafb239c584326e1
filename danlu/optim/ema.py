"""An exponential moving average of a model's parameters."""

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from danlu.errors import ModelError, RunError


@final
class Ema:
    """An averaged copy of a model, on tensors of its own, for evaluation.

    After the first update the average equals the model; every later one makes it
    `decay * average + (1 - decay) * parameter`. Buffers are copied, never averaged: an average of BatchNorm's
    `num_batches_tracked` means nothing, and its running statistics are averages already.

    The values are those of `torch.optim.swa_utils.AveragedModel`, bit for bit. That class itself copies its counter
    to the parameters' device at every update, which on CUDA is a sync; here the counter stays on the host.

    Args:
        model: copied; the copy has its layout, devices and dtypes, and requires no gradient.
        decay: in [0, 1).

    Raises:
        ModelError: the model cannot be copied.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates_done = 0
        self.module = _copied(model)
        make_average: Callable[[float], Callable[..., None]] = get_ema_multi_avg_fn
        self._average = make_average(decay)

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take the model's present parameters into the average, and its buffers as they are.

        Cost:
            no sync; one pass over the parameters.
        """
        for ours, theirs in _paired(self.module.parameters(), model.parameters()):
            if self.updates_done:
                self._average(ours, theirs, self.updates_done)
            else:
                torch._foreach_copy_(ours, theirs)
        for ours, theirs in _paired(self.module.buffers(), model.buffers()):
            torch._foreach_copy_(ours, theirs)
        self.updates_done += 1

    def tensors(self) -> dict[str, Tensor]:
        """Return every parameter and buffer of the average by qualified name, each once; live, not copied."""
        named = [*self.module.named_parameters(), *self.module.named_buffers()]
        return {name: tensor.detach() for name, tensor in named}

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor], updates_done: int) -> None:
        """Put back what `tensors` gave, by name; the average keeps its own layout, devices and dtypes.

        Raises:
            RunError: a name is missing, foreign, or of another shape.
        """
        own = self.tensors()
        wrong = sorted(own.keys() ^ tensors.keys()) or [name for name in own if own[name].shape != tensors[name].shape]
        if wrong:
            want = "the parameters and buffers of this model"
            raise RunError(
                where="ema", got=", ".join(wrong[:5]), want=want, fix="load it into the model that was saved"
            )
        for name, tensor in own.items():
            tensor.copy_(tensors[name])
        self.updates_done = updates_done


def _copied(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model).requires_grad_(False)
    except (TypeError, RuntimeError) as error:  # a lock, an open file, a tensor with a graph kept on a module
        got = f"{type(model).__name__}, which cannot be copied ({error})"
        fix = "keep such things out of the model, or train without an average"
        raise ModelError(where="ema", got=got, want="a model that copy.deepcopy can copy", fix=fix) from error


def _paired(ours: Iterable[Tensor], theirs: Iterable[Tensor]) -> list[tuple[list[Tensor], list[Tensor]]]:
    """Pair two models' tensors, apart by device and dtype, as PyTorch's many-tensor kernels want them."""
    pairs: dict[Any, tuple[list[Tensor], list[Tensor]]] = {}
    try:
        for our, their in zip(ours, theirs, strict=True):
            left, right = pairs.setdefault((our.device, our.dtype), ([], []))
            left.append(our.detach())
            right.append(their.detach())
    except ValueError:
        got = "a model that has gained or lost parameters or buffers"
        fix = "register them all when the model is built"
        raise ModelError(where="ema", got=got, want="the model that the average was made from", fix=fix) from None
    return list(pairs.values())
