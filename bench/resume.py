"""What a run is after a kill, in danlu and beside it: `python -m bench.resume`; about two minutes on two cores.

Each trainer trains the same small job (`bench/resumes/job.py`): twice without a break, and once killed by a real
SIGKILL in mid-epoch, between two checkpoints, and resumed as its documentation recommends. Nothing here is timed.
Writes `bench/results/resume.json` and `resume.md`.
"""

import argparse
import importlib.metadata
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event

from bench.report import Sheet, markdown, show
from bench.resumes import TRAINERS, missing
from danlu.device import environment

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("torch", "lightning", "accelerate", "pytorch-ignite", "skorch", "torchdata")

Line = dict[str, Any]  # what one update saw


def leg(name: str, folder: Path, options: argparse.Namespace, *, kill: int = 0, resume: bool = False) -> int:
    """Run one leg of a run; return how its process ended."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "bench.resumes", name, str(folder), "--epochs", str(options.epochs)]
    command += ["--every", str(options.every), "--kill", str(kill), *(["--resume"] if resume else [])]
    done = subprocess.run(command, cwd=RESULTS.parents[1], capture_output=True, text=True, timeout=300)
    if done.returncode != (-9 if kill else 0):
        raise RuntimeError(f"{name} ended with {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.returncode


def compare(name: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Return what came of a trainer's two runs."""
    whole, again, killed = folder / "whole", folder / "again", folder / "killed"
    leg(name, whole, options)
    leg(name, again, options)
    leg(name, killed, options, kill=options.kill)
    first = seen(killed)
    leg(name, killed, options, resume=True)
    straight, second = seen(whole), seen(killed)[len(first) :]
    step, per_epoch = json.loads((killed / "resumed.json").read_text()), len(straight) // options.epochs
    later = per_epoch * (options.epochs - 1 - (options.kill - 1) // per_epoch)
    ended = len(second) - later  # updates of the second part that belong to the interrupted epoch
    begun = (options.kill - 1) // per_epoch * per_epoch
    samples = Counter(number for line in counted(first, second[:ended], begun, step) for number in line["ids"])
    everyone = {number for line in straight[:per_epoch] for number in line["ids"]}
    pairs = list(zip(straight[step:], second, strict=False))
    return {
        "repeats": weights(whole, again)["equal"],
        **weights(whole, killed),
        "killed_in": options.kill,
        "went_on_after": step,
        "repeated": sum(samples.values()) - len(samples),
        "lost": len(everyone - samples.keys()),
        "ids_equal": sum(a["ids"] == b["ids"] for a, b in pairs),
        "batches_equal": sum(a["digest"] == b["digest"] for a, b in pairs),
        "batches": len(straight) - step,
        **curves(whole, killed),
    }


def counted(first: list[Line], second: list[Line], begun: int, step: int) -> list[Line]:
    """Return the updates of the interrupted epoch that count in the final weights.

    Args:
        first, second: what was trained until the kill, and from the resume to the end of the epoch.
        begun: updates before the epoch.
        step: the update that the second part goes on after; it may lie before the epoch.
    """
    return [*first[begun:step], *second[max(0, begun - step) :]]


def seen(folder: Path) -> list[Line]:
    """Return what each training update saw, in the order in which they were done."""
    return [json.loads(line) for line in (folder / "seen.jsonl").read_text().splitlines()]


def weights(whole: Path, killed: Path) -> dict[str, Any]:
    """Return whether the final weights are equal, and their largest difference."""
    ours, theirs = np.load(whole / "final.npz"), np.load(killed / "final.npz")
    equal = all(ours[key].tobytes() == theirs[key].tobytes() for key in ours)
    return {"equal": equal, "difference": max(float(np.abs(ours[key] - theirs[key]).max()) for key in ours)}


def curves(whole: Path, killed: Path) -> dict[str, int]:
    """Return how many of TensorBoard's points are there twice, and how many of the unbroken run's are missing."""
    ours, theirs = points(whole), points(killed)
    return {"points": ours.total(), "twice": (theirs - ours).total(), "missing": (ours - theirs).total()}


def points(folder: Path) -> Counter[tuple[str, str, int]]:
    """Count TensorBoard's points: (sub-run, tag, step)."""
    found: Counter[tuple[str, str, int]] = Counter()
    for file in folder.rglob("events.out.tfevents.*"):
        for record in RawEventFileLoader(str(file)).Load():
            event = Event()
            event.ParseFromString(record)
            scalars = [value for value in event.summary.value if value.WhichOneof("value") == "simple_value"]
            found.update((str(file.parent.relative_to(folder)), value.tag, event.step) for value in scalars)
    return found


def sheet(report: dict[str, Any]) -> Sheet:
    """Return the table."""
    header = ["trainer", "unbroken twice", "weights equal", "largest difference", "went on after", "repeated", "lost"]
    header += ["same samples", "same augmentation", "points twice", "points missing"]
    rows = []
    for name, row in report["trainers"].items():
        cells = [
            name,
            "equal" if row["repeats"] else "not equal",
            "yes" if row["equal"] else "no",
            f"{row['difference']:.2g}",
            f"update {row['went_on_after']}",
        ]
        cells += [str(row["repeated"]), str(row["lost"]), f"{row['ids_equal']} of {row['batches']}"]
        rows.append([*cells, f"{row['batches_equal']} of {row['batches']}", str(row["twice"]), str(row["missing"])])
    return Sheet("A SIGKILL in mid-epoch, and resumed", header, rows)


def note(report: dict[str, Any]) -> str:
    """Return what a reader has to know beside the table."""
    job, versions = report["job"], ", ".join(f"{key} {value}" for key, value in report["versions"].items())
    used = "; ".join(f"{name}: {TRAINERS[name][2]}" for name in report["trainers"])
    return (
        f"Seen {report['date']} on {report['machine']['processor']}, Python {report['machine']['python']}; {versions}. "
        f"Digits (1,500 to train on, batches of 50), MLP with dropout, random noise in `__getitem__`, 2 workers, Adam, "
        f"cosine by updates, {job['epochs']} epochs; killed in the forward pass of update {job['kill']}, checkpoints "
        f"every {job['every']} updates. Samples: of the interrupted epoch, as far as its updates count in the final "
        f"weights. Same samples, same augmentation: updates after the resume whose batch is that of the unbroken run. "
        f"Points: of TensorBoard's curves, beyond and short of the unbroken run's. What was set: {used}."
    )


def versions() -> dict[str, str]:
    """Return the versions of the packages that are there."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, write; return the exit code."""
    parser = argparse.ArgumentParser("python -m bench.resume", description="Kill and resume danlu beside its peers.")
    parser.add_argument("--only", nargs="+", default=list(TRAINERS), choices=list(TRAINERS))
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--every", type=int, default=10, help="updates between two checkpoints")
    parser.add_argument("--kill", type=int, default=48, help="the update, from 1, in which the process dies")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for resume.json and resume.md")
    options = parser.parse_args(arguments)
    machine, trainers = environment(), {}
    for name in options.only:
        lost = missing(name)
        if lost is not None:
            print(f"{name} is left out: {lost}")
            continue
        with tempfile.TemporaryDirectory() as folder:
            trainers[name] = compare(name, Path(folder), options)
        print(f"{name}: {trainers[name]}", flush=True)
    report = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": {key: machine[key] for key in ("processor", "cores", "system", "python", "git")},
        "versions": versions(),
        "job": {key: getattr(options, key) for key in ("epochs", "every", "kill")},
        "trainers": trainers,
    }
    table = sheet(report)
    show([table], [], Console())
    options.results.mkdir(parents=True, exist_ok=True)
    (options.results / "resume.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    (options.results / "resume.md").write_text(markdown([table], [note(report)]), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
