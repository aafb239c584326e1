"""What the built-in recipes reach: `python -m bench.recipes`, the worst of three seeds each.

The recipes run as they stand, one after the other, with the default threads; it takes about ten minutes on two cores.
Writes `bench/results/recipes.json`.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import danlu
from danlu import recipes
from danlu.device import describe
from danlu.recipe_text import read
from danlu.train import build_data, build_model

GOALS = {  # recipe: (figure, goal)
    "digits": ("valid/accuracy", 0.97),
    "mlp-fashion": ("test/accuracy", 0.87),
    "softmax-fashion": ("test/accuracy", 0.825),
    "lenet-fashion": ("test/accuracy", 0.89),
}
SEEDS = (0, 1, 2)
RESULTS = Path(__file__).parent / "results" / "recipes.json"


def train(name: str, seed: int) -> dict[str, Any]:
    """Train a recipe with one seed; return its final figures and seconds."""
    recipe = read(recipes.find(name), [f"seed={seed}"])
    with tempfile.TemporaryDirectory() as folder:
        model = build_model(recipe.model, seed)
        run = danlu.fit(model, build_data(recipe.data, seed), recipe, out=Path(folder) / "run", quiet=True)
        return {**run.summary["final"], "seconds": run.summary["seconds"]}


def measure(name: str) -> dict[str, Any]:
    """Train a recipe with every seed; return the worst."""
    figure, goal = GOALS[name]
    found = [train(name, seed) for seed in SEEDS]
    values = [one[figure] for one in found]
    seconds = [one["seconds"] for one in found]
    return {"figure": figure, "goal": goal, "worst": min(values), "values": values, "seconds": seconds}


def main() -> None:
    """Measure the recipes named on the command line, or all, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(GOALS), help="recipes to run")
    names = parser.parse_args().names
    results = {}
    for name in names:
        results[name] = found = measure(name)
        verdict = "reached" if found["worst"] >= found["goal"] else "MISSED"
        seconds = max(found["seconds"])
        line = f"{name:16} {found['figure']} worst of {len(SEEDS)} {found['worst']:.4f}  goal {found['goal']} {verdict}"
        print(f"{line}  {seconds:.1f} s", flush=True)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"machine": describe("cpu"), "recipes": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
