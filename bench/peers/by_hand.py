"""The bare loop as somebody sets it who knows this machine: the settings that timed best before the rounds.

Settings, each measured with the task's own model and batches: memory layout, fused optimizer, glibc told to keep freed
memory, threads. `find` times them, and the best is what runs.
"""

import json
import statistics
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any, final

import torch
from torch import nn

from bench.peers import bare
from bench.task import Fit, Task, make_loss, make_model
from danlu.device.allocator import memory_kept

TURNS = 2  # more, for the few that were best in the first
FEW = 3
UPDATES = 2  # that are timed in a turn, after one that warms up


@dataclass(frozen=True)
class Settings:
    """What is set by hand."""

    channels_last: bool
    fused: bool
    keep_memory: bool
    threads: int

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Set threads and allocator for a while."""
        before = torch.get_num_threads()
        with ExitStack() as held:
            held.enter_context(memory_kept(self.keep_memory))
            torch.set_num_threads(self.threads)
            held.callback(torch.set_num_threads, before)
            yield

    def build(self, task: Task) -> tuple[nn.Module, torch.optim.Optimizer]:
        """Return the task's model and optimizer."""
        model = make_model(task)
        if self.channels_last:
            model = model.to(memory_format=torch.channels_last)
        kind = torch.optim.AdamW if task.optimizer == "adamw" else torch.optim.SGD
        own: dict[str, Any] = {} if task.optimizer == "adamw" else {"momentum": task.momentum}
        return model, kind(model.parameters(), lr=task.lr, fused=self.fused, **own)


@final
class Trainer(bare.Trainer):
    def prepare(self, task: Task) -> None:
        super().prepare(task)
        found = json.loads(place(task).read_text(encoding="utf-8"))
        self._settings = Settings(**found["settings"])

    def build(self) -> tuple[nn.Module, torch.optim.Optimizer]:
        return self._settings.build(self._task)

    def run(self, epochs: int) -> Fit:
        with self._settings.hold():
            return super().run(epochs)


def place(task: Task) -> Path:
    """Return the file that says what was found for a task."""
    return task.found / f"{task.name}-by_hand.json"


def find(task: Task) -> dict[str, Any]:
    """Time every setting in turn; return the best, and seconds of an update by setting."""
    all_cores = Settings(channels_last=False, fused=False, keep_memory=False, threads=task.threads)
    laid_out = replace(all_cores, channels_last=True)
    kept, both = replace(all_cores, keep_memory=True), replace(laid_out, keep_memory=True)
    tried = [all_cores, laid_out, kept, both, replace(kept, fused=True), replace(both, fused=True)]
    tried += [replace(both, fused=True, threads=1)] if task.threads > 1 else []
    times: dict[Settings, list[float]] = {settings: [] for settings in tried}

    def time(some: list[Settings]) -> None:
        for settings in some:
            with settings.hold():
                times[settings].append(_update_s(task, settings))

    time(tried)
    few = sorted(tried, key=lambda settings: times[settings])[:FEW]
    for turn in range(TURNS):
        time(few[:: 1 if turn % 2 else -1])
    best = min(few, key=lambda settings: statistics.median(times[settings]))
    rows = [{**asdict(settings), "update_s": times[settings]} for settings in tried]
    return {"settings": asdict(best), "tried": rows}


def _update_s(task: Task, settings: Settings) -> float:
    """Return seconds of an update, after one that warms up."""
    (model, optimizer), loss_function = settings.build(task), make_loss(task)
    trainer = bare.Trainer()
    trainer.prepare(replace(task, train_samples=task.batch_size, valid_samples=1))
    times = []
    for _ in range(1 + UPDATES):
        start_s = perf_counter()
        trainer._train(model, loss_function, optimizer)
        times.append(perf_counter() - start_s)
    return statistics.median(times[1:])
