"""The execution plan: how this machine runs the recipe; written to `plan.json` before the first update.

"Same seed, same bits" is promised for the same plan, because another number of threads or another precision sums
floats in another order.
"""

from dataclasses import dataclass

import torch

from danlu.device.place import choose
from danlu.errors import RecipeError
from danlu.recipe import Settled


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
    """

    device: str
    precision: str
    threads: int
    deterministic: bool
    eval_batch_size: int
    engine: str = "torch"
    generators: str = "torch"

    @property
    def place(self) -> str:
        """Where it runs, for people: "cpu", or "cpu (danlu.zero)"."""
        return f"{self.device} (danlu.zero)" if self.engine == "zero" else self.device


def plan_for(recipe: Settled) -> Plan:
    """Decide the plan of a recipe on this machine; raise `RecipeError` for a device it does not have."""
    threads = torch.get_num_threads() if recipe.threads == "auto" else recipe.threads
    eval_batch_size = recipe.batch_size if recipe.eval_batch_size == "auto" else recipe.eval_batch_size
    device = _cpu(recipe) if recipe.engine == "zero" else str(choose(recipe.device))
    return Plan(device, recipe.precision, threads, recipe.deterministic, eval_batch_size, recipe.engine)


def _cpu(recipe: Settled) -> str:
    """Return the one device that danlu.zero has; refuse another one, and precisions that it does not have."""
    for where, got, known in (
        ("device", recipe.device, ("auto", "cpu")),
        ("precision", recipe.precision, ("float32",)),
    ):
        if got not in known:
            fix = f'set {where} = "{known[-1]}", or engine = "torch"'
            raise RecipeError(where=where, got=got, want=f'{known[-1]}, which is what engine = "zero" has', fix=fix)
    return "cpu"
