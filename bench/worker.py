"""A competitor's own process: it holds what a competitor imports and sets, and sleeps while others run."""

import gc
import importlib
import os
import shutil
import sys
import tempfile
import traceback
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter
from typing import Any

from bench.task import Fit, Task

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Order:
    """Do a task now."""

    task: Task
    epochs: int


def serve(name: str, connection: Connection, log: Path) -> None:
    """Answer orders until None comes. What libraries print goes to `log`."""
    print_to(log)
    importlib.import_module("bench.peers").competitor(name)
    connection.send({"ready": name})
    while (order := connection.recv()) is not None:
        try:
            connection.send(measure(name, order))
        except Exception:
            connection.send({"error": traceback.format_exc()})


def measure(name: str, order: Order) -> dict[str, Any]:
    """Run a competitor once and return everything that was measured."""
    import torch

    from bench.peers import competitor

    trainer = competitor(name)
    folder = Path(tempfile.mkdtemp(prefix="danlu-bench-"))
    task = replace(order.task, folder=folder)
    torch.set_num_threads(task.threads)
    gc.collect()
    try:
        machine_s, own_s, start_s = _machine_busy_s(), _own_s(), perf_counter()
        trainer.prepare(task)
        fit = trainer.run(order.epochs)
        end_s = perf_counter()
        others_s = _machine_busy_s() - machine_s - (_own_s() - own_s)
    finally:
        shutil.rmtree(folder)
    return {
        **_figures(task, fit, start_s, end_s),
        "others_cores": max(0.0, others_s / (end_s - start_s)) if machine_s else None,
        "memory_peak_mb": memory_peak_mb(),
    }


def _figures(task: Task, fit: Fit, start_s: float, end_s: float) -> dict[str, Any]:
    began = [fit.begun_s, *(epoch.ended_s for epoch in fit.epochs)]
    epochs = []
    for begun_s, epoch in zip(began, fit.epochs, strict=False):
        row = asdict(epoch)
        trained_s, ended_s = row.pop("trained_s"), row.pop("ended_s")
        epochs.append({"train_s": trained_s - begun_s, "evaluate_s": ended_s - trained_s, **row})
    training_s = sum(epoch["train_s"] for epoch in epochs)
    return {
        "epoch_s": (began[-1] - began[0]) / len(epochs),
        "update_us": training_s / len(epochs) / task.updates_per_epoch * 1e6,
        "setup_s": fit.begun_s - start_s,
        "finish_s": end_s - began[-1],
        "total_s": end_s - start_s,
        "epochs": epochs,
    }


def memory_peak_mb() -> float | None:
    """Return the most memory this process ever held, in units of 1e6 bytes; child processes do not count."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    kibibytes = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    return kibibytes * 1024 / 1e6


def _machine_busy_s() -> float:
    """Return how long all cores have worked so far, for whomever; 0 where that is not known."""
    try:
        fields = Path("/proc/stat").read_text(encoding="utf-8").split("\n", 1)[0].split()[1:9]
    except OSError:
        return 0.0
    user, nice, system, _, _, interrupts, soft_interrupts, stolen = map(int, fields)
    return (user + nice + system + interrupts + soft_interrupts + stolen) / TICKS_PER_S


def _own_s() -> float:
    return sum(os.times()[:4])


def print_to(log: Path) -> None:
    """Let what this process and its libraries print go to a file."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(file, 1)
    os.dup2(file, 2)
