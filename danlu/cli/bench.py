"""`danlu bench`."""

import json
from collections.abc import Sequence

from danlu.cli.catalogue import find_recipe
from danlu.cli.text import bytes_of, indented, table
from danlu.cli.training import data_of, model_of, telling
from danlu.measure import pin
from danlu.measure.bench import Bench
from danlu.measure.bench import bench as measure
from danlu.recipe_text import read
from danlu.track import in_ms, in_percent
from danlu.train import prepare


def bench(name: str, overrides: Sequence[str], seconds: float, *, as_json: bool) -> None:
    """Measure a recipe and print what was found; nothing is trained for good."""
    recipe = read(find_recipe(name), overrides)
    data, model = data_of(recipe), model_of(recipe)
    with telling("checking the first batch of every set"):
        training = prepare(model, data, recipe)
    try:
        with telling("measuring"):
            pin(training)
            found = measure(training, seconds)
    finally:
        training.close()
    print(json.dumps(found.figures(), indent=2) if as_json else "\n\n".join(report(name, found)))


def report(name: str, found: Bench) -> list[str]:
    """Return the parts of what is printed."""
    size = f"{found.batch_size:,} samples" + ("" if found.accumulate == 1 else f" x {found.accumulate} micro-batches")
    head = f"{name}: an update of {size}\nmeasured on {found.measured_on}"
    return [head, _machine(found), _times(found), _parts(found), _shares(found)]


def _machine(found: Bench) -> str:
    """Say what an update costs, what the machine can do, and what follows."""
    limits, cost = found.limits, found.cost
    best = [
        ("products", f"{rate(limits.flops_per_s, 'FLOP')}/s", f"of {limits.shape}"),
        ("memory", f"{bytes_of(round(limits.bytes_per_s))}/s", "read and written by a copy"),
        ("call", micro(limits.call_s), "of an operation on one number"),
    ]
    lines = [f"the machine's best meanwhile\n{indented(table(best, right=(1,)))}"]
    if cost.why:
        return f"{lines[0]}\n\nan update's cost: not countable: {cost.why}"
    floor_s, series_s = cost.floor_s(limits)
    rows = [
        ("products", rate(cost.flops, "FLOP"), in_ms(cost.flops / limits.flops_per_s)),
        ("memory", bytes_of(cost.bytes), in_ms(cost.bytes / limits.bytes_per_s)),
        ("calls", f"{cost.calls:,}", in_ms(cost.calls * limits.call_s)),
        ("floor: the longer of products and memory", "", in_ms(floor_s)),
        ("in series: products, then memory", "", in_ms(series_s)),
    ]
    shown = table(rows, head=("an update", "", "at best"), right=(1, 2))
    return f"{lines[0]}\n\n{shown}"


def _times(found: Bench) -> str:
    rows = [("update", in_ms(found.update_s), f"median of {found.blocks} blocks")]
    rows.append(("", f"{in_ms(found.update_s_min)} to {in_ms(found.update_s_max)}", "from block to block"))
    rows.append(("training", f"{found.samples_per_s:,.0f} samples/s", ""))
    rows.append(("evaluation", f"{found.evaluation_samples_per_s:,.0f} samples/s", ""))
    return table(rows, head=("measured",), right=(1,))


def _parts(found: Bench) -> str:
    whole_s = found.update_s
    rows = [(name, in_ms(part_s), f"{100 * part_s / whole_s:.0f} %") for name, part_s in found.parts.items()]
    named = 100 * (1 - found.parts["other"] / whole_s)
    shown = table(rows, head=("where it goes", "", ""), right=(1, 2))
    return f'{shown}\ntimed in updates of their own; all but "other" make {named:.0f} % of the whole'


def _shares(found: Bench) -> str:
    if found.percent_of_gemm is None or found.percent_of_floor is None or found.percent_of_series is None:
        return "percent of the limit: not countable"
    rows = [
        ("products", in_percent(found.percent_of_gemm), f"of {found.limits.shape}"),
        ("floor", in_percent(found.percent_of_floor), "of the longer of products and memory"),
        ("in series", in_percent(found.percent_of_series), "of products, then memory"),
    ]
    return table(rows, head=("of the limit",), right=(1,))


def micro(seconds: float) -> str:
    """Write a time as microseconds."""
    return f"{1e6 * seconds:.3g} us"


def rate(count: float, unit: str) -> str:
    """Write a large count with its unit: 2.91 GFLOP."""
    size, power = float(count), 0
    while size >= 1000 and power < 5:
        size, power = size / 1000, power + 1
    return f"{size:.3g} {('', 'k', 'M', 'G', 'T', 'P')[power]}{unit}"
