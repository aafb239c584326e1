import zlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from danlu import keyed
from danlu.errors import RecipeError
from danlu.optim import INITIALISERS, initialise
from danlu.recipe import Init

CASES: list[tuple[str, dict[str, Any]]] = [
    ("normal", {"mean": 1.0, "std": 0.5}),
    ("uniform", {"a": -2.0, "b": 3.0}),
    ("constant", {"val": 0.25}),
    ("zeros", {}),
    ("ones", {}),
    ("eye", {}),
    ("orthogonal", {"gain": 2.0}),
    ("xavier_uniform", {"gain": 2.0}),
    ("xavier_normal", {"gain": 2.0}),
    ("kaiming_uniform", {"a": 0.1, "mode": "fan_out", "nonlinearity": "relu"}),
    ("kaiming_normal", {"mode": "fan_out"}),
    ("trunc_normal", {"std": 2.0, "a": -1.0, "b": 1.0}),
    ("sparse", {"sparsity": 0.5, "std": 0.1}),
]


class MyLinear(nn.Linear):
    pass


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.middle = MyLinear(6, 5)
        self.head = nn.Linear(5, 3)


def reference(name: str, options: dict[str, Any], shape: tuple[int, ...], seed: int, path: str) -> Tensor:
    """PyTorch's own function under the parameter's address, in a generator state that is then put back."""
    before = torch.get_rng_state()
    torch.default_generator.manual_seed(keyed.number("init", seed, zlib.crc32(path.encode())))
    function: Callable[..., Tensor] = INITIALISERS[name]
    made = function(torch.empty(shape), **options)
    torch.set_rng_state(before)
    return made


def values(model: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize(("name", "options"), CASES)
def test_values_are_those_of_pytorch_at_the_address(name: str, options: dict[str, Any]) -> None:
    model = Net()
    state = torch.get_rng_state()
    assert initialise(model, [Init(name, layers=["Linear"], **options)], seed=7) == ["middle.weight", "head.weight"]
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(model.middle.weight, reference(name, options, (5, 6), 7, "middle.weight"))
    assert torch.equal(model.head.weight, reference(name, options, (3, 5), 7, "head.weight"))
    assert model.head.weight.requires_grad


def test_dirac_on_convolutions() -> None:
    model = Net()
    assert initialise(model, [Init("dirac", layers=["Conv2d"], groups=2)], seed=0) == ["conv.weight"]
    assert torch.equal(model.conv.weight, nn.init.dirac_(torch.empty(4, 2, 3, 3), groups=2))


def test_every_name_is_covered_above() -> None:
    assert {name for name, _ in CASES} | {"dirac"} == set(INITIALISERS)


def test_values_do_not_depend_on_the_others_the_order_or_the_layout() -> None:
    rule = Init("kaiming_normal", layers=["Linear", "Conv2d"])
    first, second, third = Net(), Net(), Net()
    initialise(first, [rule], seed=3)
    second.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    initialise(second, [Init("kaiming_normal", layers=["Conv2d"]), Init("kaiming_normal", layers=["Linear"])], seed=3)
    initialise(third, [Init("kaiming_normal", names=["head.weight"])], seed=3)
    assert torch.equal(first.conv.weight, second.conv.weight)
    assert second.conv.weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(first.head.weight, second.head.weight)
    assert torch.equal(first.head.weight, third.head.weight)
    initialise(third, [rule], seed=4)
    assert not torch.equal(first.head.weight, third.head.weight)


def test_layers_match_subclasses_and_only_weight_by_default() -> None:
    assert initialise(Net(), [Init("ones", layers=["MyLinear"])], seed=0) == ["middle.weight"]
    assert initialise(Net(), [Init("ones", layers=["Module"])], seed=0) == [
        "conv.weight",
        "norm.weight",
        "middle.weight",
        "head.weight",
    ]


def test_names_choose_by_pattern_and_later_rules_win() -> None:
    model = Net()
    before = values(model)
    rules = [Init("constant", val=2.0, names=["*.bias"]), Init("zeros", layers=["Linear"], names=["*bias"])]
    set_names = ["conv.bias", "norm.bias", "middle.bias", "head.bias"]
    assert initialise(model, rules, seed=0) == set_names
    after = values(model)
    assert after["conv.bias"].tolist() == [2.0] * 4
    assert after["norm.bias"].tolist() == [2.0] * 4
    assert after["middle.bias"].tolist() == [0.0] * 5
    assert after["head.bias"].tolist() == [0.0] * 3
    assert all(torch.equal(after[name], before[name]) for name in after if name not in set_names)


def test_a_shared_parameter_is_set_once_under_its_first_name() -> None:
    model = nn.ModuleDict({"b": nn.Linear(3, 3, bias=False), "a": nn.Linear(3, 3, bias=False)})
    model["a"].weight = model["b"].weight
    assert initialise(model, [Init("normal", names=["a.weight"])], seed=1) == ["b.weight"]
    assert torch.equal(model["a"].weight, reference("normal", {}, (3, 3), 1, "b.weight"))


@pytest.mark.parametrize(
    ("rule", "where", "said"),
    [
        (Init("xavier"), "init[0].name", "xavier_normal"),
        (Init("normal", sdt=1.0), "init[0].sdt", "std"),
        (Init("normal", generator=1), "init[0].generator", "option"),
        (Init("constant"), "init[0].val", "needs it"),
        (Init("normal", std="wide"), "init[0].std", "a number"),
        (Init("normal", layers=["Linaer"]), "init[0].layers", "Linear"),
        (Init("normal", names=["*.wieght"]), "init[0].names", "weight"),
        (Init("xavier_uniform"), "init[0]", "norm.weight of shape (4,)"),
        (Init("eye", layers=["Conv2d"]), "init[0]", "conv.weight of shape (4, 2, 3, 3)"),
        (Init("normal", std=-1.0, layers=["Linear"]), "init[0]", "std"),
    ],
)
def test_mistakes_are_named(rule: Init, where: str, said: str) -> None:
    model = Net()
    state = torch.get_rng_state()
    with pytest.raises(RecipeError) as caught:
        initialise(model, [rule], seed=0)
    assert caught.value.where == where
    assert said in str(caught.value)
    assert torch.equal(torch.get_rng_state(), state)
