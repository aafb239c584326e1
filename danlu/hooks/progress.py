"""Progress: one calm live block in a terminal, a plain table elsewhere."""

import contextlib
import math
import os
import sys
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, final

from danlu.device import describe
from danlu.errors import TrainingError
from danlu.track import share_lines
from danlu.train.hook import Hook
from danlu.train.learner import Result
from danlu.train.training import Training

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

REFRESH_S = 0.2
RATE_WINDOW_S = 5.0
HEAD_EVERY = 40  # rows of the plain table, so that its head is never far
BAR_WIDTH = 40


def progress() -> Hook:
    """Return the live block where standard output is a terminal that can redraw, else the plain table."""
    can_redraw = sys.stdout is not None and sys.stdout.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")
    return LiveProgress() if can_redraw else PlainProgress()


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
    """What is about to be trained, a row for each evaluation, and how it ended: for logs and pipes.

    A reader that leaves, as `head` does, does not end the run.
    """

    def __init__(self) -> None:
        self._pace = Pace()
        self._head: list[str] = []
        self._rows = 0

    def on_fit_start(self, training: Training) -> None:
        """Say what is about to happen."""
        self._pace.mark(training)
        say(opening(training))

    def on_eval_end(self, training: Training, figures: dict[str, Any]) -> None:
        """Print the newest figures as a row, under a head that names them."""
        self._pace.mark(training)
        if "train/loss" not in figures:
            say(["", tested(training, figures)])
            return
        shown = dict(numbers(figures))
        by_update = training.recipe.validate_per == "update"
        widths = {name: max(8, len(name.partition("/")[2])) for name in shown}
        total = training.updates_total
        first = max(9, len(_of(total, total))) if by_update and total else 9
        head = _head("update" if by_update else "epoch", first, widths)
        if head != self._head or self._rows % HEAD_EVERY == 0:
            self._head, self._rows = head, 0
            say(["", *head])
        self._rows += 1
        at = _of(training.state.updates_done, total) if by_update else _epochs(training)
        cells = [f"{number(value):>{widths[name]}}" for name, value in shown.items()]
        left_s = self._pace.left_s(training)
        left = "" if math.isnan(left_s) or share(training) == 1 else clock(left_s)
        say(["  ".join([f"{at:>{first}}", *cells, f"{left:>7}", "best" if training.improved else ""]).rstrip()])

    def on_fit_end(self, training: Training, error: BaseException | None) -> None:
        """Say how it ended."""
        say(["", *closing(training, error)])


def _head(unit: str, first: int, widths: dict[str, int]) -> list[str]:
    """Return two lines: the sets, each over its first quantity, and the quantities."""
    above, below, last = " " * first, f"{unit:>{first}}", ""
    for name, width in widths.items():
        group, _, quantity = name.partition("/")
        above += "  " + f"{group if group != last else '':>{width}}"
        below += "  " + f"{quantity:>{width}}"
        last = group
    return [above.rstrip(), f"{below}  {'left':>7}"]


def say(lines: Iterable[str]) -> None:
    """Print lines at once; where nobody can read them the run goes on, as its record is in the folder."""
    with contextlib.suppress(OSError):
        print("\n".join(lines), flush=True)


@final
class LiveProgress(Hook):
    """One block that is redrawn in place a few times a second, and left standing at the end."""

    def __init__(self) -> None:
        self._pace = Pace()
        self._live: Live | None = None
        self._drawn_s = 0.0

    def on_fit_start(self, training: Training) -> None:
        """Start the block."""
        from rich.console import Console
        from rich.live import Live

        self._pace.mark(training)
        say([*opening(training), ""])
        console = Console(highlight=False)
        self._live = Live(block(training, self._pace), console=console, auto_refresh=False, vertical_overflow="crop")
        self._live.start(refresh=True)

    def on_step_end(self, training: Training, result: Result) -> None:
        """Redraw, when it is time to."""
        now_s = time.monotonic()
        if now_s - self._drawn_s >= REFRESH_S:
            self._drawn_s = now_s
            self._draw(training)

    def on_eval_end(self, training: Training, figures: dict[str, Any]) -> None:
        """Redraw with the newest figures, when it is time to; those of the end at once, before slower hooks end."""
        if time.monotonic() - self._drawn_s >= REFRESH_S or share(training) == 1:
            self._draw(training)

    def on_fit_end(self, training: Training, error: BaseException | None) -> None:
        """Leave the last block standing, and say how it ended."""
        if self._live is not None:
            self._live.update(block(training, None), refresh=True)
            self._live.stop()
            self._live = None
        test = {name: value for name, value in training.figures.items() if name.startswith("test/")}
        say(["", *([tested(training, test)] if test else []), *closing(training, error)])

    def _draw(self, training: Training) -> None:
        self._pace.mark(training)
        if self._live is not None:
            self._live.update(block(training, self._pace), refresh=True)


def block(training: Training, pace: Pace | None) -> "RenderableType":
    """Return the live block: how far, how fast, the newest figures, and the best so far. No line of it wraps.

    Args:
        training: what is shown.
        pace: None at the end, where the closing lines say how fast it was and what was best.
    """
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    done, left_s = share(training), math.nan if pace is None else pace.left_s(training)
    head = Table.grid(padding=(0, 2))
    head.add_column(max_width=BAR_WIDTH, ratio=1)
    for _ in range(2):
        head.add_column(no_wrap=True, justify="right")
    left = "" if math.isnan(left_s) or done >= 1 else f"{clock(left_s)} left"
    head.add_row(ProgressBar(total=1.0, completed=done, width=BAR_WIDTH), f"{done:4.0%}", left)
    below = [] if pace is None else [best_line(training), ""]  # where a terminal writes ^C, it spoils an empty line
    first, *last = (Text(line, no_wrap=True, overflow="ellipsis") for line in [where(training, pace), *below])
    return Group(head, first, Text(""), _figures_table(training), *last)


def _figures_table(training: Training) -> "RenderableType":
    """Return a row for each quantity, a column for each set that is measured again and again."""
    from rich.table import Table
    from rich.text import Text

    rows: dict[str, dict[str, float]] = {}
    for name, value in numbers(training.figures):
        group, _, quantity = name.partition("/")
        if group != "test":
            rows.setdefault(quantity, {})[group] = value
    groups = list(dict.fromkeys(group for row in rows.values() for group in row))
    table = Table.grid(padding=(0, 3))
    table.add_column(no_wrap=True, overflow="ellipsis", style="dim")
    for _ in groups:
        table.add_column(no_wrap=True, overflow="ellipsis", justify="right", min_width=6)
    table.add_row("", *(Text(group, style="dim") for group in groups))
    for quantity, row in rows.items():
        table.add_row(quantity, *(number(row[group]) if group in row else "" for group in groups))
    return table if rows else Text("no figures yet: the first evaluation is to come", style="dim")


def opening(training: Training) -> list[str]:
    """Return the lines that say what is about to be trained on what."""
    data, plan, part = training.data, training.plan, training.recipe.data
    name = part.name if part is not None and data.name == "data" else data.name
    sets = ", ".join(f"{len(source):,} {name}" for name, source in data.sets().items())
    parameters = sum(array.size for array in training.learner.parameters().values())
    threads = "1 thread" if plan.threads == 1 else f"{plan.threads} threads"
    lines = [
        f"{name or 'data'}: {sets} samples",
        f"model: {parameters:,} parameters, on {plan.place}, {plan.precision}, {threads}",
    ]
    lines += [] if training.limit is None else [f"only {training.limit:,} batches of every set, as limit_batches says"]
    return lines + [f"note: {notice}" for notice in training.notices]


def closing(training: Training, error: BaseException | None) -> list[str]:
    """Return the lines that say how it ended, what was best and where the record lies."""
    state, plan, lines = training.state, training.plan, []
    if error is not None:
        where, what = f"update {state.updates_done:,}", type(error).__name__
        if isinstance(error, TrainingError):
            where, what = error.where, str(error.got)
        lines.append(f"failed in {where}: {what}")
    elif training.stop is not None:
        rate = state.samples_seen / training.seconds if training.seconds else math.nan
        where = f" after update {state.updates_done:,}" if training.stop.status == "interrupted" else ""
        lines.append(f"{training.stop.reason}{where}: {clock(training.seconds)}, {rate:,.0f} samples/s")
    lines += share_lines(training.share_of_limit, describe(plan.device, plan.engine, plan.threads))
    lines += [bad_line(training)] if state.bad_updates and not isinstance(error, TrainingError) else []
    lines += [best_line(training)] if state.best is not None else []
    bad = [f"{len(met.rows):,} of {name}" for name, met in state.bad.items() if len(met.rows)]
    lines += [f"bad samples: {', '.join(bad)}"] if bad else []
    lines += [f"run: {training.folder}"] if training.folder is not None else []
    return lines


def bad_line(training: Training) -> str:
    """Say how many updates had a loss or gradient that is NaN or infinite."""
    state, done = training.state, "skipped" if training.recipe.on_nan == "skip" else "kept"
    return f"updates that were NaN or infinite: {state.bad_updates:,}, {done}; the last was {state.last_bad:,}"


def best_line(training: Training) -> str:
    """Say what the best evaluation so far was; empty before the first."""
    best = training.state.best
    return "" if best is None else f"best {best['metric']} {number(best['value'])} at update {best['step']:,}"


def tested(training: Training, figures: dict[str, Any]) -> str:
    """Say what the test set gave, and with which weights."""
    weights = "best" if training.best_weights is not None else "last"
    shown = ", ".join(f"{name.partition('/')[2]} {number(value)}" for name, value in numbers(figures))
    return f"test, {weights} weights: {shown}"


def numbers(figures: dict[str, Any]) -> Sequence[tuple[str, float]]:
    """Return the figures that are single numbers."""
    return [(name, value) for name, value in figures.items() if isinstance(value, float | int)]


def share(training: Training) -> float:
    """Return how much of the run is done, from 0 to 1, by the limit that is nearest."""
    recipe, total = training.recipe, training.updates_total
    by_updates = training.state.updates_done / total if total else 0.0
    by_time = 0.0 if recipe.minutes == "off" else training.seconds / (recipe.minutes * 60)
    return min(1.0, max(by_updates, by_time))


def where(training: Training, pace: Pace | None) -> str:
    """Say which epoch and update the run is at, its lr and its speed."""
    rate = math.nan if pace is None else pace.samples_per_s()
    parts = [f"epoch {_epochs(training)}", f"update {_of(training.state.updates_done, training.updates_total)}"]
    parts.append(f"lr {training.learner.lr():.3g}")
    parts += [] if math.isnan(rate) else [f"{rate:,.0f} samples/s"]
    parts += [f"{training.state.bad_updates:,} NaN or infinite"] if training.state.bad_updates else []
    return "   ".join(parts)


def _epochs(training: Training) -> str:
    """Return the epochs done, with one decimal while one is under way, and of how many."""
    done, epochs = training.epochs_done, training.recipe.epochs
    shown = f"{done:.0f}" if training.state.position == 0 else f"{done:.1f}"
    return shown if epochs == "off" else f"{shown}/{epochs}"


def _of(done: int, total: int | None) -> str:
    return f"{done:,}" if total is None else f"{done:,}/{total:,}"


def number(value: float) -> str:
    """Write a figure with four digits that count; only very small and very large ones get an exponent."""
    if isinstance(value, int):
        return f"{value:,}"
    size = abs(value)
    if size >= 1e6 or 0 < size < 1e-3 or not math.isfinite(value):
        return f"{value:.4g}"
    return f"{value:,.{4 if size < 10 else 2 if size < 100 else 1 if size < 1000 else 0}f}"


def clock(seconds: float) -> str:
    """Write a span as 4.2 s, 3:07 or 1:02:33."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
