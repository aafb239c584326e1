"""What is found before the rounds, in a process of its own while nobody else works: danlu's plans, settings by hand."""

import json
import multiprocessing
import traceback
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from bench.peers import competes
from bench.rounds import BenchError
from bench.task import Task
from bench.worker import print_to

Found = dict[str, dict[str, Any]]


def found(jobs: Sequence[tuple[Task, int]], names: Sequence[str], limit_s: float, log: Path) -> Found:
    """Find the plan of every task, as (task, epochs), and what is best by hand where that competes.

    Args:
        jobs: tasks and how many epochs a fit of them has.
        names: who competes.
        limit_s: seconds that the search of one plan may take.
        log: file for what is printed meanwhile.
    """
    here, there = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_serve, args=(there, list(jobs), list(names), limit_s, log), daemon=True)
    process.start()
    there.close()
    try:
        answer: Found = here.recv()
    except EOFError:
        raise BenchError(f"the search of plans ended.\n{log.read_text(errors='replace')[-2000:]}") from None
    process.join(timeout=30)
    if "error" in answer:
        raise BenchError(f"the search of plans failed:\n{answer['error']['text']}")
    return answer


def _serve(pipe: Connection, jobs: Sequence[tuple[Task, int]], names: Sequence[str], limit_s: float, log: Path) -> None:
    print_to(log)
    try:
        pipe.send({task.name: _of(task, epochs, names, limit_s) for task, epochs in jobs})
    except Exception:
        pipe.send({"error": {"text": traceback.format_exc()}})


def _of(task: Task, epochs: int, names: Sequence[str], limit_s: float) -> dict[str, Any]:
    import torch

    from bench.peers import by_hand, danlu

    found: dict[str, Any] = {}
    torch.set_num_threads(task.threads)
    if "danlu" in names:
        found["danlu"] = danlu.find(task, epochs, limit_s)
    if "by_hand" in names and competes("by_hand", task.name):
        found["by_hand"] = by_hand.find(task)
        by_hand.place(task).write_text(json.dumps(found["by_hand"]), encoding="utf-8")
    return found
