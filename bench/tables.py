"""The tables of trainers side by side."""

from typing import Any

from bench.peers import PEERS, SHARED
from bench.report import Report, Sheet, measured_on, targets_sheet
from bench.results import Figures
from bench.targets import number


def sheets(report: Report) -> list[Sheet]:
    """Return every table of a report."""
    summary, tasks = report["summary"], report["tasks"]
    found = [_epochs(task, figures, tasks[task]) for task, figures in summary.items() if task in SHARED]
    own = {task: figures for task, figures in summary.items() if task not in SHARED}
    found += [_beside_bare(own, tasks)] if own else []
    found += [_plans(report["found"])] if any("danlu" in one for one in report["found"].values()) else []
    return [*found, targets_sheet(report["targets"])]


def _epochs(task: str, figures: dict[str, Figures], settings: dict[str, Any]) -> Sheet:
    if task == "line":
        return _updates(figures, settings)
    header = ["trainer", "s per epoch", "x danlu", "accuracy", "set-up s", "MB"]
    rows = [
        [
            name,
            number(each["epoch_s"], 3),
            number(each["over"]["danlu"]["epoch"], 2),
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


def _beside_bare(summary: dict[str, dict[str, Figures]], tasks: dict[str, Any]) -> Sheet:
    """Return the table of the tasks that only danlu and the bare loop do."""
    header = ["danlu beside the bare loop", "loop", "ms per update", "x danlu", "evaluation ms", "x danlu"]
    rows = []
    for task, figures in summary.items():
        for name, each in figures.items():
            over = each["over"]["danlu"]
            update = {key: value / 1e3 for key, value in each["update_us"].items()}
            evaluation = {key: value * 1e3 for key, value in each["evaluate_s"].items()}
            cells = [number(update, 2), number(over["update"], 2), number(evaluation, 0), number(over["evaluate"], 2)]
            rows.append([tasks[task]["about"], name, *cells])
    return Sheet("Other networks", header, rows)


def _plans(found: dict[str, Any]) -> Sheet:
    rows = [
        [task, one["danlu"]["words"], f"{one['danlu']['search_s']:.1f}"]
        for task, one in found.items()
        if "danlu" in one
    ]
    return Sheet("Plans that danlu found before the rounds", ["task", "plan", "search s"], rows)


def _sorted(figures: dict[str, Figures], key: str) -> list[tuple[str, Figures]]:
    return sorted(figures.items(), key=lambda item: item[1][key]["median"])


def notes(report: Report) -> list[str]:
    """Return what a reader has to know beside the tables."""
    busy, names = report["disturbed"], dict.fromkeys(name for one in report["summary"].values() for name in one)
    lines = [
        f"{measured_on(report)} {report['settings']['threads']} threads but where it says otherwise.",
        "; ".join(f"{name}: {PEERS[name][1]}" for name in names) + ".",
        "Medians over the rounds (least..greatest); ratios and differences are taken round by round. An epoch is "
        "training, evaluation and what the trainer records. Set-up is the rest of a fit, data preparation and the end "
        "included: in a warm process / the first fit of a process, imports not counted. MB is the peak of the process.",
    ]
    if "danlu" in names:
        lines.append(
            "danlu's plan of each task was searched once before the rounds, as `danlu plan` does, while nothing else "
            "ran; every fit takes it by `plan = FILE`, because fits this short search none of their own. Its search is "
            "not part of the times."
        )
    hand = {task: one["by_hand"]["settings"] for task, one in report["found"].items() if "by_hand" in one}
    lines += [f"Best by hand, {task}: {_said(settings)}." for task, settings in hand.items()]
    if busy["fits"]:
        lines.append(
            f"Other programs worked during {busy['fits']} of the {busy['of']} fits: measure again while they rest."
        )
    return [*lines, *(f"Left out: {name}, {reason}" for name, reason in report["left_out"].items())]


def _said(settings: dict[str, Any]) -> str:
    on = [key.replace("_", " ") for key, value in settings.items() if value is True]
    return ", ".join([*(on or ["plain"]), f"threads {settings['threads']}"])
