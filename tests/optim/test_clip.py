import math

import pytest
import torch
from torch import Tensor

from danlu.optim import clip


def with_gradients(*gradients: list[float]) -> list[Tensor]:
    made = [torch.zeros(len(values), requires_grad=True) for values in gradients]
    for tensor, values in zip(made, gradients, strict=True):
        tensor.grad = torch.tensor(values)
    return made


def grads(parameters: list[Tensor]) -> list[list[float]]:
    return [parameter.grad.tolist() for parameter in parameters if parameter.grad is not None]


def test_norm_is_joint_and_returned_as_it_was() -> None:
    parameters = with_gradients([3.0, 0.0], [4.0])
    total = clip(parameters, norm=1.0)
    assert total is not None
    assert total.item() == 5.0
    assert grads(parameters)[0] == pytest.approx([0.6, 0.0], rel=1e-5)
    assert grads(parameters)[1] == pytest.approx([0.8], rel=1e-5)


def test_a_smaller_norm_changes_no_bit() -> None:
    parameters = with_gradients([0.1, 0.2])
    clip(parameters, norm=1.0)
    assert grads(parameters) == [torch.tensor([0.1, 0.2]).tolist()]


def test_value_clips_each_number() -> None:
    parameters = with_gradients([3.0, -0.25], [-4.0])
    assert clip(parameters, value=0.5) is None
    assert grads(parameters) == [[0.5, -0.25], [-0.5]]


def test_both_limits_hold_and_an_iterator_serves_both() -> None:
    parameters = with_gradients([3.0], [4.0])
    total = clip(iter(parameters), norm=1.0, value=0.7)
    assert total is not None
    assert total.item() == 5.0
    assert grads(parameters)[0] == pytest.approx([0.6], rel=1e-5)
    assert grads(parameters)[1] == pytest.approx([0.7])


def test_no_limit_does_nothing() -> None:
    parameters = with_gradients([3.0])
    assert clip(parameters) is None
    assert grads(parameters) == [[3.0]]


def test_parameters_without_gradient_are_passed_over_and_nan_stays_nan() -> None:
    parameters = [*with_gradients([math.nan]), torch.zeros(2, requires_grad=True)]
    total = clip(parameters, norm=1.0)
    assert total is not None
    assert math.isnan(total.item())
    assert parameters[1].grad is None
