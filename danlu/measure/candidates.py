"""Ways to run an update that may be faster than plain eager PyTorch, and how far each may differ from it."""

from dataclasses import dataclass
from typing import Any, Literal

from danlu import device
from danlu.device import Plan
from danlu.measure.trial import shapes
from danlu.optim import way_to_capture, ways_of
from danlu.train import Training
from danlu.train.captured import not_captured
from danlu.train.step import TorchLearner

EXACT, REORDERED, REDUCED = 0.0, 1e-4, 5e-2  # largest relative difference of loss and gradients
FASTER, CLEARLY_FASTER = 0.97, 0.85
NO_SLOWER = 1.1  # what changes no bit and keeps evaluations from page faults need not show it in updates
ACROSS_KINKS = 5e-2  # of gradients that rounding sends across the kink of a ReLU, if without kinks they are alike
COMPILE_RUN_S = 1800.0  # a shorter run does not earn back what compiling may take
CAPTURE_S = 1.0  # that recording takes, some times, about
COMPILE_LAYER_S = 0.8  # seconds that compiling takes for a layer, about, and 3 for a start


@dataclass(frozen=True)
class Candidate:
    """One change of a plan.

    Fields:
        name: for people. way: the recipe's name for it.
        change: the fields of the plan that are set.
        beside: what it is compared with: "eager" in loss and gradients, or the "best" plan so far in the weights after
            two updates as well, where the gradients should be the same.
        tolerance: how far it may differ, relative to that.
        start_s: seconds that its first update takes longer.
        refusal: why it need not be tried, or "".
        below: the ratio below which it is taken.
    """

    name: str
    way: str
    change: dict[str, Any]
    tolerance: float
    beside: Literal["eager", "best"] = "eager"
    start_s: float = 0.0
    refusal: str = ""
    below: float = FASTER


def candidates(training: Training, *, busy: bool, threads_first: bool) -> list[Candidate]:
    """Return what is worth trying for a training on its device, in the order of trying.

    Args:
        training: PyTorch's, prepared.
        busy: whether other processes are at work.
        threads_first: try other numbers of threads before everything else, and not after it.
    """
    learner, recipe = training.learner, training.recipe
    assert isinstance(learner, TorchLearner)
    cpu = learner.device.type == "cpu"
    threads = thread_candidates(training.plan, busy=busy) if cpu and recipe.threads == "auto" else []
    found = threads if threads_first else []
    if cpu and device.can_keep_memory():
        kept = Candidate("kept memory", "keep_memory", {"keep_memory": True}, EXACT, "best", below=NO_SLOWER)
        found.append(kept)
    if device.can_lie_otherwise(learner.parts.model):
        found.append(Candidate("channels_last", "channels_last", {"memory_format": "channels_last"}, REORDERED))
    tolerances = {"fused": REORDERED, "foreach": EXACT}
    found += [
        Candidate(f"{way} optimizer", way, {"optimizer": way}, tolerances[way], "best")
        for way in ways_of(learner.parts.optimizer)
    ]
    if recipe.precision == "auto":
        found += [_precision(learner, name) for name in ("tf32", "bf16")]
    found += [] if threads_first else threads
    return [one for one in found if one.way not in recipe.plan_without]


def last_candidates(training: Training, expected_s: float) -> list[Candidate]:
    """Return what takes long to begin with, and has to earn that back.

    Args:
        training: PyTorch's, prepared.
        expected_s: seconds that the run will take under the best plan so far.
    """
    learner = training.learner
    assert isinstance(learner, TorchLearner)
    found = [_compiled(learner, expected_s)]
    found += [_captured(training, learner)] if learner.device.type == "cuda" else []
    return [one for one in found if one.way not in training.recipe.plan_without]


def thread_candidates(plan: Plan, *, busy: bool) -> list[Candidate]:
    """Return smaller numbers of threads: another process may hold a core, and small products gain nothing by two.

    On a machine that is not busy they have to be clearly faster: a stall of a moment makes them look so.
    """
    numbers = sorted({1, plan.threads // 2} - {0, plan.threads}, reverse=True)
    names = {n: "1 thread" if n == 1 else f"{n} threads" for n in numbers}
    below = FASTER if busy else CLEARLY_FASTER
    return [Candidate(names[n], "threads", {"threads": n}, REORDERED, below=below) for n in numbers]


def _precision(learner: TorchLearner, name: str) -> Candidate:
    there = device.has_units(learner.device, name)
    refusal = "" if there else f"this {learner.device.type} has no units for {name}"
    return Candidate(name, "precision", {"precision": name}, REDUCED, refusal=refusal)


def _captured(training: Training, learner: TorchLearner) -> Candidate:
    change = {"captured": True, **way_to_capture(learner.parts.optimizer)}
    refusal = capture_refusal(training)
    return Candidate("captured updates", "capture", change, REORDERED, "best", CAPTURE_S, refusal)


def capture_refusal(training: Training) -> str:
    """Return why a training's updates cannot be captured, as far as that is known before one is tried; or "".

    A hook that looks at gradients is no such reason: a plan decides bits, and no hook does. Nor is a last batch of an
    epoch that is shorter, because each shape is recorded for itself.
    """
    learner, schedule = training.learner, training.recipe.schedule
    assert isinstance(learner, TorchLearner)
    if training.plan.generators == "all":
        return "the model draws from Python's or NumPy's generator"
    if training.batches_per_epoch > 2 and shapes(training.train.batch(0, 0)) != shapes(training.train.batch(0, 1)):
        return "the shapes of its batches differ"
    one_cycle = None if schedule == "off" or schedule.name != "one_cycle" or schedule.per != "update" else schedule
    if one_cycle is not None and one_cycle.options.get("cycle_momentum", True):
        return "the schedule moves the momentum, too, in every update"
    return not_captured(learner.parts, skips_bad=learner.skips_bad)


def _compiled(learner: TorchLearner, expected_s: float) -> Candidate:
    layers = sum(1 for module in learner.parts.model.modules() if not list(module.children()))
    start_s = 3.0 + COMPILE_LAYER_S * layers
    short = f"a run of about {expected_s:.3g} s does not earn back about {start_s:.0f} s of compiling"
    refusal = short if expected_s < COMPILE_RUN_S else ""
    return Candidate("torch.compile", "compile", {"compiled": True}, REORDERED, start_s=start_s, refusal=refusal)
