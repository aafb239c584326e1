"""What a person should know while a run goes on."""

import contextlib
import sys

from danlu.train.training import Training


def tell(training: Training, notice: str) -> None:
    """Note it in the record, and say it on standard error, also where progress is silent."""
    training.store.event(training.state.updates_done, "notice", notice)
    with contextlib.suppress(OSError):
        print(f"danlu: {notice}", file=sys.stderr, flush=True)
