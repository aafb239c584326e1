"""`danlu train` and `danlu check`: what they print, and which folder a run gets."""

import re
from pathlib import Path

import numpy as np
import pytest

import danlu
from danlu import recipes
from danlu.cli import run
from danlu.cli.training import truth_table
from danlu.recipe_text import read
from danlu.train import build_data, build_model


def said(words: str, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert run(words.split()) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "\x1b" not in out
    return out


def test_every_run_gets_a_folder_of_its_own(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text((here / "base.toml").read_text())
    for name in ("mine", "mine-2"):
        assert said("train mine.toml --quiet --limit-batches 1", capsys) == f"runs/{name}\n"
        assert danlu.Run(tmp_path / "runs" / name).summary["updates"] == 2


def test_what_is_printed_while_it_trains(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = said(f"train base.toml --out {tmp_path}/run --set tensorboard=true --set epochs=3", capsys)
    run_ = danlu.Run(tmp_path / "run")
    lines = out.splitlines()
    assert lines[0] == "iris: 120 train, 30 valid samples"
    assert re.fullmatch(r"model: 15 parameters, on cpu, float32, \d+ threads?", lines[1])
    assert lines[3].split() == ["train", "valid"]
    assert lines[4].split() == ["epoch", "loss", "accuracy", "loss", "accuracy", "left"]
    assert lines[3].index("train") + 5 == lines[4].index("loss") + 4  # right over its first quantity
    for line, row in zip(lines[5:8], run_.history.to_dicts(), strict=True):
        names = ("train/loss", "train/accuracy", "valid/loss", "valid/accuracy")
        assert line.split()[:5] == [f"{row['epoch']}/3", *(f"{row[name]:.4f}" for name in names)]
    assert max(map(len, lines[:8])) <= 80
    best = run_.best
    assert re.fullmatch(r"all 3 epochs done: \d+\.\d s, [\d,]+ samples/s", lines[9])
    assert lines[10] == f"best valid/accuracy {best['value']:.4f} at update {best['step']}"
    assert lines[11:] == [
        f"run: {tmp_path}/run",
        f"curves: {tmp_path}/run/curves.png",
        f"TensorBoard: tensorboard --logdir {tmp_path}/run/tensorboard",
    ]


def test_force_moves_a_run_aside_and_says_so(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words = f"train base.toml -q --out {tmp_path}/run --limit-batches 1"
    said(words, capsys)
    first = danlu.Run(tmp_path / "run").summary
    out = said(f"{words} --force --set seed=1", capsys)
    assert out == f"{tmp_path}/run held a run; that run was moved to {tmp_path}/run.old-1\n{tmp_path}/run\n"
    assert danlu.Run(tmp_path / "run.old-1").summary == first
    assert "seed = 1" in danlu.Run(tmp_path / "run").recipe


def test_force_needs_nothing_to_move(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert said(f"train base.toml -q --out {tmp_path}/run --force --limit-batches 1", capsys) == f"{tmp_path}/run\n"


def test_overfit_one_batch(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    said(f"train base.toml -q --out {tmp_path}/run --overfit-one-batch --set epochs=60", capsys)
    summary = danlu.Run(tmp_path / "run").summary
    assert summary["samples_seen"] == 60 * 16
    assert summary["final"]["train/accuracy"] == 1.0


def test_learned_numbers_stand_beside_the_true_ones(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = said(f"train linear-regression --out {tmp_path}/run --set tensorboard=false", capsys)
    rows = [line.split() for line in out.splitlines()[-4:]]
    assert rows[0] == ["parameter", "learned", "true", "difference"]
    assert [row[2] for row in rows[1:]] == ["2.0000", "-3.4000", "4.2000"]
    for row in rows[1:]:
        assert abs(float(row[3])) < 0.01
        assert float(row[3]) == pytest.approx(float(row[1]) - float(row[2]), abs=1.5e-4)


def test_many_numbers_are_summed_up():
    shown = truth_table({"1.weight": np.full((1, 200), 0.02)}, {"weight": np.full((1, 200), 0.01)})
    assert shown.split("of 200")[1].split() == ["0.0200", "0.0100", "0.0100"]


def test_other_parameters_have_no_truth():
    assert truth_table({"1.weight": np.zeros((2, 3)), "scale": np.zeros(2)}, {"weight": np.zeros((1, 2))}) == ""


def test_check(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("COLUMNS", "80")
    before = sorted(here.rglob("*"))
    out = said("check digits --set threads=1", capsys)
    lines = out.splitlines()
    assert lines[0].startswith("digits: 8x8 handwritten digits")
    cells = [line.split() for line in lines]
    assert ["1", "Linear", "(256,)", "16,640", "16,384"] in cells
    assert "19,210 parameters, 76.8 kB; 18,944 MACs per sample" in lines
    assert ["train", "1,438", "23", "64", "(1,", "8,", "8)", "float32", "()", "int64"] in cells
    assert ["valid", "359", "6", "64", "(1,", "8,", "8)", "float32", "()", "int64"] in cells
    assert lines[-1] == "ready to train: 30 epochs, 690 updates, on cpu, float32, 1 thread"
    assert max(map(len, lines[1:])) <= 80
    assert sorted(here.rglob("*")) == before


def test_check_tells_of_frozen_parameters_and_warnings(here: Path, capsys: pytest.CaptureFixture[str]):
    out = said('check base.toml --set freeze=["1.bias"] --limit-batches 2', capsys)
    assert "15 parameters, 3 of them frozen, 60 bytes" in out
    assert "ready to train: 2 epochs, 4 updates" in out


FASHION = ("lenet-fashion", "mlp-fashion", "resnet-fashion", "softmax-fashion")  # they need a download


@pytest.mark.parametrize("name", [name for name in recipes.names() if name not in FASHION])
def test_every_built_in_recipe_is_ready_to_train(name: str, capsys: pytest.CaptureFixture[str]):
    assert "ready to train: " in said(f"check {name}", capsys)


REACHED = [  # what the recipes are for; `about` names the commands
    ("iris", "", "valid/accuracy", 0.9, 1.0),
    ("diabetes", "", "valid/r2", 0.4, 0.6),
    ("polynomial", "", "valid/loss", 0.0, 0.02),
    ("polynomial", "--set data.degree=1 --set model.inputs=2", "train/loss", 2.0, 9.0),
    ("polynomial", "--set data.train=5 --set data.degree=19 --set model.inputs=20", "train/loss", 0.0, 0.1),
    ("polynomial", "--set data.train=5 --set data.degree=19 --set model.inputs=20", "valid/loss", 5.0, 50.0),
    ("weight-decay", "", "valid/loss", 0.0, 0.5),
    ("weight-decay", "--set optim.weight_decay=0", "train/loss", 0.0, 0.01),
    ("weight-decay", "--set optim.weight_decay=0", "valid/loss", 50.0, 500.0),
]


@pytest.mark.parametrize(("name", "overrides", "figure", "low", "high"), REACHED)
def test_recipes_show_what_they_say(name: str, overrides: str, figure: str, low: float, high: float):
    words = overrides.replace("--set ", "").split()
    for word in words:
        assert f"--set {word}" in recipes.about(name)
    recipe = read(recipes.find(name), words)
    model, data = build_model(recipe.model, recipe.seed), build_data(recipe.data, recipe.seed)
    assert low <= danlu.fit(model, data, recipe, quiet=True).summary["final"][figure] <= high
