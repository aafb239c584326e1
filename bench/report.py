"""What every bench writes: tables for the terminal and for Markdown, and a JSON file with all figures."""

import importlib.metadata
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.targets import target_rows
from danlu.device import environment

RESULTS = Path(__file__).parent / "results"
Report = dict[str, Any]


@dataclass(frozen=True)
class Sheet:
    """One table."""

    title: str
    header: list[str]
    rows: list[list[str]]


def frame(packages: Iterable[str]) -> Report:
    """Return the head of a report: date, machine, and the versions of what is installed of `packages`."""
    machine = environment()
    return {
        "date": time.strftime("%Y-%m-%d"),
        "machine": {key: machine[key] for key in ("processor", "cores", "system", "python", "git")},
        "versions": {name: version for name in packages if (version := _version(name))},
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def measured_on(report: Report) -> str:
    """Return the sentence that says when and on what a report was measured."""
    machine, versions = report["machine"], ", ".join(f"{key} {value}" for key, value in report["versions"].items())
    where = f"{machine['processor']}, {machine['cores']} cores, Python {machine['python']}; {versions}"
    return f"Measured {report['date']} on {where}."


def targets_sheet(judgements: Mapping[str, Mapping[str, Any]]) -> Sheet:
    """Return the table of targets."""
    return Sheet("Targets", ["what", "target", "measured", "reached"], target_rows(judgements))


def show(sheets: Sequence[Sheet], notes: Sequence[str], console: Console) -> None:
    """Print tables and notes."""
    for sheet in sheets:
        table = Table(title=sheet.title, title_justify="left", title_style="bold", box=None, pad_edge=False)
        for index, name in enumerate(sheet.header):
            table.add_column(name, justify="left" if index == 0 else "right", header_style="dim")
        for row in sheet.rows:
            table.add_row(*row)
        console.print(table)
        console.print()
    for line in notes:
        console.print(line, highlight=False, markup=False)


def markdown(sheets: Sequence[Sheet], notes: Sequence[str]) -> str:
    """Return tables and notes as Markdown."""
    parts = []
    for sheet in sheets:
        marks = ["---", *("---:" for _ in sheet.header[1:])]
        lines = [f"| {' | '.join(cells)} |" for cells in (sheet.header, marks, *sheet.rows)]
        parts.append(f"**{sheet.title}**\n\n" + "\n".join(lines))
    return "\n\n".join([*parts, *notes]) + "\n"


def write(folder: Path, name: str, report: Report, text: str) -> None:
    """Write NAME.json and NAME.md."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    (folder / f"{name}.md").write_text(text, encoding="utf-8")
