import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from danlu.errors import ModelError, RecipeError
from danlu.optim import OPTIMIZERS, make_optimizer
from danlu.recipe import Optim

# every optimizer, with options away from PyTorch's defaults; lists as a recipe file writes them
CASES: list[tuple[str, dict[str, Any]]] = [
    ("sgd", {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    ("sgd", {"momentum": 0.9, "dampening": 0.1, "maximize": True}),
    ("adagrad", {"lr_decay": 0.1, "initial_accumulator_value": 0.1, "eps": 1e-6}),
    ("rmsprop", {"alpha": 0.9, "momentum": 0.5, "centered": True}),
    ("adam", {"betas": [0.8, 0.99], "eps": 1e-6, "amsgrad": True}),
    ("adamax", {"betas": [0.8, 0.99], "weight_decay": 0.1}),
    ("adamw", {"betas": [0.8, 0.99], "weight_decay": 0.1}),
    ("nadam", {"momentum_decay": 0.01}),
    ("radam", {"decoupled_weight_decay": True, "weight_decay": 0.1}),
    ("adadelta", {"rho": 0.8}),
    ("asgd", {"lambd": 1e-3, "t0": 2.0}),
    ("rprop", {"etas": [0.4, 1.3], "step_sizes": [1e-5, 10]}),
]


def small() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))


def train(model: nn.Module, optimizer: Optimizer, updates: int) -> None:
    generator = torch.Generator().manual_seed(1)
    for _ in range(updates):
        optimizer.zero_grad()
        model(torch.randn(8, 4, generator=generator)).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize(("name", "options"), CASES)
def test_updates_equal_those_of_pytorch(name: str, options: dict[str, Any]) -> None:
    ours = small()
    theirs = copy.deepcopy(ours)
    train(ours, make_optimizer(Optim(name, lr=0.02, **options), ours), 6)
    tuples = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
    build: Callable[..., Optimizer] = OPTIMIZERS[name]
    train(theirs, build(theirs.parameters(), lr=0.02, **tuples), 6)
    for mine, reference in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(mine, reference)


def test_sparse_adam_equals_pytorch() -> None:
    torch.manual_seed(0)
    ours = nn.Embedding(6, 3, sparse=True)
    theirs = copy.deepcopy(ours)
    pairs = [
        (ours, make_optimizer(Optim("sparse_adam", lr=0.1, betas=[0.8, 0.9]), ours)),
        (theirs, torch.optim.SparseAdam(theirs.parameters(), lr=0.1, betas=(0.8, 0.9))),
    ]
    for model, optimizer in pairs:
        for ids in ([0, 2], [2, 5]):
            optimizer.zero_grad()
            model(torch.tensor(ids)).square().sum().backward()
            optimizer.step()
    assert torch.equal(ours.weight, theirs.weight)


def test_every_name_is_covered_above() -> None:
    assert {name for name, _ in CASES} | {"sparse_adam"} == set(OPTIMIZERS)


def test_a_list_becomes_a_tuple() -> None:
    assert make_optimizer(Optim("adam", lr=1, betas=[0.5, 0.9]), small()).param_groups[0]["betas"] == (0.5, 0.9)


@pytest.mark.parametrize(
    ("spec", "where", "said"),
    [
        (Optim("adamm"), "optim.name", "adam"),
        (Optim("lbfgs"), "optim.name", "several times per update"),
        (Optim("sgd", momentun=0.9), "optim.momentun", "momentum"),
        (Optim("sgd", params=1), "optim.params", "option"),
        (Optim("sgd", momentum=-1.0), "optim.momentum", "Invalid momentum value: -1.0"),
        (Optim("sgd", lr=-1.0), "optim.lr", "Invalid learning rate: -1.0"),
        (Optim("sgd", nesterov=True, momentum=0.0), "optim.nesterov", "Nesterov momentum requires a momentum"),
        (Optim("adam", betas=[0.9, 1.5]), "optim.betas", "Invalid beta parameter at index 1: 1.5"),
        (Optim("adam", betas=0.9), "optim.betas", "betas"),
        (Optim("adam", eps="small"), "optim.eps", "a number"),
        (Optim("adam", amsgrad="yes"), "optim.amsgrad", "true or false"),
        (Optim("adam", fused=True, foreach=True), "optim", "`fused` and `foreach` cannot be `True` together"),
        (Optim("sgd", groups=[{"names": ["0"], "momentun": 0.5}]), "optim.groups[0].momentun", "momentum"),
        (Optim("sgd", groups=[{"names": ["0"], "lr": -0.5}]), "optim.groups[0].lr", "Invalid learning rate"),
        (Optim("rprop", no_decay=["bias"]), "optim.no_decay.weight_decay", "option"),
    ],
)
def test_mistakes_are_named(spec: Optim, where: str, said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        make_optimizer(spec, small())
    assert caught.value.where == where
    assert said in str(caught.value)


class SignDescent(Optimizer):
    """Hand-written: steps by the sign of the gradient."""

    def __init__(self, params: Any, lr: float = 0.5) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.sub_(parameter.grad.sign(), alpha=group["lr"])


@pytest.mark.parametrize("factory", [SignDescent, partial(SignDescent, lr=0.5), lambda params: SignDescent(params)])
def test_a_factory_gets_the_trainable_parameters(factory: Callable[..., Optimizer]) -> None:
    model = nn.Linear(2, 1)
    model.bias.requires_grad_(False)
    before, bias = model.weight.detach().clone(), model.bias.detach().clone()
    optimizer = make_optimizer(factory, model)
    model(torch.tensor([[1.0, -1.0]])).sum().backward()
    optimizer.step()
    assert torch.equal(model.weight, before - 0.5 * torch.tensor([[1.0, -1.0]]))
    assert torch.equal(model.bias, bias)
    assert [group["names"] for group in optimizer.param_groups] == [["weight"]]


def test_a_factory_is_checked() -> None:
    foreign = nn.Linear(3, 1)
    wrong: list[tuple[Any, str]] = [
        (lambda params: 3, "int from the factory"),
        (lambda params: torch.optim.SGD(foreign.parameters(), lr=0.1), "shape (1, 3)"),
        (torch.optim.LBFGS, "lbfgs"),
        (7, "a name or"),
    ]
    for factory, said in wrong:
        with pytest.raises(RecipeError) as caught:
            make_optimizer(factory, small())
        assert said in str(caught.value)


@pytest.mark.parametrize("spec", [Optim("sgd"), torch.optim.SGD])
def test_a_model_with_nothing_to_train_is_refused(spec: Any) -> None:
    with pytest.raises(ModelError, match="without parameters"):
        make_optimizer(spec, nn.ReLU())
    with pytest.raises(ModelError, match="4 parameters, all of them frozen"):
        make_optimizer(spec, small().requires_grad_(False))


def test_parameters_are_shared_not_copied() -> None:
    model = small()
    held: list[Tensor] = [p for group in make_optimizer(Optim("sgd"), model).param_groups for p in group["params"]]
    assert [id(parameter) for parameter in held] == [id(parameter) for parameter in model.parameters()]
