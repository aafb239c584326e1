"""A recipe's names become objects in one place."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import danlu
from danlu.train import build_data, build_model

MODULE = """
import torch
from torch import nn

class Net(nn.Sequential):
    def __init__(self, width: int):
        super().__init__(nn.Linear(4, width), nn.Linear(width, 3))

class Holder:
    net = Net

def number(): return 3

def data(n: int = 12):
    return torch.arange(4.0 * n).reshape(n, 4), torch.arange(n) % 3
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_net.py").write_text(MODULE)
    (tmp_path / "broken_net.py").write_text("import no_such_module_anywhere\n")
    return tmp_path


def values(model: nn.Module) -> list[Any]:
    return [p.tolist() for p in model.parameters()]


def test_a_models_first_weights_follow_from_the_seed_alone():
    part = danlu.Model("mlp", inputs=4, outputs=3, hidden=[5])
    before = torch.get_rng_state()
    first = values(build_model(part, 7))
    torch.rand(3)
    assert values(build_model(part, 7)) == first
    assert values(build_model(part, 8)) != first
    torch.set_rng_state(before)
    build_model(part, 7)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("name", ["own_net.py:Net", "own_net.py:Holder.net"])
def test_a_model_of_ones_own(name: str):
    assert build_model(danlu.Model(name, width=6), 0)[0].weight.shape == (6, 4)  # type: ignore[index]


def test_a_model_from_a_package():
    assert isinstance(build_model(danlu.Model("torch.nn:Linear", in_features=2, out_features=1), 0), nn.Linear)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("part", "text"),
    [
        (None, "model.build: got nothing"),
        (danlu.Model("mpl"), "did you mean mlp"),
        (danlu.Model("mlp", inputs=4, outputs=3, widht=3), "model.widht"),
        (danlu.Model("own_net.py:Nett"), "did you mean Net"),
        (danlu.Model("own_net.py:Net"), "model.width: got nothing"),
        (danlu.Model("own_net.py:number"), "returned a int; want a torch.nn.Module"),
        (danlu.Model("other.py:Net"), "other.py; want a Python file"),
        (danlu.Model("no_such_package_anywhere:Net"), "want an importable module"),
    ],
)
def test_a_mistake_in_the_models_name_is_one_line(part: danlu.Model | None, text: str):
    with pytest.raises(danlu.RecipeError) as caught:
        build_model(part, 0)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("here")
def test_an_error_inside_the_imported_code_passes_as_it_is():
    with pytest.raises(ModuleNotFoundError, match="no_such_module_anywhere"):
        build_model(danlu.Model("broken_net.py:Net"), 0)


@pytest.mark.usefixtures("here")
def test_data_by_name_and_by_reference():
    assert len(build_data(danlu.recipe.Data("iris", valid=0.5), 0).train) == 75
    own = build_data(danlu.recipe.Data("own_net.py:data", valid=0.25, n=16), 0)
    assert (len(own.train), len(own.valid["valid"])) == (12, 4)
    with pytest.raises(danlu.RecipeError, match=r"data\.m: got"):
        build_data(danlu.recipe.Data("own_net.py:data", m=16), 0)
    with pytest.raises(danlu.RecipeError, match=r"data\.name: got nothing"):
        build_data(None, 0)


OWN = """
import torch
from torch import nn

def focal(output, target, gamma=2.0):
    p = nn.functional.log_softmax(output, 1).gather(1, target[:, None]).squeeze(1)
    return (-((1 - p.exp()) ** gamma) * p).mean()

class Scaled(nn.Module):
    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor

    def forward(self, output, target):
        return self.factor * nn.functional.cross_entropy(output, target)

class Descent(torch.optim.SGD):
    pass

number = 3
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> danlu.Recipe:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_parts.py").write_text(OWN)
    return danlu.Recipe(epochs=2, batch_size=30, tensorboard=False)


def trained(recipe: danlu.Recipe) -> list[Any]:
    torch.manual_seed(0)
    model = nn.Linear(4, 3)
    danlu.fit(model, danlu.data.load("iris"), recipe, quiet=True)
    return values(model)


def test_a_loss_of_ones_own_by_name_takes_its_options(own: danlu.Recipe):
    own.loss = danlu.Loss("own_parts.py:focal", gamma=0.0)  # with gamma 0 it is plain cross-entropy
    plain = danlu.Recipe(epochs=2, batch_size=30, loss=nn.functional.cross_entropy)
    assert np.allclose(trained(own)[0], trained(plain)[0], rtol=0, atol=1e-6)
    own.loss = danlu.Loss("own_parts.py:focal", gamma=3.0)
    assert not np.allclose(trained(own)[0], trained(plain)[0], rtol=0, atol=1e-3)


def test_a_loss_class_by_name_is_built_with_its_options(own: danlu.Recipe):
    own.loss = danlu.Loss("own_parts.py:Scaled", factor=0.0)
    torch.manual_seed(0)
    untouched = values(nn.Linear(4, 3))
    assert trained(own) == untouched


def test_an_optimizer_and_a_schedule_by_name_equal_the_built_in_ones(own: danlu.Recipe):
    named = danlu.Recipe(
        epochs=3, optim=danlu.Optim("sgd", lr=0.2, momentum=0.5), schedule=danlu.Schedule("step", step_size=1)
    )
    own.epochs, own.batch_size = 3, named.batch_size
    own.optim = danlu.Optim("own_parts.py:Descent", lr=0.2, momentum=0.5)
    own.schedule = danlu.Schedule("torch.optim.lr_scheduler:StepLR", step_size=1)
    assert trained(own) == trained(named)


@pytest.mark.parametrize(
    ("loss", "text"),
    [
        ("own_parts.py:number", "loss.name: got own_parts.py:number, which is a int; want a class or a function"),
        ("own_parts.py:focus", "did you mean focal?"),
        ("torch.nn.modules.loss:HuberLoss(...)", "made in Python with an object of its own"),
    ],
)
def test_a_name_that_gives_nothing_to_call_is_one_line(own: danlu.Recipe, loss: str, text: str):
    own.loss = danlu.Loss(loss)
    with pytest.raises(danlu.RecipeError, match=re.escape(text)):
        trained(own)
