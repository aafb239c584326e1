"""An optimizer that computes by rates in tensors computes what it does by plain ones, and is given back as it was."""

import numpy as np
import pytest
import torch
from torch import nn

from danlu.optim import Rates, count_on_device, not_capturable, way_to_capture

GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
CPU = torch.device("cpu")


def stepped(optimizer: torch.optim.Optimizer, parameter: nn.Parameter, rates: Rates | None, lrs: list[float]) -> bytes:
    for number, lr in enumerate(lrs):
        optimizer.param_groups[0]["lr"] = lr
        parameter.grad = torch.full_like(parameter, 0.3 + number).sin()
        if rates is None:
            optimizer.step()
            continue
        rates.fill()
        with rates.held():
            optimizer.step()
        assert optimizer.param_groups[0]["lr"] == lr
    return parameter.detach().cpu().numpy().tobytes()


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, GPU])])
@pytest.mark.parametrize("make", [torch.optim.SGD, torch.optim.AdamW])
def test_fused_kernels_read_the_rate_from_the_tensor(make: type[torch.optim.Optimizer], device: str) -> None:
    lrs = [0.1, 0.1, 0.03, 0.07]
    rounded = [float(np.float32(lr)) for lr in lrs]
    found = []
    for by_tensor in (True, False):
        parameter = nn.Parameter(torch.linspace(-1, 1, 33, device=device))
        optimizer = make([parameter], lr=1.0, fused=True)
        rates = Rates(optimizer, torch.device(device)) if by_tensor else None
        found.append(stepped(optimizer, parameter, rates, lrs if by_tensor else rounded))
    assert found[0] == found[1]


def test_plain_rates_come_back_after_an_error_and_a_new_group_has_its_own() -> None:
    first, second = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([first], lr=0.5, fused=True)
    rates = Rates(optimizer, CPU)
    rates.fill()
    first.grad = torch.ones(2)
    optimizer.param_groups[0]["momentum"] = "much"
    with pytest.raises(TypeError), rates.held():
        optimizer.step()
    optimizer.param_groups[0]["momentum"] = 0
    assert optimizer.param_groups[0]["lr"] == 0.5
    optimizer.add_param_group({"params": [second], "lr": 0.25})
    rates.fill()
    with rates.held():
        assert [float(group["lr"]) for group in optimizer.param_groups] == [0.5, 0.25]


def test_counts_are_kept_beside_the_parameters() -> None:
    parameter = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.NAdam([parameter], lr=0.1)
    parameter.grad = torch.ones(2)
    optimizer.step()
    before = {key: value.clone() for key, value in optimizer.state[parameter].items()}
    count_on_device(optimizer)
    assert optimizer.param_groups[0]["capturable"]
    assert optimizer.defaults["capturable"]
    assert all(torch.equal(value, before[key]) for key, value in optimizer.state[parameter].items())


@pytest.mark.gpu
@GPU
def test_counts_move_to_the_device() -> None:
    parameter = nn.Parameter(torch.ones(2, device="cuda"))
    optimizer = torch.optim.Adam([parameter], lr=0.1)
    parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    assert optimizer.state[parameter]["step"].device == CPU
    count_on_device(optimizer)
    assert optimizer.state[parameter]["step"].device == parameter.device
    optimizer.step()


def test_sgd_is_captured_by_its_fused_kernel_alone() -> None:
    parameters = [nn.Parameter(torch.ones(2))]
    assert way_to_capture(torch.optim.SGD(parameters)) == {"optimizer": "fused"}
    assert way_to_capture(torch.optim.SGD(parameters, fused=True)) == {}
    assert way_to_capture(torch.optim.Adam(parameters)) == {}
    assert not_capturable(torch.optim.SGD(parameters, foreach=False)).startswith("SGD waits for the host")
    hooked = torch.optim.Adam(parameters)
    hooked.register_step_post_hook(lambda *given: None)
    assert not_capturable(hooked) == "the optimizer has hooks of its own"
