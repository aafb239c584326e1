import pytest
import torch
from torch import nn

from danlu.errors import ModelError, RecipeError
from danlu.optim import freeze, make_optimizer
from danlu.recipe import Optim


def net() -> nn.Module:
    model = nn.Sequential()
    model.add_module("features", nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 3)))
    model.add_module("head", nn.Linear(3, 1))
    return model


@pytest.mark.parametrize("pattern", ["features", "features.*", "feat*"])
def test_a_module_path_takes_all_it_holds(pattern: str) -> None:
    model = net()
    assert freeze(model, [pattern]) == ["features.0.weight", "features.0.bias", "features.1.weight", "features.1.bias"]
    assert [name for name, p in model.named_parameters() if p.requires_grad] == ["head.weight", "head.bias"]


def test_patterns_join_and_names_come_once_in_order() -> None:
    assert freeze(net(), ["*.bias", "features.1", "features.1.bias"]) == [
        "features.0.bias",
        "features.1.weight",
        "features.1.bias",
        "head.bias",
    ]


def test_a_frozen_parameter_does_not_move() -> None:
    model = net()
    freeze(model, ["features"])
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = make_optimizer(Optim("sgd", lr=1.0, momentum=0.9, weight_decay=0.1), model)
    model(torch.ones(2, 2)).sum().backward()
    optimizer.step()
    moved = [name for name, p in model.named_parameters() if not torch.equal(p, before[name])]
    assert moved == ["head.weight", "head.bias"]


def test_nothing_matched_is_refused_and_nothing_is_frozen() -> None:
    model = net()
    with pytest.raises(RecipeError, match="feature"):
        freeze(model, ["head", "featurs"])
    assert all(p.requires_grad for p in model.parameters())


def test_everything_frozen_is_refused_by_the_optimizer() -> None:
    model = net()
    freeze(model, ["*"])
    with pytest.raises(ModelError, match="all of them frozen"):
        make_optimizer(Optim("sgd"), model)
