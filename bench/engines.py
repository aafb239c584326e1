"""danlu.zero beside PyTorch: whole updates and peak memory, `python -m bench.engines`; about a minute on two cores.

Each has a process of its own (`bench/engine.py`) and the same networks, weights and batches; they take turns. An update
is forward, loss, backward and optimizer. Writes `bench/results/engines.json` and `engines.md`.
"""

import argparse
import importlib
import importlib.metadata
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from bench.engine import ENGINES, TASKS
from bench.report import Sheet, markdown, show
from bench.targets import number, spread
from danlu.device import environment

RESULTS = Path(__file__).parent / "results"
MEMORY_LIMIT, CLOSE = 1.5, 1e-3


def measure(name: str, rounds: int) -> dict[str, Any]:
    """Return losses, and by round seconds per update and peak memory, by engine; who begins a round alternates."""
    processes = {engine: _start(engine, name) for engine in ENGINES}
    losses = {engine: _answer(process) for engine, process in processes.items()}
    if not np.allclose(losses["zero"], losses["torch"], rtol=CLOSE):
        raise RuntimeError(f"{name}: the engines disagree about the loss: {losses}")
    rows: dict[str, list[dict[str, float]]] = {engine: [] for engine in ENGINES}
    for index in range(rounds + 1):
        for engine in list(ENGINES)[:: 1 if index % 2 else -1]:
            processes[engine].stdin.write("\n")
            processes[engine].stdin.flush()
            rows[engine].append(_answer(processes[engine]))
    for process in processes.values():
        process.communicate()
    update_s = {engine: [row["update_s"] for row in own[1:]] for engine, own in rows.items()}  # the first one warms up
    return {"losses": losses, "update_s": update_s, "memory_mb": {e: own[-1]["memory_mb"] for e, own in rows.items()}}


def _start(engine: str, name: str) -> Any:
    command = [sys.executable, "-m", "bench.engine", engine, name]
    root = Path(__file__).parents[1]
    return subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _answer(process: Any) -> Any:
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"{process.args[-2:]} ended with {process.wait()}")
    return json.loads(line)


def summarize(measured: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return medians and ratios, taken round by round, with their least and greatest values."""
    found = {}
    for name, figures in measured.items():
        ours, theirs = figures["update_s"]["zero"], figures["update_s"]["torch"]
        memory = figures["memory_mb"]["zero"] / figures["memory_mb"]["torch"]
        ratio = spread(a / b for a, b in zip(ours, theirs, strict=True))
        assert ratio is not None
        found[name] = {
            "zero_s": spread(ours),
            "torch_s": spread(theirs),
            "ratio": ratio,
            "memory_ratio": memory,
            "limit": TASKS[name].limit,
            "reached": ratio["median"] <= TASKS[name].limit and memory <= MEMORY_LIMIT,
        }
    return found


def sheet(report: dict[str, Any]) -> Sheet:
    """Return the table."""
    header = ["an update", "zero ms", "PyTorch ms", "ratio", "at most", "MB", "PyTorch MB", "reached"]
    rows = []
    for name, figures in report["summary"].items():
        times = [{key: 1e3 * value for key, value in figures[f"{engine}_s"].items()} for engine in ENGINES]
        digits = 3 if times[1]["median"] < 1 else 1
        memory = [f"{report['measured'][name]['memory_mb'][engine]:.0f}" for engine in ENGINES]
        cells = [TASKS[name].about, *(number(each, digits, bounds=False) for each in times)]
        cells += [number(figures["ratio"], 2), f"{figures['limit']:g}", *memory, "yes" if figures["reached"] else "no"]
        rows.append(cells)
    return Sheet("danlu.zero beside PyTorch", header, rows)


def note(report: dict[str, Any]) -> str:
    """Return what a reader has to know beside the table."""
    machine, versions = report["machine"], ", ".join(f"{key} {value}" for key, value in report["versions"].items())
    return (
        f"Measured {report['date']} on {machine['processor']}, {machine['cores']} cores, Python {machine['python']}; "
        f"{versions}. Medians of {report['rounds']} rounds, in which the engines take turns; ratios are taken round by "
        f"round (least..greatest). MB is the peak of an engine's process; at most {MEMORY_LIMIT} x PyTorch's."
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write; return the exit code."""
    parser = argparse.ArgumentParser("python -m bench.engines", description="Measure danlu.zero beside PyTorch.")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for engines.json and engines.md")
    options = parser.parse_args(arguments)
    machine, measured = environment(), {name: measure(name, options.rounds) for name in options.tasks}
    report = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": {key: machine[key] for key in ("processor", "cores", "system", "python", "git")},
        "versions": {package: importlib.metadata.version(package) for package in ("torch", "numpy")},
        "rounds": options.rounds,
        "summary": summarize(measured),
        "measured": measured,
    }
    table = sheet(report)
    show([table], [], Console())
    options.results.mkdir(parents=True, exist_ok=True)
    (options.results / "engines.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    (options.results / "engines.md").write_text(markdown([table], [note(report)]), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
