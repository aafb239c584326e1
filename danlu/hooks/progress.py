"""Progress: one calm live block in a terminal, plain lines elsewhere."""

import math
import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, final

from danlu.train.hook import Hook
from danlu.train.learner import Result
from danlu.train.training import Training

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

REFRESH_S = 0.2
RATE_WINDOW_S = 5.0


def progress() -> Hook:
    """Return the live block where standard output is a terminal, else plain lines."""
    return LiveProgress() if sys.stdout.isatty() else PlainProgress()


class Pace:
    """How fast the run goes now, from the clock alone."""

    def __init__(self) -> None:
        self._marks: list[tuple[float, int, int]] = []

    def mark(self, training: Training) -> None:
        """Note where the run stands."""
        now_s = time.monotonic()
        self._marks.append((now_s, training.state.samples_seen, training.state.updates_done))
        while len(self._marks) > 2 and now_s - self._marks[1][0] > RATE_WINDOW_S:
            self._marks.pop(0)

    def samples_per_s(self) -> float:
        """Return samples per second over the last few seconds, evaluations included."""
        (start_s, start, _), (end_s, end, _) = self._marks[0], self._marks[-1]
        return (end - start) / (end_s - start_s) if end_s > start_s else math.nan

    def left_s(self, training: Training) -> float:
        """Return the seconds left at this pace, NaN where nobody knows."""
        recipe, state = training.recipe, training.state
        (start_s, _, start), (end_s, _, end) = self._marks[0], self._marks[-1]
        left = math.nan if recipe.minutes == "off" else max(0.0, recipe.minutes * 60 - training.seconds)
        if training.updates_total is not None and end > start:
            by_pace = (training.updates_total - state.updates_done) * (end_s - start_s) / (end - start)
            left = by_pace if math.isnan(left) else min(left, by_pace)
        return left


@final
class PlainProgress(Hook):
    """A line at the start, one per evaluation, one at the end: for logs and pipes."""

    def __init__(self) -> None:
        self._pace = Pace()

    def on_fit_start(self, training: Training) -> None:
        """Say what is about to happen."""
        self._pace.mark(training)
        for line in opening(training):
            print(line, flush=True)

    def on_eval_end(self, training: Training, figures: dict[str, Any]) -> None:
        """Print the newest figures."""
        self._pace.mark(training)
        shown = "  ".join(f"{name} {number(value)}" for name, value in numbers(figures))
        if training.monitor not in figures:
            print(f"test: {shown}", flush=True)
            return
        better = "  best so far" if training.improved else ""
        print(f"{where(training)}  {shown}  {speed(self._pace, training)}{better}", flush=True)

    def on_fit_end(self, training: Training, error: BaseException | None) -> None:
        """Say how it ended."""
        for line in closing(training, error):
            print(line, flush=True)


@final
class LiveProgress(Hook):
    """One block that is redrawn in place a few times a second."""

    def __init__(self) -> None:
        self._pace = Pace()
        self._live: Live | None = None
        self._drawn_s = 0.0

    def on_fit_start(self, training: Training) -> None:
        """Start the block."""
        from rich.live import Live

        self._pace.mark(training)
        for line in opening(training):
            print(line, flush=True)
        self._live = Live(self._block(training), auto_refresh=False, transient=False)
        self._live.start(refresh=True)

    def on_step_end(self, training: Training, result: Result) -> None:
        """Redraw, when it is time to."""
        now_s = time.monotonic()
        if now_s - self._drawn_s >= REFRESH_S:
            self._drawn_s = now_s
            self._draw(training)

    def on_eval_end(self, training: Training, figures: dict[str, Any]) -> None:
        """Redraw with the newest figures."""
        self._draw(training)

    def on_fit_end(self, training: Training, error: BaseException | None) -> None:
        """Leave the last block standing, and say how it ended."""
        if self._live is not None:
            self._draw(training)
            self._live.stop()
            self._live = None
        for line in closing(training, error):
            print(line, flush=True)

    def _draw(self, training: Training) -> None:
        self._pace.mark(training)
        if self._live is not None:
            self._live.update(self._block(training), refresh=True)

    def _block(self, training: Training) -> "RenderableType":
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        head = Table.grid(padding=(0, 2))
        total = training.updates_total
        bar = ProgressBar(total=total or 1, completed=training.state.updates_done if total else 0, width=24)
        head.add_row(bar, where(training), speed(self._pace, training))
        return Group(head, _figures_table(training))


def _figures_table(training: Training) -> "RenderableType":
    """Return a row for each quantity, a column for each set."""
    from rich.table import Table
    from rich.text import Text

    rows: dict[str, dict[str, float]] = {}
    for name, value in numbers(training.figures):
        group, _, quantity = name.partition("/")
        rows.setdefault(quantity, {})[group] = value
    groups = list(dict.fromkeys(group for row in rows.values() for group in row))
    table = Table.grid(padding=(0, 3))
    table.add_row("", *(Text(group, style="dim", justify="right") for group in groups))
    for quantity, row in rows.items():
        cells = [Text(number(row[group]) if group in row else "", justify="right") for group in groups]
        table.add_row(Text(quantity, style="dim"), *cells, Text(_best_note(training, quantity), style="green"))
    return table


def _best_note(training: Training, quantity: str) -> str:
    best = training.state.best
    if best is None or best["metric"].partition("/")[2] != quantity:
        return ""
    return f"best {best['metric'].partition('/')[0]} {number(best['value'])} at update {best['step']:,}"


def opening(training: Training) -> list[str]:
    """Return the lines that say what is about to be trained on what."""
    data = training.data
    sizes = [f"{len(data.train):,} train"]
    sizes += [f"{len(source):,} {name}" for name, source in data.valid.items()]
    sizes += [f"{len(data.test):,} test"] if data.test is not None else []
    parameters = sum(array.size for array in training.learner.parameters().values())
    plan = f"{training.plan.device}, {training.plan.precision}, {training.plan.threads} threads"
    name = data.name or "data"
    lines = [f"{name}: {', '.join(sizes)} samples · {parameters:,} parameters · {plan}"]
    return lines + [f"note: {notice}" for notice in training.notices]


def closing(training: Training, error: BaseException | None) -> list[str]:
    """Return the lines that say how it ended, what was best and where the record lies."""
    state, lines = training.state, []
    if error is not None:
        lines.append(f"failed in update {state.updates_done}: {type(error).__name__}")
    elif training.stop is not None:
        rate = state.samples_seen / training.seconds if training.seconds else math.nan
        lines.append(f"{training.stop.reason} · {clock(training.seconds)} · {rate:,.0f} samples/s")
    if state.best is not None:
        best = state.best
        lines.append(f"best {best['metric']} {number(best['value'])} at update {best['step']:,}")
    if training.folder is not None:
        lines.append(f"run: {training.folder}")
    return lines


def numbers(figures: dict[str, Any]) -> Iterable[tuple[str, float]]:
    """Return the figures that are single numbers."""
    return [(name, value) for name, value in figures.items() if isinstance(value, float | int)]


def where(training: Training) -> str:
    """Say which epoch and update the run is at."""
    recipe, total = training.recipe, training.updates_total
    epochs = f"epoch {training.epochs_done:.4g}" + (f"/{recipe.epochs}" if recipe.epochs != "off" else "")
    return f"{epochs}  update {training.state.updates_done:,}" + (f"/{total:,}" if total else "")


def speed(pace: Pace, training: Training) -> str:
    """Say lr, samples per second and the time left."""
    rate, left_s = pace.samples_per_s(), pace.left_s(training)
    shown = [f"lr {training.learner.lr():.3g}"]
    shown += [] if math.isnan(rate) else [f"{rate:,.0f} samples/s"]
    shown += [] if math.isnan(left_s) else [f"{clock(left_s)} left"]
    return "  ".join(shown)


def number(value: float) -> str:
    """Write a figure with four digits that count."""
    return f"{value:.4f}" if 1e-3 <= abs(value) < 10 or value == 0 else f"{value:.4g}"


def clock(seconds: float) -> str:
    """Write a span as 4.2 s, 3:07 or 1:02:33."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
