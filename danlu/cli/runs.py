"""`danlu runs`: what lies in a folder, how one run went, several side by side. Nothing here needs PyTorch."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from danlu import recipe_text, save
from danlu.cli.text import counted, indented, number, span, table, value
from danlu.errors import DanluError, RunError
from danlu.recipe import PARTS, Recipe
from danlu.track import Run, list_runs, share_lines
from danlu.track import compare as compare_runs

MOST_BAD = 20  # bad samples that `show` lists
LONGEST_CELL = 32  # letters of a recipe's value beside another run's


def list_all(folder: Path | None) -> None:
    """Print the runs in a folder, in the order of their names; None stands for ./runs, which may not be there."""
    home = folder or Path("runs")
    if folder is None and not home.exists():
        print("no runs here yet; `danlu train digits` makes one")
        return
    if not home.is_dir():
        raise RunError(where=str(home), got="no folder", want="a folder that holds runs", fix="check the path")
    rows = [_row(run) for run in list_runs(home)]
    if not rows:
        print(f"no runs in {home}")
        return
    print(table(rows, head=("run", "status", "epochs", "best", "", "time"), right=(2, 4, 5)))


def _row(run: Run) -> tuple[str, ...]:
    """Return one run's cells; a run whose record is damaged has a row too."""
    try:
        summary = run.summary
        best = summary.get("best") or {}
    except DanluError as error:
        return str(run.folder), f"damaged: {error.where}"
    if not summary:
        return str(run.folder), "unfinished"
    best_value = number(best["value"]) if best else ""
    epochs, seconds = f"{summary['epochs']:.4g}", span(summary["seconds"])
    return str(run.folder), summary["status"], epochs, best.get("metric", ""), best_value, seconds


def show(folder: Path) -> None:
    """Print one run: how it ended, its figures, where its recipe leaves the defaults, what happened and was found."""
    run = Run(folder)
    summary = run.summary
    parts = [_ending(folder, summary)]
    if summary.get("final"):
        parts.append(_figures(summary["final"]))
    if run.recipe:
        changed = {key: item for key, item in _changed(folder).items() if key != "about"}
        parts.append("recipe, where it is not the default\n" + indented(table(list(changed.items()))))
    if bad := run.bad_samples:
        parts.append(_bad_samples(bad))
    if events := run.events:
        rows = [(f"update {step:,}", kind, text) for step, kind, text in events]
        parts.append("events\n" + indented(table(rows, wrap=True)))
    if findings := run.findings:
        rows = [(f"update {step:,}", kind, text) for step, kind, text in findings]
        parts.append("findings\n" + indented(table(rows, wrap=True)))
    parts.append(_on_disk(folder, summary.get("best")))
    print("\n\n".join(parts))


def _bad_samples(rows: Sequence[tuple[int, str, int, str, str, int]]) -> str:
    """Return the first samples that could not be used, and how many there are."""
    counts: dict[str, int] = {}
    for _, name, *_ in rows:
        counts[name] = counts.get(name, 0) + 1
    cells = [(name, f"{id_:,}", f"{epoch:,}", path, error) for _, name, id_, path, error, epoch in rows[:MOST_BAD]]
    lines = [f"bad samples: {', '.join(f'{count:,} of {name}' for name, count in counts.items())}"]
    lines.append(indented(table(cells, head=("set", "id", "epoch", "file", "what is wrong"), right=(1, 2), wrap=True)))
    lines += [f"  and {len(rows) - MOST_BAD:,} more in metrics.sqlite"] if len(rows) > MOST_BAD else []
    return "\n".join(lines)


def _ending(folder: Path, summary: Mapping[str, Any]) -> str:
    if not summary:
        return f"{folder}: unfinished; it is going on, or it was killed"
    lines = [f"{folder}: {summary['status']}, {summary.get('reason', '')}"]
    done = f"{summary['epochs']:.4g} epochs, {counted(summary['updates'], 'update')}"
    lines.append(f"{done}, {counted(summary['samples_seen'], 'sample')}")
    lines.append(
        f"{span(summary['seconds'])}, {summary['samples_per_s']:,.0f} samples/s on {summary.get('measured_on', '-')}"
    )
    lines += share_lines(summary, summary.get("measured_on", "-"))
    if bad := summary.get("bad_updates"):
        first = summary.get("first_bad_update")
        which = "" if first is None else f", update {first:,} the first"
        lines.append(f"{counted(bad, 'update')} with a loss or gradient that was NaN or infinite{which}")
    if best := summary["best"]:
        lines.append(f"best {best['metric']} {number(best['value'])} at update {best['step']:,}")
    return "\n".join(lines)


def _figures(final: Mapping[str, float]) -> str:
    """Return a row for each quantity and a column for each set."""
    rows: dict[str, dict[str, float]] = {}
    for name in sorted(final, key=_loss_first):
        group, _, quantity = name.partition("/")
        rows.setdefault(quantity, {})[group] = final[name]
    groups = sorted({group for row in rows.values() for group in row}, key=lambda group: (group == "test", group))
    cells = [(name, *(number(row[g]) if g in row else "" for g in groups)) for name, row in rows.items()]
    return table(cells, head=("at the end", *groups), right=range(1, len(groups) + 1))


def _changed(folder: Path) -> dict[str, str]:
    """Return the recipe's keys whose values are not the defaults, dotted, in the recipe's order."""
    given = _flat(recipe_text.to_tree(recipe_text.read(save.plain(folder / "recipe.toml", "a recipe"))))
    usual = _flat(recipe_text.to_tree(recipe_text.settle(Recipe())[0]))
    for name, part in PARTS.items():
        own = vars(type(part()))
        usual |= {f"{name}.{key}": own[key] for key in part.__annotations__ if key in own and key != part.head}
    return {key: value(item) for key, item in given.items() if key not in usual or usual[key] != item}


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, item in tree.items():
        flat |= _flat(item, f"{prefix}{key}.") if isinstance(item, dict) else {prefix + key: item}
    return flat


def _on_disk(folder: Path, best: Mapping[str, Any] | None) -> str:
    steps = save.steps(folder)
    named = [f"update {step:,}" + (" (best)" if best and best["step"] == step else "") for step in steps]
    lines = [f"checkpoints: {', '.join(named) or 'none'}"]
    lines += [f"curves: {folder / 'curves.png'}"] if (folder / "curves.png").exists() else []
    return "\n".join(lines)


def verify(folder: Path) -> None:
    """Check every file of every checkpoint of a run against its checksum, and print what was found.

    Raises:
        RunError: no run, or at least one checkpoint is damaged; the sound ones are printed first.
    """
    Run(folder)  # refuses what is no run
    steps = save.steps(folder)
    damaged: list[RunError] = []
    for step in steps:
        try:
            files = save.check(save.folder(folder, step))
            print(f"update {step:,}: {counted(len(files), 'file')}, sound")
        except RunError as error:
            print(f"update {step:,}: damaged: {error}")
            damaged.append(error)
    if damaged:
        got, fix = f"{len(damaged)} of {counted(len(steps), 'checkpoint')} damaged", "use a sound one, or a copy"
        raise RunError(where=str(folder), got=got, want="files as they were saved", fix=fix)
    print(f"{counted(len(steps), 'checkpoint')}, all sound" if steps else "no checkpoints")


def compare(folders: Sequence[Path]) -> None:
    """Print a column for each run: how it ended, its best and final figures, and what its recipe says otherwise."""
    if len(folders) < 2:
        want, fix = "two runs or more", f"name another one, or use danlu runs show {folders[0]}"
        raise RunError(where="runs compare", got="one run", want=want, fix=fix)
    runs = [Run(folder) for folder in folders]
    frame = compare_runs(runs)
    summaries = [run.summary for run in runs]
    keys = [key for key in frame.columns[frame.columns.index("seconds") + 1 :] if key != "about"]
    blank = ("",) * (len(runs) + 1)
    rows = [("status", *frame["status"]), *_counts(summaries), *_bests(summaries), blank]
    rows += [(name, *cells) for name, cells in _finals(summaries).items()]
    rows += [blank, ("recipe", *([] if keys else ["the same"] * len(runs)))]
    rows += [(f"  {key}", *map(_short, frame[key])) for key in keys]
    print(table(rows, head=("", *frame["name"]), right=range(1, len(runs) + 1)))


def _counts(summaries: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    writers: dict[str, Callable[[Any], str]] = {
        "epochs": "{:.4g}".format,
        "updates": "{:,}".format,
        "seconds": span,
        "samples_per_s": "{:,.0f}".format,
    }
    titles = {"seconds": "time", "samples_per_s": "samples/s"}
    return [
        (titles.get(key, key), *(write(summary[key]) if summary else "-" for summary in summaries))
        for key, write in writers.items()
    ]


def _bests(summaries: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Return two rows for each metric that decided which weights are best: its value, and the update it belongs to."""
    bests = [summary.get("best") or {} for summary in summaries]
    rows: list[tuple[str, ...]] = []
    for metric in dict.fromkeys(best["metric"] for best in bests if best):
        mine = [best if best.get("metric") == metric else None for best in bests]
        rows.append((f"best {metric}", *(number(best["value"]) if best else "-" for best in mine)))
        rows.append(("  at update", *(f"{best['step']:,}" if best else "-" for best in mine)))
    return rows


def _finals(summaries: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    finals = [summary.get("final") or {} for summary in summaries]
    names = sorted(dict.fromkeys(name for final in finals for name in final), key=_loss_first)
    return {name: [number(final[name]) if name in final else "-" for final in finals] for name in names}


def _loss_first(name: str) -> bool:
    return name.rpartition("/")[2] != "loss"


def _short(item: object) -> str:
    """Return a recipe's value in few letters; the table of runs has lists as JSON."""
    text = value(json.loads(item) if isinstance(item, str) and item.startswith("[") else item)
    return text if len(text) <= LONGEST_CELL else f"{text[: LONGEST_CELL - 3]}..."
