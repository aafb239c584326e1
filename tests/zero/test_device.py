import pytest
import torch

import danlu.zero as zero
from danlu.zero.device import check


@pytest.mark.parametrize("given", [("cpu",), ("cuda",), ("cuda:1",), ("cuda", 2), ("mps",)])
def test_a_device_is_named_as_in_pytorch(given):
    ours, theirs = zero.device(*given), torch.device(*given)
    assert (repr(ours), str(ours), ours.type, ours.index) == (repr(theirs), str(theirs), theirs.type, theirs.index)
    assert ours == zero.device(ours)
    assert hash(ours) == hash(zero.device(*given))


@pytest.mark.parametrize("given", [("foo",), ("cuda:x",), ("cuda:1", 1), ([],)])
def test_a_wrong_device_raises_what_pytorch_raises(given):
    with pytest.raises(Exception) as theirs:  # noqa: PT011 - any; ours is compared with it
        torch.device(*given)
    with pytest.raises(theirs.type):
        zero.device(*given)


def test_only_the_processor_is_there():
    assert check(None) is check("cpu") is check(zero.device("cpu"))
    for other in ("cuda", zero.device("cuda:0"), 0, "mps"):
        with pytest.raises(RuntimeError, match="device="):
            check(other)
    assert zero.ones(1).to("cpu").device == zero.device("cpu") == zero.ones(1).cpu().device


def test_cuda_is_not_available():
    assert zero.cuda.is_available() is False
    assert zero.cuda.device_count() == 0
    zero.cuda.manual_seed(0)
    zero.cuda.manual_seed_all(0)
