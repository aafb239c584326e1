"""Starting values: distributions are PyTorch's."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from danlu import zero
from danlu.zero import nn
from danlu.zero.nn import init

DRAWN = [
    ("uniform_", {}), ("uniform_", {"a": -2.0, "b": 5.0}), ("normal_", {"mean": 1.0, "std": 3.0}),
    ("trunc_normal_", {}), ("trunc_normal_", {"std": 0.1, "a": -0.01, "b": 0.02}),
    ("trunc_normal_", {"a": 1.0, "b": 9.0}), ("xavier_uniform_", {"gain": 2.0}), ("xavier_normal_", {}),
    ("kaiming_uniform_", {}), ("kaiming_uniform_", {"a": math.sqrt(5)}),
    ("kaiming_normal_", {"nonlinearity": "relu"}), ("kaiming_normal_", {"mode": "fan_out", "nonlinearity": "tanh"}),
    ("orthogonal_", {"gain": 2.0}), ("sparse_", {"sparsity": 0.3}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "options"), DRAWN, ids=str)
@pytest.mark.filterwarnings("ignore:mean is more than 2 std")
def test_distributions(name, options):
    shape = (60, 80) if name in ("orthogonal_", "sparse_") else (40, 30, 2, 2)
    x, generator = zero.empty(shape), zero.Generator().manual_seed(1)
    assert getattr(init, name)(x, **options, generator=generator) is x
    torch.manual_seed(0)
    y = getattr(torch.nn.init, name)(torch.empty(shape), **options).numpy()
    ours, theirs = x._array.reshape(-1), y.reshape(-1)
    if name == "sparse_":
        assert ((x._array == 0).sum(0) == (y == 0).sum(0)).all()
        ours, theirs = ours[ours != 0], theirs[theirs != 0]
    assert stats.ks_2samp(ours, theirs).pvalue > 0.01
    assert abs(ours.mean() - theirs.mean()) < 0.06 * theirs.std() + 1e-3
    assert ours.std() == pytest.approx(theirs.std(), rel=0.05)
    again = getattr(init, name)(zero.empty(shape), **options, generator=generator.manual_seed(1))
    np.testing.assert_array_equal(x._array, again._array)


@pytest.mark.filterwarnings("ignore:mean is more than 2 std")
@pytest.mark.parametrize(("low", "high"), [(2.5, 5.0), (-9.0, -3.0), (-0.3, 0.4), (1.0, 8.0)])
def test_truncation_is_exact(low, high):
    drawn = init.trunc_normal_(zero.empty(5000), 1.0, 2.0, 1 + 2 * low, 1 + 2 * high, zero.Generator().manual_seed(0))
    assert stats.kstest(drawn._array, stats.truncnorm(low, high, 1, 2).cdf).pvalue > 0.01


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4), (2, 3, 4)])
def test_orthogonal(shape):
    q = init.orthogonal_(zero.empty(shape, dtype=zero.float64))._array.reshape(shape[0], -1)
    product = q @ q.T if q.shape[0] <= q.shape[1] else q.T @ q
    np.testing.assert_allclose(product, np.eye(len(product)), atol=1e-12)


@pytest.mark.parametrize(
    ("name", "shape", "arguments"),
    [
        ("constant_", (2, 3), (7.0,)), ("ones_", (2, 3), ()), ("zeros_", (2,), ()), ("eye_", (3, 2), ()),
        ("dirac_", (4, 3, 3), ()), ("dirac_", (4, 2, 3, 2), (2,)), ("dirac_", (2, 3, 1, 2, 3), ()),
    ],
)  # fmt: skip
def test_fixed_values(name, shape, arguments):
    ours = getattr(init, name)(nn.Parameter(zero.empty(shape)), *arguments)
    np.testing.assert_array_equal(ours._array, getattr(torch.nn.init, name)(torch.empty(shape), *arguments).numpy())
    assert ours.is_leaf


def test_gains():
    for name in ("linear", "conv2d", "sigmoid", "tanh", "relu", "leaky_relu", "selu"):
        assert init.calculate_gain(name) == torch.nn.init.calculate_gain(name)
    assert init.calculate_gain("leaky_relu", 0.3) == torch.nn.init.calculate_gain("leaky_relu", 0.3)


@pytest.mark.parametrize(
    "build",
    [
        lambda m: m.Linear(50, 200),
        lambda m: m.Bilinear(9, 20, 30),
        lambda m: m.Embedding(100, 50),
        lambda m: m.PReLU(4),
    ],
)
def test_layers_start_as_in_pytorch(build):
    zero.manual_seed(0), torch.manual_seed(0)
    for p, q in zip(build(nn).parameters(), build(torch.nn).parameters(), strict=True):
        ours, theirs = p._array.reshape(-1), q.detach().numpy().reshape(-1)
        assert stats.ks_2samp(ours, theirs).pvalue > 0.01
        assert abs(ours).max() <= abs(theirs).max() * 1.3


@pytest.mark.parametrize(
    "call",
    [
        lambda i, t: i.calculate_gain("nonsense"),
        lambda i, t: i.calculate_gain("leaky_relu", "a"),
        lambda i, t: i.xavier_uniform_(t.empty(3)),
        lambda i, t: i.kaiming_normal_(t.empty(3, 3), mode="fan"),
        lambda i, t: i.eye_(t.empty(3)),
        lambda i, t: i.dirac_(t.empty(3, 3)),
        lambda i, t: i.dirac_(t.empty(3, 3, 3), 2),
        lambda i, t: i.orthogonal_(t.empty(3)),
        lambda i, t: i.sparse_(t.empty(3), 0.1),
        lambda i, t: i.uniform_(t.empty(3), 2.0, 1.0),
        lambda i, t: i.normal_(t.empty(3), 0.0, -1.0),
    ],
)
def test_misuse_raises_the_same_type(call):
    with pytest.raises(Exception) as theirs:  # noqa: PT011 - PyTorch says which
        call(torch.nn.init, torch)
    with pytest.raises(theirs.type):
        call(init, zero)


def test_warnings():
    with pytest.warns(UserWarning, match="zero-element"):
        init.kaiming_uniform_(zero.empty(0, 3))
    with pytest.warns(UserWarning, match="more than 2 std"):
        init.trunc_normal_(zero.empty(3), mean=5.0)
