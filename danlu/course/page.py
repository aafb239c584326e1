"""What a lesson leaves: sentences, tables, both halves' results side by side, and curves for one picture."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, final

import numpy as np
import numpy.typing as npt

HALVES = ("from scratch", "concise")
Cells = Sequence[Sequence[str]]
Tell = Callable[[str | Cells], None]


@final
@dataclass(frozen=True)
class Panel:
    """One pair of axes: by name a curve, or the curves of both halves, over the same x."""

    title: str
    x_label: str
    y_label: str
    x: list[float]
    curves: dict[str, list[list[float]]]
    log: str = ""  # the axes with a logarithmic scale: "", "x", "y" or "xy"
    points: bool = False  # marks instead of lines


@final
@dataclass
class Page:
    """A lesson's result.

    Fields:
        title: stands over the picture.
        tell: called at once with every sentence and every table; a table is a list of rows, its head first.
        halves: what the two ways are called.
        panels: what is to be drawn.
        differences: by name, by how much the halves differ at most.
        texts: files that the lesson makes besides its picture, by their ending: `{".svg": "<svg ..."}`.
    """

    title: str = ""
    tell: Tell | None = None
    halves: tuple[str, str] = HALVES
    panels: list[Panel] = field(default_factory=list)
    differences: dict[str, float] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)

    def say(self, sentence: str) -> None:
        """Add a sentence."""
        if self.tell is not None:
            self.tell(sentence)

    def table(self, head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Add a table; figures get the digits that count."""
        if self.tell is not None:
            self.tell([list(head), *([shown(cell) for cell in row] for row in rows)])

    def compare(self, results: Mapping[str, tuple[Any, Any]], true: Mapping[str, float] | None = None) -> None:
        """Add a table of both halves' results; of an array its first number is shown and its largest difference.

        Args:
            results: by name, the numbers of both halves, of the same shape.
            true: by name, what is known to be right, where it is known.
        """
        rows = []
        for name, pair in results.items():
            first, second = (np.asarray(one, np.float64) for one in pair)
            difference = float(np.abs(first - second).max())
            self.differences[name] = difference
            known = [] if true is None else [true.get(name, "")]
            label = name if first.size == 1 else f"{name} (first of {first.size:,})"
            rows.append((label, first.flat[0], second.flat[0], f"{difference:.1e}", *known))
        head = ("", *self.halves, "largest difference")
        self.table(head if true is None else (*head, "true"), rows)

    def curves(
        self, title: str, curves: Mapping[str, Any], *, labels: tuple[str, str], x: Any = None, log: str = "",
        points: bool = False,
    ) -> None:  # fmt: skip
        """Add a panel to the picture.

        Args:
            title: stands over it.
            curves: by name, numbers of shape (n,), or a tuple with those of both halves.
            labels: of the x axis and of the y axis.
            x: shape (n,); counts from 1 where it is not given.
            log: the axes with a logarithmic scale: "", "x", "y" or "xy".
            points: draw marks instead of lines.
        """
        drawn = {name: [listed(y) for y in (ys if isinstance(ys, tuple) else (ys,))] for name, ys in curves.items()}
        length = len(next(iter(drawn.values()))[0])
        over = listed(np.arange(1, length + 1) if x is None else x)
        self.panels.append(Panel(title, *labels, over, drawn, log, points))

    def picture(self) -> dict[str, Any]:
        """Return the whole picture as plain values."""
        return {"title": self.title, "halves": self.halves, "panels": [asdict(panel) for panel in self.panels]}


def listed(values: Any) -> list[float]:
    """Return numbers as a flat list of floats."""
    array: npt.NDArray[np.float64] = np.asarray(values, np.float64).reshape(-1)
    return [float(value) for value in array]


def shown(cell: object) -> str:
    """Write a cell; a figure with four digits that count."""
    if isinstance(cell, float | np.floating):
        size = abs(float(cell))
        return f"{float(cell):.4g}" if size >= 1e4 or 0 < size < 1e-3 else f"{float(cell):.4f}"
    return str(cell)
