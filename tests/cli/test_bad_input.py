"""Every mistake is one line on standard error that says what to do, exit code 2, and leaves nothing behind."""

import shutil
from pathlib import Path

import pytest

from danlu.cli import run

TRAIN = ["train", "base.toml", "--out", "OUT", "-q"]


def told(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command that must fail as a mistake does, and return its line."""
    capsys.readouterr()
    code = run(arguments)
    out, err = capsys.readouterr()
    assert code == 2, err
    assert out == ""
    assert err.startswith("danlu: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert "Traceback" not in err
    assert "Fix: " in err
    return err


WORDS = [
    ("train digitz", "did you mean digits?"),
    ("train no-such-thing.toml", "no-such-thing.toml: got No such file or directory"),
    ("train some/folder", "some/folder: got No such file"),
    ("train runs/iris", "did you mean runs/iris/recipe.toml?"),
    ("train runs", "runs: got a folder; want a built-in recipe's name, or a .toml file"),
    ("train base", "did you mean base.toml?"),
    ("train net.py", "or a path to a .toml file"),
    ("train", "Missing argument 'RECIPE'"),
    ("trian digits", "Did you mean 'train'? Fix: see danlu --help."),
    ("train digits --forse", "--force"),
    ("train digits --force", "--force: got no --out"),
    ("train digits --limit-batches", "requires an argument"),
    ("train digits --limit-batches x", "--limit-batches"),
    ("train digits --limit-batches 0", "limit_batches: got 0; want a whole number >= 1"),
    ("train digits --set", "'--set' requires an argument"),
    ("check digitz", "did you mean digits?"),
    ("check base.toml --set model.inputs=5", "layer 1 (Linear): got float32 (16, 4)"),
    ("check base.toml --set model=net.py:Misfit", "layer last (Linear)"),
    ("recipes show digitz", "did you mean digits?"),
    ("data info digitz", "did you mean digits?"),
    ("data info", "Missing argument 'NAME'"),
    ("data fetch linear", "want a data set that has files"),
    ("eval nowhere", "nowhere: got a folder that holds no run"),
    ("eval runs/iris --on tset", "--on: got tset; want one of train, valid"),
    ("eval runs/iris --at latest", "choose best, last or one of"),
    ("eval runs/iris --at 99999", "got no checkpoint 99999"),
    ("predict runs", "runs: got a folder that holds no run"),
    ("predict runs/iris --on tset", "--on: got tset"),
    ("predict runs/iris --count 0", "--count"),
    ("predict runs/iris nothing.png", "nothing.png: got no file"),
    ("predict runs/iris runs", "runs: got a folder; want a picture or an .npy file"),
    ("predict runs/iris net.py", "inputs of shape (4,)"),
    ("predict runs/digits net.py", "cannot identify image file"),
    ("predict runs/iris --picture x.png", "--picture: got inputs that are no pictures"),
    ("runs show nowhere", "nowhere: got a folder that holds no run"),
    ("runs list nowhere", "nowhere: got no folder"),
    ("runs list net.py", "net.py: got no folder"),
    ("runs compare runs/iris nowhere", "nowhere: got a folder that holds no run"),
    ("runs compare runs/iris", "runs compare: got one run; want two runs or more"),
    ("runs compare", "Missing argument 'RUN'"),
]


@pytest.mark.parametrize(("words", "expected"), WORDS, ids=[words for words, _ in WORDS])
def test_wrong_words(words: str, expected: str, here: Path, capsys: pytest.CaptureFixture[str]):
    before = sorted(here.rglob("*"))
    assert expected in told(words.split(), capsys)
    assert sorted(path for path in here.rglob("*") if "__pycache__" not in str(path)) == before


RECIPES = [
    ("epoch=3", "epoch: got a key that no recipe has; want a known key. Fix: did you mean epochs?"),
    ("epochs=0", "epochs: got 0; want a whole number >= 1"),
    ("epochs=2.5", "epochs: got 2.5; want a whole number"),
    ("epochs", "--set: got 'epochs'; want dotted.key=value"),
    ("optim.lr=fast", "optim.lr: got fast; want a number > 0"),
    ("optim.lr=-1", "optim.lr: got -1; want a number > 0"),
    ("optim.name=adamm", "optim.name: got 'adamm'; want a known optimizer. Fix: did you mean adam"),
    ("optim.weight_dcay=0.1", "did you mean weight_decay or "),
    ("model.build=mlpp", "did you mean mlp?"),
    ("model.input=4", "model.input: got 'input'; want a known softmax_regression option. Fix: did you mean inputs"),
    ("model.outputs=three", "model.outputs: got 'three'; want a whole number"),
    ("model.outputs=2", "give the model 3 outputs, or mend the labels"),
    ("model.inputs=5", "model: got RuntimeError: mat1 and mat2 shapes cannot be multiplied (16x4 and 5x3)"),
    ("model=missing.py:Net", "model.build: got missing.py; want a Python file"),
    ("model=net.py:Nett", "model.build: got net.py:Nett; want a name that net.py defines. Fix: did you mean Net?"),
    ("model=net.py:Blank", "which returned a Blank; want a torch.nn.Module"),
    ("model=net.py:a_text", "which returned a str; want a torch.nn.Module"),
    ("model.build=net.py:Net", "model.inputs: got 'inputs'; want a known Net option"),
    ("model=net.py:Misfit", "Raised in forward, "),
    ("data.name=irsi", "did you mean iris?"),
    ("data.tset=0.2", "data.tset: got 'tset'; want a known option of [data]. Fix: did you mean test"),
    (
        "data.bad_sample=skip",
        "data.bad_sample: got 'bad_sample'; want a known option of [data]. Fix: did you mean bad_s",
    ),
    ("data.normalize=true", "Fix: did you mean normalise?"),
    (
        "data={name = 'net.py:empty', worker = 1}",
        "data.worker: got 'worker'; want a known option of [data]. Fix: did you",
    ),
    (
        "data.normalise=true",
        "got a data set that is normalised already, by a mean or std of its own; want a single input",
    ),
    ("augment=[{name = 'noise', std = 'x'}]", "augment[0].std: got x; want a number >= 0. Fix: set it in the recipe."),
    ("checkpoints.every=inf", "checkpoints.every: got inf; want a number > 0 and <= 1e+12"),
    ("checkpoints.retry_s=inf", "checkpoints.retry_s: got inf; want a number >= 0 and <= 3600"),
    ("checkpoints={every = 0.5, per = 'update'}", "checkpoints.every: got 0.5; want a whole number of updates"),
    ("data=net.py:flowrs", "did you mean flowers?"),
    ("data=net.py:forty_two", "data: got a int; want (inputs, target), a Dataset, a DataLoader"),
    ("data=net.py:with_nan", "inputs: got NaN or infinity in 1 of 48 rows, the first is row 3"),
    ("data=net.py:empty", "inputs: got 0 rows; want at least one sample"),
    ("data=net.py:few", "batch_size: got 16; want at most 5, the number of training samples"),
    ("data=net.py:five_labels", "values 3, 4; want 0 to 2 for 3 outputs"),
    ("data=net.py:too_few_labels", "48 rows in inputs, 47 rows in target"),
    ("data=net.py:idx_folder", "train-images"),
    ("loss=crossentropy", "loss.name: got 'crossentropy'; want a known loss. Fix: did you mean cross_entropy?"),
    ("loss.weigth=1", "did you mean weight?"),
    ('metrics=["acuracy"]', "did you mean accuracy"),
    ("schedule=cosin", "did you mean cosine"),
    ("schedule=step", "schedule.step_size: got nothing; want a value: StepLR needs it"),
    ("monitor=valid/acc", "did you mean valid/accuracy"),
    ("device=cudaa", "device: got cudaa; want auto, cpu"),
    ("precision=fp8", 'precision: got fp8; want "float32"'),
    ("limit_batches=0", "limit_batches: got 0"),
]


@pytest.mark.parametrize(("override", "expected"), RECIPES, ids=[override for override, _ in RECIPES])
def test_wrong_recipes(override: str, expected: str, here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    arguments = [str(tmp_path / "out") if word == "OUT" else word for word in TRAIN]
    assert expected in told([*arguments, "--set", override], capsys)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_recipe_without_out_leaves_no_folder(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    told(["train", str(here / "base.toml"), "--set", "model.inputs=5"], capsys)
    assert list(tmp_path.iterdir()) == []


def test_an_occupied_folder_is_refused_and_left_alone(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter").write_text("dear")
    (tmp_path / "file").write_text("a file")
    shutil.copytree(here / "runs/iris", tmp_path / "run")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    wrong = [
        (["full"], "a folder with files that are no run"),
        (["full", "--force"], "a folder with files that are no run"),
        (["file"], "a path with a file in its way"),
        (["file/below"], "a path with a file in its way"),
        (["run"], "already holds a run; want a new or empty folder. Fix: choose another --out, or pass --force"),
        (["run", "--force", "--set", "optim.lr=-1"], "optim.lr: got -1"),
        (["run", "--force", "--set", "model.inputs=5"], "mat1 and mat2 shapes"),
    ]
    for words, expected in wrong:
        arguments = ["train", "base.toml", "-q", "--out", str(tmp_path / words[0]), *words[1:]]
        assert expected in told(arguments, capsys)
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_run_without_checkpoints(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    shutil.copytree(here / "runs/iris", tmp_path / "run", ignore=shutil.ignore_patterns("step-*"))
    for command in ("eval", "predict"):
        assert "got no checkpoint" in told([command, str(tmp_path / "run")], capsys)


def test_damaged_files_are_named(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run_folder = tmp_path / "run"
    shutil.copytree(here / "runs/iris", run_folder)
    for weights in run_folder.rglob("model.safetensors"):
        weights.write_bytes(b"x" * weights.stat().st_size)
    assert "model.safetensors: got " in told(["eval", str(run_folder)], capsys)
    for weights in run_folder.rglob("model.safetensors"):
        weights.write_bytes(b"short")
    assert "model.safetensors: got 5 bytes" in told(["predict", str(run_folder)], capsys)
    (run_folder / "metrics.sqlite").write_text("no database")
    assert "metrics.sqlite: got file is not a database" in told(["runs", "show", str(run_folder)], capsys)
    (run_folder / "summary.json").write_text("{")
    assert "summary.json: got " in told(["runs", "compare", str(run_folder), "runs/iris"], capsys)
    (run_folder / "recipe.toml").write_text("x = [")
    assert "recipe.toml: got " in told(["eval", str(run_folder)], capsys)


def test_a_run_made_from_python_says_how_to_go_on(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    shutil.copytree(here / "runs/iris", tmp_path / "run")
    (tmp_path / "run" / "recipe.toml").write_text("epochs = 2\n")
    err = told(["eval", str(tmp_path / "run")], capsys)
    assert "a recipe that names no model and no data" in err
    assert "call danlu.evaluate or danlu.predict from Python" in err
