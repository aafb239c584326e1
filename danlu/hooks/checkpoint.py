"""Checkpoints: the state at the start, at the best evaluation, every so often, and at the end.

They are written by a thread (`save.Writer`). What the disk refuses is said at the next event and tried again; where it
fails for good, the run ends.
"""

from typing import Any, final

from danlu import save
from danlu.errors import RunError
from danlu.hooks.notice import tell
from danlu.recipe import Checkpoints
from danlu.train.hook import Hook
from danlu.train.learner import Result, Tensors
from danlu.train.training import Training

GRACE_S = 1.0  # for a write in flight when somebody wants to leave at once


@final
class Checkpoint(Hook):
    """Write `checkpoints/step-N`, and remove the ones that are no longer wanted; the newest and the best stay.

    A run without a folder is not written.

    Args:
        policy: which are kept, and what to do when the disk refuses. When it is time for one, the loop says.

    Cost:
        the training thread waits for one copy of the state in memory.
    """

    def __init__(self, policy: Checkpoints | None = None) -> None:
        self._policy = policy or Checkpoints()
        self._for_good: list[int] = []
        self._writer: save.Writer | None = None
        self._newest = -1  # the update of the newest checkpoint, on the disk or on its way
        self._checked_bytes = 0

    def on_fit_start(self, training: Training) -> None:
        """Write the state before the first update, so that a run can be resumed whenever it was killed.

        A resumed run says which checkpoints it passed over, and removes what the killed one had no time to remove.
        """
        self._checked_bytes, folder = 0, training.folder
        if folder is None:
            return
        for notice in training.passed_over:
            tell(training, notice)
        save.tidy(folder)
        tensors, values = training.state.state_dict()
        for notice in self._space(training, tensors):
            training.notices.append(notice)
            training.store.event(training.state.updates_done, "notice", notice)
        if training.saved is None:
            self._for_good = []
            save.write(save.folder(folder, training.state.updates_done), tensors, values, overwrite=True)
        self._writer = save.Writer(folder, save.Retry(self._policy.retries, self._policy.retry_s))
        self._newest = save.steps(folder)[-1]
        if training.saved is not None:
            self._writer.prune(self._keep(training))

    def on_step_end(self, training: Training, result: Result) -> None:
        """Pass on what the thread has to say."""
        if self._writer is not None:
            self._writer.check()
            _pass_on(training, self._writer)

    def on_checkpoint(self, training: Training) -> None:
        """Take a snapshot of the state as it stands; at the end of the run wait until it is on the disk."""
        writer, state = self._writer, training.state
        if writer is None:
            return
        if self._newest != state.updates_done:
            self._save(training, writer)
        if training.stop is not None:
            try:
                writer.wait()
            finally:
                _pass_on(training, writer)

    def _save(self, training: Training, writer: save.Writer) -> None:
        step = training.state.updates_done
        if training.for_good:
            self._for_good.append(step)
        keep = self._keep(training)
        tensors, values = training.state.state_dict()
        for notice in self._space(training, tensors):
            tell(training, notice)
        writer.save(step, tensors, values, keep=keep, replaceable=step not in keep.also and training.stop is None)
        self._newest = step

    def _keep(self, training: Training) -> save.Keep:
        """Return which checkpoints stay beside the newest: those kept for good, and the best."""
        best = training.state.best
        kept = {*self._for_good, best["step"]} if best is not None and self._policy.best else {*self._for_good}
        return save.Keep(self._policy.keep, frozenset(kept))

    def on_fit_end(self, training: Training, error: BaseException | None) -> None:
        """Wait for what is being written; not for long where somebody wants to leave at once."""
        writer, self._writer = self._writer, None
        if writer is None:
            return
        asked = training.stop is not None and training.stop.status == "interrupted"
        try:
            if asked or (error is not None and not isinstance(error, Exception)):
                writer.give_up(within_s=GRACE_S)
            else:
                writer.wait()
        finally:
            _pass_on(training, writer)
            if isinstance(error, RunError | OSError) and str(writer.durable) not in str(error):
                tell(training, f"the last good checkpoint is {writer.durable}")

    def _space(self, training: Training, tensors: Tensors) -> list[str]:
        """Return a notice where the disk has no room for what is kept and one more; asked when the state has grown."""
        assert training.folder is not None
        size_bytes = sum(array.nbytes for arrays in tensors.values() for array in arrays.values())
        if size_bytes <= self._checked_bytes:
            return []
        self._checked_bytes = size_bytes
        notice = save.room(training.folder, size_bytes, self._policy.keep + 2)
        return [] if notice is None else [notice]

    def state(self) -> dict[str, Any]:
        """Return which checkpoints are kept for good."""
        return {"for_good": self._for_good}

    def load(self, state: dict[str, Any]) -> None:
        """Take it back."""
        self._for_good = list(state.get("for_good", []))


def _pass_on(training: Training, writer: save.Writer) -> None:
    for notice in writer.told():
        tell(training, notice)
