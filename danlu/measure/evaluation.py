"""How many samples an evaluation takes at a time: found by timing, because a larger batch is not always faster."""

import statistics
import time
from dataclasses import replace

import numpy as np

from danlu.data.resident import ResidentBatches
from danlu.device import Plan, Tried
from danlu.train import Training

SIZES = tuple(2**power for power in range(4, 12))
TURNS = 3
FASTER = 0.9


def with_evaluation(training: Training, plan: Plan, limit_s: float) -> Plan:
    """Return a plan with the batch size that evaluates arrays fastest, where the recipe leaves it open.

    Args:
        training: prepared and not begun.
        plan: under which updates run.
        limit_s: seconds that it may take.
    """
    sets = [batches for name, batches in training.sets().items() if name != "train"]
    if training.recipe.eval_batch_size != "auto" or not sets or limit_s <= 0:
        return plan
    if not all(isinstance(batches, ResidentBatches) for batches in sets):
        return plan
    begun_s, given, rows = time.perf_counter(), plan.eval_batch_size, list[Tried]()
    usual_s, best = _sample_s(training, plan, given), given
    for size in sorted(SIZES, key=lambda size: abs(np.log2(size / given))):
        if size == given or not given / 4 <= size <= given * 8 or size > sets[0].samples:
            continue
        if time.perf_counter() - begun_s + 2 * TURNS * usual_s * (size + best) > limit_s:
            continue
        pairs = [(_sample_s(training, plan, size), _sample_s(training, plan, best)) for _ in range(TURNS)]
        sample_s, ratio = statistics.median(one for one, _ in pairs), statistics.median(a / b for a, b in pairs)
        name, verdict = f"evaluation by {size}, not {best}", "taken" if ratio < FASTER else "no faster"
        rows.append(Tried(name, verdict, sample_s * size, ratio))
        best = size if verdict == "taken" else best
    return replace(plan, eval_batch_size=best, tried=[*plan.tried, *rows])


def adopt_size(training: Training, size: int) -> None:
    """Let the sets that are evaluated be cut into batches of `size` samples."""
    for name, batches in training.sets().items():
        if name != "train" and isinstance(batches, ResidentBatches):
            batches.batch_size = min(size, batches.samples)


def _sample_s(training: Training, plan: Plan, size: int) -> float:
    """Return the seconds for a sample that is evaluated in a batch of `size`, after one batch that warms up."""
    learner = training.learner
    batches = next(batches for name, batches in training.sets().items() if name != "train")
    size = min(size, batches.samples)
    batch = batches.fetch(0, np.arange(size))
    learner.use(plan)
    with learner.session(), learner.evaluating():
        learner.evaluate(batch)
        begun_s = time.perf_counter()
        learner.array(learner.evaluate(batch).loss)
        spent_s = time.perf_counter() - begun_s
        learner.evaluation_figures()
    return spent_s / size
