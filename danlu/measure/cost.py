"""What one update costs: floating-point operations, bytes that its operations read and write, and calls.

Counted are the operations that PyTorch runs, one by one, in forward, loss, backward and metrics of this model on this
batch. Operations are those of matrix products, convolutions and attention, by PyTorch's own formulas; elementwise
work is bytes. The optimizer is counted by what it must touch. Bytes are an upper bound of what goes through memory:
caches spare some of them, and so do kernels that do several steps in one.
"""

import contextlib
import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from danlu.device import Limits, is_exhausted, kept_generators
from danlu.measure.pieces import backward
from danlu.measure.untouched import unmoved
from danlu.train import TorchLearner, Training
from danlu.train.learner import Batch
from danlu.train.step import Parts, count

FREE = {"_unsafe_view", "empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "lift_fresh"}
OVERWRITING = {"copy_", "zero_", "fill_"}  # what was there is not read
GATHERING = {"embedding", "index_select", "index", "gather"}  # of the source only what is taken is read
FUSED = ("mkldnn_rnn", "_cudnn_rnn", "miopen_rnn", "lstm_mps", "flash_attention_for_cpu", "fused_attention")
EVERY_OPERATION = "every operation of it has to be one that PyTorch runs itself"


@final
@dataclass(frozen=True)
class Cost:
    """Of one update; the counts are 0 where `why` says what kept them from being taken.

    Fields:
        flops: a multiplication and an addition are two.
        bytes: read and written.
        calls: operations that were called; the optimizer's are not among them.
        samples: in the update that was counted.
        why: why nothing could be counted; empty where it was.
    """

    flops: int
    bytes: int
    calls: int
    samples: int
    why: str = ""

    def floor_s(self, limits: Limits) -> tuple[float, float]:
        """Return the seconds that a machine needs at least: the longer of products and memory, and their sum."""
        product_s, memory_s = self.flops / limits.flops_per_s, self.bytes / limits.bytes_per_s
        return max(product_s, memory_s), product_s + memory_s


def cost(training: Training) -> Cost:
    """Count the first update of a run's first epoch, and leave model, optimizer and sums as they were.

    Args:
        training: prepared; inside its learner's session. Whether it has begun, or ended, makes no difference.

    Cost: one or two updates without the optimizer's step, each with 20 us or so for every operation.
    """
    learner, recipe = training.learner, training.recipe
    if not isinstance(learner, TorchLearner):
        return Cost(0, 0, 0, 0, "danlu.zero computes in NumPy, whose operations nobody counts")
    positions = range(min(recipe.accumulate, training.batches_per_epoch))
    batches = [training.train.batch(0, position) for position in positions]
    samples = sum(map(count, batches))
    try:
        with unmoved(learner), kept_generators():
            return _counted(learner, batches, samples)
    except Exception as error:
        if is_exhausted(error):
            raise
        reason = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}".removesuffix(": ")
        return Cost(0, 0, 0, samples, f"{reason}; {EVERY_OPERATION}")


def _counted(learner: TorchLearner, batches: Sequence[Batch], samples: int) -> Cost:
    """Count as it is run; where layers were fused that have no formula, count products again with these taken apart."""
    with Counter() as whole:
        backward(learner, batches)
    flops = whole.flops
    if whole.fused:
        for parameter in learner.parts.model.parameters():
            parameter.grad = None
        with taken_apart(), Counter() as apart:
            backward(learner, batches)
        flops = apart.flops
    return Cost(flops, whole.bytes + _optimizer_bytes(learner.parts), whole.calls, samples)


@contextlib.contextmanager
def taken_apart() -> Iterator[None]:
    """Let recurrent layers and attention run as the products that they are made of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # mkldnn.flags speaks of TF32
        with (
            torch.backends.mkldnn.flags(enabled=False),
            torch.backends.cudnn.flags(enabled=False),
            sdpa_kernel(SDPBackend.MATH),
        ):
            yield


@final
class Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what PyTorch runs inside it.

    Fields:
        fused: whether there were operations that hide their products.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops, self.bytes, self.calls, self.fused = 0, 0, 0, False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation and count it."""
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        packet = func.overloadpacket
        name = packet.__name__
        formula = flop_registry.get(packet)
        if formula is not None:
            self.flops += formula(*args, **kwargs, out_val=out)
        self.fused = self.fused or (formula is None and any(part in name for part in FUSED))
        if not (func.is_view or name in FREE):
            self.calls += 1
            self.bytes += _touched(name, tree_leaves((args, kwargs)), tree_leaves(out))
        return out


def _touched(name: str, given: Iterable[Any], made: Iterable[Any]) -> int:
    """Return the bytes that one operation reads and writes; a tensor that it changes is read and written."""
    read = {id(one): one for one in given if isinstance(one, Tensor)}
    written = {id(one): one for one in made if isinstance(one, Tensor)}
    if name in OVERWRITING:
        read = {key: one for key, one in read.items() if key not in written}
    sizes = [_size(one) for one in read.values()]
    result = sum(map(_size, written.values()))
    if name in GATHERING and sizes:
        sizes[0] = min(sizes[0], result)
    return sum(sizes) + result


def _size(tensor: Tensor) -> int:
    """Return a tensor's bytes; what is repeated along a dimension is there once."""
    if tensor.layout != torch.strided:
        return sum(map(_size, (tensor._indices(), tensor._values()))) if tensor.layout == torch.sparse_coo else 0
    distinct = (size for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride)
    return 0 if tensor.numel() == 0 else math.prod(distinct) * tensor.element_size()


def _optimizer_bytes(parts: Parts) -> int:
    """Return what the optimizer must touch: gradients read, weights and what it remembers of them read and written."""
    clips = parts.clip_norm is not None or parts.clip_value is not None
    total = 0
    for group in parts.optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None:
                kept = [one for one in parts.optimizer.state.get(parameter, {}).values() if isinstance(one, Tensor)]
                kept = [one for one in kept if one.shape == parameter.shape]
                total += _size(parameter.grad) * (4 if clips else 1)
                total += 2 * (_size(parameter) + sum(map(_size, kept)))
                total += 0 if parts.ema is None else 3 * _size(parameter)
    return total
