"""Checkpoints: the state at the start, at the best evaluation, every so often, and at the end."""

from pathlib import Path
from typing import Any, final

from danlu import save
from danlu.train.hook import Hook
from danlu.train.training import Training


@final
class Checkpoint(Hook):
    """Write `checkpoints/step-N`, and remove the ones that are no longer wanted; the newest and the best stay.

    A run without a folder is not written.

    Args:
        keep: how many of the newest are kept, besides the best.
    """

    def __init__(self, keep: int = 1) -> None:
        self._keep = keep
        self._best: int | None = None

    def on_fit_start(self, training: Training) -> None:
        """Write the state before the first update, so that a run can be resumed whenever it was killed.

        A resumed run removes what the killed one had no time to remove.
        """
        if training.folder is not None:
            save.tidy(training.folder)
            if training.saved is None:
                self._write(training)
            else:
                self._prune(training.folder)

    def on_checkpoint(self, training: Training) -> None:
        """Write the state as it stands; then remove what is no longer wanted."""
        state = training.state
        if training.folder is None or (save.steps(training.folder) or [-1])[-1] == state.updates_done:
            return
        if state.best is not None and state.best["step"] == state.updates_done:
            self._best = state.updates_done
        self._write(training)

    def _write(self, training: Training) -> None:
        assert training.folder is not None
        tensors, values = training.state.state_dict()
        save.write(save.folder(training.folder, training.state.updates_done), tensors, values, overwrite=True)
        self._prune(training.folder)

    def _prune(self, folder: Path) -> None:
        for step in save.steps(folder)[: -self._keep]:
            if step != self._best:
                save.remove(save.folder(folder, step))

    def state(self) -> dict[str, Any]:
        """Return which checkpoint is the best one."""
        return {"best": self._best}

    def load(self, state: dict[str, Any]) -> None:
        """Take it back."""
        self._best = state.get("best")
