"""What is refused before anything is trained, in one line, and what the user is told."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import danlu
from danlu.data import Arrays, Data
from danlu.train import prepare

X = np.random.default_rng(0).standard_normal((20, 4)).astype(np.float32)
Y = np.arange(20) % 3


def linear(outputs: int = 3) -> nn.Module:
    return nn.Linear(4, outputs)


class Fails(nn.Module):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.layer, self.error = nn.Linear(4, 3), error

    def forward(self, inputs: Tensor) -> Tensor:
        raise self.error


def twelve_is_wrong() -> np.ndarray[Any, Any]:
    labels = Y.copy()
    labels[17] = 12
    return labels


REFUSED: dict[str, tuple[Callable[[], nn.Module], object, dict[str, Any], type[danlu.DanluError], str]] = {
    "batch size": (linear, (X, Y), {"batch_size": 21}, danlu.DataError, "batch_size: got 21; want at most 20"),
    "columns": (lambda: nn.Linear(7, 3), (X, Y), {}, danlu.ModelError, "mat1 and mat2"),
    "output": (lambda: nn.Flatten(0), (X, Y), {}, danlu.ModelError, "at least one parameter"),
    "ranks": (lambda: nn.Sequential(nn.Linear(4, 3), nn.Flatten(0)), (X, Y), {}, danlu.ModelError, "(N, C)"),
    "floats": (linear, (X, Y.astype(np.float32)), {}, danlu.DataError, "class indices as int64"),
    "far label": (linear, (X, twelve_is_wrong()), {}, danlu.DataError, "12"),
    "column": (lambda: linear(1), (X, X[:, 0]), {"loss": "mse"}, danlu.DataError, "unsqueeze(-1)"),
    "row": (
        lambda: nn.Sequential(linear(1), nn.Flatten(0)),
        (X, X[:, :1]),
        {"loss": "mse"},
        danlu.DataError,
        "squeeze",
    ),
    "monitor": (linear, (X, Y), {"monitor": "train/lost"}, danlu.RecipeError, "did you mean train/loss"),
    "matrix": (
        linear,
        (X, Y),
        {"monitor": "train/confusion_matrix", "monitor_mode": "max", "metrics": ["confusion_matrix"]},
        danlu.RecipeError,
        "monitor",
    ),
    "plateau": (linear, (X, Y), {"schedule": "plateau"}, danlu.RecipeError, "schedule.monitor: got 'valid/loss'"),
    "own plateau": (
        linear,
        (X, Y),
        {"schedule": lambda optimizer: torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)},
        danlu.RecipeError,
        "schedule.monitor: got 'valid/loss'",
    ),
    "no limit": (linear, (X, Y), {"epochs": "off"}, danlu.RecipeError, "no limit at all"),
    "shape error": (lambda: Fails(RuntimeError("no way\nlong")), (X, Y), {}, danlu.ModelError, "RuntimeError: no way;"),
    "type error": (lambda: Fails(TypeError("two given")), (X, Y), {}, danlu.ModelError, "TypeError: two given"),
    "key error": (lambda: Fails(KeyError("layer")), (X, Y), {}, danlu.ModelError, "KeyError: 'layer'"),
    "silent": (lambda: Fails(ValueError()), (X, Y), {}, danlu.ModelError, "got ValueError; want"),
    "two inputs": (linear, ((X, X), Y), {}, danlu.ModelError, "TypeError"),
    "frozen": (linear, (X, Y), {"freeze": ["*"]}, danlu.ModelError, "all of them frozen"),
    "device": (linear, (X, Y), {"device": "cuda:99"}, danlu.RecipeError, "device"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line_before_training_and_without_a_folder(name: str, tmp_path: Path):
    build, data, given, error, text = REFUSED[name]
    recipe = danlu.Recipe(**{"batch_size": 8, **given})
    model = build()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(error) as caught:
        danlu.fit(model, data, recipe, out=tmp_path / "run", quiet=True)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.fix
    assert not list(tmp_path.iterdir())
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize("where", ["valid", "test"])
def test_a_wrong_label_is_found_in_every_set(where: str):
    good, bad = Arrays(X, Y), Arrays(X, twelve_is_wrong())
    data = Data(good, {"valid": bad if where == "valid" else good}, test=bad if where == "test" else good)
    with pytest.raises(danlu.DataError, match=rf"{where} targets: got 12 \(sample 17; 1 such targets\)"):
        prepare(linear(), data, danlu.Recipe(batch_size=8))


def test_the_monitor_is_what_the_run_will_have():
    both = Data(Arrays(X, Y), {"clean": Arrays(X, Y), "noisy": Arrays(X, Y)})
    alone = Data(Arrays(X, Y))

    def step(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return F.cross_entropy(model(batch[0]), batch[1])

    assert prepare(linear(), both, danlu.Recipe(batch_size=9)).monitor == "clean/loss"
    assert prepare(linear(), both, danlu.Recipe(batch_size=9, metrics=["f1", "accuracy"])).monitor == "clean/accuracy"
    assert prepare(linear(), alone, danlu.Recipe(batch_size=9, metrics=["accuracy"])).monitor == "train/accuracy"
    assert prepare(linear(), both, danlu.Recipe(batch_size=9, metrics=["accuracy"]), step=step).monitor == "clean/loss"
    named = danlu.Recipe(batch_size=9, monitor="noisy/own", monitor_mode="min")
    assert prepare(linear(), both, named, step=step).monitor == "noisy/own"
    with pytest.raises(danlu.RecipeError, match="valid/own"):
        prepare(linear(), both, danlu.Recipe(batch_size=9, monitor="valid/own", monitor_mode="min"), step=step)


def test_an_own_step_that_does_not_name_what_the_plateau_follows():
    def step(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return F.cross_entropy(model(batch[0]), batch[1])

    recipe = danlu.Recipe(schedule=danlu.Schedule("plateau", monitor="train/kl"), epochs=2, batch_size=10)
    with pytest.raises(danlu.TrainingError, match=r"schedule\.monitor: got 'train/kl'"):
        danlu.fit(linear(), (X, Y), recipe, step=step, quiet=True)


@pytest.mark.parametrize("returned", [lambda net, x: net(x), lambda net, x: 1.0, lambda net, x: {"a": net(x)}])
def test_an_own_step_returns_numbers(returned: Callable[[nn.Module, Tensor], Any]):
    with pytest.raises(danlu.ModelError, match="0-d tensor"):
        prepare(linear(), (X, Y), danlu.Recipe(batch_size=8), step=lambda net, batch: returned(net, batch[0]))


def test_what_looks_wrong_is_a_notice():
    model = nn.Sequential(linear(), nn.Softmax(1))
    assert any("softmax" in notice for notice in prepare(model, (X, Y), danlu.Recipe(batch_size=8)).notices)


def test_preparing_with_a_share_held_out():
    part = danlu.recipe.Data("", valid=0.25)
    training = prepare(linear(), (X, Y), danlu.Recipe(batch_size=5, data=part))
    assert (training.train.samples, training.valid["valid"].samples) == (15, 5)


# A batch of one sample ---------------------------------------------------------------------------------------------


def normed() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 3))


def maps() -> nn.Module:
    return nn.Sequential(nn.Unflatten(1, (1, 2, 2)), nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(4, 3))


def frozen() -> nn.Module:
    model = normed()
    model[1].eval()  # type: ignore[index]
    return model


@pytest.mark.parametrize("size", [19, 1])
def test_a_lone_sample_under_batchnorm_is_refused_before_training(size: int):
    model = normed()
    with pytest.raises(danlu.DataError, match="one of which has a single sample") as caught:
        danlu.fit(model, (X, Y), danlu.Recipe(batch_size=size), quiet=True)
    assert "BatchNorm at 1" in str(caught.value)
    assert int(model[1].num_batches_tracked) == 0  # type: ignore[index]
    assert not model[1]._forward_pre_hooks  # type: ignore[index]
    suggested = int(caught.value.fix.rsplit(" ", 1)[1])
    assert danlu.fit(normed(), (X, Y), danlu.Recipe(batch_size=suggested, epochs=1), quiet=True).summary["updates"] > 0
    with pytest.raises(ValueError, match="more than 1 value per channel"):  # what it would have come to
        normed()(torch.zeros(1, 4))


def test_a_lone_sample_in_a_loader():
    pairs = TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    with pytest.raises(danlu.DataError, match="drop_last=True"):
        prepare(normed(), DataLoader(pairs, batch_size=19), danlu.Recipe())
    prepare(normed(), DataLoader(pairs, batch_size=19, drop_last=True), danlu.Recipe())


@pytest.mark.parametrize("build", [linear, maps, frozen])
def test_a_lone_sample_is_fine_where_nothing_needs_a_spread(build: Callable[[], nn.Module]):
    assert danlu.fit(build(), (X, Y), danlu.Recipe(batch_size=19, epochs=1), quiet=True).summary["samples_seen"] == 20


def test_a_lone_sample_that_is_never_reached_is_fine():
    recipe = danlu.Recipe(batch_size=19, epochs=1, limit_batches=1)
    assert danlu.fit(normed(), (X, Y), recipe, quiet=True).summary["samples_seen"] == 19


def test_a_single_sample_in_all_has_no_better_batch_size():
    with pytest.raises(danlu.DataError, match="give it more samples"):
        prepare(normed(), (X[:1], Y[:1]), danlu.Recipe(batch_size=1))


def test_a_lone_sample_with_dict_inputs_and_an_own_step():
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = normed()

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return self.net(a + b)

    def step(model: nn.Module, batch: tuple[dict[str, Tensor], Tensor]) -> Tensor:
        return F.cross_entropy(model(**batch[0]), batch[1])

    for inputs, own in (({"a": X, "b": X}, None), ((X, X), None), ({"a": X, "b": X}, step)):
        with pytest.raises(danlu.DataError, match=r"BatchNorm at net\.1"):
            prepare(Named(), (inputs, Y), danlu.Recipe(batch_size=19), step=own)


def test_a_loader_with_batches_of_its_own_sizes_is_left_to_itself():
    pairs = TensorDataset(torch.from_numpy(X[:13]), torch.from_numpy(Y[:13]))
    sizes = [range(4), range(4, 7), range(7, 10), range(10, 13)]  # 13 samples in fours would leave one over
    prepare(normed(), DataLoader(pairs, batch_sampler=[list(ids) for ids in sizes]), danlu.Recipe())


def test_a_model_in_evaluation_mode_is_set_to_train_and_the_user_is_told():
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(), nn.Linear(8, 3)).eval()
    training = prepare(model, (X, Y), danlu.Recipe(batch_size=5))
    assert all(module.training for module in model.modules())
    assert training.notices[0] == "the model was in evaluation mode; it trains in training mode"
    frozen = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3))
    frozen[0].eval()
    assert not prepare(frozen, (X, Y), danlu.Recipe(batch_size=5)).notices
    assert not frozen[0].training


def test_weights_of_the_data_say_how_often_a_sample_is_drawn():
    weights = np.where(np.arange(20) == 7, 1.0, 0.0)
    training = prepare(linear(), Data(Arrays(X, Y), weights=weights), danlu.Recipe(batch_size=5))
    assert all(training.train.ids(epoch, 0).tolist() == [7] * 5 for epoch in range(3))
    with pytest.raises(danlu.DataError, match="one weight for each of the 20 training samples"):
        Data(Arrays(X, Y), weights=weights[:3])
