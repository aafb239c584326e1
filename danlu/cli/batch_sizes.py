"""`danlu bench --batch-sizes`."""

import json
from collections.abc import Sequence
from dataclasses import asdict

from danlu.cli.catalogue import find_recipe
from danlu.cli.text import bytes_of, table
from danlu.cli.training import data_of, model_of, telling
from danlu.data import Loader
from danlu.device import describe, plan_for
from danlu.errors import DataError, RecipeError
from danlu.measure.batch_sizes import Search, Tried, doubled, fastest, largest, verdicts
from danlu.recipe import Settled
from danlu.recipe_text import read
from danlu.track import in_ms
from danlu.train import Training, prepare

AUTO = "auto"
HEAD = ("batch_size", "accumulate", "update", "samples/s", "memory", "")


def batch_sizes(
    name: str, overrides: Sequence[str], wanted: str, *, keep_update: bool, seconds: float, as_json: bool
) -> None:
    """Print a table of batch sizes and which to set."""
    path = find_recipe(name)
    recipe = read(path, overrides)
    total = recipe.batch_size * recipe.accumulate if keep_update else None
    sizes = None if wanted == AUTO else _numbers(wanted)
    data = data_of(recipe)
    if isinstance(data.train, Loader):
        want, fix = "data with random access", "give the data set itself instead of a DataLoader"
        raise DataError(where="--batch-sizes", got="a DataLoader", want=want, fix=fix)
    most = len(data.train)

    def bind(size: int) -> Training:
        given = [*overrides, f"batch_size={size}"]
        own = read(path, given if total is None else [*given, f"accumulate={total // size}"])
        return prepare(model_of(own), data, own)

    plan = plan_for(recipe)
    with telling("measuring"):
        search = Search(bind, plan.device, seconds / 8)
        if sizes is None:
            tried = search.largest(doubled(most, total), between=total is None)
        else:
            tried = search.each(_fitting(sizes, most, total))
    if as_json:
        print(json.dumps([asdict(one) for one in tried], indent=2))
        return
    print(f"{name}: batch sizes for {most:,} training samples\n{_measured_on(plan.device, recipe, plan.threads)}\n")
    print(table([_row(*pair) for pair in zip(tried, verdicts(tried), strict=True)], head=HEAD, right=range(5)))
    print("\n".join(["", *_advice(tried, recipe, keep_update=keep_update)]))


def _measured_on(place: str, recipe: Settled, threads: int) -> str:
    return f"measured on {describe(place, recipe.engine, threads)}"


def _numbers(text: str) -> list[int]:
    """Read a list such as 8,16,32, in brackets or without; raise `RecipeError` for anything else."""
    words = [word.strip() for word in text.strip().removeprefix("[").removesuffix("]").split(",")]
    if not all(word.isascii() and word.isdigit() and int(word) > 0 for word in words):
        want, fix = "auto, or whole numbers such as 8,16,32", "pass --batch-sizes auto"
        raise RecipeError(where="--batch-sizes", got=text, want=want, fix=fix)
    return [int(word) for word in words]


def _fitting(sizes: Sequence[int], most: int, total: int | None) -> list[int]:
    """Leave out sizes that the data set does not fill, or that make no whole micro-batches of the recipe's update."""
    left = [size for size in sizes if size <= most and (total is None or total % size == 0)]
    if not left:
        want = f"sizes of at most {most:,} samples" + ("" if total is None else f" that divide {total:,}")
        fix = "pass --batch-sizes auto"
        raise RecipeError(where="--batch-sizes", got=",".join(map(str, sizes)), want=want, fix=fix)
    return left


def _row(one: Tried, verdict: str) -> tuple[str, ...]:
    if one.update_s is None or one.samples_per_s is None or one.memory_bytes is None:
        return f"{one.batch_size:,}", "", "", "", "", verdict
    figures = in_ms(one.update_s), f"{one.samples_per_s:,.0f}", bytes_of(one.memory_bytes)
    return f"{one.batch_size:,}", f"{one.accumulate:,}", *figures, verdict


def _advice(tried: Sequence[Tried], recipe: Settled, *, keep_update: bool) -> list[str]:
    """Say what to set."""
    quick, big = fastest(tried), largest(tried)
    if quick is None or big is None:
        return ["none of them ran"]
    lines = [f"fastest: {_settings(quick, recipe)}"]
    lines += [f"largest that fits: {_settings(big, recipe)}"] if any(one.over for one in tried) else []
    if not keep_update:
        lines.append("another batch_size is another training; with --keep-update, accumulate makes the same update")
    return lines


def _settings(one: Tried, recipe: Settled) -> str:
    words = f"--set batch_size={one.batch_size}"
    return words if one.accumulate == recipe.accumulate else f"{words} --set accumulate={one.accumulate}"
