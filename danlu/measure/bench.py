"""How fast a recipe trains on this machine, where the time goes, and how far that is from what the machine can do.

Other programs move both the run and the machine, so the machine is read before and after every block of updates, and
what is quoted is the median of each block's own ratio.
"""

import time
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass
from itertools import count as numbers
from itertools import islice
from statistics import median
from typing import Any, NamedTuple, final

import torch

from danlu import keyed
from danlu.device import Gauge, Limits, describe, wait
from danlu.measure import pieces
from danlu.measure.cost import Cost, cost
from danlu.measure.untouched import untrained
from danlu.train import TorchLearner, Training
from danlu.train.learner import Batch

BLOCK_S = 0.2  # of updates between two readings of the machine
LEAST_BLOCKS = 3
EVALUATION_SHARE = 0.15  # of the seconds that are asked for
Feed = Generator[list[Batch], None, None]
PARTS = ("data", "forward", "backward", "optimizer", "metrics", "update", "logging", "other")


class Block(NamedTuple):
    """A block of updates, and what the machine could do around it.

    Fields:
        update_s: seconds of an update, its data included.
        samples: in an update, on average.
        data_s: of `update_s`, the seconds until its batches were there.
        limits: the better reading of before and after.
    """

    update_s: float
    samples: float
    data_s: float
    limits: Limits


@final
@dataclass(frozen=True)
class Bench:
    """What was measured.

    Fields:
        batch_size, accumulate: of the recipe, so many samples in so many micro-batches.
        blocks: how many blocks of updates were timed; the figures below are their medians.
        update_s, update_s_min, update_s_max: seconds of an update, its data included.
        samples_per_s: training samples.
        evaluation_samples_per_s: of an evaluation, its data included; of the training set where there is no other.
        parts: seconds of each part of an update, "other" being what they leave of the whole; it may be below 0.
        cost: of an update.
        limits: what the machine could do meanwhile.
        percent_of_gemm: of the machine's products, that an update's make. None where its cost was not counted.
        percent_of_floor: the longer of products and memory, in the machine's best time, against the measured one.
        percent_of_series: the same with products and memory after one another.
        measured_on: processor, threads, version.
    """

    batch_size: int
    accumulate: int
    blocks: int
    update_s: float
    update_s_min: float
    update_s_max: float
    samples_per_s: float
    evaluation_samples_per_s: float
    parts: dict[str, float]
    cost: Cost
    limits: Limits
    percent_of_gemm: float | None
    percent_of_floor: float | None
    percent_of_series: float | None
    measured_on: str

    def figures(self) -> dict[str, Any]:
        """Return the fields by name, as plain values."""
        return asdict(self)


def bench(training: Training, seconds: float = 5.0) -> Bench:
    """Measure a prepared recipe; its model is as it was afterwards, and no folder is written.

    Args:
        training: prepared and not begun, with the plan that the run would use.
        seconds: of measuring; three blocks of one update each are the least.

    Raises:
        DanluError: whatever keeps the recipe from being trained.

    Cost: the seconds, one more for the machine, and two copies of the state.
    """
    learner, plan = training.learner, training.plan
    with learner.session(), untrained(learner):
        batches = feed(training)
        try:
            warm_up(training, batches)
            spent = cost(training)
            gauge = Gauge(plan.device, plan.precision)
            blocks, parts = _measured(training, batches, gauge, seconds)
            evaluated = _evaluation(training, seconds * EVALUATION_SHARE)
        finally:
            batches.close()
        parts["logging"] = _logging(training)
    parts["data"] = median(block.data_s for block in blocks)
    return _result(training, spent, blocks, parts, evaluated)


def warm_up(training: Training, feed: Feed) -> float:
    """Do two updates, in which libraries load and memory is found; return the seconds of the second."""
    timed(training, feed, 0.0)
    return timed(training, feed, 0.0)[0]


def timed(training: Training, feed: Feed, seconds: float) -> tuple[float, float, float]:
    """Train for so many seconds, at least one update, as the loop does; return a block's three figures."""
    learner, seed = training.learner, training.recipe.seed
    device = torch.device(training.plan.device)
    wait(device)
    updates, samples, data_s = 0, 0, 0.0
    start_s = now_s = time.perf_counter()
    while not updates or now_s - start_s < seconds:
        batches = next(feed)
        data_s += time.perf_counter() - now_s
        learner.seed(keyed.number("update", seed, updates, 0))
        samples += learner.update(batches, None).samples
        if learner.schedule_per == "update":
            learner.step_schedule()
        updates += 1
        now_s = time.perf_counter()
    wait(device)
    return (time.perf_counter() - start_s) / updates, samples / updates, data_s / updates


def feed(training: Training) -> Feed:
    """Yield the micro-batches of one update after another, epoch after epoch."""
    for epoch in numbers():
        batches = islice(training.train.iterate(epoch), training.batches_per_epoch)
        while group := list(islice(batches, training.recipe.accumulate)):
            yield group


def _measured(training: Training, feed: Feed, gauge: Gauge, seconds: float) -> tuple[list[Block], dict[str, float]]:
    """Time blocks of whole updates and of updates in pieces by turns.

    Returns:
        the blocks of whole updates; the seconds of each piece, by the median of its share of the block before it.
    """
    blocks: list[Block] = []
    found: list[dict[str, float]] = []
    end_s = time.perf_counter() + seconds
    before = gauge.sample()
    while len(blocks) < LEAST_BLOCKS or time.perf_counter() < end_s:
        update_s, samples, data_s = timed(training, feed, BLOCK_S)
        between = gauge.sample()
        blocks.append(Block(update_s, samples, data_s, before.best(between)))
        if isinstance(training.learner, TorchLearner):
            spent = _in_pieces(training.learner, feed, BLOCK_S / 2)
            found.append({name: piece_s / update_s for name, piece_s in spent.items()})
        before = gauge.sample()
    update_s = median(block.update_s for block in blocks)
    if not found:  # nobody takes an update of danlu.zero apart
        return blocks, {"update": update_s - median(block.data_s for block in blocks)}
    return blocks, {name: update_s * median(one[name] for one in found) for name in found[0]}


def _in_pieces(learner: TorchLearner, feed: Feed, seconds: float) -> dict[str, float]:
    """Do updates in pieces; return the seconds of each. The device is waited for after each piece."""
    spent = dict.fromkeys(("forward", "backward", "metrics", "optimizer"), 0.0)
    last_s = start_s = time.perf_counter()
    updates = 0

    def mark(name: str) -> None:
        nonlocal last_s
        wait(learner.device)
        now_s = time.perf_counter()
        spent[name] += now_s - last_s
        last_s = now_s

    while not updates or last_s - start_s < seconds:
        batches = next(feed)
        last_s = time.perf_counter()
        pieces.update(learner, batches, mark)
        updates += 1
    return {name: piece_s / updates for name, piece_s in spent.items()}


def _logging(training: Training, times: int = 20) -> float:
    """Return the seconds that an update pays for the row of the running loss, which is written every so many."""
    start_s = time.perf_counter()
    for _ in range(times):
        sums = training.learner.train_sums()
        training.store.log(0, {"running/loss": float(sums[0]), "lr": training.learner.lr()})
    return (time.perf_counter() - start_s) / times / training.recipe.log_every


def _evaluation(training: Training, seconds: float) -> float:
    """Return samples per second of evaluating the first set that there is for it, as often as the seconds allow."""
    batches = next(iter(training.valid.values()), training.test or training.train)
    learner, samples = training.learner, 0
    with learner.evaluating():
        start_s = time.perf_counter()
        while time.perf_counter() - start_s < seconds or not samples:
            for batch in islice(batches.iterate(0), training.limit):
                samples += learner.evaluate(batch).samples
                if time.perf_counter() - start_s >= seconds:
                    break
        learner.evaluation_figures()  # waits for all of them
        return samples / (time.perf_counter() - start_s)


def _result(
    training: Training, spent: Cost, blocks: Sequence[Block], parts: dict[str, float], evaluated: float
) -> Bench:
    times = sorted(block.update_s for block in blocks)
    shares = [_shares(spent, block) for block in blocks]
    counted = not spent.why
    gemm, floor, series = (100 * median(column) for column in zip(*shares, strict=True)) if counted else (None,) * 3
    update_s, plan = median(times), training.plan
    parts["other"] = update_s - sum(parts.values())
    limits = blocks[0].limits
    for block in blocks:
        limits = limits.best(block.limits)
    return Bench(
        batch_size=training.train.batch_size,
        accumulate=training.recipe.accumulate,
        blocks=len(blocks),
        update_s=update_s,
        update_s_min=times[0],
        update_s_max=times[-1],
        samples_per_s=median(block.samples / block.update_s for block in blocks),
        evaluation_samples_per_s=evaluated,
        parts={name: parts[name] for name in PARTS if name in parts},
        cost=spent,
        limits=limits,
        percent_of_gemm=gemm,
        percent_of_floor=floor,
        percent_of_series=series,
        measured_on=describe(plan.device, plan.engine, plan.threads),
    )


def _shares(spent: Cost, block: Block) -> tuple[float, float, float]:
    """Return what a block made of the machine: of its products, of the longer floor, of the sum.

    A block's updates may have fewer samples than the one that was counted, and then cost less.
    """
    if spent.why:
        return 0.0, 0.0, 0.0
    share = block.samples / spent.samples / block.update_s
    floor_s, series_s = spent.floor_s(block.limits)
    return spent.flops / block.limits.flops_per_s * share, floor_s * share, series_s * share
