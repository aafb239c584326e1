"""Plain text for people: figures, spans, aligned columns. No colours: a pipe gets what a terminal gets, unwrapped."""

import math
import os
import shutil
import sys
import textwrap
from collections.abc import Collection, Sequence

from rich.cells import cell_len

GAP = "  "
LEAST_TEXT_WIDTH = 24  # the column of running text is never made narrower than this


def say(text: str) -> None:
    """Print one line for the person at the terminal, on standard error."""
    line = shown(" ".join(part.strip() for part in text.splitlines()))
    if sys.stderr is not None:
        print(f"danlu: {line}", file=sys.stderr)


def shown(text: str) -> str:
    """Write what a terminal would obey, instead of showing it, as Python writes it: `\\x1b`."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def number(value: float) -> str:
    """Write a figure with four digits that count; only very small and very large ones get an exponent."""
    if isinstance(value, int):
        return f"{value:,}"
    size = abs(value)
    if size >= 1e6 or 0 < size < 1e-3 or not math.isfinite(value):
        return f"{value:.4g}"
    return f"{value:,.{4 if size < 10 else 2 if size < 100 else 1 if size < 1000 else 0}f}"


def value(given: object) -> str:
    """Write a recipe's value or a summary's as a person would."""
    if given is None:
        return "-"
    if isinstance(given, bool):
        return "true" if given else "false"
    if isinstance(given, list):
        return f"[{', '.join(map(value, given))}]"
    if isinstance(given, dict):
        options = ", ".join(f"{key}={value(item)}" for key, item in given.items() if key != "name")
        return f"{given.get('name', '')}({options})" if options else str(given.get("name", ""))
    return f"{given:,}" if isinstance(given, int) else f"{given:g}" if isinstance(given, float) else str(given)


def counted(count: int, noun: str) -> str:
    """Write a count with its noun: `1 sample`, `1,797 samples`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def span(seconds: float) -> str:
    """Write a span as 4.2 s, 3:07 or 1:02:33."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def bytes_of(count: int) -> str:
    """Write a size as 117 kB or 54.9 MB."""
    size, unit = float(count), 0
    units = ("bytes", "kB", "MB", "GB", "TB")
    while size >= 1000 and unit < len(units) - 1:
        size, unit = size / 1000, unit + 1
    return f"{size:.3g} {units[unit]}"


def screen_width() -> int | None:
    """Return the terminal's columns, or what COLUMNS says; None where the output has no width."""
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    return shutil.get_terminal_size().columns if is_terminal or os.environ.get("COLUMNS") else None


def table(
    rows: Sequence[Sequence[str]], *, head: Sequence[str] = (), right: Collection[int] = (), wrap: bool = False
) -> str:
    """Return rows as aligned columns.

    Args:
        rows: cells of one line each; rows may be shorter than the longest.
        head: the columns' titles; none where it is empty.
        right: the columns that are aligned at their right.
        wrap: the last column is running text, which is broken at words where the screen ends.
    """
    lines = [[shown(" ".join(cell.splitlines())) for cell in row] for row in ([head, *rows] if head else rows)]
    columns = max(map(len, lines), default=0)
    widths = [max((cell_len(row[i]) for row in lines if i < len(row)), default=0) for i in range(columns)]
    if wrap and (screen := screen_width()) is not None:
        before = sum(widths[:-1]) + len(GAP) * (columns - 1)
        widths[-1] = min(widths[-1], max(LEAST_TEXT_WIDTH, screen - before))
    return "\n".join(line for row in lines for line in _row(row, widths, right, wrap))


def indented(text: str) -> str:
    """Return lines moved in by two letters."""
    return textwrap.indent(text, "  ")


def _row(row: Sequence[str], widths: Sequence[int], right: Collection[int], wrap: bool) -> list[str]:
    """Return a row's lines: one, or more where its running text goes on."""
    cells, more = list(row), []
    if wrap and len(cells) == len(widths):
        first, *more = textwrap.wrap(cells[-1], widths[-1], break_on_hyphens=False) or [""]
        cells[-1] = first
    padded = []
    for index, cell in enumerate(cells):
        space = " " * (widths[index] - cell_len(cell))
        padded.append(space + cell if index in right else cell + space)
    indent = " " * (sum(widths[:-1]) + len(GAP) * (len(widths) - 1))
    return [GAP.join(padded).rstrip(), *(indent + line for line in more)]
