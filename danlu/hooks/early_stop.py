"""Ending a run that no longer gets better."""

from typing import Any, final

from danlu.train.hook import Hook, Stop
from danlu.train.training import Training


@final
class StopEarly(Hook):
    """Stop after `patience` evaluations without a better value of the run's monitored metric."""

    def __init__(self, patience: int) -> None:
        self._patience = patience

    def on_eval_end(self, training: Training, figures: dict[str, Any]) -> Stop | None:
        """Stop when patience is used up."""
        state = training.state
        if "train/loss" not in figures or state.evaluations_since_best < self._patience:
            return None
        if state.best is None:
            return Stop(f"{training.monitor} has been no number for {self._patience} evaluations")
        best = f"{state.best['value']:.4g} at update {state.best['step']}"
        return Stop(f"{training.monitor} no better than {best} for {self._patience} evaluations")
