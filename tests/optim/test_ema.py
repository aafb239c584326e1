import threading

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from danlu.errors import ModelError, RunError
from danlu.optim import Ema


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))


def moved(model: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    model.train()(torch.randn(5, 3, 4, 4, generator=generator))  # moves the running statistics
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator))


def test_closed_form() -> None:
    model = nn.Linear(1, 1, bias=False, dtype=torch.float64)
    weights = [1.0, 5.0, -3.0, 0.5]
    ema = Ema(model, 0.75)
    for weight in weights:
        nn.init.constant_(model.weight, weight)
        ema.update(model)
    # 0.75^3 * w0 + 0.25 * (0.75^2 * w1 + 0.75 * w2 + w3), every step exact in binary
    assert ema.module.weight.item() == 0.75**3 * 1.0 + 0.25 * (0.75**2 * 5.0 + 0.75 * -3.0 + 0.5)
    assert ema.updates_done == 4


def test_the_first_update_copies_and_decay_zero_follows() -> None:
    model = net()
    for decay in (0.999, 0.0):
        ema = Ema(model, decay)
        moved(model, 1)
        ema.update(model)
        assert all(torch.equal(a, b) for a, b in zip(ema.module.parameters(), model.parameters(), strict=True))
    moved(model, 2)
    ema.update(model)
    assert all(torch.equal(a, b) for a, b in zip(ema.module.parameters(), model.parameters(), strict=True))


def test_bits_are_those_of_averaged_model() -> None:
    model = net()
    ours, theirs = Ema(model, 0.9), AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    for seed in range(6):
        moved(model, seed)
        ours.update(model)
        theirs.update_parameters(model)
    expected = {**dict(theirs.module.named_parameters()), **dict(theirs.module.named_buffers())}
    assert ours.tensors().keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in ours.tensors().items())


def test_buffers_are_the_models_own_values_on_tensors_of_their_own() -> None:
    model = net()
    ema = Ema(model, 0.9)
    for seed in range(3):
        moved(model, seed)
        ema.update(model)
    buffers = dict(model.named_buffers())
    assert buffers["1.num_batches_tracked"].item() == 3
    for name, buffer in ema.module.named_buffers():
        assert torch.equal(buffer, buffers[name])
        assert buffer.data_ptr() != buffers[name].data_ptr()


def test_the_copy_is_apart_keeps_strides_and_wants_no_gradient() -> None:
    model = net().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    ema = Ema(model, 0.5)
    ema.update(model)
    kept = {name: tensor.clone() for name, tensor in ema.tensors().items()}
    moved(model, 1)
    assert all(torch.equal(tensor, kept[name]) for name, tensor in ema.tensors().items())
    ema.update(model)
    assert not any(parameter.requires_grad for parameter in ema.module.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())
    strides = {name: parameter.stride() for name, parameter in model.named_parameters()}
    assert {name: parameter.stride() for name, parameter in ema.module.named_parameters()} == strides


def test_loading_goes_on_bit_for_bit() -> None:
    model = net()
    whole, first, second = Ema(model, 0.9), Ema(model, 0.9), Ema(model, 0.9)
    for seed in range(4):
        moved(model, seed)
        whole.update(model)
        if seed < 2:
            first.update(model)
        if seed == 1:
            second.load({name: tensor.clone() for name, tensor in first.tensors().items()}, first.updates_done)
        if seed >= 2:
            second.update(model)
    assert second.updates_done == whole.updates_done
    assert all(torch.equal(tensor, whole.tensors()[name]) for name, tensor in second.tensors().items())


def test_shared_parameters_stay_shared_and_come_once() -> None:
    model = nn.ModuleDict({"a": nn.Linear(2, 2, bias=False), "b": nn.Linear(2, 2, bias=False)})
    model["b"].weight = model["a"].weight
    ema = Ema(model, 0.5)
    ema.update(model)
    assert list(ema.tensors()) == ["a.weight"]
    assert isinstance(ema.module, nn.ModuleDict)
    assert ema.module["a"].weight is ema.module["b"].weight


def test_what_does_not_fit_is_refused() -> None:
    model = net()
    ema = Ema(model, 0.5)
    tensors: dict[str, Tensor] = ema.tensors()
    without = {name: tensor for name, tensor in tensors.items() if name != "3.bias"}
    for wrong in (without, {**tensors, "x": torch.zeros(1)}, {**tensors, "3.bias": torch.zeros(9)}):
        with pytest.raises(RunError, match=r"3\.bias|x"):
            ema.load(wrong, 1)
    with pytest.raises(ModelError, match="gained or lost"):
        ema.update(nn.Sequential(model, nn.Linear(2, 2)))


def test_a_model_that_cannot_be_copied_is_named() -> None:
    model = nn.Linear(2, 2)
    model.lock = threading.Lock()  # type: ignore[assignment]
    with pytest.raises(ModelError, match="cannot be copied"):
        Ema(model, 0.5)
