"""The figure of `bench.scale`: where overhead ends and the machine's limit begins."""

from pathlib import Path
from typing import Any

# Okabe and Ito's colours, which differ for every kind of sight; lines differ in marker and dash as well
COLOURS = {"bare": "#D55E00", "danlu": "#0072B2", "limit": "#555555"}
NAMES = {"bare": "plain PyTorch", "danlu": "danlu", "limit": "its products at the machine's best"}
TITLES = {"width": "MLP 784-W-10, batch 256", "batch": "MLP 784-256-10, batch B"}
LABELS = {"width": "W, width of the hidden layer", "batch": "B, samples in a batch"}


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw an update's time over width and over batch size, both axes in powers of two and ten.

    Args:
        rows: of the sweeps, with "sweep", "value", medians "danlu_s" and "bare_s", and "products_s" or None.
        path: of the PNG.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    sweeps = [sweep for sweep in TITLES if any(row["sweep"] == sweep for row in rows)]
    with plt.rc_context({"font.size": 11, "axes.spines.top": False, "axes.spines.right": False}):
        figure, places = plt.subplots(
            1, len(sweeps), figsize=(4.8 * len(sweeps), 4.0), sharey=True, squeeze=False, layout="constrained"
        )
        for place, sweep in zip(places[0], sweeps, strict=True):
            _panel(place, sweep, [row for row in rows if row["sweep"] == sweep])
        places[0][0].set_ylabel("ms per update")
        places[0][0].legend(frameon=False, loc="upper left")
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=160)
        plt.close(figure)


def _panel(place: Any, sweep: str, rows: list[dict[str, Any]]) -> None:
    values = [row["value"] for row in rows]
    limit = [(row["value"], 1e3 * row["products_s"]) for row in rows if row["products_s"] is not None]
    if limit:
        place.plot(*zip(*limit, strict=True), color=COLOURS["limit"], ls="--", lw=1.5, label=NAMES["limit"])
    for name, marker in (("bare", "s"), ("danlu", "o")):
        times = [1e3 * row[f"{name}_s"] for row in rows]
        place.plot(values, times, color=COLOURS[name], marker=marker, ms=5, lw=2, label=NAMES[name])
    place.set_xscale("log", base=2)
    place.set_yscale("log")
    shown = values[:: 3 if len(values) > 5 else 1]
    place.set_xticks(shown, [f"{value:,}" for value in shown])
    place.minorticks_off()
    place.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    place.grid(axis="y", color="#dddddd", lw=0.8)
    place.set_axisbelow(True)
    place.set_title(TITLES[sweep], loc="left", fontsize=11)
    place.set_xlabel(LABELS[sweep])
