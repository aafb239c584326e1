"""Losses: values, gradients, warnings and errors are PyTorch's."""

import numpy as np
import pytest
import torch
import torch.nn.functional as TF

from danlu import zero
from danlu.zero import nn
from danlu.zero.nn import functional as F

rng = np.random.default_rng(0)
X, T = rng.normal(size=(5, 4)), rng.normal(size=(5, 4))
X[0, 0] = T[0, 0]
P, Q = rng.random((5, 4)) * 0.98 + 0.01, rng.integers(0, 2, (5, 4)).astype(float)
SIGN, W4, W54 = rng.choice([-1.0, 1.0], 5), rng.random(4) + 0.1, rng.random((5, 4))
C = np.array([0, 3, 2, 2, 1])
LOGP, DIST = np.log(P / P.sum(1, keepdims=True)), W54 / W54.sum(1, keepdims=True)
NEST, NESTC = rng.normal(size=(2, 4, 3, 5)), rng.integers(0, 4, (2, 3, 5))
LABELS = np.array([[3, 0, -1, 1], [1, -1, 2, 0], [-1, 0, 0, 0], [0, 1, 2, 3], [2, 2, -1, -1]])

# (layer, its settings, inputs, how many of them get gradients)
CASES = [
    ("L1Loss", {}, (X, T), 2), ("MSELoss", {}, (X, T), 2), ("SmoothL1Loss", {}, (X, T), 2),
    ("SmoothL1Loss", {"beta": 0.5}, (X, T), 2), ("SmoothL1Loss", {"beta": 0.0}, (X, T), 2),
    ("HuberLoss", {}, (X, T), 2), ("HuberLoss", {"delta": 0.4}, (X, T), 2), ("CrossEntropyLoss", {}, (X, C), 1),
    ("CrossEntropyLoss", {}, (X[0], C[0]), 1), ("CrossEntropyLoss", {"weight": W4}, (X, C), 1),
    ("CrossEntropyLoss", {"ignore_index": 2}, (X, C), 1),
    ("CrossEntropyLoss", {"weight": W4, "ignore_index": 2, "label_smoothing": 0.1}, (X, C), 1),
    ("CrossEntropyLoss", {"label_smoothing": 0.3}, (X, C), 1), ("CrossEntropyLoss", {}, (NEST, NESTC), 1),
    ("CrossEntropyLoss", {"label_smoothing": 0.3}, (X[0], C[0]), 1), ("CrossEntropyLoss", {}, (X[0], DIST[0]), 2),
    ("CrossEntropyLoss", {"weight": W4, "label_smoothing": 0.2, "ignore_index": 1}, (NEST, NESTC), 1),
    ("CrossEntropyLoss", {"weight": W4, "ignore_index": 1}, (NEST, NESTC), 1), ("CrossEntropyLoss", {}, (X, DIST), 2),
    ("CrossEntropyLoss", {"weight": W4, "label_smoothing": 0.1}, (X, DIST), 2),
    ("CrossEntropyLoss", {"weight": W4}, (NEST, np.abs(NEST)), 2), ("NLLLoss", {}, (LOGP, C), 1),
    ("NLLLoss", {"weight": W4, "ignore_index": 2}, (LOGP, C), 1), ("NLLLoss", {"weight": W4}, (NEST, NESTC), 1),
    ("NLLLoss", {}, (LOGP[0], C[0]), 1), ("KLDivLoss", {"reduction": "batchmean"}, (LOGP, DIST), 2),
    ("KLDivLoss", {"reduction": "sum", "log_target": True}, (LOGP, X), 2), ("BCELoss", {}, (P, Q), 1),
    ("KLDivLoss", {"reduction": "none"}, (LOGP, Q), 1), ("BCELoss", {"weight": W4}, (P, P[::-1]), 2),
    ("BCEWithLogitsLoss", {}, (X, Q), 2), ("BCEWithLogitsLoss", {"weight": W54, "pos_weight": W4}, (X, P), 2),
    ("MarginRankingLoss", {"margin": 0.2}, (X[:, 0], X[:, 1], SIGN), 2), ("MultiLabelMarginLoss", {}, (X, LABELS), 1),
    ("MultiLabelMarginLoss", {}, (X[0], LABELS[0]), 1), ("MultiLabelSoftMarginLoss", {"weight": W4}, (X, Q), 1),
    ("SoftMarginLoss", {}, (X, Q * 2 - 1), 1),
]  # fmt: skip


def tensors(m, arrays, grads, dtype):
    made = []
    for i, x in enumerate(arrays):
        x = np.asarray(x)
        x = m.tensor(x.astype(dtype) if x.dtype.kind == "f" else x)
        made.append(x.requires_grad_() if i < grads and x.is_floating_point() else x)
    return made


def build(m, t, name, options, dtype):
    return getattr(m, name)(
        **{k: t.tensor(v.astype(dtype)) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    )


@pytest.mark.parametrize(
    ("name", "options", "arrays", "grads"), CASES, ids=lambda v: str(v)[:40] if isinstance(v, str | dict) else ""
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.filterwarnings("ignore:reduction. 'mean'")
def test_losses_are_those_of_pytorch(name, options, arrays, grads, dtype):
    tolerance = 2e-5 if dtype == np.float32 else 1e-9
    for reduction in ("mean", "sum", "none"):
        chosen = {"reduction": reduction, **options}
        ours, theirs = build(nn, zero, name, chosen, dtype), build(torch.nn, torch, name, chosen, dtype)
        assert repr(ours) == repr(theirs)
        assert list(ours.state_dict()) == list(theirs.state_dict())
        a, b = tensors(zero, arrays, grads, dtype), tensors(torch, arrays, grads, dtype)
        y, z = ours(*a), theirs(*b)
        assert y._array.dtype == z.detach().numpy().dtype
        np.testing.assert_allclose(y._array, z.detach().numpy(), rtol=tolerance, atol=tolerance)
        g = np.random.default_rng(1).normal(size=z.shape).astype(dtype)
        y.backward(zero.tensor(g))
        z.backward(torch.tensor(g))
        for p, q in zip(a[:grads], b[:grads], strict=True):
            np.testing.assert_allclose(p.grad._array, q.grad.numpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("scale", [1e4, 1e30])
def test_cross_entropy_is_stable(scale):
    x = (X * scale).astype(np.float32)
    a, b = zero.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, z = F.cross_entropy(a, zero.tensor(C)), TF.cross_entropy(b, torch.tensor(C))
    np.testing.assert_allclose(y.item(), z.item(), rtol=1e-5)
    y.backward(), z.backward()
    np.testing.assert_allclose(a.grad._array, b.grad.numpy(), atol=1e-6)
    bce = F.binary_cross_entropy_with_logits(a, zero.tensor(Q.astype(np.float32)))
    np.testing.assert_allclose(
        bce.item(), TF.binary_cross_entropy_with_logits(b, torch.tensor(Q).float()).item(), rtol=1e-5
    )


def test_many_classes_and_few_targets():
    x, t = rng.normal(size=(7, 300)).astype(np.float32), rng.integers(0, 300, 7)
    a, b = zero.tensor(x.T.copy()).T.requires_grad_(), torch.tensor(x, requires_grad=True)
    F.cross_entropy(input=a, target=zero.tensor(t)).backward()
    TF.cross_entropy(b, torch.tensor(t)).backward()
    np.testing.assert_allclose(a.grad._array, b.grad.numpy(), atol=1e-6)


def test_nothing_to_average_is_nan():
    t = np.full(5, -100)
    assert np.isnan(F.cross_entropy(zero.tensor(X), zero.tensor(t)).item())
    assert np.isnan(F.mse_loss(zero.zeros(0), zero.zeros(0)).item())
    assert F.cross_entropy(zero.tensor(X), zero.tensor(t), reduction="sum").item() == 0


def test_probabilities_at_the_ends():
    p, t = np.array([0.0, 1.0, 0.0, 1.0]), np.array([0.0, 1.0, 1.0, 0.0])
    a, b = zero.tensor(p, requires_grad=True), torch.tensor(p, requires_grad=True)
    y, z = F.binary_cross_entropy(a, zero.tensor(t)), TF.binary_cross_entropy(b, torch.tensor(t))
    assert y.item() == z.item()
    y.backward(), z.backward()
    np.testing.assert_allclose(a.grad._array, b.grad.numpy())


def test_other_shapes_warn_and_broadcast():
    for name in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"):
        x, t = X.astype(np.float32), T[0].astype(np.float32)
        a, b = zero.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
        with pytest.warns(UserWarning, match="different to the input size"):
            y = getattr(F, name)(a, zero.tensor(t))
        with pytest.warns(UserWarning, match="different to the input size"):
            z = getattr(TF, name)(b, torch.tensor(t))
        np.testing.assert_allclose(y.item(), z.item(), rtol=1e-6)
        y.backward(), z.backward()
        np.testing.assert_allclose(a.grad._array, b.grad.numpy(), rtol=1e-5)


@pytest.mark.parametrize("old", [{"size_average": False}, {"reduce": False}, {"size_average": True}])
def test_old_arguments_are_refused(old):
    with pytest.raises(NotImplementedError, match="please use reduction"):
        nn.MSELoss(**old)


@pytest.mark.parametrize(
    "call",
    [
        lambda m, t, F: F.cross_entropy(t.ones(3, 4), t.ones(3)),
        lambda m, t, F: F.cross_entropy(t.ones(3, 4), t.ones(2, dtype=t.int64)),
        lambda m, t, F: F.cross_entropy(t.ones(3, 4), t.full((3,), 4)),
        lambda m, t, F: F.cross_entropy(t.ones(3, 4), t.full((3,), -1)),
        lambda m, t, F: F.cross_entropy(t.ones(3, 4), t.ones(3, 1, dtype=t.int64)),
        lambda m, t, F: F.cross_entropy(t.ones(3, 4), t.ones(3, dtype=t.int64), t.ones(3)),
        lambda m, t, F: F.cross_entropy(t.ones(3, 4), t.ones(3, dtype=t.int32)),
        lambda m, t, F: F.cross_entropy(t.ones(3, 4), t.ones(3, dtype=t.int64), label_smoothing=2),
        lambda m, t, F: F.cross_entropy(t.ones(3, 4, 2), t.ones(3, 3, dtype=t.int64)),
        lambda m, t, F: F.cross_entropy(t.ones(3, 4), t.ones(3, dtype=t.int64), reduction="no"),
        lambda m, t, F: F.nll_loss(t.ones(3, 4), t.ones(2, dtype=t.int64)),
        lambda m, t, F: F.binary_cross_entropy(t.ones(3), t.ones(4)),
        lambda m, t, F: F.binary_cross_entropy(t.ones(3) * 2, t.ones(3)),
        lambda m, t, F: F.binary_cross_entropy(t.ones(3), t.ones(3, dtype=t.float64)),
        lambda m, t, F: F.binary_cross_entropy_with_logits(t.ones(3), t.ones(4)),
        lambda m, t, F: F.mse_loss(t.ones(3), t.ones(3), reduction="no"),
        lambda m, t, F: F.huber_loss(t.ones(3), t.ones(3), delta=-1.0),
        lambda m, t, F: F.smooth_l1_loss(t.ones(3), t.ones(3), beta=-1.0),
        lambda m, t, F: F.margin_ranking_loss(t.ones(3), t.ones(3), t.ones(3, 1)),
        lambda m, t, F: F.multilabel_margin_loss(t.ones(3, 4), t.ones(3, 3, dtype=t.int64)),
        lambda m, t, F: F.soft_margin_loss(t.ones(3), t.ones(4)),
        lambda m, t, F: m.MSELoss(nonsense=1),
    ],
)
def test_misuse_raises_the_same_type(call):
    with pytest.raises(Exception) as theirs:  # noqa: PT011 - PyTorch says which
        call(torch.nn, torch, TF)
    with pytest.raises(theirs.type):
        call(nn, zero, F)
