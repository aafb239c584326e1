"""Draws the curves of a metric store: `python -m danlu.track.figure metrics.sqlite curves.png TITLE`.

One panel shows one quantity of all sets: `train/loss`, `valid/loss` and `running/loss` are the panel "loss". Every
line is named at its right end, with its last value.
"""

import json
import math
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from danlu.errors import DanluError
from danlu.track.store import MetricStore

Values = npt.NDArray[np.float64]

DPI = 120
LOG_DECADES = 2  # a loss that spans more is drawn on a logarithmic scale
MOST_PANELS = 12
LABEL_GAP = 0.075  # of a panel's height: room for one line of text
INK, FAINT, RED = "#24292f", "#d0d7de", "#cf222e"
COLOURS = {"train": "#1f6feb", "valid": "#e8590c", "test": "#1a7f37", "running": "#9ec5fe", "": "#57606a"}
MORE_COLOURS = ("#8250df", "#bf3989", "#0a7ea4", "#9a6700", "#57606a")
LOWER = ("loss", "error", "mse", "mae", "rmse", "perplexity", "nll", "brier", "distance", "deviance")
STYLE = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8c959f",
    "axes.titleweight": "bold",
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#eaeef2",
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": "#57606a",
    "ytick.color": "#57606a",
    "font.family": ["DejaVu Sans", "Noto Sans CJK SC", "Microsoft YaHei", "PingFang SC"],
}


@dataclass
class Line:
    """One set's curve: `x` in epochs or updates, shape (n,), and `y`, shape (n,), NaN and infinities among it."""

    name: str
    steps: npt.NDArray[np.int64]
    x: Values
    y: Values


@dataclass
class Panel:
    """One quantity, its lines in the order of their names' first rows."""

    name: str
    lines: list[Line] = field(default_factory=list)

    @property
    def is_better_low(self) -> bool:
        """Whether less of the quantity is better."""
        return any(word in self.name.lower().replace("-", "_").split("_") for word in LOWER)

    @property
    def judged(self) -> Line | None:
        """The line that says how good the model is: the validation set's, else another held-out set's."""
        if self.name.startswith("lr"):
            return None
        held_out = [line for line in self.lines if line.name not in ("train", "running", "test", "")]
        return next((line for line in held_out if line.name == "valid"), held_out[0] if held_out else None)


def read_panels(store: MetricStore) -> tuple[list[Panel], str]:
    """Return what there is to draw, the loss first and the learning rate last, and the unit of x."""
    epochs = {step: value for step, name, value in [*store.timings("epoch"), *store.rows("epoch")] if value == value}
    panels: dict[str, Panel] = {}
    for full_name in dict.fromkeys(name for _, name, _ in store.rows()):
        prefix, slash, rest = full_name.partition("/")
        name, line = (rest, prefix) if slash and prefix != "lr" else ("lr", rest) if prefix == "lr" else (full_name, "")
        steps, y = store.series(full_name)
        x = _to_epochs(steps, epochs) if epochs else steps.astype(np.float64)
        if full_name != "epoch" and (name != "lr" or np.unique(y).size > 1):
            panels.setdefault(name, Panel(name)).lines.append(Line(line, steps, x, y))
    order = sorted(panels.values(), key=lambda panel: (panel.name == "lr", "loss" not in panel.name))
    return order[:MOST_PANELS], "epoch" if epochs else "update"


def _to_epochs(steps: npt.NDArray[np.int64], epochs: dict[int, float]) -> Values:
    """Return where updates lie between the epochs' ends; update 0 is epoch 0."""
    known = {0: 0.0, **epochs}
    ends = np.array(sorted(known))
    numbers = np.array([known[step] for step in ends.tolist()])
    return np.asarray(np.interp(steps, ends, numbers), np.float64)


def draw(store_path: Path, out_png: Path, title: str) -> str:
    """Draw the figure, and return one line that says so."""
    import matplotlib

    matplotlib.use("Agg")
    import logging

    import matplotlib.pyplot as plt

    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # a system without one of the fonts is no news
    with MetricStore.open(store_path) as store:
        panels, unit = read_panels(store)
    if not panels:
        raise ValueError("the store holds no curve yet")
    best = _chosen(store_path.parent / "summary.json")
    x_last = max(float(line.x.max()) for panel in panels for line in panel.lines) or 1.0
    columns = len(panels) if len(panels) <= 3 else 2 if len(panels) == 4 else 3
    rows = math.ceil(len(panels) / columns)
    with plt.rc_context(STYLE):
        size = (5.2 * columns, 3.5 * rows + (0.4 if title else 0))
        figure, axes = plt.subplots(rows, columns, figsize=size, dpi=DPI, layout="constrained", squeeze=False)
        figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12)
        for panel, place in zip(panels, axes.flat, strict=False):
            place.set_xlabel(unit)
            place.set_xlim(0, x_last * 1.02)
            draw_panel(place, panel, best)
        for place in axes.flat[len(panels) :]:
            place.remove()
        if title:
            figure.suptitle(title, x=0.012, ha="left", fontsize=13, fontweight="bold")
        unfinished = out_png.with_name(f".{out_png.name}.tmp")
        unfinished.unlink(missing_ok=True)  # never write through a link that lies there
        figure.savefig(unfinished, format="png")
    unfinished.replace(out_png)
    return f"drew {len(panels)} panel{'s' if len(panels) > 1 else ''} to {out_png}"


def _chosen(summary: Path) -> dict[str, Any]:
    """Return the run's own choice of its best update, where it has made one."""
    try:
        return dict(json.loads(summary.read_bytes())["best"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def draw_panel(place: Any, panel: Panel, best: dict[str, Any]) -> None:
    """Draw one quantity into a pair of axes."""
    from matplotlib.ticker import MaxNLocator

    colours = _colours(panel)
    place.set_title("learning rate" if panel.name == "lr" else panel.name.replace("_", " "))
    for line in panel.lines:
        marker = "D" if line.y.size == 1 else "o" if line.y.size <= 25 and line.name != "running" else ""
        width, order = (1.0, 1) if line.name == "running" else (1.8, 2)
        place.plot(line.x, line.y, color=colours[line.name], marker=marker, ms=3.5, lw=width, zorder=order)
    finite = np.concatenate([line.y[np.isfinite(line.y)] for line in panel.lines])
    if "loss" in panel.name and finite.size and finite.min() > 0 and finite.max() > finite.min() * 10**LOG_DECADES:
        place.set_yscale("log")
    place.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    place.margins(y=0.08)
    place.autoscale_view(scalex=False)
    _mark_best(place, panel, best, colours)
    _mark_not_finite(place, panel)
    _name_lines(place, panel, colours)


def _colours(panel: Panel) -> dict[str, str]:
    others = [line.name for line in panel.lines if line.name not in COLOURS]
    return COLOURS | {name: MORE_COLOURS[index % len(MORE_COLOURS)] for index, name in enumerate(others)}


def _mark_best(place: Any, panel: Panel, chosen: dict[str, Any], colours: dict[str, str]) -> None:
    """Ring the best point of the judged line, and say it at the right over the panel, where no curve is."""
    line = panel.judged
    if line is None or line.y.size < 2 or not np.isfinite(line.y).any():
        return
    scores = np.where(np.isfinite(line.y), line.y if panel.is_better_low else -line.y, np.inf)
    index = int(np.argmin(scores))
    if chosen.get("metric") == f"{line.name}/{panel.name}" and chosen.get("step") in line.steps:
        index = int(np.flatnonzero(line.steps == chosen["step"])[-1])
    place.plot(line.x[index], line.y[index], "o", ms=9, mfc="none", mec=colours[line.name], mew=1.6, zorder=4)
    best = f"best {line.name} {_short(line.y[index])} at {place.get_xlabel()} {line.x[index]:g}"
    place.set_title(best, loc="right", fontsize=9, fontweight="normal", color=colours[line.name])


def _mark_not_finite(place: Any, panel: Panel) -> None:
    """Put a red cross at the bottom wherever a value was NaN or infinite."""
    where = np.concatenate([line.x[~np.isfinite(line.y)] for line in panel.lines])
    if where.size:
        across = place.get_xaxis_transform()
        place.plot(where, np.full(where.size, 0.03), "x", color=RED, ms=6, mew=1.6, transform=across, clip_on=False)
        place.text(0.02, 0.07, "× not finite", color=RED, fontsize=8.5, transform=place.transAxes)


def _name_lines(place: Any, panel: Panel, colours: dict[str, str]) -> None:
    """Write each line's name and last value at the right edge, moved apart where they would cover each other."""
    to_panel = place.transData + place.transAxes.inverted()
    labels = []
    for line in panel.lines:
        finite = line.y[np.isfinite(line.y)]
        height = to_panel.transform((line.x[-1], finite[-1]))[1] if finite.size else 0.5
        text = f"{line.name}  {_short(line.y[-1])}".strip()
        labels.append((float(height), text, "#5a9bf6" if line.name == "running" else colours[line.name]))
    labels.sort(key=lambda label: label[0])
    heights = spread([height for height, _, _ in labels])
    for height, (_, text, colour) in zip(heights, labels, strict=True):
        place.text(1.015, height, text, color=colour, fontsize=9, va="center", transform=place.transAxes)


def spread(heights: list[float]) -> list[float]:
    """Move ascending heights apart until each has `LABEL_GAP` to the next; those that must move keep their middle."""
    groups: list[tuple[float, int]] = []  # middle and size of each run of labels that touch
    for height in heights:
        middle, size = height, 1
        while groups and middle - groups[-1][0] < LABEL_GAP * (size + groups[-1][1]) / 2:
            other, count = groups.pop()
            middle, size = (middle * size + other * count) / (size + count), size + count
        groups.append((middle, size))
    return [middle + LABEL_GAP * (place - (size - 1) / 2) for middle, size in groups for place in range(size)]


def _short(value: float) -> str:
    if not math.isfinite(value):
        return str(float(value))
    return f"{value:.3g}" if abs(value) < 0.001 or abs(value) >= 1000 else f"{value:.4f}"


def main(arguments: list[str]) -> int:
    """Draw for the command line; return the exit status."""
    store_path, out_png, title = arguments
    try:
        print(draw(Path(store_path), Path(out_png), title))
    except (DanluError, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
