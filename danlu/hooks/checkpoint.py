"""Checkpoints: the best weights so far, and the state at the end."""

import shutil
from pathlib import Path
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

    def on_checkpoint(self, training: Training) -> None:
        """Write the state as it stands; where it is the best so far, remove the one it replaces."""
        state, before = training.state, self._best
        if training.folder is None or before == state.updates_done:
            return
        if state.best is not None and state.best["step"] == state.updates_done:
            self._best = state.updates_done
        tensors, values = state.state_dict()
        save.write(save.folder(training.folder, state.updates_done), tensors, values, overwrite=True)
        if before is not None and before != self._best:
            _remove(save.folder(training.folder, before))

    def state(self) -> dict[str, Any]:
        """Return which checkpoint is the best one."""
        return {"best": self._best}

    def load(self, state: dict[str, Any]) -> None:
        """Take it back."""
        self._best = state.get("best")


def _remove(folder: Path) -> None:
    """Remove a checkpoint; one that is half removed has no checkpoint's name."""
    trash = folder.rename(folder.with_name(f".trash-{folder.name}"))
    shutil.rmtree(trash)
