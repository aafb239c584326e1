import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from danlu.errors import RunError, TrainingError
from danlu.optim import export_state, import_state, make_optimizer, make_schedule
from danlu.recipe import Optim, Schedule

Spec = Optim | Callable[[list[nn.Parameter]], Optimizer]


class Lookback(Optimizer):
    """Hand-written: plain numbers, text, a tuple, None, a double-precision slot, a number of its own, shared state."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, {"lr": 0.05, "window": (1, 2)})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        shared: dict[Any, Any] = self.state
        shared["rounds"] = {"done": shared.get("rounds", {"done": 0})["done"] + 1}
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                state.setdefault("mean", torch.zeros_like(parameter, dtype=torch.float64))
                state.setdefault("scale", torch.ones(3))
                state["count"] = state.get("count", 0) + 1
                state["last"] = (state["count"], "seen", [float("inf")], None)
                state["mean"].mul_(0.9).add_(parameter.grad)
                state["scale"].mul_(0.99)
                rate = group["lr"] * state["scale"].prod() / shared["rounds"]["done"]
                parameter.sub_((rate * state["mean"]).to(parameter.dtype))


SPECS: dict[str, Spec] = {
    "sgd": Optim("sgd", lr=0.05, momentum=0.9, no_decay=["bias"], weight_decay=0.1),
    "adam": Optim("adam", lr=0.01, groups=[{"names": ["1.*"], "lr": 0.02}]),
    "adamw": Optim("adamw", lr=0.01, amsgrad=True),
    "rmsprop": Optim("rmsprop", lr=0.01, centered=True, momentum=0.5),
    "adagrad": Optim("adagrad", lr=0.05),
    "nadam": Optim("nadam", lr=0.01),
    "radam": Optim("radam", lr=0.01),
    "adamax": Optim("adamax", lr=0.01),
    "adadelta": Optim("adadelta", lr=1.0),
    "asgd": Optim("asgd", lr=0.05, t0=2.0),
    "rprop": Optim("rprop", lr=0.01),
    "fused adamw": Optim("adamw", lr=0.01, fused=True),
    "fused sgd": Optim("sgd", lr=0.05, momentum=0.9, fused=True),
    "hand-written": Lookback,
}


def net(channels_last: bool = True) -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))
    return model.to(memory_format=torch.channels_last) if channels_last else model  # type: ignore[call-overload,no-any-return]


def train(model: nn.Module, optimizer: Optimizer, first: int, stop: int) -> None:
    for update in range(first, stop):
        generator = torch.Generator().manual_seed(update)
        optimizer.zero_grad()
        model(torch.randn(5, 3, 4, 4, generator=generator)).square().mean().backward()
        optimizer.step()


def stored(optimizer: Optimizer, model: nn.Module) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What a disk gives back: row-major tensors apart from those in use, and values that went through JSON."""
    tensors, values = export_state(optimizer, model)
    return {key: tensor.clone().contiguous() for key, tensor in tensors.items()}, json.loads(json.dumps(values))


def resumed(spec: Spec, model: nn.Module, optimizer: Optimizer) -> tuple[nn.Sequential, Optimizer]:
    fresh = net()
    fresh.load_state_dict(copy.deepcopy(model.state_dict()))
    again = make_optimizer(spec, fresh)
    tensors, values = stored(optimizer, model)
    import_state(again, fresh, tensors, values)
    return fresh, again


@pytest.mark.parametrize("name", SPECS)
def test_five_and_five_updates_are_ten_bit_for_bit(name: str) -> None:
    spec, whole, half = SPECS[name], net(), net()
    optimizer, first = make_optimizer(spec, whole), make_optimizer(spec, half)
    train(whole, optimizer, 0, 10)
    train(half, first, 0, 5)
    model, second = resumed(spec, half, first)
    train(model, second, 5, 10)
    for key, tensor in whole.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[key]), key
    ours, theirs = export_state(second, model), export_state(optimizer, whole)
    assert ours[1] == theirs[1]
    assert ours[0].keys() == theirs[0].keys()
    for key, tensor in ours[0].items():
        assert torch.equal(tensor, theirs[0][key]), key
        assert (tensor.dtype, tensor.stride()) == (theirs[0][key].dtype, theirs[0][key].stride()), key


def test_keys_are_names_and_values_say_the_rest() -> None:
    model = nn.Linear(2, 1)
    optimizer = make_optimizer(Optim("adam", lr=0.5), model)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    tensors, values = export_state(optimizer, model)
    slots = ["exp_avg", "exp_avg_sq", "step"]
    assert sorted(tensors) == [f"{name}/{slot}" for name in ("bias", "weight") for slot in slots] == values["tensors"]
    assert tensors["weight/exp_avg"].data_ptr() == optimizer.state[model.weight]["exp_avg"].data_ptr()
    assert values["groups"][0]["names"] == ["weight", "bias"]
    assert values["groups"][0]["options"]["lr"] == 0.5
    assert values["groups"][0]["options"]["betas"] == {"__tuple__": [0.9, 0.999]}
    assert (values["slots"], values["shared"], values["places"]) == ({}, {}, {})


def test_a_channels_last_slot_gets_its_parameters_strides_and_dtype_is_kept() -> None:
    model = net()
    optimizer = make_optimizer(Lookback, model)
    train(model, optimizer, 0, 1)
    fresh, again = resumed(Lookback, model, optimizer)
    weight = next(fresh.parameters())
    mean = again.state[weight]["mean"]
    assert mean.stride() == weight.stride() == (27, 1, 9, 3)
    assert mean.dtype == torch.float64
    assert again.state[weight]["last"] == (1, "seen", [float("inf")], None)
    assert isinstance(again.state[weight]["last"], tuple)
    assert again.param_groups[0]["window"] == (1, 2)


def test_state_is_found_by_name_not_by_position() -> None:
    model = nn.ModuleDict({"a": nn.Linear(2, 2, bias=False), "b": nn.Linear(2, 2, bias=False)})
    turned = nn.ModuleDict({"b": nn.Linear(2, 2, bias=False), "a": nn.Linear(2, 2, bias=False)})
    spec = Optim("sgd", lr=0.1, momentum=0.9, groups=[{"names": ["b"], "lr": 0.2}])
    other = Optim("sgd", lr=0.3, momentum=0.9, groups=[{"names": ["a"], "lr": 0.4}])
    first, second = make_optimizer(spec, model), make_optimizer(other, turned)
    (model["a"](torch.ones(1, 2)).sum() + 3 * model["b"](torch.ones(1, 2)).sum()).backward()
    first.step()
    import_state(second, turned, *stored(first, model))
    assert second.state[turned["a"].weight]["momentum_buffer"].tolist() == [[1.0, 1.0], [1.0, 1.0]]
    assert second.state[turned["b"].weight]["momentum_buffer"].tolist() == [[3.0, 3.0], [3.0, 3.0]]
    assert {group["names"][0]: group["lr"] for group in second.param_groups} == {"a.weight": 0.1, "b.weight": 0.2}


def test_imported_tensors_are_copies_and_old_state_is_gone() -> None:
    model = nn.Linear(2, 1)
    optimizer = make_optimizer(Optim("adam"), model)
    tensors, values = stored(optimizer, model)  # before the first update: no state at all
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    later = stored(optimizer, model)
    import_state(optimizer, model, tensors, values)
    assert not optimizer.state
    import_state(optimizer, model, *later)
    for key, tensor in export_state(optimizer, model)[0].items():
        assert torch.equal(tensor, later[0][key])
        assert tensor.data_ptr() != later[0][key].data_ptr()


def test_how_updates_are_computed_is_not_imported() -> None:
    model = nn.Linear(2, 1)
    plain, fused = (
        make_optimizer(Optim("adamw", foreach=False), model),
        make_optimizer(Optim("adamw", fused=True), model),
    )
    import_state(fused, model, *stored(plain, model))
    assert fused.param_groups[0]["fused"] is True


def test_a_learning_rate_that_is_a_tensor_is_filled() -> None:
    model = nn.Linear(2, 1)
    rate = torch.tensor(0.5, dtype=torch.float64)
    optimizer = make_optimizer(lambda params: torch.optim.SGD(params, lr=rate), model)
    tensors, values = stored(optimizer, model)
    rate.fill_(0.25)
    import_state(optimizer, model, tensors, values)
    assert optimizer.param_groups[0]["lr"] is rate
    assert rate.item() == 0.5


def test_a_group_added_in_mid_run_is_added_again() -> None:
    def halves() -> tuple[nn.Sequential, Optimizer]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
        model[0].requires_grad_(False)
        return model, make_optimizer(Optim("sgd", lr=0.1, momentum=0.9), model)

    model, optimizer = halves()
    optimizer.add_param_group({"params": list(model[0].requires_grad_().parameters()), "lr": 0.01})
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    fresh, again = halves()
    import_state(again, fresh, *stored(optimizer, model))
    assert export_state(again, fresh)[1] == export_state(optimizer, model)[1]
    assert again.param_groups[1]["names"] == ["0.weight", "0.bias"]


def test_schedule_state_in_the_groups_comes_back() -> None:
    model = nn.Linear(2, 1)
    optimizer = make_optimizer(Optim("sgd", momentum=0.5), model)
    schedule = make_schedule(Schedule("one_cycle", max_lr=0.4), optimizer, horizon=10)
    for _ in range(4):
        schedule.step()
    kept, lrs = stored(optimizer, model), schedule.lrs()
    again = make_optimizer(Optim("sgd", momentum=0.5), model)
    make_schedule(Schedule("one_cycle", max_lr=0.4), again, horizon=10)
    import_state(again, model, *kept)
    assert [group["lr"] for group in again.param_groups] == lrs
    assert again.param_groups[0] == optimizer.param_groups[0]


@pytest.mark.parametrize("leaf", [{1, 2}, [torch.zeros(2)], torch.eye(2).to_sparse()])
def test_a_slot_that_cannot_be_saved_is_named(leaf: object) -> None:
    model = nn.Linear(2, 1)
    optimizer = make_optimizer(Optim("sgd"), model)
    optimizer.state[model.weight]["history"] = leaf
    with pytest.raises(TrainingError, match="weight/history"):
        export_state(optimizer, model)


@pytest.mark.parametrize("slot", [3, "a/b"])
def test_a_slot_whose_name_is_no_key_is_named(slot: object) -> None:
    model = nn.Linear(2, 1)
    optimizer = make_optimizer(Optim("sgd"), model)
    optimizer.state[model.weight][slot] = 1
    with pytest.raises(TrainingError, match="weight/"):
        export_state(optimizer, model)


def test_what_does_not_fit_is_refused_and_changes_nothing() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    optimizer = make_optimizer(Optim("adam", lr=0.5), model)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    tensors, values = stored(optimizer, model)
    lost = {key: tensor for key, tensor in tensors.items() if key != "1.bias/exp_avg"}
    smaller, larger = nn.Sequential(nn.Linear(2, 2)), nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1), nn.Linear(1, 1))
    divided = Optim("adam", lr=0.1, groups=[{"names": ["0"]}])
    cases: list[tuple[nn.Module, Spec, dict[str, Tensor], str]] = [
        (model, Optim("adam", lr=0.1), lost, "1.bias/exp_avg"),
        (smaller, Optim("adam", lr=0.1), tensors, "1.bias"),
        (larger, Optim("adam", lr=0.1), tensors, "2.bias"),
        (model, divided, tensors, "divided otherwise"),
    ]
    for target, spec, given, said in cases:
        receiver = make_optimizer(spec, target)
        with pytest.raises(RunError) as caught:
            import_state(receiver, target, given, values)
        assert said in str(caught.value)
        assert receiver.param_groups[0]["lr"] == 0.1
        assert not receiver.state


def test_an_optimizer_of_another_model_is_named() -> None:
    with pytest.raises(TrainingError, match=r"shape \(1, 2\)"):
        export_state(torch.optim.SGD(nn.Linear(2, 1).parameters(), lr=0.1), nn.Linear(2, 1))


@pytest.mark.gpu
def test_state_returns_to_the_device_it_was_on() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    for spec in (Optim("adamw"), Optim("adamw", fused=True), Optim("nadam")):
        model = net().cuda()
        optimizer = make_optimizer(spec, model)
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        places = {key: tensor.device for key, tensor in export_state(optimizer, model)[0].items()}
        tensors, values = stored(optimizer, model)
        import_state(optimizer, model, {key: tensor.cpu() for key, tensor in tensors.items()}, values)
        assert {key: tensor.device for key, tensor in export_state(optimizer, model)[0].items()} == places
