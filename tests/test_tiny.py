"""Everything once, in a few seconds: a whole experiment from its recipe to its predictions."""

import json
import math
import subprocess
import sys
import tomllib

import numpy as np
import pytest
import torch
from torch import nn

import danlu
from danlu import recipes

RECIPE = danlu.Recipe(
    metrics=["accuracy", danlu.Metric("top_k_accuracy", k=3)],
    optim=danlu.Optim("adamw", lr=0.01, weight_decay=0.01, no_decay=["bias"], clip_norm=1.0),
    schedule=danlu.Schedule("cosine", per="update", warmup=3),
    early_stop=danlu.EarlyStop(patience=3),
    epochs=2,
    batch_size=32,
    accumulate=2,
    ema=0.8,
    log_every=5,
    device="cpu",
    threads=1,
)


def make_model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 10))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny") / "run"
    model, data = make_model(), danlu.data.load("digits")
    run = danlu.fit(model, data, RECIPE, out=folder, quiet=True)
    return folder, run, model, data


def test_it_learns_and_ends_as_the_recipe_says(trained):
    _, run, _, data = trained
    batches = math.ceil(len(data.train) / 32)
    assert run.summary["status"] == "finished"
    assert run.summary["epochs"] == 2
    assert run.summary["updates"] == 2 * math.ceil(batches / 2)
    assert run.summary["samples_seen"] == 2 * len(data.train)
    assert run.summary["final"]["valid/accuracy"] > 0.7
    assert run.best["metric"] == "valid/accuracy"
    assert run.best["value"] >= run.summary["final"]["valid/accuracy"]


def test_it_leaves_its_record(trained):
    folder, run, _, _ = trained
    names = {path.name for path in folder.iterdir()}
    assert names >= {"recipe.toml", "environment.json", "plan.json", "metrics.sqlite", "summary.json", "curves.png"}
    assert names >= {"tensorboard", "checkpoints"}
    assert json.loads((folder / "summary.json").read_text()) == run.summary
    last = folder / "checkpoints" / f"step-{run.summary['updates']:08d}"
    assert {path.name for path in last.iterdir()} >= {
        "manifest.json",
        "model.safetensors",
        "optimizer.safetensors",
        "ema.safetensors",
        "state.json",
    }
    assert danlu.load_recipe(folder).optim.options == {"weight_decay": 0.01}


def test_its_best_weights_evaluate_to_what_was_recorded(trained):
    folder, run, _, data = trained
    model = danlu.load_model(folder, at="best", model=make_model())
    figures = danlu.evaluate(model, data, RECIPE, on="valid")
    assert figures["accuracy"] == run.best["value"]
    assert set(figures) >= {"loss", "accuracy", "top_k_accuracy"}


def test_it_predicts_probabilities(trained):
    folder, _, _, data = trained
    model = danlu.load_model(folder, model=make_model())
    inputs = next(iter(data.valid.values())).take(np.arange(7))
    found = danlu.predict(model, inputs, RECIPE)
    assert found.shape == (7, 10)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-5)
    assert (found.argmax(axis=1) == inputs.targets()).sum() >= 4


def test_steps_do_what_fit_does(trained):
    _, _, model, data = trained
    mine = make_model()
    results = list(danlu.steps(mine, data, RECIPE))
    assert len(results) == 2 * math.ceil(math.ceil(len(data.train) / 32) / 2)
    assert all(bool(torch.isfinite(result.loss)) for result in results)
    for name, tensor in model.state_dict().items():
        assert torch.equal(mine.state_dict()[name], tensor), name


def test_early_stopping_ends_a_run():
    recipe = danlu.Recipe(
        metrics=["accuracy"],
        optim=danlu.Optim("sgd", lr=1e-12),
        early_stop=danlu.EarlyStop(patience=2, min_delta=0.01),
        epochs=50,
        batch_size=256,
        device="cpu",
    )
    run = danlu.fit(make_model(), danlu.data.load("digits"), recipe, quiet=True)
    assert run.summary["status"] == "stopped"
    assert run.summary["epochs"] == 3
    assert "valid/accuracy no better than" in run.summary["reason"]


def test_the_command_line_lists_and_shows_recipes(tmp_path):
    def danlu_does(*words):
        command = [sys.executable, "-m", "danlu", *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    listed = danlu_does("recipes")
    assert all(name in listed for name in recipes.names())
    assert tomllib.loads(danlu_does("recipes", "show", "digits", "--set", "epochs=3"))["epochs"] == 3
    assert list(tmp_path.iterdir()) == []
