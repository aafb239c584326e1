"""What measuring may move and must put back: the learner's state, gradients, buffers, and attributes that nobody saves.

Nothing is deep-copied: a model may hold locks, files and caches, and twice its weights may not fit.
"""

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from danlu import save
from danlu.train import Learner, TorchLearner

State = tuple[dict[str, dict[str, Any]], dict[str, Any]]
INTERNAL = frozenset(vars(nn.Module()))  # PyTorch's own attributes of every module


def copied(state: State) -> State:
    """Return a copy of a learner's state, which outlasts the next update."""
    tensors = {group: {name: np.array(a, order="C") for name, a in named.items()} for group, named in state[0].items()}
    return tensors, save.from_json(save.to_json(state[1]))


@contextmanager
def untrained(learner: Learner) -> Iterator[State]:
    """Let updates be done from the state that is given, and put everything back: state, gradients, attributes.

    Cost: two copies of the state.
    """
    state = copied(learner.state())
    with unmoved(learner, weights=False):
        try:
            yield state
        finally:
            learner.load(*state)
            learner.bad_updates()  # read, so that none of them is taken for one of a run's


@contextmanager
def unmoved(learner: Learner, *, weights: bool = True) -> Iterator[None]:
    """Let forward and backward run, and put weights, gradients, buffers, training modes and attributes back.

    Attributes are those of the model's modules. Of lists, dicts and sets what they hold comes back, of tensors their
    values; what hides deeper stays as it is, and the rehearsal tells of it.

    Args:
        learner: one of danlu.zero is left as it is.
        weights: also put back those that a `forward` moves, as an embedding with `max_norm` does.

    Cost: a copy of every weight, every buffer and every tensor that is an attribute.
    """
    if not isinstance(learner, TorchLearner):
        yield
        return
    parameters = [(parameter, parameter.grad) for parameter in learner.parts.model.parameters()]
    kept = [(parameter, parameter.detach().clone()) for parameter, _ in parameters] if weights else []
    modules = [_Module(module) for module in learner.parts.model.modules()]
    for parameter, _ in parameters:
        parameter.grad = None  # nothing is added to what is there
    try:
        yield
    finally:
        for module in modules:
            module.put_back()
        _copy_back(kept)
        for parameter, grad in parameters:
            parameter.grad = grad


class _Module:
    """What one module had."""

    def __init__(self, module: nn.Module) -> None:
        self._module, self._training, self._buffers = module, module.training, dict(module._buffers)
        self._own = {name: value for name, value in vars(module).items() if name not in INTERNAL}
        held = [*self._buffers.values(), *self._own.values()]
        self._tensors = [(one, one.detach().clone()) for one in held if _is_plain(one)]
        self._lists = [(one, list(one)) for one in self._own.values() if isinstance(one, list)]
        self._dicts = [(one, dict(one)) for one in self._own.values() if isinstance(one, dict)]
        self._sets = [(one, set(one)) for one in self._own.values() if isinstance(one, set)]

    def put_back(self) -> None:
        module = self._module
        module.training = self._training
        _refill(module._buffers, self._buffers)
        held = vars(module)
        for name in [name for name in held if name not in INTERNAL and name not in self._own]:
            del held[name]
        held.update(self._own)
        for one, values in self._lists:
            if _differ(one, values):
                one[:] = values
        for items, kept in self._dicts:
            _refill(items, kept)
        for some, members in self._sets:
            if some != members:
                some.clear()
                some.update(members)
        _copy_back(self._tensors)


def _copy_back(kept: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Give tensors the values that they had; whether they changed no version says, as BatchNorm counts none up."""
    with torch.no_grad():
        for tensor, value in kept:
            if not torch.equal(tensor, value):
                tensor.copy_(value)


def _is_plain(value: Any) -> bool:
    return isinstance(value, Tensor) and not value.is_inference()


def _refill(one: dict[Any, Any], kept: dict[Any, Any]) -> None:
    if _differ(one, kept) or _differ(one.values(), kept.values()):
        one.clear()
        one.update(kept)


def _differ(one: Collection[Any], two: Collection[Any]) -> bool:
    return len(one) != len(two) or any(a is not b for a, b in zip(one, two, strict=True))
