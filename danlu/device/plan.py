"""The execution plan: how this machine runs the recipe; written to `plan.json` before the first update.

"Same seed, same bits" is promised for the same plan, because another number of threads or another precision sums
floats in another order.
"""

from dataclasses import dataclass, field
from typing import Literal

import torch

from danlu.device.place import choose
from danlu.errors import RecipeError
from danlu.recipe import Settled


@dataclass(frozen=True)
class Tried:
    """A way to run the updates that was timed, or why it was not.

    Fields:
        name: what it changes.
        update_s: seconds of an update, the median; None where it was not timed.
        ratio: to the plan that it was measured beside, turn by turn; below 1 is faster.
        difference: of loss and gradients, relative to plain eager; None where it was not compared.
        verdict: "taken", "slower", "no faster", "refused: ..." or "not tried: ...".
    """

    name: str
    verdict: str
    update_s: float | None = None
    ratio: float | None = None
    difference: float | None = None


@dataclass(frozen=True)
class Plan:
    """What was decided about the machine. Every field is stored, so a later run can repeat it.

    Fields:
        device: "cpu", "cuda:0".
        precision: "float32", or the autocast type, "bf16" or "fp16".
        threads: intra-op threads of PyTorch.
        deterministic: whether algorithms without a fixed order of sums are refused.
        eval_batch_size: samples per batch of an evaluation; it changes the last bits of a metric.
        engine: "torch", or "zero" for danlu.zero.
        generators: which default generators are seeded before each update: "torch" (the engine's), or "all" of them,
            Python's and NumPy's too, where the rehearsal saw the model draw from these.
        memory_format: of 4-dimensional parameters: "as given", or "channels_last".
        optimizer: how its updates are computed: "as given", "foreach" or "fused".
        keep_memory: whether freed memory stays with the process while it trains.
        compiled: whether `torch.compile` makes the training forward and backward pass.
        captured: whether updates are recorded in CUDA graphs and replayed, by learning rates that are float32 tensors.
        data: where arrays lie: on the "device", or for want of room on the "host"; it changes no number.
        threads_alike: whether every number of threads that was tried gave the same bits.
        update_s: seconds of an update when the plan was chosen; None where nothing was timed.
        tried: what was timed, in the order of trying.
    """

    device: str
    precision: Literal["float32", "tf32", "bf16", "fp16"]
    threads: int
    deterministic: bool
    eval_batch_size: int
    engine: str = "torch"
    generators: str = "torch"
    memory_format: Literal["as given", "channels_last"] = "as given"
    optimizer: Literal["as given", "foreach", "fused"] = "as given"
    keep_memory: bool = False
    compiled: bool = False
    captured: bool = False
    data: Literal["device", "host"] = "device"
    threads_alike: bool = False
    update_s: float | None = None
    tried: list[Tried] = field(default_factory=list, hash=False)

    @property
    def place(self) -> str:
        """Where it runs, for people: "cpu", or "cpu (danlu.zero)"."""
        return f"{self.device} (danlu.zero)" if self.engine == "zero" else self.device

    @property
    def ways(self) -> list[str]:
        """What it does otherwise than plain eager PyTorch, in words."""
        found: list[str] = [] if self.memory_format == "as given" else [self.memory_format]
        found += [] if self.optimizer == "as given" else [f"{self.optimizer} optimizer"]
        found += ["kept memory"] * self.keep_memory + ["compiled"] * self.compiled
        return found + ["captured updates"] * self.captured


def plan_for(recipe: Settled) -> Plan:
    """Decide the plan of a recipe on this machine; raise `RecipeError` for a device it does not have."""
    threads = torch.get_num_threads() if recipe.threads == "auto" else recipe.threads
    eval_batch_size = recipe.batch_size if recipe.eval_batch_size == "auto" else recipe.eval_batch_size
    device = _cpu(recipe) if recipe.engine == "zero" else str(choose(recipe.device))
    precision = "float32" if recipe.precision == "auto" else recipe.precision
    return Plan(device, precision, threads, recipe.deterministic, eval_batch_size, recipe.engine)


def _cpu(recipe: Settled) -> str:
    """Return the one device that danlu.zero has; refuse another one, and precisions that it does not have."""
    for where, got, known in (
        ("device", recipe.device, ("auto", "cpu")),
        ("precision", recipe.precision, ("auto", "float32")),
    ):
        if got not in known:
            fix = f'set {where} = "{known[-1]}", or engine = "torch"'
            raise RecipeError(where=where, got=got, want=f'{known[-1]}, which is what engine = "zero" has', fix=fix)
    return "cpu"
