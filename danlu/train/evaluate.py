"""Evaluation and prediction: the passes that change nothing."""

from itertools import islice

import numpy as np

from danlu.data import Batches
from danlu.train.learner import Array, Figures, Learner


def evaluate(learner: Learner, batches: Batches, limit: int | None = None) -> Figures:
    """Return loss and metrics over a whole set, every sample weighing the same.

    Args:
        learner: gives the weights and the objective.
        batches: the set, in order.
        limit: use only so many batches.

    Returns:
        the figures; where bad samples are skipped or replaced also "samples", how many of the set's own they are of.

    Cost:
        one host sync, at the end.
    """
    bad, samples = batches.bad, 0
    stand_ins = 0 if bad is None else bad.stand_ins
    with learner.evaluating():
        for batch in islice(batches.iterate(0), limit):
            samples += learner.evaluate(batch).samples
        figures = learner.evaluation_figures()
    if bad is None or bad.policy.action == "raise":
        return figures
    return {**figures, "samples": samples - (bad.stand_ins - stand_ins)}


def predict(learner: Learner, batches: Batches) -> Array:
    """Return probabilities (or values, in a regression) for every sample of a set, in its order, shape (N, ...)."""
    with learner.evaluating():
        return np.concatenate([learner.predict(batch) for batch in batches.iterate(0)])
