"""Hooks: what only watches a run, or happens every so often; and `Stop`, how one ends it.

A hook sees the `Training` and changes nothing that the numbers depend on: with hooks or without, the weights are the
same bits. The list's order is the call order.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, final

from danlu.errors import nearest

if TYPE_CHECKING:
    from danlu.train.learner import Result
    from danlu.train.training import Training

EVENTS = ("on_fit_start", "on_grads_ready", "on_step_end", "on_eval_end", "on_checkpoint", "on_fit_end")


@dataclass(frozen=True)
class Stop:
    """A hook's wish to end the run after this update, and why."""

    reason: str
    status: Literal["finished", "stopped", "interrupted"] = "stopped"


class Hook:
    """Base of every hook; override the events you need. An `on_*` that danlu never calls raises when the class is made.

    A hook with a memory that must survive a restart returns it from `state` (JSON values) and takes it in `load`.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in vars(cls):
            if name.startswith("on_") and name not in EVENTS:
                close = nearest(name, EVENTS, count=1)
                hint = f"did you mean {close[0]}?" if close else f"hooks are: {', '.join(EVENTS)}"
                raise TypeError(f"{cls.__name__} defines {name!r}, which danlu never calls; {hint}")

    def on_fit_start(self, training: "Training") -> None:
        """Everything is built and checked; nothing has been trained."""

    def on_grads_ready(self, training: "Training") -> None:
        """Gradients of this update are summed and clipped; the optimizer has not moved."""

    def on_step_end(self, training: "Training", result: "Result") -> Stop | None:
        """One update is done. `result` stays on the device: reading a tensor of it waits for the device."""

    def on_eval_end(self, training: "Training", figures: dict[str, Any]) -> Stop | None:
        """An evaluation is done; `figures` holds "train/loss", "valid/loss", ... of this point."""

    def on_checkpoint(self, training: "Training") -> None:
        """The state is whole and may be saved, after a best evaluation and at the end of the run."""

    def on_fit_end(self, training: "Training", error: BaseException | None) -> None:
        """The run is over, by itself or by `error`."""

    def state(self) -> dict[str, Any]:
        """Return what must survive a restart."""
        return {}

    def load(self, state: dict[str, Any]) -> None:
        """Take back what `state` returned."""


def checked_hooks(hooks: Sequence[Hook]) -> list[Hook]:
    """Return the hooks as a list; raise `TypeError` for what is none."""
    if not isinstance(hooks, Sequence):
        raise TypeError(f"hooks must be a list of danlu.Hook; got {type(hooks).__name__}")
    for hook in hooks:
        if not isinstance(hook, Hook):
            raise TypeError(f"a hook must be a danlu.Hook; got {type(hook).__name__}")
    return list(hooks)


@final
class Every(Hook):
    """Call `action(training)` every so many updates, epochs or seconds; the action may return a `Stop`.

    Args:
        action: called after the update, before an evaluation that falls on the same update.
        steps, epochs, seconds: exactly one of them. What `seconds` does is outside the promise of equal bits.
    """

    def __init__(
        self,
        action: Callable[["Training"], Stop | None],
        *,
        steps: int | None = None,
        epochs: int | None = None,
        seconds: float | None = None,
    ) -> None:
        given = [value for value in (steps, epochs, seconds) if value is not None]
        if len(given) != 1 or given[0] <= 0:
            raise ValueError(f"Every wants one of steps, epochs, seconds, above 0; got {steps=}, {epochs=}, {seconds=}")
        self._action, self._steps, self._epochs, self._seconds = action, steps, epochs, seconds
        self._last_s = time.monotonic()

    def on_step_end(self, training: "Training", result: "Result") -> Stop | None:
        """Act when it is due."""
        return self._action(training) if self._due(training) else None

    def _due(self, training: "Training") -> bool:
        state = training.state
        if self._steps is not None:
            return state.updates_done % self._steps == 0
        if self._epochs is not None:
            return state.position == 0 and state.epoch % self._epochs == 0
        now_s = time.monotonic()
        if now_s - self._last_s < (self._seconds or 0.0):
            return False
        self._last_s = now_s
        return True
