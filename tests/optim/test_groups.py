from typing import Any

import pytest
import torch
from torch import nn

from danlu.errors import RecipeError
from danlu.optim import make_optimizer, param_groups
from danlu.recipe import Optim


class RootNorm(nn.Module):
    """A normalisation layer of the model's own."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(4))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.GroupNorm(2, 4))
        self.norm = RootNorm()
        self.head = nn.Linear(4, 2)


def shown(spec: Optim, model: nn.Module) -> list[tuple[list[str], dict[str, Any]]]:
    groups = param_groups(spec, model)
    by_name = dict(model.named_parameters(remove_duplicate=False))
    for group in groups:
        assert [id(p) for p in group["params"]] == [id(by_name[name]) for name in group["names"]]
    return [(g["names"], {k: v for k, v in g.items() if k not in ("params", "names")}) for g in groups]


def test_without_rules_one_group_holds_all() -> None:
    model = Net()
    assert shown(Optim("sgd"), model) == [([name for name, _ in model.named_parameters()], {})]


def test_bias_and_norm_get_no_decay() -> None:
    assert shown(Optim("adamw", no_decay=["bias", "norm"]), Net()) == [
        (["features.0.weight", "head.weight"], {}),
        (
            [
                "features.0.bias",
                "features.1.weight",
                "features.1.bias",
                "features.2.weight",
                "features.2.bias",
                "norm.gain",
                "head.bias",
            ],
            {"weight_decay": 0.0},
        ),
    ]


def test_first_matching_table_wins_and_no_decay_prevails() -> None:
    spec = Optim(
        "sgd",
        weight_decay=0.1,
        no_decay=["bias"],
        groups=[
            {"names": ["features.0.*"], "lr": 0.5},
            {"names": ["features", "norm"], "lr": 0.25, "weight_decay": 0.2},
        ],
    )
    none = {"weight_decay": 0.0}
    assert shown(spec, Net()) == [
        (["head.weight"], {}),
        (["head.bias"], none),
        (["features.0.weight"], {"lr": 0.5}),
        (["features.0.bias"], {"lr": 0.5, **none}),
        (["features.1.weight", "features.2.weight", "norm.gain"], {"lr": 0.25, "weight_decay": 0.2}),
        (["features.1.bias", "features.2.bias"], {"lr": 0.25, **none}),
    ]


def test_group_options_reach_the_optimizer() -> None:
    spec = Optim("adam", lr=0.1, weight_decay=0.3, groups=[{"names": ["head"], "lr": 0.01, "betas": [0.5, 0.6]}])
    rest, head = make_optimizer(spec, Net()).param_groups
    assert (rest["lr"], rest["betas"], rest["weight_decay"]) == (0.1, (0.9, 0.999), 0.3)
    assert (head["lr"], head["betas"], head["weight_decay"]) == (0.01, (0.5, 0.6), 0.3)
    assert head["names"] == ["head.weight", "head.bias"]


def test_no_decay_takes_patterns() -> None:
    assert [names for names, _ in shown(Optim("sgd", no_decay=["head.w*"]), Net())][1] == ["head.weight"]


def test_frozen_parameters_are_left_out_and_their_table_is_too() -> None:
    model = Net()
    model.head.requires_grad_(False)
    groups = shown(Optim("sgd", groups=[{"names": ["head"], "lr": 0.5}]), model)
    assert len(groups) == 1
    assert not [name for name in groups[0][0] if name.startswith("head")]


def test_a_shared_parameter_comes_once_and_answers_to_both_names() -> None:
    model = nn.ModuleDict({"inside": nn.Linear(3, 3, bias=False), "outside": nn.Linear(3, 3, bias=False)})
    model["outside"].weight = model["inside"].weight
    assert shown(Optim("sgd"), model) == [(["inside.weight"], {})]
    assert shown(Optim("sgd", groups=[{"names": ["outside"], "lr": 0.5}]), model) == [(["inside.weight"], {"lr": 0.5})]


@pytest.mark.parametrize(
    ("spec", "where", "said"),
    [
        (Optim("sgd", groups=[{"names": ["feature.*"], "lr": 0.1}]), "optim.groups[0].names", "features"),
        (Optim("sgd", no_decay=["heads"]), "optim.no_decay", "head"),
        (Optim("sgd", groups=[{"lr": 0.1}]), "optim.groups[0].names", "nothing"),
        (Optim("sgd", groups=[{"names": "head"}]), "optim.groups[0].names", "a list"),
        (Optim("sgd", groups=[{"names": ["*"]}, {"names": ["head"]}]), "optim.groups[1].names", "earlier table"),
    ],
)
def test_patterns_that_do_nothing_are_refused(spec: Optim, where: str, said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        param_groups(spec, Net())
    assert caught.value.where == where
    assert said in str(caught.value)
