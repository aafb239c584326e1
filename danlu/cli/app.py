"""The commands, their arguments and help. What they do is in the modules that each imports when it is called."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Train PyTorch models: checked, recorded, repeatable.",
)
data_app = typer.Typer(no_args_is_help=True, help="Look at data sets, and fetch them.")
runs_app = typer.Typer(invoke_without_command=True, help="List and compare runs.")
recipes_app = typer.Typer(invoke_without_command=True, help="List and show the built-in recipes.")
app.add_typer(data_app, name="data")
app.add_typer(runs_app, name="runs")
app.add_typer(recipes_app, name="recipes")

RecipeName = Annotated[str, typer.Argument(metavar="RECIPE", help="a built-in recipe's name, or a .toml file")]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="a run's folder")]
Overrides = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="change a recipe key")]
At = Annotated[str, typer.Option(help="which checkpoint: best, last, or an update's number")]
On = Annotated[str, typer.Option(help="which set: train, valid, test, or another validation set's name")]


@app.command()
def train(
    recipe: RecipeName,
    set_: Overrides = None,
    out: Annotated[Path | None, typer.Option(help="run folder; by default runs/<recipe>, numbered if taken")] = None,
    force: Annotated[bool, typer.Option("--force", help="move a run that lies in --out aside")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="show no progress")] = False,
    limit_batches: Annotated[int | None, typer.Option(help="use only so many batches of every set")] = None,
    overfit_one_batch: Annotated[bool, typer.Option("--overfit-one-batch", help="train on one batch alone")] = False,
) -> None:
    """Train a recipe."""
    from danlu.cli.training import train as call

    overrides = list(set_ or [])
    overrides += [] if limit_batches is None else [f"limit_batches={limit_batches}"]
    overrides += ["overfit_one_batch=true"] if overfit_one_batch else []
    call(recipe, overrides, out, force=force, quiet=quiet)


@app.command()
def check(recipe: RecipeName, set_: Overrides = None) -> None:
    """Check a recipe: every layer's shape, parameters and work, and one batch of every set through the loss."""
    from danlu.cli.training import check as call

    call(recipe, list(set_ or []))


@app.command(name="eval")
def evaluate(run: RunFolder, on: On = "", at: At = "best") -> None:
    """Evaluate a run's weights on one of its sets; by default the test set, else the validation set."""
    from danlu.cli.results import evaluate as call

    call(run, on, at)


@app.command()
def predict(
    run: RunFolder,
    source: Annotated[Path | None, typer.Argument(metavar="INPUT", help="a picture, or an .npy file of inputs")] = None,
    on: On = "",
    at: At = "best",
    count: Annotated[int, typer.Option(help="samples shown, from the set's first on", min=1)] = 10,
    picture: Annotated[Path | None, typer.Option(help="also draw the inputs with their predictions (PNG)")] = None,
) -> None:
    """Print a table of probabilities (or values) for samples of a set, a picture, or an array."""
    from danlu.cli.results import predict as call

    call(run, source, on=on, at=at, count=count, picture=picture)


@data_app.command("list")
def data_list() -> None:
    """List the data sets that danlu knows by name."""
    from danlu.cli.catalogue import data_list as call

    call()


@data_app.command("info")
def data_info(name: str) -> None:
    """Show a data set's shapes, dtypes, classes and size."""
    from danlu.cli.catalogue import data_info as call

    call(name)


@data_app.command("fetch")
def data_fetch(name: str) -> None:
    """Find a data set on this machine, or download and verify it."""
    from danlu.cli.catalogue import data_fetch as call

    call(name)


@recipes_app.callback()
def recipes_list(context: typer.Context) -> None:
    """List the built-in recipes."""
    if context.invoked_subcommand is None:
        from danlu.cli.catalogue import recipes_list as call

        call()


@recipes_app.command("list")
def recipes_list_again() -> None:
    """List the built-in recipes."""
    from danlu.cli.catalogue import recipes_list as call

    call()


@recipes_app.command("show")
def recipes_show(recipe: RecipeName, set_: Overrides = None) -> None:
    """Print a recipe with every default written out."""
    from danlu.cli.catalogue import recipes_show as call

    call(recipe, list(set_ or []))


@runs_app.callback()
def runs_list(context: typer.Context) -> None:
    """List the runs in ./runs."""
    if context.invoked_subcommand is None:
        from danlu.cli.results import runs_list as call

        call(Path("runs"))


@runs_app.command("list")
def runs_list_in(folder: Annotated[Path, typer.Argument(help="the folder that holds runs")] = Path("runs")) -> None:
    """List the runs in a folder."""
    from danlu.cli.results import runs_list as call

    call(folder)


@runs_app.command("compare")
def runs_compare(runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="two runs or more")]) -> None:
    """Compare runs: figures side by side, and the recipe keys in which they differ."""
    from danlu.cli.results import runs_compare as call

    call(runs)
