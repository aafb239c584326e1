"""The command: `python -m bench.data` (that is `make data-bench`); about twelve minutes on two quiet cores.

Writes `bench/results/data.json` and `data.md`.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from bench.data import TARGETS, Race, Tell, augment, disk, folder, order, serving
from bench.report import RESULTS, Report, Sheet, frame, markdown, measured_on, show, targets_sheet, write
from bench.rounds import BenchError
from bench.targets import Spread, judged, number, ratios, spread

PARTS: dict[str, Callable[[argparse.Namespace, Path, Tell], list[Race]]] = {
    "serving": serving.measure,
    "disk": disk.measure,
    "pictures": folder.measure,
    "augment": augment.measure,
    "order": order.measure,
}
PACKAGES = ("torch", "danlu", "numpy", "pillow", "kornia")
OPTIONS = ("rounds", "disk_rounds", "share", "bytes", "pictures", "seconds", "order_powers", "workers", "threads")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write; return the exit code."""
    options, console, started_s = parse(arguments), Console(), time.monotonic()
    torch.set_num_threads(options.threads)
    races: list[Race] = []
    with tempfile.TemporaryDirectory(prefix="danlu-data-", dir=options.scratch) as scratch:
        for name in options.parts:
            try:
                races += PARTS[name](options, Path(scratch), lambda line: console.print(line, highlight=False))
            except BenchError as error:
                console.print(str(error), markup=False, highlight=False)
                return 1
    summary = {race.name: standing(race) for race in races}
    report = {
        **frame(PACKAGES),
        "settings": {name: getattr(options, name) for name in OPTIONS},
        "seconds": time.monotonic() - started_s,
        "summary": summary,
        "targets": judged(TARGETS, summary),
        "races": [asdict(race) for race in races],
    }
    show(sheets(report), notes(report), console)
    place = options.results or (None if options.quick else RESULTS)
    if place is not None:
        write(place, "data", report, markdown(sheets(report), notes(report)))
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; `--quick` only changes defaults."""
    parser = argparse.ArgumentParser("python -m bench.data", description="Measure how fast data is served.")
    parser.add_argument("--quick", action="store_true", help="little of everything: to try it out")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--rounds", type=int, help="after the warm-up (default 9)")
    parser.add_argument("--disk-rounds", type=int, help="of disk and pictures (default 3)")
    parser.add_argument("--share", type=float, help="of the arrays in memory (default 1)")
    parser.add_argument("--bytes", type=int, help=f"of each set on disk (default {disk.BYTES:,})")
    parser.add_argument("--pictures", type=int, help="in the folder (default 20,000)")
    parser.add_argument("--seconds", type=float, help="that a turn from disk takes at most (default 5)")
    parser.add_argument("--order-powers", type=int, help="of ten: most samples of an order (default 8)")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2], help="of a DataLoader: the better one counts")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of PyTorch (default: all cores)")
    parser.add_argument("--scratch", type=Path, help="folder on the disk that is measured (default: the system's)")
    parser.add_argument("--results", type=Path, help="for data.json and .md (bench/results; --quick: not written)")
    options = parser.parse_args(arguments)
    names = ("rounds", "disk_rounds", "share", "bytes", "pictures", "seconds", "order_powers")
    quick, usual = (2, 1, 0.05, 32_000_000, 200, 1.0, 6), (9, 3, 1.0, disk.BYTES, 20_000, 5.0, 8)
    for name, value in zip(names, quick if options.quick else usual, strict=True):
        if getattr(options, name) is None:
            setattr(options, name, value)
    return options


def standing(race: Race) -> Spread | None:
    """Return the ratio that a target is about, round by round."""
    return None if race.missing else ratios(race.ours, race.theirs)


def sheets(report: Report) -> list[Sheet]:
    """Return the tables."""
    rows, found = [], []
    for race in report["races"]:
        if race["name"] in ("order-growth", "order-memory", "disk-memory"):
            continue
        if race["missing"]:
            rows.append([race["what"], "-", "-", "-", race["missing"]])
            continue
        rates = [number(spread(race[side]), 0, bounds=False) for side in ("ours", "theirs")]
        rows.append([race["what"], *rates, number(report["summary"][race["name"]], 2), race["beside"]])
    if rows:
        found.append(Sheet("Serving", ["what", "danlu /s", "beside it /s", "x", "beside it"], rows))
    growth: Any = next((race for race in report["races"] if race["name"] == "order-growth"), None)
    if growth is not None:
        header = ["samples", "begin us", "MB", "a batch in the middle us", "MB", "RandomSampler begin us", "MB"]
        found.append(Sheet("The order of an epoch", header, [_order(row) for row in growth["more"]["rows"]]))
    return [*found, targets_sheet(report["targets"])]


def _order(row: dict[str, Any]) -> list[str]:
    cells = [f"{row['samples']:,}"]
    for name in ("begin", "middle", "drawn"):
        cost = row.get(name)
        cells += ["-", "-"] if cost is None else [f"{1e6 * cost['seconds']:,.0f}", f"{cost['mb']:.1f}"]
    return cells


def notes(report: Report) -> list[str]:
    """Return what a reader has to know beside the tables."""
    workers = " and ".join(map(str, report["settings"]["workers"]))
    kept = f"{report['settings']['bytes'] / disk.PARTS / 1e6:,.0f} MB"
    return [
        f"{measured_on(report)} {report['settings']['threads']} threads.",
        "Samples per second, medians; ratios are taken round by round (least..greatest), the two take turns. A "
        f"DataLoader has the better number of workers of {workers}.",
        "From disk: every turn in a fresh process; the files are out of the page cache first, and again whenever "
        f"{kept} were read, so that no more of them is kept than danlu is allowed; rows become floats in both. danlu "
        "shuffles rows of 3 kB in blocks, as a recipe does where a set does not fit in memory: that is quasi-random, "
        "and the DataLoader's order is not. Pictures: the files are out of the page cache before each turn's first "
        "epoch.",
    ]


if __name__ == "__main__":
    sys.exit(main())
