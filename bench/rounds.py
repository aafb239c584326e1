"""Rounds: every competitor does the same task in turn, in an order that moves on by one each round."""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from bench.peers import competes
from bench.task import Task
from bench.worker import Order, serve

Row = dict[str, Any]
DISTURBED_CORES = 0.2  # of other programs' work during a fit; two threads wait for each other, so a little harms much


def is_disturbed(row: Row) -> bool:
    """Whether other programs worked during a fit, where that is known."""
    return (row["others_cores"] or 0.0) > DISTURBED_CORES


class BenchError(Exception):
    """A competitor failed."""


class Workers:
    """One process per competitor; all but the one that has an order wait on their pipe."""

    def __init__(self, names: Sequence[str], folder: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self.names = list(names)
        self._pipes: dict[str, Connection] = {}
        self._processes, self._folder = [], folder
        for name in names:
            here, there = context.Pipe()
            process = context.Process(target=serve, args=(name, there, folder / f"{name}.log"), daemon=True)
            process.start()
            there.close()
            self._pipes[name] = here
            self._processes.append(process)
            self._receive(name)

    def measure(self, name: str, order: Order) -> Row:
        """Give an order and wait for what was measured."""
        self._pipes[name].send(order)
        return self._receive(name)

    def _receive(self, name: str) -> Row:
        try:
            answer: Row = self._pipes[name].recv()
        except EOFError:
            raise BenchError(f"{name}: its process ended.\n{self._log(name)}") from None
        if "error" in answer:
            raise BenchError(f"{name} failed:\n{answer['error']}")
        return answer

    def _log(self, name: str) -> str:
        log = self._folder / f"{name}.log"
        return log.read_text(encoding="utf-8", errors="replace")[-2000:] if log.exists() else ""

    def close(self) -> None:
        """Let the processes end."""
        for pipe in self._pipes.values():
            pipe.send(None)
        for process in self._processes:
            process.join(timeout=30)


@contextmanager
def workers(names: Sequence[str], folder: Path) -> Iterator[Workers]:
    """Start workers and end them; after an error they end with this process."""
    started = Workers(names, folder)
    yield started
    started.close()


@dataclass(frozen=True)
class Plan:
    """How a task is measured.

    Fields:
        epochs: of every fit.
        rounds: after the warm-up.
        retries: how often a fit during which other programs worked is done again. Its outcome does not decide that.
    """

    epochs: int
    rounds: int
    retries: int


def run(crew: Workers, task: Task, plan: Plan, tell: Callable[[str], None]) -> list[Row]:
    """Return one row per competitor and round; round 0 is the warm-up, which no figure of speed counts.

    Args:
        crew: who competes; the order of its names is the order of the first round.
        task: its seed is replaced by the round's number, so that every round has other first weights.
        plan: how.
        tell: gets a line before every fit.
    """
    rows = []
    names = [name for name in crew.names if competes(name, task.name)]
    for index in range(plan.rounds + 1):
        first = index % max(1, len(names))
        for place, name in enumerate(names[first:] + names[:first]):
            tell(f"{task.name}: {'warm-up' if index == 0 else f'round {index} of {plan.rounds}'}, {name}")
            order = Order(replace(task, seed=index), plan.epochs)
            tries, measured = 1, crew.measure(name, order)
            while index > 0 and is_disturbed(measured) and tries <= plan.retries:
                tries, measured = tries + 1, crew.measure(name, order)
            rows.append({"task": task.name, "round": index, "place": place, "name": name, "tries": tries, **measured})
    return rows
