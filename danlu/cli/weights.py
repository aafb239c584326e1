"""`danlu export` and `danlu weights`. Nothing here needs PyTorch."""

import math
from pathlib import Path

from danlu import __version__, save
from danlu.cli.text import bytes_of, counted, table
from danlu.errors import RunError
from danlu.recipe_text import read
from danlu.save import NamedWeights
from danlu.track import MetricStore, Run

SUFFIX = ".safetensors"


def export(folder: Path, out: Path, at: str, *, average: bool | None, force: bool) -> None:
    """Write a run's weights, under the model's own names, tied ones under each."""
    Run(folder)  # refuses a folder that holds no run
    if out.suffix != SUFFIX:
        want, fix = "a file that ends in .safetensors", f"call it {out.stem or 'weights'}{SUFFIX}"
        raise RunError(where="--out", got=str(out), want=want, fix=fix)
    weights = save.read_weights(folder, at=at, average=average)
    arrays = weights.every()
    save.write_weights(out, arrays, _about(folder, weights), force=force)
    print(f"{weights.source}: {_counted(weights)}\n{out}")


def _about(folder: Path, weights: NamedWeights) -> dict[str, str]:
    """Return what stands beside the weights: which run, recipe and update they are of, and its figures."""
    recipe = read(save.plain(folder / "recipe.toml", "a run's recipe"))
    about = {"format": "pt", "danlu": __version__, "source": weights.source, "update": str(weights.update)}
    about |= {"about": recipe.about} if recipe.about else {}
    about |= {"model": recipe.model.build} if recipe.model is not None else {}
    path = folder / "metrics.sqlite"
    if not path.exists():
        return about
    with MetricStore.open(path) as store:
        rows = [(name, value) for step, name, value in store.rows() if step == weights.update and "/" in name]
    return about | {name: f"{value:.6g}" for name, value in rows if not name.startswith("running/")}


def listing(source: Path, at: str) -> None:
    """Print name, shape and type of every tensor."""
    weights = save.read_weights(source, at=at)
    rows = [(name, str(shape), dtype) for name, shape, dtype in save.described(weights)]
    print(f"{weights.source}, SHA-256 {weights.sha256}\n")
    print(table(rows, head=("tensor", "shape", "type")))
    print(f"\n{_counted(weights)}")


def _counted(weights: NamedWeights) -> str:
    numbers = sum(math.prod(array.shape) for array in weights.arrays.values())
    size = sum(array.nbytes for array in weights.arrays.values())
    return f"{counted(len(weights.every()), 'tensor')}, {counted(numbers, 'number')}, {bytes_of(size)}"
