"""Beginning a run anew that was killed before its first checkpoint: nothing was trained yet, so nothing is lost."""

import shutil
from pathlib import Path

from danlu import save
from danlu.errors import RunError
from danlu.track import Run
from danlu.train.training import Training

FIRST = ".writing-step-00000000"


def unbegun(folder: Path) -> bool:
    """Say whether a folder holds the start of a run and no more: no checkpoint was ever whole there."""
    if not save.holds_run(folder):
        return save.is_free(folder)
    home = folder / "checkpoints"
    if save.steps(folder) or (home.is_dir() and any(entry.name != FIRST for entry in home.iterdir())):
        return False
    return not Run(folder).summary.get("updates", 0)


def begin_anew(training: Training, folder: Path) -> None:
    """Let a prepared run begin in the folder that it holds, where a killed one had hardly begun; what is left goes.

    Raises:
        RunError: something was trained there after all.
    """
    if not unbegun(folder):
        got, fix = "a run that another process has begun meanwhile", "resume it again"
        raise RunError(where=str(folder), got=got, want="a run without a checkpoint", fix=fix)
    training.record_in(folder)
    try:
        if any(step for step, _, _ in training.store.rows()):
            save.newest(folder)  # says that its checkpoints are gone
        training.store.cut({})
    except BaseException:
        training.store.close()
        raise
    board = folder / "tensorboard"
    if not board.is_symlink():
        shutil.rmtree(board, ignore_errors=True)
    training.notices.append("begins anew: it was left before its first checkpoint")
