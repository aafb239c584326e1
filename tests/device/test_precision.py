import pytest
import torch
from torch import nn

from danlu.device import autocast, grad_scaler
from danlu.errors import RecipeError

CPU = torch.device("cpu")
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")


def test_float32_casts_nothing():
    assert autocast(CPU, "float32") is None
    assert grad_scaler(CPU, "float32") is None


def test_bf16_is_pytorchs_own_autocast():
    layer, inputs = nn.Linear(8, 3), torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    context = autocast(CPU, "bf16")
    with context():
        found = layer(inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        want = layer(inputs)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, want)
    assert layer(inputs).dtype == torch.float32


def test_each_call_makes_a_context_of_its_own():
    context = autocast(CPU, "bf16")
    with context():
        with context():
            assert torch.is_autocast_enabled("cpu")
        assert torch.is_autocast_enabled("cpu")
    assert not torch.is_autocast_enabled("cpu")


def test_bf16_needs_no_scaler():
    assert grad_scaler(CPU, "bf16") is None


def test_fp16_on_the_cpu_is_refused():
    with pytest.raises(RecipeError) as caught:
        autocast(CPU, "fp16")
    want = "want float32 or bf16, because fp16 needs a CUDA device. Fix: pass --set precision=bf16."
    assert str(caught.value) == f"precision: got fp16; {want}"


@pytest.mark.gpu
@GPU
def test_fp16_on_cuda_casts_and_scales():
    device = torch.device("cuda:0")
    layer = nn.Linear(8, 3).to(device)
    with autocast(device, "fp16")():
        assert layer(torch.randn(5, 8, device=device)).dtype == torch.float16
    scaler = grad_scaler(device, "fp16")
    assert isinstance(scaler, torch.amp.GradScaler)
    assert scaler.is_enabled()
