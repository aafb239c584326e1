import random

import numpy as np
import pytest
import torch
from torch import nn

from danlu.errors import ModelError
from danlu.models import resnet18, summary


class Restless(nn.Module):
    """Moves everything that a forward can move."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("mean", torch.tensor([1.0, float("nan")]), persistent=False)
        self.register_buffer("none", None)

    def forward(self, x):
        self.count = self.count + 1
        self.mean.data.mul_(2)
        self.register_buffer("new", torch.ones(1))
        noise = random.random() + np.random.rand() + torch.rand(()) + torch.randn(())
        return self.layer(x.relu_()) * noise

    def train(self, mode=True):
        raise AssertionError("a model's own train() may do anything, so it is not called")


def generators():
    return random.getstate(), np.random.get_state()[1:], torch.get_rng_state()


def same(before, after):
    numpy_same = all(np.array_equal(one, two) for one, two in zip(before[1], after[1], strict=True))
    return before[0] == after[0] and numpy_same and torch.equal(before[2], after[2])


def bits(tensor):
    return tensor.detach().clone().reshape(-1).view(torch.uint8)


@pytest.mark.parametrize("width", [4, 5])  # 5 fails
def test_generators_buffers_inputs_and_hooks_are_as_before(width):
    model, x = Restless(), -torch.ones(2, width)
    torch.randn(3)  # an odd number of normals, so that the generator holds one back
    before, count, mean = generators(), model.count, model.mean
    names, mean_bits = list(model._buffers), bits(mean)
    if width == 4:
        summary(model, x)
    else:
        with pytest.raises(ModelError):
            summary(model, x)
    assert same(before, generators())
    assert model.count is count
    assert count.item() == 0
    assert model.mean is mean
    assert torch.equal(bits(mean), mean_bits)
    assert list(model._buffers) == names
    assert torch.equal(x, -torch.ones(2, width))
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert not module._forward_hooks_with_kwargs
        assert not module._forward_pre_hooks_with_kwargs
    assert torch.is_grad_enabled()


def test_each_module_keeps_its_own_mode_and_the_forward_is_in_evaluation():
    model = resnet18(3, stem="small").train()
    model.bn1.eval()
    modes = [module.training for module in model.modules()]
    seen = []
    model.layer1.register_forward_hook(
        lambda module, args, output: seen.append(any(m.training for m in model.modules()))
    )
    state = {name: bits(value) for name, value in model.state_dict().items()}
    summary(model, torch.randn(2, 3, 16, 16))
    assert seen == [False]
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(bits(value), state[name]) for name, value in model.state_dict().items())
    assert len(model.layer1._forward_hooks) == 1


def test_a_backward_in_progress_is_not_disturbed():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)).eval()
    loss = model(torch.randn(4, 3)).sum()
    model.train()
    summary(model, torch.randn(4, 3))
    loss.backward()
    assert model[0].weight.grad is not None
    assert model[0].weight.requires_grad
