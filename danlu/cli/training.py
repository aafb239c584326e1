"""`danlu train` and `danlu check`."""

from pathlib import Path

from rich.console import Console

import danlu
from danlu import models, recipes, save
from danlu.recipe import Settled
from danlu.recipe_text import read
from danlu.train.build import build_data, build_model
from danlu.train.prepare import prepare


def load(name: str, overrides: list[str]) -> Settled:
    """Return a built-in recipe or a recipe file with overrides on top."""
    return read(recipes.find(name), overrides)


def train(name: str, overrides: list[str], out: Path | None, *, force: bool, quiet: bool) -> None:
    """Train a recipe in a run folder of its own."""
    recipe = load(name, overrides)
    folder = out if out is not None else save.free_name(Path("runs") / Path(name).stem)
    if out is not None and (force or save.holds_run(out)):
        _, notice = save.claim(out, force=force)
        if notice:
            print(notice)
    data = build_data(recipe.data, recipe.seed)
    run = danlu.fit(build_model(recipe.model, recipe.seed), data, recipe, out=folder, quiet=quiet)
    if not quiet:
        print(f"curves: {run.folder}/curves.png · TensorBoard: tensorboard --logdir {run.folder}/tensorboard")


def check(name: str, overrides: list[str]) -> None:
    """Print every layer, and run one batch of every set through model and loss."""
    recipe = load(name, overrides)
    data = build_data(recipe.data, recipe.seed)
    model = build_model(recipe.model, recipe.seed)
    training = prepare(model, data, recipe)
    inputs = training.train.batch(0, 0)[0]
    if isinstance(inputs, dict):
        summary = models.summary(model, **inputs)
    else:
        summary = models.summary(model, *(inputs if isinstance(inputs, tuple) else (inputs,)))
    console = Console(soft_wrap=True, highlight=False)
    console.print(str(summary), markup=False)
    sets = {"train": training.train, **training.valid, **({"test": training.test} if training.test else {})}
    for group, batches in sets.items():
        target = batches.batch(0, 0)[1]
        shown = "none" if target is None else f"{tuple(target.shape)} {str(target.dtype).removeprefix('torch.')}"
        console.print(
            f"{group}: {batches.samples:,} samples in {len(batches):,} batches; target {shown}: fits {recipe.loss.name}"
        )
    for notice in training.notices:
        console.print(f"note: {notice}")
    training.close()
