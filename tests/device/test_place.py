import pytest
import torch

from danlu.device import choose
from danlu.errors import RecipeError

FIX = "Fix: set device = 'auto', or pass --set device=cpu."
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")


def test_the_cpu_is_the_cpu():
    assert choose("cpu") == torch.device("cpu")


def test_auto_is_the_first_cuda_device_or_else_the_cpu():
    assert choose("auto") == torch.device("cuda:0" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["gpu", "", "CPU", "cpu:x", "meta", "xpu", "vulkan"])
def test_what_is_no_device_is_said(name):
    with pytest.raises(RecipeError) as caught:
        choose(name)
    assert str(caught.value) == f"device: got {name or repr('')}; want auto, cpu, cuda, cuda:1 or mps. {FIX}"


@pytest.mark.parametrize("beyond", [0, 1, 7])
def test_a_cuda_device_that_is_not_there_is_said(beyond):
    count = torch.cuda.device_count()
    name = f"cuda:{count + beyond}"
    with pytest.raises(RecipeError) as caught:
        choose(name)
    want = f"a device of this machine, which has {count} CUDA devices"
    assert str(caught.value) == f"device: got {name}; want {want}. {FIX}"


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_cuda_without_a_number_is_refused_where_there_is_none():
    with pytest.raises(RecipeError, match="which has 0 CUDA devices"):
        choose("cuda")


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="this machine has MPS")
def test_mps_is_refused_where_there_is_none():
    with pytest.raises(RecipeError, match="which has no MPS"):
        choose("mps")


@pytest.mark.gpu
@GPU
def test_cuda_without_a_number_is_the_first_one():
    assert choose("cuda") == choose("cuda:0") == torch.device("cuda:0")
