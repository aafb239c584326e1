"""The command: `python -m bench.peers` (that is `make bench`); about a quarter of an hour on two quiet cores."""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.peers import PEERS, missing
from bench.peers.found import Found, found
from bench.peers.jobs import LONG, NAMES, Job, Scale, jobs
from bench.report import RESULTS, Report, frame, markdown, show, write
from bench.results import TARGETS, disturbed, summarize, targets
from bench.rounds import BenchError, Plan, Row, run, workers
from bench.tables import notes, sheets
from bench.targets import judged
from danlu.errors import DanluError
from danlu.measure import LIMIT_S

PACKAGES = ("torch", "danlu", "accelerate", "pytorch-ignite", "keras", "lightning", "skorch", "transformers")
SETTINGS = ("rounds", "epochs", "retries", "share", "threads", "limit", "quick")


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
            made = jobs(
                options.tasks, Scale(options.share, options.epochs, options.threads), Path(scratch), options.arrays
            )
            before, rows = measure(made, names, options, Path(scratch), console)
    except (BenchError, DanluError) as error:
        console.print(str(error), markup=False, highlight=False)
        return 1
    report = compose(options, made, rows, before) | {"left_out": left_out, "seconds": time.monotonic() - started_s}
    show(sheets(report), notes(report), console)
    folder = options.results or (None if options.quick else RESULTS)
    if folder is not None:
        write(folder, "peers", report, markdown(sheets(report), notes(report)))
        console.print(f"\nwritten: {folder / 'peers.json'} and peers.md", highlight=False)
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; `--quick` only changes defaults."""
    parser = argparse.ArgumentParser("python -m bench.peers", description="Measure danlu beside other trainers.")
    parser.add_argument("--quick", action="store_true", help="few rounds on a tenth of the data: to try it out")
    parser.add_argument("--rounds", type=int, help="rounds after the warm-up (default 6)")
    parser.add_argument("--epochs", type=int, help="epochs of every MLP fit (default 2); the other tasks have one")
    parser.add_argument("--retries", type=int, help="of a fit during which other programs worked (default 2)")
    parser.add_argument("--share", type=float, help="share of the data, batches and updates (default 1)")
    parser.add_argument("--limit", type=float, help=f"seconds that the search of a plan may take (default {LIMIT_S:g})")
    parser.add_argument("--tasks", nargs="+", default=list(NAMES), choices=[*NAMES, *LONG])
    parser.add_argument("--only", nargs="+", default=list(PEERS), choices=list(PEERS), metavar="TRAINER")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of PyTorch (default: all cores)")
    parser.add_argument("--arrays", type=Path, help="folder with the four arrays of other pictures, to try it out")
    parser.add_argument("--results", type=Path, help="for peers.json and .md (bench/results; --quick: not written)")
    options = parser.parse_args(arguments)
    quick, usual = (2, 1, 0, 0.1, 3.0), (6, 2, 2, 1.0, LIMIT_S)
    names = ("rounds", "epochs", "retries", "share", "limit")
    for name, value in zip(names, quick if options.quick else usual, strict=True):
        if getattr(options, name) is None:
            setattr(options, name, value)
    if options.rounds < 1 or options.epochs < 1 or options.retries < 0 or not 0 < options.share <= 1:
        parser.error("rounds and epochs start at 1, retries at 0, share lies above 0 and up to 1")
    return options


def measure(
    made: Sequence[Job], names: Sequence[str], options: argparse.Namespace, scratch: Path, console: Console
) -> tuple[Found, list[Row]]:
    """Find what is found before the rounds, then run every job in turn."""
    rows: list[Row] = []
    with console.status("searching plans", refresh_per_second=1) as status:

        def tell(line: str) -> None:
            """Show a line, and keep it where nobody watches a terminal."""
            status.update(line)
            if not console.is_terminal:
                console.print(line, highlight=False)

        tell("searching plans")
        before = found([(job.task, job.epochs) for job in made], names, options.limit, scratch / "found.log")
        tell("starting the trainers")
        with workers(names, scratch) as crew:
            for job in made:
                plan = Plan(job.epochs, min(job.rounds, options.rounds), options.retries)
                rows += run(crew, job.task, plan, tell)
    return before, rows


def compose(options: argparse.Namespace, made: Sequence[Job], rows: list[Row], before: Found) -> Report:
    """Return everything that was measured, and on what."""
    summary = summarize(rows)
    fits, of = disturbed(rows)
    return {
        **frame(PACKAGES),
        "settings": {name: getattr(options, name) for name in SETTINGS},
        "command": sys.argv[1:],
        "tasks": {job.task.name: _describe(job) for job in made},
        "found": before,
        "targets": judged(TARGETS, targets(summary)),
        "summary": summary,
        "disturbed": {"fits": fits, "of": of},
        "rounds": rows,
    }


def _describe(job: Job) -> dict[str, Any]:
    task = job.task
    names = ("train_samples", "valid_samples", "batch_size", "lr", "optimizer", "momentum", "threads", "model")
    return {"about": job.about, "epochs": job.epochs, **{name: getattr(task, name) for name in names}}


if __name__ == "__main__":
    sys.exit(main())
