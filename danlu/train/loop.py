"""The loop: when things happen. What one update is stands in `step.py`, what watches stands in `hooks/`.

At update N the order is: the update, its hooks, the evaluation and its hooks, the schedule, a checkpoint of what is
the best so far, and whether to stop.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from danlu import keyed
from danlu.errors import TrainingError, unknown_name
from danlu.train.finite import check_finite
from danlu.train.hook import Hook, Stop, checked_hooks
from danlu.train.learner import Figures, Result
from danlu.train.memory import too_little_memory
from danlu.train.training import Training


def run(training: Training, hooks: Sequence[Hook] = ()) -> Iterator[Result]:
    """Train until the recipe, a hook or the caller ends it; yield the result of every update.

    Args:
        training: from `prepare`.
        hooks: called in this order.

    Cost:
        no host sync per update; what a hook or the caller reads from a result waits for the device.
    """
    state, learner, seed = training.state, training.learner, training.recipe.seed
    calls = Calls(training, hooks)
    error: BaseException | None = None
    try:
        with learner.session():
            training.restore()
            calls.fit_start()
            training.begin()
            stop = training.finished()
            while stop is None:
                for batches in training.micro_batches():
                    learner.seed(keyed.number("update", seed, state.updates_done, 0))  # 0: the only rank
                    result = learner.update(batches, calls.grads)
                    state.advance(len(batches), result.samples, training.batches_per_epoch)
                    stop = calls.step_end(result)
                    ended = training.finished()
                    evaluated = training.evaluation_due() or (ended is not None and stop is None)
                    saving = training.save_due()
                    last = stop is not None or ended is not None
                    check_finite(training, skipped=result.skipped, saving=evaluated or saving or last)
                    if evaluated:
                        wish = _evaluate(training, calls)
                        stop = stop or wish
                    if learner.schedule_per == "update" or (learner.schedule_per == "epoch" and state.position == 0):
                        learner.step_schedule()
                    if saving or (evaluated and training.best_due()):
                        calls.checkpoint()
                    stop = stop or ended
                    yield result
                    if stop is not None:
                        break
            training.stop = stop
            _finish(training, calls)
    except GeneratorExit:
        training.stop = Stop("the caller left the loop")
        raise
    except KeyboardInterrupt:
        training.stop = Stop("Ctrl-C, before the update was done", "interrupted")
        raise
    except BaseException as raised:
        error = _explained(raised, training)
        _raise_other(error, than=raised)
        raise
    finally:
        training.end()
        try:
            calls.fit_end(error)
        finally:
            training.close()


class Calls:
    """The hooks of one run, sorted by event, so that an event nobody listens to costs nothing."""

    def __init__(self, training: Training, hooks: Sequence[Hook]) -> None:
        self._training = training
        self._hooks = checked_hooks(hooks)
        training.state.hooks = {f"{index}:{type(hook).__name__}": hook for index, hook in enumerate(self._hooks)}
        self._step_end = self._listening("on_step_end")
        self._grads = self._listening("on_grads_ready")
        self.grads: Callable[[], None] | None = self._grads_ready if self._grads else None

    def _listening(self, event: str) -> list[Hook]:
        return [hook for hook in self._hooks if getattr(type(hook), event) is not getattr(Hook, event)]

    def _grads_ready(self) -> None:
        for hook in self._grads:
            try:
                hook.on_grads_ready(self._training)
            except Exception as error:
                error.add_note(f"danlu: in {type(hook).__name__}.on_grads_ready")
                raise

    def fit_start(self) -> None:
        """Tell every hook that training is about to begin."""
        for hook in self._hooks:
            with _named(hook, "on_fit_start"):
                hook.on_fit_start(self._training)

    def step_end(self, result: Result) -> Stop | None:
        """Tell the hooks that listen that an update is done; the first wish to stop counts."""
        stop = None
        for hook in self._step_end:
            try:
                wish = hook.on_step_end(self._training, result)
            except Exception as error:
                error.add_note(f"danlu: in {type(hook).__name__}.on_step_end")
                raise
            stop = stop or wish
        return stop

    def eval_end(self, figures: Figures) -> Stop | None:
        """Tell every hook what an evaluation found; the first wish to stop counts."""
        stop = None
        for hook in self._hooks:
            with _named(hook, "on_eval_end"):
                wish = hook.on_eval_end(self._training, figures)
            stop = stop or wish
        return stop

    def checkpoint(self) -> None:
        """Tell every hook that the state is whole and may be saved."""
        for hook in self._hooks:
            with _named(hook, "on_checkpoint"):
                hook.on_checkpoint(self._training)

    def fit_end(self, error: BaseException | None) -> None:
        """Tell every hook that the run is over; one that fails does not keep the others from hearing it."""
        failure: BaseException | None = None
        for hook in self._hooks:
            try:
                hook.on_fit_end(self._training, error)
            except BaseException as raised:
                raised.add_note(f"danlu: in {type(hook).__name__}.on_fit_end")
                failure = failure or raised
        if failure is not None and error is None:
            raise failure
        if failure is not None and error is not None:
            error.add_note(f"danlu: afterwards {type(failure).__name__}: {failure}; {failure.__notes__[-1]}")


@contextmanager
def _named(hook: Hook, event: str) -> Iterator[None]:
    """Say of an error in which hook it came up."""
    try:
        yield
    except Exception as error:
        error.add_note(f"danlu: in {type(hook).__name__}.{event}")
        raise


def _evaluate(training: Training, calls: Calls) -> Stop | None:
    figures = training.evaluate()
    stop = calls.eval_end(figures)
    if training.learner.schedule_per == "evaluation":
        monitor = training.recipe.schedule.monitor  # type: ignore[union-attr]
        if monitor not in figures:  # an own step did not name it this time
            raise unknown_name(TrainingError, "schedule.monitor", monitor, figures, "figure of this evaluation")
        training.learner.step_schedule(figures[monitor])
    return stop


def _finish(training: Training, calls: Calls) -> None:
    """Save, put the best weights back where the recipe asks for it, and evaluate the test set."""
    calls.checkpoint()
    training.restore_best()
    if training.stop is None or training.stop.status != "interrupted":
        test = training.evaluate_test()
        if test:
            calls.eval_end(test)


def _explained(raised: BaseException, training: Training) -> BaseException:
    """Return an error with a note of where in the run it happened, or another one in its place where memory ran out."""
    update = f"update {training.state.updates_done + 1}"
    error = too_little_memory(raised, update, training.recipe, training.folder) or raised
    _note(error, training)
    return error


def _raise_other(error: BaseException, *, than: BaseException) -> None:
    if error is not than:
        raise error from None  # which operation came too late is of no use


def _note(error: BaseException, training: Training) -> None:
    """Say in the traceback where in the run it happened."""
    if not isinstance(error, TrainingError):
        state = training.state
        error.add_note(f"danlu: in update {state.updates_done} (epoch {state.epoch}, batch {state.position}), rank 0")
