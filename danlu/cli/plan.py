"""`danlu plan`: which ways to run a recipe's updates were tried on this machine, and which one was taken."""

from pathlib import Path

from danlu.cli.catalogue import find_recipe
from danlu.cli.text import counted, table
from danlu.cli.training import data_of, model_of, telling
from danlu.device import Plan, plan_for
from danlu.measure import LIMIT_S, pin
from danlu.recipe_text import read
from danlu.save import holds_run
from danlu.train import prepare
from danlu.train.resume import read_plan, stored_recipe

LEGEND = """ms: of one update, the median; ratio: to the best plan so far, turn by turn
difference: of loss and gradients, relative to plain eager
"""


def plan(name: str, overrides: list[str], *, replan: bool) -> None:
    """Print the plan of a run, or of a recipe: found before, or searched now, however short its run would be."""
    if holds_run(Path(name)):
        print(report(read_plan(Path(name) / "plan.json", plan_for(stored_recipe(Path(name))))))
        return
    recipe = read(find_recipe(name), overrides + (["replan=true"] if replan else []))
    data, model = data_of(recipe), model_of(recipe)
    with telling("preparing"):
        training = prepare(model, data, recipe)
    try:
        updates = training.updates_total
        length = "time alone limits it" if updates is None else counted(updates, "update")
        print(f"{name}: {length}, {counted(recipe.batch_size, 'sample')} a batch, on {training.plan.place}")
        with telling("searching the plan"):
            pin(training, limit_s=LIMIT_S)
        print(f"\n{report(training.plan)}")
        print("".join(f"{notice}\n" for notice in training.notices), end="")
    finally:
        training.close()


def report(plan: Plan) -> str:
    """Return what was tried as a table, a row for each way."""
    if not plan.tried:
        return "nothing was tried: the updates run as PyTorch comes\n"
    rows = []
    for one in plan.tried:
        time = "-" if one.update_s is None else f"{one.update_s * 1e3:.3g}"
        ratio = "-" if one.ratio is None else f"{one.ratio:.2f}"
        apart = "-" if one.difference is None else "0" if one.difference == 0 else f"{one.difference:.0e}"
        rows.append((one.name, time, ratio, apart, one.verdict))
    made = table(rows, head=("way", "ms", "ratio", "difference", "verdict"), right=(1, 2, 3), wrap=True)
    return f"{made}\n\n{LEGEND}"
