"""What can be said of an objective once every target is known, not just one batch of them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from danlu.errors import DataError
from danlu.objectives.objective import Objective


def settle_targets(objective: Objective, targets: Mapping[str, npt.NDArray[Any] | None]) -> None:
    """Check the class indices of whole sets, and let the loss skip counting ignored ones where there are none.

    Args:
        objective: prepared with a batch, so that the number of classes is known.
        targets: every set's targets by the set's name; None where they are not known without fetching.

    Raises:
        DataError: a target outside [0, classes), with its sample.

    Cost:
        one pass over the targets, on the host.
    """
    loss = objective.loss
    if objective.task != "classes" or not loss.exact:
        return
    ignored = False
    for name, known in targets.items():
        if known is None or known.dtype.kind not in "iub":
            ignored = True
            continue
        is_ignored = known == loss.ignore_index
        ignored = ignored or bool(is_ignored.any())
        outside = np.flatnonzero(((known < 0) | (known >= objective.classes)) & ~is_ignored)
        if outside.size:
            sample = int(np.unravel_index(outside[0], known.shape)[0])
            got = f"{known.flat[outside[0]]} (sample {sample}; {outside.size} such targets)"
            want = f"class indices from 0 to {objective.classes - 1}, one for each output of the model"
            fix = "mend the labels, or give the model more outputs"
            raise DataError(where=f"{name} targets", got=got, want=want, fix=fix)
    if not ignored:
        objective.loss = loss.none_ignored()
