"""The commands, their arguments and help. What they do is in the modules that each imports when it is called."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer
from typer.main import get_command

from danlu.cli.text import say
from danlu.errors import DanluError

ABOUT = """Train PyTorch models: checked, recorded, repeatable.

To begin, `danlu train digits`: a few seconds, and no download."""

How = Literal[True, "accept changes", "strict", "replan"]
SETTINGS = {"help_option_names": ["-h", "--help"]}
app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    invoke_without_command=True,
    context_settings=SETTINGS,
    help=ABOUT,
)
runs_app = typer.Typer(invoke_without_command=True, help="List, show and compare runs.")
data_app = typer.Typer(invoke_without_command=True, help="List data sets, look at them, fetch and convert them.")
recipes_app = typer.Typer(invoke_without_command=True, help="List and show the built-in recipes.")

RecipeName = Annotated[str, typer.Argument(metavar="RECIPE", help="a built-in recipe's name, or a .toml file")]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="a run's folder")]
DataName = Annotated[str, typer.Argument(metavar="NAME", help="a data set's name, or a stored set's folder")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="a recipe key, as optim.lr=0.05; repeatable"),
]
At = Annotated[str, typer.Option(metavar="WHICH", help="the weights: best, last, or an update's number")]
On = Annotated[str, typer.Option(metavar="SET", help="train, test, or a validation set's name; test if there is one")]
Replan = Annotated[bool, typer.Option("--replan", help="search the plan anew, whatever was found before")]
LimitBatches = Annotated[
    int | None, typer.Option("--limit-batches", metavar="N", help="use only N batches of every set, to try it out")
]


def call(arguments: Sequence[str]) -> int:
    """Call the command that the arguments name; return its exit code.

    Raises:
        DanluError: the command was given something wrong.
    """
    usage_error = typer.BadParameter.__bases__[0]  # typer gives its base class no public name
    try:
        with get_command(app).make_context("danlu", list(arguments)) as context:
            context.command.invoke(context)
    except typer.Exit as end:
        return end.exit_code
    except usage_error as error:  # type: ignore[misc]
        said = error.format_message()
        said = said if said.endswith((".", "?")) else f"{said}."
        say(f"{said} Fix: see {error.ctx.command_path if error.ctx is not None else 'danlu'} --help.")
        return DanluError.exit_code
    return 0


def _version(wanted: bool) -> None:
    if wanted:
        from danlu import __version__

        print(f"danlu {__version__}")
        raise typer.Exit


@app.callback()
def danlu(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    """Print the help where no command is named."""
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command()
def train(
    recipe: RecipeName,
    set_: Overrides = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="run folder; else runs/RECIPE, numbered where that is taken")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="move a run that lies in --out aside")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="print nothing but the run's folder")] = False,
    limit_batches: LimitBatches = None,
    overfit_one_batch: Annotated[
        bool, typer.Option("--overfit-one-batch", help="learn one batch by heart, to see that it can learn")
    ] = False,
    replan: Replan = False,
) -> None:
    """Train a recipe, and leave a record of the run."""
    from danlu.cli.training import train as call

    overrides = _overrides(set_, limit_batches)
    overrides += ["overfit_one_batch=true"] if overfit_one_batch else []
    overrides += ["replan=true"] if replan else []
    call(recipe, overrides, out, force=force, quiet=quiet)


@app.command()
def resume(
    run: RunFolder,
    set_: Overrides = None,
    accept_changes: Annotated[
        bool, typer.Option("--accept-changes", help="go on though --set changes what the run would have been")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="refuse to pass over a damaged checkpoint")] = False,
    replan: Annotated[
        bool, typer.Option("--replan", help="search another plan where the run's own cannot run here")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="print nothing but the run's folder")] = False,
) -> None:
    """Go on with a run that was stopped or killed."""
    from danlu.cli.training import resume as call

    how: How = "accept changes" if accept_changes else "strict" if strict else "replan" if replan else True
    call(run, set_ or [], how, quiet=quiet)


@app.command()
def replay(
    run: RunFolder,
    update: Annotated[int, typer.Option("--update", metavar="N", help="which update, counted from 1")],
    pdb: Annotated[bool, typer.Option("--pdb", help="stop in the model's forward, in Python's debugger")] = False,
) -> None:
    """Do one update of a run once more, and show what it was."""
    from danlu.cli.training import replay as call

    call(run, update, pdb=pdb)


@app.command()
def check(recipe: RecipeName, set_: Overrides = None, limit_batches: LimitBatches = None) -> None:
    """Check a recipe without training it, layer by layer."""
    from danlu.cli.training import check as call

    call(recipe, _overrides(set_, limit_batches))


@app.command()
def plan(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="a recipe as for train, or a run's folder")],
    set_: Overrides = None,
    replan: Replan = False,
) -> None:
    """Time ways to run a recipe's updates, and show which is taken."""
    from danlu.cli.plan import plan as call

    call(recipe, set_ or [], replan=replan)


@app.command()
def bench(
    recipe: RecipeName,
    set_: Overrides = None,
    seconds: Annotated[float, typer.Option(metavar="S", help="how long to measure", min=0.1)] = 5.0,
    batch_sizes: Annotated[
        str | None, typer.Option(metavar="SIZES", help="try these instead, as 8,16,32; auto finds what fits")
    ] = None,
    keep_update: Annotated[
        bool, typer.Option("--keep-update", help="with --batch-sizes: accumulate to the recipe's own update")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="print the figures as JSON")] = False,
) -> None:
    """Measure how fast a recipe trains, and how near the limit that is."""
    if batch_sizes is not None:
        from danlu.cli.batch_sizes import batch_sizes as call_sizes

        call_sizes(recipe, set_ or [], batch_sizes, keep_update=keep_update, seconds=seconds, as_json=json)
        return
    from danlu.cli.bench import bench as call

    call(recipe, set_ or [], seconds, as_json=json)


@app.command(name="eval")
def evaluate(run: RunFolder, on: On = "", at: At = "best") -> None:
    """Measure a run's weights on one of its sets."""
    from danlu.cli.results import evaluate as call

    call(run, on, at)


@app.command()
def predict(
    run: RunFolder,
    source: Annotated[Path | None, typer.Argument(metavar="INPUT", help="a picture, or an .npy file of inputs")] = None,
    on: On = "",
    at: At = "best",
    count: Annotated[int, typer.Option(metavar="N", help="how many samples of the set, from its first on", min=1)] = 10,
    picture: Annotated[
        Path | None, typer.Option(metavar="PNG", help="also draw the inputs with what was predicted")
    ] = None,
) -> None:
    """Predict samples of a set, a picture, or an array of inputs."""
    from danlu.cli.results import predict as call

    call(run, source, on=on, at=at, count=count, picture=picture)


@app.command()
def export(
    run: RunFolder,
    out: Annotated[Path, typer.Option(metavar="FILE", help="the .safetensors file to write")],
    at: At = "best",
    average: Annotated[
        bool | None,
        typer.Option("--average/--no-average", help="of a run with ema: the averaged weights, or the trained ones"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="replace a file that is there")] = False,
) -> None:
    """Write a run's weights as one safetensors file."""
    from danlu.cli.weights import export as call

    call(run, out, at, average=average, force=force)


@app.command()
def weights(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="a run, a checkpoint or a .safetensors file")],
    at: At = "best",
) -> None:
    """List the tensors of a run or a file."""
    from danlu.cli.weights import listing as call

    call(source, at)


app.add_typer(runs_app, name="runs")
app.add_typer(data_app, name="data")
app.add_typer(recipes_app, name="recipes")


@runs_app.callback()
def runs(context: typer.Context) -> None:
    """List the runs in ./runs."""
    if context.invoked_subcommand is None:
        from danlu.cli.runs import list_all as call

        call(None)


@runs_app.command("list")
def runs_list(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="the folder that holds runs")] = Path("runs"),
) -> None:
    """List the runs in a folder."""
    from danlu.cli.runs import list_all as call

    call(folder)


@runs_app.command("show")
def runs_show(run: RunFolder) -> None:
    """Show how a run went: figures, recipe, events."""
    from danlu.cli.runs import show as call

    call(run)


@runs_app.command("verify")
def runs_verify(run: RunFolder) -> None:
    """Check every file of every checkpoint against its checksum."""
    from danlu.cli.runs import verify as call

    call(run)


@runs_app.command("compare")
def runs_compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="two runs' folders or more")],
) -> None:
    """Set runs side by side, and what their recipes differ in."""
    from danlu.cli.runs import compare as call

    call(runs)


@data_app.callback()
def data(context: typer.Context) -> None:
    """List the data sets that danlu knows by name."""
    if context.invoked_subcommand is None:
        data_list()


@data_app.command("list")
def data_list() -> None:
    """List the data sets that danlu knows by name."""
    from danlu.cli.catalogue import data_list as call

    call()


@data_app.command("info")
def data_info(name: DataName) -> None:
    """Show a data set's sizes, shapes and classes."""
    from danlu.cli.catalogue import data_info as call

    call(name)


@data_app.command("fetch")
def data_fetch(name: DataName) -> None:
    """Find a data set on this machine, or download and verify it."""
    from danlu.cli.catalogue import data_fetch as call

    call(name)


@data_app.command("convert")
def data_convert(
    source: Annotated[
        str,
        typer.Argument(metavar="SOURCE", help="a name, file.py:function, an IDX folder, .npy, .npz, .csv or .parquet"),
    ],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="the stored set's folder, not there yet")],
    target: Annotated[
        str | None, typer.Option(metavar="WHICH", help="a table's column, or the .npy file beside an .npy file")
    ] = None,
    valid: Annotated[float | None, typer.Option(metavar="SHARE", help="hold out this share for validation")] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="decides what is held out, and the shuffle", min=0)] = 0,
    shuffle: Annotated[bool, typer.Option("--shuffle", help="write the training samples in random order")] = False,
    workers: Annotated[int, typer.Option(metavar="N", help="processes that fetch samples", min=0)] = 0,
) -> None:
    """Write data as a stored set, which may be larger than memory."""
    from danlu.cli.stored import convert as call

    call(source, folder, target=target, valid=valid, seed=seed, shuffle=shuffle, workers=workers)


@data_app.command("verify")
def data_verify(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="a stored set's folder")],
) -> None:
    """Check every block of a stored set against its checksum."""
    from danlu.cli.stored import verify as call

    call(folder)


@recipes_app.callback()
def recipes(context: typer.Context) -> None:
    """List the built-in recipes."""
    if context.invoked_subcommand is None:
        recipes_list()


@recipes_app.command("list")
def recipes_list() -> None:
    """List the built-in recipes."""
    from danlu.cli.catalogue import recipes_list as call

    call()


@recipes_app.command("show")
def recipes_show(recipe: RecipeName, set_: Overrides = None) -> None:
    """Print a recipe whole, as a file to begin with."""
    from danlu.cli.catalogue import recipes_show as call

    call(recipe, _overrides(set_))


@app.command()
def course(
    lesson: Annotated[
        str | None, typer.Argument(metavar="LESSON", help="a lesson's name, or all; without one they are listed")
    ] = None,
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="where LESSON.png goes; an earlier one is replaced")
    ] = Path("runs/course"),
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="print nothing but the pictures' paths")] = False,
    show: Annotated[bool, typer.Option("--show", help="print the lesson's source instead of running it")] = False,
) -> None:
    """Run a lesson: one topic, from scratch and concise."""
    from danlu.cli import course as commands

    if show:
        commands.show(lesson)
    elif lesson is None:
        commands.listing()
    else:
        commands.run(lesson, out, quiet=quiet)


def _overrides(given: list[str] | None, limit_batches: int | None = None) -> list[str]:
    return [*(given or []), *([] if limit_batches is None else [f"limit_batches={limit_batches}"])]
