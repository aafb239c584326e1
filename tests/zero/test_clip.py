"""Clipping gradients, and parameters as one vector, against PyTorch."""

import math

import numpy as np
import pytest
import torch

from danlu import zero
from danlu.zero.nn import utils

rng = np.random.default_rng(0)
GRADIENTS = [rng.normal(size=(3, 4)).astype(np.float32), rng.normal(size=5).astype(np.float32), None]


def parameters(t):
    made = [t.ones(3, 4, requires_grad=True), t.ones(5, requires_grad=True), t.ones(2, requires_grad=True)]
    for p, g in zip(made, GRADIENTS, strict=True):
        p.grad = None if g is None else t.tensor(g.copy())
    return made


def same(ours, theirs):
    for p, q in zip(ours, theirs, strict=True):
        assert (p.grad is None) == (q.grad is None)
        if p.grad is not None:
            np.testing.assert_allclose(p.grad._array, q.grad.numpy(), rtol=1e-5)


@pytest.mark.parametrize("norm", [1, 2.0, 3, math.inf, 0.5])
@pytest.mark.parametrize("most", [0.1, 1000.0])
def test_clip_by_norm(norm, most):
    ours, theirs = parameters(zero), parameters(torch)
    total = utils.clip_grad_norm_((p for p in ours), most, norm)
    expected = torch.nn.utils.clip_grad_norm_(theirs, most, norm)
    assert total.item() == pytest.approx(expected.item(), rel=1e-5)
    assert total.shape == ()
    same(ours, theirs)
    utils.clip_grad_norm_(ours[0], 0.01), torch.nn.utils.clip_grad_norm_(theirs[0], 0.01)
    same(ours, theirs)


def test_clip_by_value():
    ours, theirs = parameters(zero), parameters(torch)
    utils.clip_grad_value_(ours, 0.3), torch.nn.utils.clip_grad_value_(theirs, 0.3)
    same(ours, theirs)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_norms_that_are_not_finite(value):
    ours, theirs = parameters(zero), parameters(torch)
    ours[0].grad._array[0, 0] = theirs[0].grad.numpy()[0, 0] = value
    with pytest.raises(RuntimeError, match="non-finite"):
        utils.clip_grad_norm_(ours, 1.0, error_if_nonfinite=True)
    utils.clip_grad_norm_(ours, 1.0), torch.nn.utils.clip_grad_norm_(theirs, 1.0)
    same(ours, theirs)


def test_no_gradients():
    assert utils.clip_grad_norm_([zero.ones(2, requires_grad=True)], 1.0).item() == 0
    assert utils.clip_grad_norm_([], 1.0).item() == 0


def test_vectors():
    ours, theirs = parameters(zero), parameters(torch)
    vector = utils.parameters_to_vector(ours)
    assert vector.shape == torch.nn.utils.parameters_to_vector(theirs).shape
    utils.vector_to_parameters(zero.arange(19.0), ours)
    np.testing.assert_array_equal(utils.parameters_to_vector(ours).detach().numpy(), np.arange(19.0))
    with pytest.raises(TypeError):
        utils.vector_to_parameters([1.0], ours)
