"""Checkpoints: the best weights so far, and the state at the end."""

import shutil
from typing import Any, final

from danlu import save
from danlu.train.hook import Hook
from danlu.train.training import Training


@final
class Checkpoint(Hook):
    """Write `checkpoints/step-N` at every best evaluation and at the end; the best one before goes last.

    A run without a folder is not written.
    """

    def __init__(self) -> None:
        self._best: int | None = None

    def on_eval_end(self, training: Training, figures: dict[str, Any]) -> None:
        """Write the best so far, then remove the one it replaces."""
        if training.folder is None or not training.improved or training.monitor not in figures:
            return
        before, self._best = self._best, training.state.updates_done
        self._write(training)
        if before is not None and before != self._best:
            shutil.rmtree(save.folder(training.folder, before))

    def on_checkpoint(self, training: Training) -> None:
        """Write the state as it stands."""
        if training.folder is not None and self._best != training.state.updates_done:
            self._write(training)

    def _write(self, training: Training) -> None:
        tensors, values = training.state.state_dict()
        assert training.folder is not None
        save.write(save.folder(training.folder, training.state.updates_done), tensors, values, overwrite=True)

    def state(self) -> dict[str, Any]:
        """Return which checkpoint is the best one."""
        return {"best": self._best}

    def load(self, state: dict[str, Any]) -> None:
        """Take it back."""
        self._best = state.get("best")
