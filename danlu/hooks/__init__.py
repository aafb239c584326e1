"""The concrete hooks: what watches a run, records it, shows it, and ends it early.

A hook must never know what one update is, and never change a number that training depends on.
"""

from collections.abc import Sequence

from danlu.hooks.checkpoint import Checkpoint
from danlu.hooks.early_stop import StopEarly
from danlu.hooks.interrupt import Interrupt
from danlu.hooks.limit import Limit
from danlu.hooks.log import Log
from danlu.hooks.pace import Pace
from danlu.hooks.progress import LiveProgress, PlainProgress, progress
from danlu.hooks.record import Papers, Record, summary, write_recipe
from danlu.recipe import Checkpoints, Settled
from danlu.save import Retry
from danlu.train.hook import Hook

__all__ = [
    "Checkpoint",
    "Interrupt",
    "Limit",
    "LiveProgress",
    "Log",
    "Pace",
    "Papers",
    "PlainProgress",
    "Record",
    "StopEarly",
    "defaults",
    "progress",
    "summary",
    "write_recipe",
]


def defaults(recipe: Settled, others: Sequence[Hook] = (), *, quiet: bool = False) -> list[Hook]:
    """Return the hooks that `fit` uses, in their order: each may rely on those before it.

    Args:
        recipe: says which are wanted.
        others: the caller's own; they stand before the record is closed, so that they may still add rows at the end.
        quiet: leave progress out.
    """
    hooks: list[Hook] = [Interrupt()]
    if recipe.early_stop != "off":
        hooks.append(StopEarly(recipe.early_stop.patience))
    policy = Checkpoints() if recipe.checkpoints == "off" else recipe.checkpoints
    log = Log(recipe.log_every, tensorboard=recipe.tensorboard, retry=Retry(policy.retries, policy.retry_s))
    hooks += [log, Pace(), *others, Papers(), Checkpoint(policy), Limit(), Record()]
    return hooks if quiet else [*hooks, progress()]
