"""The trainers whose resuming is compared, one file each; `python -m bench.resumes NAME FOLDER` is one leg of a run.

Each file has `run(job, resume)`, which trains as the trainer's documentation recommends for a run that may be killed:
it says where it goes on with `job.goes_on_after`, and returns the model.
"""

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any

# name: the file, the packages it needs, and what was set
TRAINERS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "danlu": ("danlu", ("danlu",), "checkpoints every 10 updates, resume=True"),
    "lightning": ("lightning", ("lightning",), "ModelCheckpoint(every_n_train_steps=10, save_last), ckpt_path='last'"),
    "lightning + StatefulDataLoader": ("lightning", ("lightning", "torchdata"), "as above, torchdata's loader"),
    "accelerate": ("accelerate", ("accelerate",), "save_state every 10 updates, skip_first_batches, seedable sampler"),
    "accelerate + StatefulDataLoader": (
        "accelerate",
        ("accelerate", "torchdata"),
        "save_state every 10 updates, use_stateful_dataloader, seedable sampler",
    ),
    "ignite": ("ignite", ("ignite",), "DeterministicEngine, Checkpoint every 10 iterations"),
    "skorch": ("skorch", ("skorch",), "Checkpoint every epoch (it has no steps), LoadInitState"),
}


def missing(name: str) -> str | None:
    """Return why a trainer cannot run here, or None."""
    lost = [package for package in TRAINERS[name][1] if importlib.util.find_spec(package) is None]
    return f"{lost[0]} is not installed: pip install -r requirements/bench.txt" if lost else None


def trainer(name: str) -> Callable[..., Any]:
    """Return a trainer's `run`."""
    run: Callable[..., Any] = importlib.import_module(f"bench.resumes.{TRAINERS[name][0]}").run
    return run
