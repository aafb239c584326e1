"""Update time against model width and batch size, `python -m bench.scale` (that is `make scale`); about seven minutes.

danlu and the bare loop have a process each and take turns. A small update is all overhead; a large one is what the
machine can do at best. And what share of the machine's products the updates of four networks make use of.
Writes `bench/results/scale.json`, `scale.md` and the figure `docs/scale.png`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.report import RESULTS, Report, Sheet, frame, markdown, measured_on, show, write
from bench.rounds import BenchError
from bench.scale_figure import draw
from bench.targets import number, ratios

FIGURE = Path(__file__).parents[1] / "docs" / "scale.png"
WAYS = ("danlu", "bare")
SIZES = [2**power for power in range(3, 13)]  # 8 to 4096
USUAL = {"width": 256, "batch": 256}
SHARES = {"mlp": 256, "cnn": 128, "lstm": 128, "transformer": 128}  # network: batch size
BLOCK_S = 0.2
UNDER = "peak under-measured"


class Process:
    """One way's process; it sleeps until it is asked."""

    def __init__(self, name: str) -> None:
        self._name = name
        env = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
        command, root = [sys.executable, "-m", "bench.scaling", name], Path(__file__).parents[1]
        self._process = subprocess.Popen(
            command, cwd=root, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, action: str, given: Any) -> dict[str, Any]:
        """Ask for something and wait for the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({action: given}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise BenchError(f"{self._name}: its process ended with {self._process.wait()} at {action} {given}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        self._process.communicate()


def measure_sweeps(ways: dict[str, Process], options: argparse.Namespace, console: Console) -> list[dict[str, Any]]:
    """Time an update at every width and every batch size; return a row for each."""
    rows: list[dict[str, Any]] = []
    for sweep in USUAL:
        for value in options.sizes:
            given = {**USUAL, sweep: value, "threads": options.threads, "limit_s": options.limit}
            said = {name: way.ask("build", given) for name, way in ways.items()}["danlu"]
            times: dict[str, list[float]] = {name: [] for name in WAYS}
            for index in range(options.rounds):
                for name in WAYS[:: 1 if index % 2 else -1]:
                    times[name].append(ways[name].ask("seconds", options.block)["update_s"])
            row = {"sweep": sweep, "value": value, **said, "times": times}
            row |= {f"{name}_s": statistics.median(times[name]) for name in WAYS}
            row["over_bare"] = ratios(times["danlu"], times["bare"])
            rows.append(row)
            told = f"{sweep} {value}: danlu {1e3 * row['danlu_s']:.3f} ms, bare {1e3 * row['bare_s']:.3f} ms"
            console.print(told, highlight=False)
    peak = max((row["flops_per_s"] for row in rows), default=1.0)  # the best that was seen: others may have disturbed
    for row in rows:
        row["products_s"] = None if row["flops"] is None else row["flops"] / peak
    return rows


def measure_shares(danlu: Process, options: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Return how much of the machine's products each network's updates make use of."""
    found = {}
    for name in options.networks:
        batch = SHARES[name]
        given = {"model": name, "batch": batch, "threads": options.threads, "limit_s": options.plan_limit}
        found[name] = danlu.ask("share", {**given, "seconds": options.seconds})
        console.print(f"{name}: {percent(found[name]['percent_of_gemm'])} of the peak", highlight=False)
    return found


def percent(value: float | None) -> str:
    """Write a share of the machine's products."""
    if value is None:
        return "not countable"
    return UNDER if value > 100 else f"{value:.0f} %"


def sheets(report: Report) -> list[Sheet]:
    """Return the tables."""
    rows = []
    for row in report["sweeps"]:
        limit = "-" if row["products_s"] is None else f"{1e3 * row['products_s']:.3f}"
        plan = ", ".join([*(row["ways"] or ["plain eager"]), f"threads {row['threads']}"])
        times = [f"{1e3 * row[f'{name}_s']:.3f}" for name in WAYS]
        rows.append([f"{row['sweep']} {row['value']:,}", *times, number(row["over_bare"], 2), limit, plan])
    header = ["MLP 784-W-10", "danlu ms", "bare ms", "danlu over bare", "its products at best ms", "plan"]
    found = [Sheet("An update against width (batch 256) and batch size (width 256)", header, rows)]
    header = ["network", "ms per update", "peak GFLOP/s", "% of the peak", "% of products or memory"]
    rows = [
        [
            name,
            f"{1e3 * one['update_s']:.2f}",
            f"{one['limits']['flops_per_s'] / 1e9:.0f}",
            *(percent(one[key]) for key in ("percent_of_gemm", "percent_of_floor")),
        ]
        for name, one in report["shares"].items()
    ]
    return [*found, Sheet("What an update makes of this machine's products", header, rows)]


def notes(report: Report) -> list[str]:
    """Return what a reader has to know beside the tables."""
    settings, found = report["settings"], report["shares"].values()
    text = f"{measured_on(report)} {settings['threads']} threads, or as the plan says. Medians of {settings['rounds']} "
    text += (
        f"blocks of {settings['block']:g} s, in which danlu and the bare loop take turns; ratios are taken block by "
    )
    text += f"block (least..greatest). danlu's plans were searched for {settings['limit']:g} s, without torch.compile."
    text += " Its products at best: at the best rate of a large product that was seen during the run."
    shapes = [f"The peak is {one['shape']}, measured before and after every block of updates." for one in found]
    return [text, *shapes[:1]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write; return the exit code."""
    parser = argparse.ArgumentParser("python -m bench.scale", description="Measure updates of growing size.")
    parser.add_argument("--quick", action="store_true", help="few sizes and short blocks: to try it out")
    parser.add_argument("--sizes", type=int, nargs="+", help="of width and of batch (default 8 16 ... 4096)")
    parser.add_argument("--networks", nargs="*", default=list(SHARES), choices=list(SHARES))
    parser.add_argument("--rounds", type=int, help="blocks of each way and size (default 7)")
    parser.add_argument("--block", type=float, help=f"seconds of a block (default {BLOCK_S:g})")
    parser.add_argument("--limit", type=float, help="seconds of the search of a plan, of the sweeps (default 3)")
    parser.add_argument("--plan-limit", type=float, help="the same of the four networks (default 20)")
    parser.add_argument("--seconds", type=float, help="that each of the four networks is measured (default 8)")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of PyTorch (default: all cores)")
    parser.add_argument("--figure", type=Path, help="the PNG (docs/scale.png; --quick: not written)")
    parser.add_argument("--results", type=Path, help="for scale.json and .md (bench/results; --quick: not written)")
    options = parser.parse_args(arguments)
    names = ("sizes", "rounds", "block", "limit", "plan_limit", "seconds")
    quick, usual = ([8, 256], 1, 0.02, 0.2, 0.5, 0.5), (SIZES, 7, BLOCK_S, 3.0, 20.0, 8.0)
    for name, value in zip(names, quick if options.quick else usual, strict=True):
        if getattr(options, name) is None:
            setattr(options, name, value)
    console, ways = Console(), {name: Process(name) for name in WAYS}
    try:
        sweeps = measure_sweeps(ways, options, console)
        shares = measure_shares(ways["danlu"], options, console)
    finally:
        for way in ways.values():
            way.close()
    report = {
        **frame(("torch", "danlu", "numpy")),
        "settings": {name: getattr(options, name) for name in (*names, "threads")},
        "sweeps": sweeps,
        "shares": shares,
    }
    show(sheets(report), notes(report), console)
    figure = options.figure or (None if options.quick else FIGURE)
    if figure is not None:
        draw(sweeps, figure)
    folder = options.results or (None if options.quick else RESULTS)
    if folder is not None:
        write(folder, "scale", report, markdown(sheets(report), notes(report)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
