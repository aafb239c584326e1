"""The command: `python -m bench.peers` (that is `make bench`); about a quarter of an hour on two cores."""

import argparse
import importlib.metadata
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.peers import PEERS, missing
from bench.results import disturbed, summarize, targets
from bench.rounds import BenchError, Plan, run, save_line, save_pictures, workers
from bench.tables import markdown, show
from bench.task import Task
from danlu.device import environment
from danlu.errors import DanluError

RESULTS = Path(__file__).parents[1] / "results"
PACKAGES = ("torch", "danlu", "accelerate", "pytorch-ignite", "lightning", "skorch")
SETTINGS = ("rounds", "epochs", "retries", "share", "threads", "quick")
LINE_BATCH = 10


@dataclass(frozen=True)
class Job:
    """A task, how many epochs a fit of it has, and what the table says of it."""

    task: Task
    epochs: int
    about: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write; return the exit code."""
    options = parse(arguments)
    console = Console()
    left_out = {name: reason for name in options.only if (reason := missing(name))}
    names = [name for name in options.only if name not in left_out]
    if not names:
        console.print("nothing to measure:", *left_out.values())
        return 2
    started_s = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="danlu-bench-") as scratch:
            jobs = prepare(options, Path(scratch))
            rows = measure(jobs, names, options, Path(scratch), console)
    except (BenchError, DanluError) as error:
        console.print(str(error), markup=False, highlight=False)
        return 1
    report = compose(options, jobs, rows, left_out, time.monotonic() - started_s)
    show(report, console)
    folder = options.results or (None if options.quick else RESULTS)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "peers.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        (folder / "peers.md").write_text(markdown(report), encoding="utf-8")
        console.print(f"\nwritten: {folder / 'peers.json'} and peers.md", highlight=False)
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; `--quick` only changes defaults."""
    parser = argparse.ArgumentParser("python -m bench.peers", description="Measure danlu beside other trainers.")
    parser.add_argument("--quick", action="store_true", help="few rounds on a tenth of the data: to try it out")
    parser.add_argument("--rounds", type=int, help="rounds after the warm-up (default 8)")
    parser.add_argument("--epochs", type=int, help="epochs of every MLP fit (default 2); the CNN has one")
    parser.add_argument("--retries", type=int, help="of a fit during which other programs worked (default 2)")
    parser.add_argument("--share", type=float, help="share of the data, batches and updates (default 1)")
    parser.add_argument("--tasks", nargs="+", default=["mlp", "cnn", "line"], choices=["mlp", "cnn", "line"])
    parser.add_argument("--only", nargs="+", default=list(PEERS), choices=list(PEERS), metavar="TRAINER")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of PyTorch (default: all cores)")
    parser.add_argument("--arrays", type=Path, help="folder with the four arrays of other pictures, to try it out")
    parser.add_argument("--results", type=Path, help="for peers.json and .md (bench/results; --quick: not written)")
    options = parser.parse_args(arguments)
    quick, usual = (2, 1, 0, 0.1), (8, 2, 2, 1.0)
    defaults = dict(zip(("rounds", "epochs", "retries", "share"), quick if options.quick else usual, strict=True))
    for name, value in defaults.items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    if options.rounds < 1 or options.epochs < 1 or options.retries < 0 or not 0 < options.share <= 1:
        parser.error("rounds and epochs start at 1, retries at 0, share lies above 0 and up to 1")
    return options


def prepare(options: argparse.Namespace, scratch: Path) -> list[Job]:
    """Write the arrays and return the jobs; the MLP comes first, since it measures the memory of fresh processes."""
    pictures, line = options.arrays or scratch / "pictures", scratch / "line"
    share, threads = options.share, options.threads
    jobs = {}
    train, valid = round(60_000 * share), round(10_000 * share)
    mlp = Task("mlp", pictures, train, valid, 256, lr=0.1, momentum=0.0, threads=threads)
    about = f"MLP 784-256-10, {train:,} + {valid:,} pictures an epoch, batch 256, SGD 0.1, {options.epochs} epochs"
    jobs["mlp"] = Job(mlp, options.epochs, about)
    batches, valid = max(1, round(100 * share)), round(2_000 * share)
    cnn = Task("cnn", pictures, batches * 128, valid, 128, lr=0.05, momentum=0.9, threads=threads)
    about = f"CNN (2 x conv-BN-ReLU-pool, linear), {batches} batches of 128 + {valid:,} pictures, SGD 0.05/0.9, 1 epoch"
    jobs["cnn"] = Job(cnn, 1, about)
    updates = round(3_000 * share)
    small = Task("line", line, updates * LINE_BATCH, LINE_BATCH, LINE_BATCH, lr=0.01, momentum=0.0, threads=1)
    jobs["line"] = Job(small, 1, f"Linear(2, 1), MSE, SGD, {updates:,} updates of {LINE_BATCH} samples, 1 thread")
    if options.arrays is None and {"mlp", "cnn"} & set(options.tasks):
        pictures.mkdir()
        save_pictures(pictures)
    line.mkdir()
    save_line(line, updates * LINE_BATCH)
    return [job for name, job in jobs.items() if name in options.tasks]


def measure(
    jobs: Sequence[Job], names: Sequence[str], options: argparse.Namespace, scratch: Path, console: Console
) -> list[dict[str, Any]]:
    """Run every job in turn."""
    rows = []
    with console.status("starting", refresh_per_second=1) as status, workers(names, scratch) as crew:
        for job in jobs:
            plan = Plan(job.epochs, options.rounds, options.retries)
            rows += run(crew, job.task, plan, status.update)
    return rows


def compose(
    options: argparse.Namespace,
    jobs: Sequence[Job],
    rows: list[dict[str, Any]],
    left_out: dict[str, str],
    seconds: float,
) -> dict[str, Any]:
    """Return everything that was measured, and on what."""
    summary = summarize(rows)
    fits, of = disturbed(rows)
    machine = environment()
    return {
        "date": time.strftime("%Y-%m-%d"),
        "machine": {key: machine[key] for key in ("processor", "cores", "system", "python", "git")},
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
        "settings": {name: getattr(options, name) for name in SETTINGS},
        "command": sys.argv[1:],
        "seconds": seconds,
        "tasks": {job.task.name: _describe(job) for job in jobs},
        "targets": targets(summary),
        "summary": summary,
        "disturbed": {"fits": fits, "of": of},
        "left_out": left_out,
        "rounds": rows,
    }


def _describe(job: Job) -> dict[str, Any]:
    task = job.task
    names = ("train_samples", "valid_samples", "batch_size", "lr", "momentum", "threads")
    return {"about": job.about, "epochs": job.epochs, **{name: getattr(task, name) for name in names}}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    sys.exit(main())
