"""Draws a lesson's picture: `python -m danlu.course.figure OUT.png`, with the page's panels as JSON on standard input.

Where a panel has a curve of both halves, the first is wide and pale and the second thin and dark on top of it, so that
one sees both where they are the same.
"""

import json
import logging
import math
import sys
from pathlib import Path
from typing import Any

from danlu.track.figure import DPI, STYLE

COLOURS = ("#1f6feb", "#e8590c", "#1a7f37", "#8250df", "#bf3989", "#0a7ea4", "#9a6700", "#57606a")
WIDE: dict[str, Any] = {"lw": 5.0, "alpha": 0.35, "solid_capstyle": "round"}
THIN: dict[str, Any] = {"lw": 1.3}
PLAIN: dict[str, Any] = {"lw": 1.8}
NOTE_SIZE = 9.5
MOST_INSIDE = 3  # a longer legend stands beside its panel, where it covers no curve


def draw(page: dict[str, Any], path: Path) -> None:
    """Draw all panels into one PNG file, which is replaced whole."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # a system without one of the fonts is no news
    panels = page["panels"]
    columns = len(panels) if len(panels) <= 3 else math.ceil(len(panels) / 2)
    rows = math.ceil(len(panels) / columns)
    with plt.rc_context(STYLE):
        width = 6.5 if any(len(panel["curves"]) > MOST_INSIDE for panel in panels) else 5.0
        size = (max(width * columns, 6.5), 3.8 * rows + 0.5)
        figure, axes = plt.subplots(rows, columns, figsize=size, dpi=DPI, layout="constrained", squeeze=False)
        figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12)
        for place, panel in zip(axes.flat, panels, strict=False):
            draw_panel(place, panel)
        for place in axes.flat[len(panels) :]:
            place.remove()
        figure.suptitle(page["title"], x=0.012, ha="left", fontsize=13, fontweight="bold")
        if any(len(ys) == 2 for panel in panels for ys in panel["curves"].values()):
            note = "wide and pale: {}   thin and dark: {}".format(*page["halves"])
            figure.supxlabel(note, x=0.012, ha="left", fontsize=NOTE_SIZE)
        unfinished = path.with_name(f".{path.name}.tmp")
        figure.savefig(unfinished, format="png")
    unfinished.replace(path)


def draw_panel(place: Any, panel: dict[str, Any]) -> None:
    """Draw one panel into a pair of axes."""
    from matplotlib.ticker import MaxNLocator

    for (name, ys), colour in zip(panel["curves"].items(), COLOURS * 3, strict=False):
        for y, look in zip(ys, (PLAIN,) if len(ys) == 1 else (WIDE, THIN), strict=True):
            label = name if look is not WIDE else None
            if panel["points"]:
                size, alpha = (9.0, 0.35) if look is WIDE else (4.0, 1.0)
                place.plot(panel["x"], y, "o", ms=size, alpha=alpha, color=colour, mew=0, label=label)
            else:
                marker = "o" if len(y) <= 12 and look is not WIDE else ""
                place.plot(panel["x"], y, marker=marker, ms=3.5, color=colour, label=label, **look)
    if all(float(x).is_integer() for x in panel["x"]):
        place.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, steps=[1, 2, 5, 10]))
    place.set(title=panel["title"], xlabel=panel["x_label"], ylabel=panel["y_label"])
    if "x" in panel["log"]:
        place.set_xscale("log")
    if "y" in panel["log"]:
        place.set_yscale("log")
    if len(panel["curves"]) > 1:
        outside: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)}
        place.legend(frameon=False, fontsize=9, **(outside if len(panel["curves"]) > MOST_INSIDE else {}))


if __name__ == "__main__":
    draw(json.load(sys.stdin), Path(sys.argv[1]))
