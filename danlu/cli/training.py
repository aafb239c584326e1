"""`danlu train`, `danlu resume`, `danlu replay` and `danlu check`."""

import os
import shlex
import tempfile
from bdb import BdbQuit
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from torch import nn

import danlu
from danlu import models, save
from danlu.cli.catalogue import find_recipe
from danlu.cli.text import bytes_of, counted, table
from danlu.data import Batches, Data, batches, pictures_of
from danlu.errors import DanluError, ModelError, RunError
from danlu.measure import rehearse
from danlu.recipe import Settled
from danlu.recipe_text import from_tree, read, to_tree
from danlu.train import Training, build_data, build_model, prepare
from danlu.train.resume import check_given, stored_recipe

REHEARSED = "two updates, a save and a resume agree bit for bit"
TRUTH_ROWS = 20  # parameters with more numbers than this are summed up in one line

Truth = Mapping[str, npt.NDArray[Any]]


def train(name: str, overrides: list[str], out: Path | None, *, force: bool, quiet: bool) -> None:
    """Train a recipe in a run folder of its own."""
    recipe = read(find_recipe(name), overrides)
    if out is None and force:
        fix = "name the folder, or leave --force out: without --out every run gets a new folder"
        raise RunError(where="--force", got="no --out", want="--out with the folder to move aside", fix=fix)
    if out is not None and not force and os.path.lexists(out):
        save.claim(out)  # an occupied folder is refused before anything is loaded
    data, model = data_of(recipe), model_of(recipe)
    if out is not None and force and os.path.lexists(out):
        with telling("checking the first batch of every set"):
            prepare(model_of(recipe), data, recipe).close()  # a mistake must show before the old run is moved
        _, notice = save.claim(out, force=True)
        print(notice or "", end="\n" if notice else "")
    with _folder(Path("runs") / Path(name).stem, out) as folder, _ending(folder, quiet=quiet):
        run = danlu.fit(model, data, recipe, out=folder, quiet=quiet)
    if quiet:
        print(run.folder)
        return
    print("\n".join(_where_to_look(folder, recipe)))
    if data.truth:
        learned = {key: parameter.detach().cpu().numpy() for key, parameter in model.named_parameters()}
        print(truth_table(learned, data.truth), end="")


def resume(
    folder: Path, overrides: list[str], how: Literal[True, "accept changes", "strict", "replan"], *, quiet: bool
) -> None:
    """Go on with a run in its own folder."""
    recipe = from_tree(to_tree(stored_recipe(folder)), overrides)
    check_given(folder, recipe, f'danlu.fit(model, data, recipe, out="{folder}", resume=True)')
    data, model = data_of(recipe), model_of(recipe)
    before = danlu.Run(folder).summary
    with _ending(folder, quiet=quiet):
        run = danlu.fit(model, data, recipe, out=folder, quiet=quiet, resume=how)
    if quiet:
        print(run.folder)
    elif before and run.summary == before:
        print(f"nothing to do: {before['reason']}")
    else:
        print("\n".join(_where_to_look(folder, recipe)))


def replay(folder: Path, update: int, *, pdb: bool) -> None:
    """Print what one update of a run was."""
    with telling("preparing the replay"):
        try:
            print(f"\n{danlu.replay(folder, update, pdb=pdb)}")
        except BdbQuit:
            print("left the debugger")


@contextmanager
def _ending(folder: Path, *, quiet: bool) -> Iterator[None]:
    """Say how to go on with a run that is interrupted."""
    try:
        with telling("preparing"):
            yield
    except (KeyboardInterrupt, SystemExit):
        if not quiet and (folder / "recipe.toml").exists():
            print(f"to go on: danlu resume {shlex.quote(str(folder))}", flush=True)
        raise


@contextmanager
def telling(what: str) -> Iterator[None]:
    """Say, of an error that danlu did not raise on purpose, what was being done; the loop says so itself."""
    try:
        yield
    except DanluError:
        raise
    except Exception as error:
        if not any(note.startswith("danlu: ") for note in getattr(error, "__notes__", ())):
            error.add_note(f"danlu: while {what}; nothing has been trained")
        raise


def data_of(recipe: Settled) -> Data:
    """Load the data that a recipe names."""
    with telling("loading the data"):
        return build_data(recipe.data, recipe.seed)


def model_of(recipe: Settled) -> Any:
    """Build the model that a recipe names."""
    with telling("building the model"):
        return build_model(recipe.model, recipe.seed, recipe.engine)


@contextmanager
def _folder(base: Path, out: Path | None) -> Iterator[Path]:
    """Give the run's folder: `out`, or a new one named after `base`, which goes again if nothing is written to it."""
    if out is not None:
        yield out
        return
    home_is_new = not base.parent.exists()
    folder = _new_folder(base)
    try:
        yield folder
    finally:
        with suppress(OSError):  # it has a run in it
            folder.rmdir()
            if home_is_new:
                base.parent.rmdir()


def _new_folder(base: Path) -> Path:
    """Make the first folder of `base`, `base-2`, ... that nobody has, another process included."""
    while True:
        folder = save.free_name(base)
        try:
            folder.mkdir(parents=True)
            return folder
        except OSError as error:
            if not (isinstance(error, FileExistsError) and os.path.lexists(folder)):
                return save.claim(folder)[0]  # says what is wrong


def _where_to_look(folder: Path, recipe: Settled) -> list[str]:
    lines = [f"curves: {folder / 'curves.png'}"] if (folder / "curves.png").exists() else []
    board = folder / "tensorboard"
    return lines + ([f"TensorBoard: tensorboard --logdir {shlex.quote(str(board))}"] if recipe.tensorboard else [])


def truth_table(learned: Truth, truth: Truth) -> str:
    """Return a table of what was learned beside what the data was made with, empty where nothing matches.

    Args:
        learned: the model's parameters by name.
        truth: the data's own numbers by the last part of a parameter's name ("weight", "bias").
    """
    rows: list[tuple[str, ...]] = []
    for name, array in learned.items():
        true = truth.get(name.rpartition(".")[2])
        if true is not None and true.size == array.size:
            rows += _beside(name, array.ravel().astype(np.float64), true.ravel().astype(np.float64))
    shown = table(rows, head=("parameter", "learned", "true", "difference"), right=(1, 2, 3))
    return f"\n{shown}\n" if rows else ""


def _beside(name: str, learned: npt.NDArray[np.float64], true: npt.NDArray[np.float64]) -> list[tuple[str, ...]]:
    """Return a row for each number, or where there are many, one row of root mean squares."""
    differences = learned - true
    if len(true) > TRUTH_ROWS:
        sizes = [float(np.sqrt((numbers**2).mean())) for numbers in (learned, true, differences)]
        return [(f"{name}, root mean square of {len(true)}", *(f"{size:.4f}" for size in sizes))]
    names = [name] if len(true) == 1 else [f"{name}[{index}]" for index in range(len(true))]
    columns = zip(names, learned, true, differences, strict=True)
    return [(title, f"{a:z.4f}", f"{b:z.4f}", f"{difference:+z.4f}") for title, a, b, difference in columns]


def check(name: str, overrides: list[str]) -> None:
    """Print every layer, and run one batch of every set through model and loss."""
    recipe = read(find_recipe(name), overrides)
    data, model = data_of(recipe), model_of(recipe)
    drawn = model if isinstance(model, nn.Module) else build_model(recipe.model, recipe.seed)  # the twin's own shapes
    with telling("checking the first batch of every set"):
        training = _prepared(model, data, recipe)
    try:
        print(f"{name}: {recipe.about}\n" if recipe.about else f"{name}\n")
        print(_layer_table(_layers(drawn, training.train)))
        print()
        print(_sets(training))
        pictures = pictures_of(data.train)
        print("" if pictures is None else f"\npictures: {pictures.sizes()} pixels, in {pictures.folder}\n", end="")
        with telling("rehearsing"):
            findings = rehearse(training, Path(tempfile.gettempdir()) / "check")
        print("".join(f"note: {notice}\n" for notice in [*training.notices, *findings]), end="")
        print(f"\nrehearsal: {REHEARSED if not findings else 'a resumed run would not be equal; see above'}")
        print(f"\nready to train: {_length(training)}, on {_machine(training)}")
    finally:
        training.close()


def _prepared(model: Any, data: Data, recipe: Settled) -> Training:
    """Bind everything; where the model does not take the inputs, the error names the layer."""
    try:
        return prepare(model, data, recipe)
    except ModelError as error:
        failure = error
    if not isinstance(model, nn.Module):
        raise failure
    device = next((parameter.device for parameter in model.parameters()), "cpu")
    _layers(model, batches(data.train, recipe.batch_size, device=device))
    raise failure


def _layers(model: nn.Module, train: Batches) -> models.Summary:
    inputs = train.batch(0, 0)[0]
    if isinstance(inputs, dict):
        return models.summary(model, **inputs)
    return models.summary(model, *(inputs if isinstance(inputs, tuple) else (inputs,)))


def _layer_table(layers: models.Summary) -> str:
    """Return a row for each layer, shapes without the batch's own dimension, and the totals."""
    frozen = layers.parameters - layers.trainable
    rows = []
    for row in layers.rows:
        shape = "-" if row.output_shape is None else str(row.output_shape[1:])
        cells = [row.name or "the model", row.layer, shape, f"{row.parameters:,}", f"{row.macs_per_sample:,.0f}"]
        rows.append(cells + ([f"{row.parameters - row.trainable:,}"] if frozen else []))
    head = ("layer", "type", "output", "parameters", "MACs/sample", "frozen")[: 6 if frozen else 5]
    size, fixed = bytes_of(layers.parameter_bytes), f", {frozen:,} of them frozen" if frozen else ""
    totals = f"{layers.parameters:,} parameters{fixed}, {size}; {layers.macs_per_sample:,.0f} MACs per sample"
    return f"{table(rows, head=head, right=(3, 4, 5))}\n\n{totals}"


def _sets(training: Training) -> str:
    sets = {"train": training.train, **training.valid, **({"test": training.test} if training.test else {})}
    rows = [_set_row(name, batches, training) for name, batches in sets.items()]
    return table(rows, head=("set", "samples", "batches", "of", "inputs", "target"), right=(1, 2, 3))


def _set_row(name: str, batches: Batches, training: Training) -> tuple[str, ...]:
    inputs, target = batches.batch(0, 0)
    used = min(len(batches), training.limit or len(batches))
    return name, f"{batches.samples:,}", f"{used:,}", f"{batches.batch_size:,}", _shown(inputs), _shown(target)


def _shown(tree: Any) -> str:
    """Return shapes and types without the batch's own dimension."""
    if tree is None:
        return "none"
    if isinstance(tree, dict):
        return ", ".join(f"{key} {_shown(item)}" for key, item in tree.items())
    if isinstance(tree, tuple):
        return ", ".join(map(_shown, tree))
    return f"{tuple(tree.shape[1:])} {str(tree.dtype).removeprefix('torch.')}"


def _length(training: Training) -> str:
    recipe, updates = training.recipe, training.updates_total
    parts = [] if updates is None else [counted(updates, "update")]
    if recipe.epochs != "off" and updates == recipe.epochs * training.updates_per_epoch:
        parts.insert(0, counted(recipe.epochs, "epoch"))
    parts += [] if recipe.minutes == "off" else [f"at most {recipe.minutes:g} minutes"]
    return ", ".join(parts)


def _machine(training: Training) -> str:
    plan = training.plan
    return f"{plan.place}, {plan.precision}, {counted(plan.threads, 'thread')}"
