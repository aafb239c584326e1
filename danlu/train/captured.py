"""Updates that are recorded once and replayed: a part of PyTorch's learner, in a file of its own.

What is recorded is `TorchLearner.update` itself. The first updates of a kind run as they stand, in the stream that
will record; then one is recorded, which moves nothing, and replayed, as are all that follow. A kind is the shapes of
the micro-batches; with anything else that an update depends on, all recordings are dropped and begun anew. A batch
that cannot be replayed runs as it stands, by the same kernels and to the same bits.
"""

import contextlib
import random
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, final

import numpy as np
import torch
from torch import Tensor, nn

from danlu.device import Recorder, Recording
from danlu.optim import Rates, not_capturable
from danlu.train.learner import Batch, Result
from danlu.train.watch import Watch

if TYPE_CHECKING:
    from danlu.train.step import Parts, TorchLearner

WARM_UPS = 3  # updates of a kind that run as they stand before one is recorded, as PyTorch's notes ask for
KINDS_MAX = 4  # more shapes than these are not recorded: each holds its gradients and outputs
PLAIN = (bool, int, float, str)


class Made(NamedTuple):
    """What a recorded update leaves: its result, and the losses and norms that are watched, in words and as numbers."""

    result: Result
    words: list[str]
    numbers: Tensor


class Kind:
    """Updates of the same shapes."""

    def __init__(self) -> None:
        self.done = 0
        self.recording: Recording[Made] | None = None
        self.inputs: list[Tensor] = []
        self.gradients: list[tuple[Tensor, Tensor | None]] = []


def not_captured(parts: "Parts", *, skips_bad: bool) -> str:
    """Return why a learner's updates cannot be captured, as far as it is known before one is tried; or ""."""
    if parts.scaler is not None:
        return "fp16 waits in every update, to see whether the loss scale was too large"
    if skips_bad:
        return 'on_nan = "skip" waits in every update'
    if _hooked(parts.model):
        return "the model has hooks of its own, which a replay would not call"
    return not_capturable(parts.optimizer)


@contextlib.contextmanager
def capturing(learner: "TorchLearner") -> Iterator[None]:
    """Let a learner's updates be recorded and replayed, where its plan says so."""
    if not learner.plan.captured:
        yield
        return
    captured, before = Captured(learner), (learner.replayed, learner.rates)
    learner.replayed, learner.rates = captured.update, captured.rates.held
    try:
        yield
    finally:
        captured.discard()
        learner.replayed, learner.rates = before


@final
class Captured:
    """The recordings of a session.

    Fields:
        rates: the learning rates that updates compute by.
        refusal: why nothing is recorded any more, or "".
    """

    def __init__(self, learner: "TorchLearner") -> None:
        self._learner, self._recorder = learner, Recorder(learner.device)
        self.rates = Rates(learner.parts.optimizer, learner.device)
        self.refusal = ""
        self._modules = list(learner.parts.model.modules())
        self._parameters = list(learner.parts.model.parameters())
        self._kinds: dict[tuple[Any, ...], Kind] = {}
        self._conditions: list[Any] = []
        self._sums: tuple[Tensor, ...] = ()
        self._shown: Kind | None = None  # whose gradients the parameters hold
        self._within = False
        if reason := not_captured(learner.parts, skips_bad=learner.skips_bad):
            self._refuse(reason)

    def update(self, batches: Sequence[Batch], on_grads: Callable[[], None] | None) -> Result | None:
        """Do an update, by a replay where that can be; None where the caller is to do it as it stands.

        Cost: no sync, but for the one update of a kind that is recorded.
        """
        if self._within:
            return None
        self.rates.fill()
        if on_grads is not None and not self.refusal:
            self._refuse("a hook looks at the gradients")
        if self.refusal or self._learner.after_backward is not None or self._learner.skips_bad:
            self._shown = None
            return None
        kind = self._kind(batches)
        if kind is None or (kind.recording is None and kind.done < WARM_UPS):
            return self._aside(kind, batches)
        if kind.recording is None and not self._record(kind, batches):
            return None
        return self._replay(kind, batches)

    def discard(self) -> None:
        """Drop all recordings."""
        if any(kind.recording is not None for kind in self._kinds.values()):
            self._recorder.wait()
        self._kinds.clear()
        self._shown = None

    def _refuse(self, reason: str) -> None:
        """Record and replay no more; say so once."""
        self.refusal = reason
        self.discard()
        text = f"updates run without replays, to the same bits: {reason}"
        if text not in self._learner.said:
            self._learner.said.append(text)

    def _aside(self, kind: Kind | None, batches: Sequence[Batch]) -> Result:
        """Do an update as it stands, but in the stream that records.

        The last one before a recording shows whether a replay could stand for it.
        """
        self._shown = None
        done = 0 if kind is None else kind.done + 1
        before = self._seen_by_host() if done == WARM_UPS else {}
        with self._recorder.aside():
            result = self._as_it_stands(batches)
        after = self._seen_by_host() if before else {}
        if moved := [name for name in {**before, **after} if before.get(name) != after.get(name)]:
            self._refuse(f"an update moves {moved[0]} on the host, which a replay would not")
        elif kind is not None:
            kind.done = done
        return result

    def _as_it_stands(self, batches: Sequence[Batch]) -> Result:
        """Run the learner's update.

        Autograd's nodes remember their stream, and a recording fails that meets one from another. So none outlives
        its update: the outputs are given without a graph.
        """
        self._within = True
        try:
            result = self._learner.update(batches, None)
        finally:
            self._within = False
        return result._replace(outputs=_changed(result.outputs, Tensor.detach))

    def _kind(self, batches: Sequence[Batch]) -> Kind | None:
        """Return the kind of an update; None where its batches do not lie on the device, or there are too many."""
        conditions, sums = self._now(), self._learner._sums.training()
        if conditions != self._conditions or list(map(id, sums)) != list(map(id, self._sums)):
            self.discard()
            self._conditions, self._sums = conditions, sums
        described = tuple(_described(leaf, self._learner.device) for leaf in _leaves(list(batches)))
        too_many = described not in self._kinds and len(self._kinds) == KINDS_MAX
        if None in described or too_many:
            return None
        return self._kinds.setdefault(described, Kind())

    def _now(self) -> list[Any]:
        """Return what an update depends on besides its batches, and what is no tensor. Cost: some 20 us."""
        parts = self._learner.parts
        groups = [
            [len(value) if key in ("params", "names") else value for key, value in group.items() if key != "lr"]
            for group in parts.optimizer.param_groups
        ]
        modes = [module.training for module in self._modules]
        wanted = [parameter.requires_grad for parameter in self._parameters]
        averages = parts.ema is not None and parts.ema.updates_done > 0  # the first update copies, later ones average
        return [groups, len(parts.optimizer.state), modes, wanted, averages]

    def _record(self, kind: Kind, batches: Sequence[Batch]) -> bool:
        """Record an update; return whether that succeeded, and note why where it did not."""
        learner, ema, watch = self._learner, self._learner.parts.ema, self._learner._watch
        inputs = [_changed(batch, Tensor.clone) for batch in batches]
        averaged = 0 if ema is None else ema.updates_done
        learner._watch = scratch = Watch()

        def work() -> Made:
            return Made(self._as_it_stands(inputs), *scratch.noted())

        try:
            kind.recording = self._recorder.record(work)
        except Exception as error:
            self._refuse(f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"[:200])
            return False
        finally:
            learner._watch = watch
            if ema is not None:
                ema.updates_done = averaged
        kind.inputs = _tensors(inputs)
        kind.gradients = [(parameter, parameter.grad) for parameter in self._parameters]
        self._shown = kind
        return True

    def _replay(self, kind: Kind, batches: Sequence[Batch]) -> Result:
        assert kind.recording is not None
        learner = self._learner
        for ours, theirs in zip(kind.inputs, _tensors(batches), strict=True):
            ours.copy_(theirs)
        kind.recording.replay()
        if self._shown is not kind:
            for parameter, gradient in kind.gradients:
                parameter.grad = gradient
            self._shown = kind
        if learner.parts.ema is not None:
            learner.parts.ema.updates_done += 1
        made = kind.recording.made
        for number, what in zip(made.numbers.clone().unbind(), made.words, strict=True):
            learner._watch.note(number, what)
        learner._watch.done()
        return made.result._replace(loss=made.result.loss.clone())

    def _seen_by_host(self) -> dict[str, Any]:
        """Return what a recorded update must not move, because a replay would not: by what it is, in words."""
        generator: Any = np.random.get_state()
        found: dict[str, Any] = {
            "Python's generator": random.getstate(),
            "NumPy's generator": (generator[1].tobytes(), generator[2:]),
            "PyTorch's generator on the CPU": torch.get_rng_state().numpy().tobytes(),
        }
        for name, module in self._learner.parts.model.named_modules():
            for key, value in vars(module).items():
                if isinstance(value, PLAIN):
                    found[f"{name}.{key} of the model"] = value
                elif isinstance(value, Tensor | list | dict) and key not in _TORCHS_OWN:
                    found[f"{name}.{key} of the model"] = id(value), len(value) if isinstance(value, list | dict) else 0
        return found


_TORCHS_OWN = frozenset(vars(nn.Module()))


def _hooked(model: nn.Module) -> bool:
    """Say whether functions of somebody else are called in a forward or backward pass."""
    tables = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    on_modules = any(getattr(module, table) for module in model.modules() for table in tables)
    return on_modules or any(p._backward_hooks or p._post_accumulate_grad_hooks for p in model.parameters())


def _leaves(tree: Any) -> Iterator[Any]:
    """Yield the tensors of a batch in order, and beside them what says how they are put together."""
    if type(tree) is dict:
        yield tuple(tree)
        tree = list(tree.values())
    if type(tree) in (list, tuple):
        yield type(tree), len(tree)
        for value in tree:
            yield from _leaves(value)
    else:
        yield tree


def _described(leaf: Any, device: torch.device) -> Any:
    """Return what makes two leaves alike, in a form that can be looked up; None for one that cannot be replayed."""
    if isinstance(leaf, Tensor):
        there = leaf.device == device and leaf.layout == torch.strided and not leaf.requires_grad
        return (leaf.shape, leaf.stride(), leaf.dtype) if there else None
    if leaf is None:
        return "nothing"
    return leaf if isinstance(leaf, (*PLAIN, tuple)) else None


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in _leaves(list(tree)) if isinstance(leaf, Tensor)]


def _changed(tree: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Return a batch, or a model's outputs, with every tensor changed; other objects than collections stay."""
    if isinstance(tree, Tensor):
        return change(tree)
    if type(tree) is dict:
        return {key: _changed(value, change) for key, value in tree.items()}
    return type(tree)(_changed(value, change) for value in tree) if type(tree) in (list, tuple) else tree
