"""The tables: the same cells for the terminal (rich) and for Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.peers import PEERS
from bench.results import TARGETS, Figures

Report = dict[str, Any]


@dataclass(frozen=True)
class Sheet:
    """One table."""

    title: str
    header: list[str]
    rows: list[list[str]]


def sheets(report: Report) -> list[Sheet]:
    """Return every table of a report."""
    found = [_epochs(task, figures, report["tasks"][task]) for task, figures in report["summary"].items()]
    return [*found, _targets(report["targets"])]


def _epochs(task: str, figures: dict[str, Figures], settings: dict[str, Any]) -> Sheet:
    if task == "line":
        return _updates(figures, settings)
    header = ["trainer", "s per epoch", "x danlu", "accuracy", "set-up s", "MB"]
    rows = [
        [
            name,
            number(each["epoch_s"], 3),
            number(each["over_danlu"], 2),
            number(each["valid_accuracy"], 4, bounds=False),
            f"{number(each['around_s'], 2, bounds=False)} / {each['around_first_s']:.1f}",
            "-" if each["memory_peak_mb"] is None or task != "mlp" else f"{each['memory_peak_mb']:.0f}",
        ]
        for name, each in _sorted(figures, "epoch_s")
    ]
    return Sheet(settings["about"], header, rows)


def _updates(figures: dict[str, Figures], settings: dict[str, Any]) -> Sheet:
    header = ["trainer", "us per update", "us over bare"]
    rows = [
        [name, number(each["update_us"], 0), number(each["update_over_bare_us"], 0)]
        for name, each in _sorted(figures, "update_us")
    ]
    return Sheet(settings["about"], header, rows)


def _targets(got: dict[str, float | None]) -> Sheet:
    rows = []
    for name, target in TARGETS.items():
        reached = {True: "yes", False: "no", None: "not measured"}[target.reached(got[name])]
        value = "-" if got[name] is None else f"{got[name]:.2f} {target.unit}"
        rows.append([target.what, f"{target.sense} {target.want:g} {target.unit}", value, reached])
    return Sheet("Targets", ["what", "target", "measured", "reached"], rows)


def _sorted(figures: dict[str, Figures], key: str) -> list[tuple[str, Figures]]:
    return sorted(figures.items(), key=lambda item: item[1][key]["median"])


def number(values: dict[str, float] | None, digits: int, *, bounds: bool = True) -> str:
    """Write a median, and the least and greatest value behind it."""
    if values is None:
        return "-"
    median = f"{values['median']:.{digits}f}"
    return f"{median} ({values['min']:.{digits}f}..{values['max']:.{digits}f})" if bounds else median


def show(report: Report, console: Console) -> None:
    """Print every table."""
    for sheet in sheets(report):
        table = Table(title=sheet.title, title_justify="left", title_style="bold", box=None, pad_edge=False)
        for index, name in enumerate(sheet.header):
            table.add_column(name, justify="left" if index == 0 else "right", header_style="dim")
        for row in sheet.rows:
            table.add_row(*row)
        console.print(table)
        console.print()
    for line in notes(report):
        console.print(line, highlight=False)


def notes(report: Report) -> list[str]:
    """Return what a reader has to know beside the tables."""
    machine, busy = report["machine"], report["disturbed"]
    names = dict.fromkeys(name for figures in report["summary"].values() for name in figures)
    lines = [
        f"Measured {report['date']} on {machine['processor']}, {machine['cores']} cores, "
        f"{report['settings']['threads']} threads, Python {machine['python']}; "
        + ", ".join(f"{name} {version}" for name, version in report["versions"].items())
        + ".",
        "; ".join(f"{name}: {PEERS[name][1]}" for name in names) + ".",
        "Medians over the rounds (least..greatest); ratios and differences are taken round by round. An epoch is "
        "training, evaluation and what the trainer records. Set-up is the rest of a fit, data preparation and the end "
        "included: in a warm process / the first fit of a process, imports not counted. MB is the peak of the process.",
    ]
    if busy["fits"]:
        lines.append(
            f"Other programs worked during {busy['fits']} of the {busy['of']} fits: measure again while they rest."
        )
    lines += [f"Left out: {name}, {reason}" for name, reason in report["left_out"].items()]
    return lines


def markdown(report: Report) -> str:
    """Return the report as Markdown."""
    parts = []
    for sheet in sheets(report):
        parts.append(f"**{sheet.title}**\n\n" + _markdown_table(sheet))
    return "\n\n".join([*parts, *notes(report)]) + "\n"


def _markdown_table(sheet: Sheet) -> str:
    marks = ["---", *("---:" for _ in sheet.header[1:])]
    return "\n".join(_markdown_row(cells) for cells in (sheet.header, marks, *sheet.rows))


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
