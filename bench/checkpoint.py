"""What checkpoints cost training, `python -m bench.checkpoint`; about six minutes on two cores.

Three figures, each side by side in one process, turn by turn:

- a save: what it adds to the training thread, in units of one copy of the same state into a kept buffer;
- a run: seconds of the same number of updates with a save asked for every half minute, and with none;
- a resume: seconds from `resume` to the next update, at 90 % of a long epoch and at 1 % of it.

Writes `bench/results/checkpoint.json` and `checkpoint.md`.
"""

import argparse
import importlib.metadata
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from rich.console import Console
from torch import nn

import danlu
from bench.report import Sheet, markdown, show
from bench.targets import number, spread
from danlu import hooks, save
from danlu.data import Arrays, Data
from danlu.device import environment
from danlu.recipe import Checkpoints
from danlu.train import Training, prepare, run
from danlu.train import resume as resuming

RESULTS = Path(__file__).parent / "results"
LIMITS = {"save": 1.3, "run": 1.05, "resume": 1.05}  # the last: no longer, but for what two equal times differ by
EVERY_UPDATES = 50
REACHED = {True: "yes", False: "no"}
ABOUT = {
    "save": "a save, for the training thread; beside it one copy into a kept buffer",
    "run": "a run with a save asked for every half minute; beside it one without",
    "resume": "a resume at 90 % of a long epoch; beside it one at 1 %",
}


def network(width: int) -> nn.Module:
    """Return an MLP of width ** 2 + 43 width parameters and a few: 25 million at 4,976."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(32, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10))


def points(samples: int, classes: int = 10, features: int = 32) -> Data:
    """Return inputs (samples, features) and their classes, with one small validation set."""
    generator = np.random.default_rng(0)
    x = generator.standard_normal((samples, features), np.float32)
    train = Arrays(x, generator.integers(0, classes, samples))
    return Data(train, {"valid": Arrays(x[:8], np.zeros(8, np.int64))})


class Saves(danlu.Hook):
    """The checkpoint hook without the last save, which a run of hours does not notice.

    With `copies` it is timed at each save, beside one copy of the same state into a buffer that is kept.
    """

    def __init__(self, policy: Checkpoints, *, copies: bool = False) -> None:
        self._inner, self._copies = hooks.Checkpoint(policy), copies
        self._buffers: dict[str, Any] = {}
        self.saves_s: list[float] = []
        self.copies_s: list[float] = []
        self.state_mb = 0.0

    def on_fit_start(self, training: Training) -> None:
        self._inner.on_fit_start(training)

    def on_step_end(self, training: Training, result: Any) -> None:
        self._inner.on_step_end(training, result)

    def on_checkpoint(self, training: Training) -> None:
        if training.stop is not None:
            return
        turns: list[tuple[list[float], Callable[[Training], None]]]
        turns = [(self.saves_s, self._inner.on_checkpoint), (self.copies_s, self._copy)]
        for times_s, act in turns[:: 1 if len(self.saves_s) % 2 else -1] if self._copies else turns[:1]:
            start_s = time.perf_counter()
            act(training)
            times_s.append(time.perf_counter() - start_s)

    def _copy(self, training: Training) -> None:
        tensors, _ = training.state.state_dict()
        named = {f"{group}/{name}": array for group, arrays in tensors.items() for name, array in arrays.items()}
        for name, array in named.items():
            if name not in self._buffers:
                self._buffers[name] = np.empty_like(array)
            np.copyto(self._buffers[name], array)
        self.state_mb = sum(array.nbytes for array in named.values()) / 1e6

    def on_fit_end(self, training: Training, error: BaseException | None) -> None:
        self._inner.on_fit_end(training, error)


def train(
    model: nn.Module, data: Data, home: Path, updates: int, saves: Saves | None, policy: Checkpoints | Literal["off"]
) -> tuple[float, float]:
    """Train in a folder; return seconds of the loop, and of one update; what stands before and after is not counted."""
    recipe = danlu.Recipe(
        optim=danlu.Optim("adam", lr=1e-4),
        updates=updates,
        epochs="off",
        batch_size=32,
        validate_every=10**9,
        validate_per="update",
        checkpoints=policy,
    )
    training = prepare(model, data, recipe)
    training.hold(home)
    training.record_in(home)
    ends_s = [time.perf_counter() for _ in run(training, [] if saves is None else [saves])]
    training.store.close()
    return training.seconds, float(np.median(np.diff(ends_s)))


def measure_save(place: Path, width: int, rounds: int) -> dict[str, Any]:
    """Time every save of one run, and one copy of the state beside each; the first two make the buffers."""
    policy = Checkpoints(every=EVERY_UPDATES, per="update", keep=1, best=False)
    saves, updates = Saves(policy, copies=True), EVERY_UPDATES * (rounds + 2)
    seconds, _ = train(network(width), points(4096), folder(place), updates, saves, policy)
    ratio = [a / b for a, b in zip(saves.saves_s[2:], saves.copies_s[2:], strict=True)]
    found = {"ratio": ratio, "ours_s": saves.saves_s[2:], "other_s": saves.copies_s[2:]}
    return {**found, "state_mb": saves.state_mb, "updates": updates, "seconds": seconds}


def measure_run(place: Path, width: int, rounds: int, every_s: float) -> dict[str, Any]:
    """Time the same updates with a save asked for every `every_s` seconds and with none, in turns."""
    data, policy = points(4096), Checkpoints(every=every_s / 60, per="minute", best=False)
    _, update_s = train(network(width), data, folder(place), 20, None, "off")
    updates = max(20, round(2.2 * every_s / update_s))  # two saves
    found: dict[str, list[float]] = {"ours_s": [], "other_s": []}
    saved = []
    for index in range(rounds):
        for name in list(found)[:: 1 if index % 2 else -1]:
            saves = Saves(policy) if name == "ours_s" else None
            found[name].append(train(network(width), data, folder(place), updates, saves, policy)[0])
            saved += [] if saves is None else [len(saves.saves_s)]
    ratio = [a / b for a, b in zip(*found.values(), strict=True)]
    return {"ratio": ratio, **found, "updates": updates, "saves": saved, "every_s": every_s}


def measure_resume(place: Path, samples: int, rounds: int) -> dict[str, Any]:
    """Time from a stopped run's folder to its next update, stopped at 90 % of a long epoch and near its start."""
    data, batches = points(samples, 2, features=1), -(-samples // 64)
    recipe = danlu.Recipe(epochs=1, batch_size=64, tensorboard=False)
    found: dict[str, list[float]] = {"ours_s": [], "other_s": []}
    folders = {
        name: _stopped(recipe, data, folder(place), at) for name, at in zip(found, (batches * 9 // 10, 1), strict=True)
    }
    for index in range(rounds + 1):
        for name in list(found)[:: 1 if index % 2 else -1]:
            training = prepare(nn.Linear(1, 2), data, recipe)
            start_s = time.perf_counter()
            resuming.go_on(training, folders[name])
            updates = run(training)
            next(updates)
            found[name].append(time.perf_counter() - start_s)
            updates.close()  # type: ignore[attr-defined]
            training.store.close()
    found = {name: times_s[1:] for name, times_s in found.items()}  # the first one warms up
    ratio = [a / b for a, b in zip(*found.values(), strict=True)]
    return {"ratio": ratio, **found, "batches": batches}


def _stopped(recipe: danlu.Recipe, data: Data, home: Path, at: int) -> Path:
    """Leave a run that was stopped after batch `at`."""
    training = prepare(nn.Linear(1, 2), data, recipe)
    training.hold(home)
    training.record_in(home)
    training.state.position = training.state.updates_done = at
    save.write(save.folder(home, at), *training.state.state_dict())
    training.store.close()
    training.close()
    return home


def folder(place: Path) -> Path:
    """Return a new folder in `place`."""
    return Path(tempfile.mkdtemp(dir=place))


def summarize(measured: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return medians with their least and greatest values, and whether the median reaches the limit."""
    found = {}
    for name, figures in measured.items():
        ratio = spread(figures["ratio"])
        assert ratio is not None
        times = {key: spread(figures[key]) for key in ("ours_s", "other_s")}
        found[name] = {"ratio": ratio, **times, "limit": LIMITS[name], "reached": ratio["median"] <= LIMITS[name]}
    return found


def sheet(report: dict[str, Any]) -> Sheet:
    """Return the table."""
    rows = []
    for name, figures in report["summary"].items():
        cells = [
            number({key: 1e3 * value for key, value in figures[time].items()}, 1) for time in ("ours_s", "other_s")
        ]
        rows.append(
            [ABOUT[name], *cells, number(figures["ratio"], 3), f"{figures['limit']:g}", REACHED[figures["reached"]]]
        )
    return Sheet("What checkpoints cost", ["what", "ms", "beside it, ms", "ratio", "at most", "reached"], rows)


def note(report: dict[str, Any]) -> str:
    """Return what a reader has to know beside the table."""
    machine, versions = report["machine"], ", ".join(f"{key} {value}" for key, value in report["versions"].items())
    said = [
        f"Measured {report['date']} on {machine['processor']}, {machine['cores']} cores, Python {machine['python']}"
    ]
    said.append(f"{versions}. Medians (least..greatest); ratios are taken turn by turn.")
    if "save" in report["measured"]:
        said.append(f"The state of the first row is {report['measured']['save']['state_mb']:,.0f} MB.")
    return "; ".join(said[:2]) + " " + " ".join(said[2:])


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write; return the exit code."""
    parser = argparse.ArgumentParser("python -m bench.checkpoint", description="Measure what checkpoints cost.")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--parts", nargs="+", default=list(LIMITS), choices=list(LIMITS))
    parser.add_argument(
        "--width", type=int, default=4976, help="of the model's layers: width ** 2 parameters and a few"
    )
    parser.add_argument("--samples", type=int, default=10_000_000, help="in the long epoch")
    parser.add_argument("--seconds", type=float, default=30.0, help="between two saves of the whole run")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for checkpoint.json and checkpoint.md")
    options = parser.parse_args(arguments)
    place = Path(tempfile.mkdtemp(prefix="danlu-checkpoint-"))
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "save": lambda: measure_save(place, options.width, options.rounds),
        "run": lambda: measure_run(place, options.width, max(1, options.rounds // 3), options.seconds),
        "resume": lambda: measure_resume(place, options.samples, options.rounds),
    }
    try:
        measured = {name: parts[name]() for name in options.parts}
    finally:
        shutil.rmtree(place)
    machine = environment()
    report = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": {key: machine[key] for key in ("processor", "cores", "system", "python", "git")},
        "versions": {package: importlib.metadata.version(package) for package in ("torch", "numpy", "safetensors")},
        "summary": summarize(measured),
        "measured": measured,
    }
    table = sheet(report)
    show([table], [], Console())
    options.results.mkdir(parents=True, exist_ok=True)
    (options.results / "checkpoint.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    (options.results / "checkpoint.md").write_text(markdown([table], [note(report)]), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
