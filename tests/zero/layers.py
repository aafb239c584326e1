"""A layer of danlu.zero against PyTorch's: the same weights, and values as close as their precision."""

import numpy as np
import torch

from danlu import zero

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}


def twin(tensor):
    """Return our tensor with PyTorch's numbers; anything else as it is."""
    if not isinstance(tensor, torch.Tensor):
        return tensor
    ours = zero.from_numpy(tensor.detach().numpy().copy())
    return ours.requires_grad_() if tensor.requires_grad else ours


def with_the_weights_of(theirs, layer, *sizes, dtype=torch.float64, **options):
    """Return our layer, made in the same way, with the weights of PyTorch's."""
    ours = layer(*sizes, **options, dtype=getattr(zero, str(dtype).split(".")[1]))
    ours.load_state_dict({key: twin(value) for key, value in theirs.state_dict().items()})
    return ours


def assert_close(ours, theirs, dtype=torch.float64):
    ours, theirs = ours.detach().numpy(), theirs.detach().numpy()
    assert ours.dtype == theirs.dtype
    np.testing.assert_allclose(ours, theirs, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


def leaf(*shape, dtype=torch.float64):
    return torch.randn(shape, dtype=dtype).requires_grad_()
