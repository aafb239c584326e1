"""What a run says when memory runs out: in one line, with a batch size that asks for less."""

import shlex
from pathlib import Path

from danlu.device import is_exhausted
from danlu.errors import TrainingError
from danlu.recipe import Settled


def too_little_memory(
    error: BaseException, where: str, recipe: Settled, folder: Path | None = None
) -> TrainingError | None:
    """Return the error for memory that ran out; None where `error` says something else.

    Args:
        error: what was raised.
        where: the update, or the check before it.
        recipe: settled.
        folder: the run's, once there is something to resume.
    """
    if not is_exhausted(error):
        return None
    size, micro = recipe.batch_size, recipe.accumulate
    got = f"no memory for {size} samples at a time"
    if size == 1:
        fix = "use a smaller model or smaller inputs, or precision = bf16"
    else:
        settings = f"--set batch_size={size // 2} --set accumulate={2 * micro}"
        resume = "" if folder is None else f"danlu resume {shlex.quote(str(folder))} "
        accept = "" if folder is None else " --accept-changes"
        fix = f"try `{resume}{settings}{accept}`; danlu bench RECIPE --batch-sizes auto finds what fits"
    return TrainingError(where=where, got=got, want="a batch that fits into memory", fix=fix)
