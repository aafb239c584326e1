"""An update beside a busy process, `python -m bench.busy` (that is `make busy`); about five minutes on two quiet cores.

Four ways in turn, each in a fresh process: danlu and the plain loop, alone and while one other process spins on a core
from before their start. danlu has an empty cache, so that it searches its plan in the state that it meets; the run
that it is told of is long enough for that, and is stopped once enough updates were timed.
Writes `bench/results/busy.json` and `busy.md`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.report import RESULTS, Report, Sheet, frame, markdown, measured_on, show, targets_sheet, write
from bench.targets import Spread, Target, judged, number, ratios, spread

TARGETS = {
    "danlu": Target("danlu's update beside a busy process, over its quiet time", 1.5, "at most", "x"),
    "plain_over_danlu": Target("beside a busy process: plain PyTorch's update over danlu's", 1.0, "at least", "x"),
}
WAYS = ("danlu", "plain")
BATCH, SAMPLES, EPOCHS = 256, 60_000, 100
WARM_UPS = 20
SPIN = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: pass"  # so it ends with us


def train_danlu(updates: int, threads: int, folder: Path) -> dict[str, Any]:
    """Train with `danlu.fit` and stop after so many timed updates; evaluations are not among them."""
    import torch

    import danlu
    from bench.models import mlp
    from danlu.train.hook import Stop
    from danlu.train.learner import Result
    from danlu.train.training import Training

    class Clock(danlu.Hook):
        def __init__(self) -> None:
            self.seen, self.timed_s, self.updates, self.last_s, self.plan = 0, 0.0, 0, 0.0, ""

        def on_fit_start(self, training: Training) -> None:
            plan = training.plan
            threads = "1 thread" if plan.threads == 1 else f"{plan.threads} threads"
            self.plan = ", ".join([*(plan.ways or ["plain eager"]), threads])

        def on_step_end(self, training: Training, result: Result) -> Stop | None:
            now_s, self.seen = time.perf_counter(), self.seen + 1
            if self.seen > WARM_UPS and self.last_s:
                self.timed_s, self.updates = self.timed_s + now_s - self.last_s, self.updates + 1
            self.last_s = now_s
            return Stop("enough") if self.updates >= updates else None

        def on_eval_end(self, training: Training, figures: dict[str, Any]) -> None:
            self.last_s = 0.0

    torch.set_num_threads(threads)
    os.environ["DANLU_CACHE"] = str(folder / "cache")
    torch.manual_seed(0)
    clock, (inputs, target) = Clock(), arrays()
    recipe = danlu.Recipe(optim=danlu.Optim("sgd", lr=0.1), epochs=EPOCHS, batch_size=BATCH, device="cpu")
    data = danlu.data.arrays(inputs, target, valid=(inputs[:BATCH], target[:BATCH]))
    begun_s = time.perf_counter()
    danlu.fit(mlp(), data, recipe, out=folder / "run", quiet=True, hooks=[clock])
    return {
        "update_s": clock.timed_s / clock.updates,
        "updates": clock.updates,
        "plan": clock.plan,
        "fit_s": time.perf_counter() - begun_s,
    }


def train_plain(updates: int, threads: int, folder: Path) -> dict[str, Any]:
    """Train with the bare loop over resident tensors."""
    import torch

    from bench.models import mlp
    from bench.peers.bare import floats

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    inputs, target = map(torch.from_numpy, arrays())
    model, loss_function = mlp(), torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    done, start_s = 0, time.perf_counter()
    while True:
        for ids in torch.randperm(len(inputs)).split(BATCH):
            optimizer.zero_grad()
            loss_function(model(floats(inputs.index_select(0, ids))), target.index_select(0, ids)).backward()
            optimizer.step()
            done += 1
            if done == WARM_UPS:
                start_s = time.perf_counter()
            if done == WARM_UPS + updates:
                seconds = time.perf_counter() - start_s
                return {"update_s": seconds / updates, "updates": updates, "plan": f"plain eager, {threads} threads"}


def arrays() -> tuple[Any, Any]:
    """Return made pictures, uint8 (N, 1, 28, 28), and their classes."""
    import numpy as np

    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (SAMPLES, 1, 28, 28), dtype=np.uint8), generator.integers(0, 10, SAMPLES)


@contextmanager
def spinning(wanted: bool) -> Iterator[None]:
    """Let one other process use a core meanwhile."""
    if not wanted:
        yield
        return
    with subprocess.Popen([sys.executable, "-c", SPIN]) as process:
        try:
            time.sleep(0.5)
            yield
        finally:
            process.kill()


def measure(way: str, busy: bool, updates: int, threads: int) -> dict[str, Any]:
    """Train in a fresh process and return what it says."""
    command = [sys.executable, "-m", "bench.busy", "--serve", way, "--updates", str(updates), "--threads", str(threads)]
    env = {key: value for key, value in os.environ.items() if key not in ("OMP_NUM_THREADS", "GOMP_SPINCOUNT")}
    with spinning(busy):
        done = subprocess.run(
            command, cwd=Path(__file__).parents[1], env=env, capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def summarize(rows: Sequence[dict[str, Any]]) -> dict[str, Spread | None]:
    """Return seconds by way and state, and their ratios, taken round by round."""

    def of(way: str, busy: bool) -> list[float]:
        return [row["update_s"] for row in rows if row["way"] == way and row["busy"] == busy]

    found = {f"{way} {state}": spread(of(way, state == "busy")) for way in WAYS for state in ("quiet", "busy")}
    found |= {way: ratios(of(way, True), of(way, False)) for way in WAYS}
    both = of("plain", True) and of("danlu", True)
    return found | {"plain_over_danlu": ratios(of("plain", True), of("danlu", True)) if both else None}


def sheets(report: Report) -> list[Sheet]:
    """Return the tables."""
    summary, rows = report["summary"], []
    for way in dict.fromkeys(row["way"] for row in report["rounds"]):
        times = [{key: 1e3 * value for key, value in summary[f"{way} {state}"].items()} for state in ("quiet", "busy")]
        plans = [
            " or ".join(sorted({row["plan"] for row in report["rounds"] if (row["way"], row["busy"]) == (way, busy)}))
            for busy in (False, True)
        ]
        rows.append([way, *(number(each, 2) for each in times), number(summary[way], 2), *plans])
    header = ["trainer", "ms quiet", "ms busy", "busy over quiet", "plan quiet", "plan busy"]
    title = "An update of the MLP 784-256-10, batch 256, alone and beside one process that spins on a core"
    return [Sheet(title, header, rows), targets_sheet(report["targets"])]


def notes(report: Report) -> list[str]:
    """Return what a reader has to know beside the tables."""
    text = (
        f"Medians of {report['settings']['rounds']} rounds (least..greatest), each of {report['settings']['updates']}"
    )
    text += " updates in fresh processes; ratios are taken round by round. danlu searches its plan within each run."
    return [measured_on(report), text]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write; return the exit code."""
    parser = argparse.ArgumentParser("python -m bench.busy", description="Measure an update beside a busy process.")
    parser.add_argument("--quick", action="store_true", help="one round of few updates: to try it out")
    parser.add_argument("--rounds", type=int, help="default 5")
    parser.add_argument("--updates", type=int, help="that are timed in each run (default 1000)")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of PyTorch (default: all cores)")
    parser.add_argument("--results", type=Path, help="for busy.json and .md (bench/results; --quick: not written)")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--serve", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    rounds = options.rounds or (1 if options.quick else 5)
    updates = options.updates or (30 if options.quick else 1000)
    if options.serve:
        train = train_danlu if options.serve == "danlu" else train_plain
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(train(updates, options.threads, Path(folder))), flush=True)
        return 0
    console, made = Console(), list[dict[str, Any]]()
    for index in range(rounds):
        for busy in (False, True)[:: 1 if index % 2 else -1]:
            for way in options.ways[:: 1 if index % 2 else -1]:
                state = "busy" if busy else "quiet"
                row = {"round": index, "way": way, "busy": busy, **measure(way, busy, updates, options.threads)}
                made.append(row)
                told = f"round {index + 1} of {rounds}, {way}, {state}: {1e3 * row['update_s']:.2f} ms, {row['plan']}"
                console.print(told, highlight=False)
    summary = summarize(made)
    report = {
        **frame(("torch", "danlu")),
        "settings": {"rounds": rounds, "updates": updates, "threads": options.threads},
        "summary": summary,
        "targets": judged(TARGETS, summary),
        "rounds": made,
    }
    show(sheets(report), notes(report), console)
    folder = options.results or (None if options.quick else RESULTS)
    if folder is not None:
        write(folder, "busy", report, markdown(sheets(report), notes(report)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
