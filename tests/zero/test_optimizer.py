"""Every optimizer against PyTorch's, and the rules of parameters, groups and state."""

import copy
import pickle

import numpy as np
import pytest
import torch

from danlu.zero import optim
from danlu.zero.nn.parameter import Parameter
from danlu.zero.tensor import Tensor, wrap

SHAPES = [(3, 4), (5,), (), (2, 1, 3)]
CASES = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.1, "maximize": True, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "maximize": True}),
    ("Adagrad", {}),
    ("Adagrad", {"lr": 0.3, "lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.5, "eps": 1e-3}),
    ("Adagrad", {"maximize": True}),
    ("RMSprop", {}),
    ("RMSprop", {"alpha": 0.9, "momentum": 0.5, "weight_decay": 0.1, "eps": 1e-4}),
    ("RMSprop", {"centered": True, "momentum": 0.5, "maximize": True}),
    ("RMSprop", {"centered": True}),
    ("Adam", {}),
    ("Adam", {"lr": 0.1, "betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": 0.1, "amsgrad": True}),
    ("Adam", {"maximize": True, "weight_decay": 0.1}),
    ("Adam", {"betas": (0.3, 0.4)}),
    ("Adam", {"decoupled_weight_decay": True, "weight_decay": 0.1}),
    ("AdamW", {"lr": 0.1}),
    ("AdamW", {"lr": 0.1, "amsgrad": True, "maximize": True, "weight_decay": 0.3}),
    ("Adamax", {"lr": 0.1}),
    ("Adamax", {"weight_decay": 0.1, "maximize": True, "betas": (0.8, 0.9)}),
    ("Adadelta", {}),
    ("Adadelta", {"lr": 0.5, "rho": 0.7, "weight_decay": 0.1, "maximize": True}),
]
NAMES = sorted({name for name, _ in CASES})


def pair(dtype=np.float64, seed=0):
    """The same parameters twice: ours and PyTorch's."""
    rng = np.random.default_rng(seed)
    arrays = [np.asarray(rng.normal(size=shape), dtype) for shape in SHAPES]
    return [Parameter(wrap(a.copy())) for a in arrays], [torch.nn.Parameter(torch.from_numpy(a)) for a in arrays]


def train(ours, theirs, mine, other, steps, seed=1):
    """Take the same steps on both; every third gradient of the last parameter is missing, some are all zero."""
    rng = np.random.default_rng(seed)
    for i in range(steps):
        for k, (p, q) in enumerate(zip(ours, theirs, strict=True)):
            g = np.asarray(np.sin(3 * p._array) + rng.normal(size=p._array.shape), p._array.dtype)
            if i % 7 == 6:
                g = np.zeros_like(g)
            skip = k == len(ours) - 1 and i % 3 == 1
            p.grad, q.grad = (None, None) if skip else (wrap(g), torch.from_numpy(g.copy()))
        mine.step()
        other.step()


def same(ours, theirs, tolerance=1e-10):
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p._array, q.detach().numpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_fifty_steps_are_pytorchs(name, options):
    for dtype, tolerance in ((np.float64, 1e-10), (np.float32, 2e-4)):
        ours, theirs = pair(dtype)
        mine, other = getattr(optim, name)(ours, **options), getattr(torch.optim, name)(theirs, **options)
        train(ours, theirs, mine, other, 50)
        same(ours, theirs, tolerance)
    assert repr(mine) == repr(other)
    assert all(p._version[0] > 0 and p._array.dtype == np.float32 for p in ours)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_state_goes_over_from_pytorch_and_back_in_mid_run(name, options):
    ours, theirs = pair()
    mine, other = getattr(optim, name)(ours, **options), getattr(torch.optim, name)(theirs, **options)
    train(ours, theirs, mine, other, 11)
    kept, known = mine.state_dict(), other.state_dict()
    assert kept["param_groups"] == known["param_groups"]
    assert {i: set(s) for i, s in kept["state"].items()} == {i: set(s) for i, s in known["state"].items()}
    from_torch = {
        "state": {i: {k: to_zero(v) for k, v in s.items()} for i, s in known["state"].items()},
        "param_groups": known["param_groups"],
    }
    for state in (from_torch, pickle.loads(pickle.dumps(kept)), kept):
        again = [Parameter(wrap(p._array.copy())) for p in ours]
        fresh = getattr(optim, name)(again, **{**options, "lr": 7.0})
        fresh.load_state_dict(state)
        also = copy.deepcopy(theirs)
        reference = getattr(torch.optim, name)(also, **options)
        reference.load_state_dict(copy.deepcopy(known))
        train(again, also, fresh, reference, 11, seed=2)
        same(again, also)
    same(ours, theirs)  # what was loaded was copied


def to_zero(value):
    return wrap(value.numpy().copy()) if isinstance(value, torch.Tensor) else value


@pytest.mark.parametrize("name", [*NAMES, "SparseAdam"])
def test_groups_have_their_own_options(name):
    ours, theirs = pair()
    results = []
    for module, params in ((optim, ours), (torch.optim, theirs)):
        optimizer = getattr(module, name)([{"params": params[0], "lr": 0.5}, {"params": params[1:3]}], lr=0.01)
        optimizer.add_param_group({"params": [params[3]], "lr": 0.2})
        results.append(optimizer)
    mine, other = results
    assert repr(mine) == repr(other)
    if name != "SparseAdam":
        train(ours, theirs, mine, other, 10)
        same(ours, theirs)
    assert [g["params"] for g in mine.state_dict()["param_groups"]] == [[0], [1, 2], [3]]


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize("maximize", [False, True])
def test_sparse_adam_moves_only_rows_with_a_gradient(maximize, listed):
    start = np.random.default_rng(0).normal(size=(6, 3))
    p, q = Parameter(wrap(start.copy())), torch.nn.Parameter(torch.from_numpy(start.copy()))
    mine, other = (m.SparseAdam([x], lr=0.1, maximize=maximize) for m, x in ((optim, p), (torch.optim, q)))
    rng = np.random.default_rng(1)
    for _ in range(20):
        dense = np.zeros_like(start)
        rows = rng.choice(5, 2, replace=False)
        dense[rows] = rng.normal(size=(2, 3))
        p.grad, q.grad = wrap(dense), torch.from_numpy(dense).to_sparse(1)
        if listed:
            dense[rows[0]] = 0  # touched all the same
            p.grad_rows = [rows[:1], np.array([[rows[1]], [rows[1]]])]
            q.grad = torch.sparse_coo_tensor(rows[None], dense[rows], dense.shape, check_invariants=True)
        mine.step()
        other.step()
    same([p], [q])
    assert (p._array[5] == start[5]).all()


def ours_and_theirs(build):
    for module, tensor in ((optim, pair()[0]), (torch.optim, pair()[1])):
        yield lambda module=module, tensor=tensor: build(module, tensor)


MISUSE = {
    "no parameters": lambda m, p: m.SGD([], lr=1),
    "one tensor": lambda m, p: m.SGD(p[0], lr=1),
    "numbers": lambda m, p: m.SGD([1.0], lr=1),
    "a set": lambda m, p: m.SGD([{"params": set(p)}], lr=1),
    "in two groups": lambda m, p: m.SGD([{"params": p[:2]}, {"params": p[1:]}], lr=1),
    "twice in one group": lambda m, p: m.SGD([p[0], p[0]], lr=1),
    "a group that is no dict": lambda m, p: m.SGD([p[0]], lr=1).add_param_group([p[1]]),
    "negative lr": lambda m, p: m.SGD(p, lr=-1),
    "negative momentum": lambda m, p: m.SGD(p, momentum=-1),
    "negative decay": lambda m, p: m.SGD(p, weight_decay=-1),
    "Nesterov without momentum": lambda m, p: m.SGD(p, nesterov=True),
    "beta 1": lambda m, p: m.Adam(p, betas=(1.0, 0.9)),
    "negative beta": lambda m, p: m.Adamax(p, betas=(0.9, -0.1)),
    "negative eps": lambda m, p: m.AdamW(p, eps=-1),
    "rho": lambda m, p: m.Adadelta(p, rho=1.1),
    "lr_decay": lambda m, p: m.Adagrad(p, lr_decay=-1),
    "alpha": lambda m, p: m.RMSprop(p, alpha=-1),
    "sparse lr 0": lambda m, p: m.SparseAdam(p, lr=0),
    "other groups": lambda m, p: m.SGD(p, lr=1).load_state_dict(
        m.SGD([{"params": p}], lr=1).state_dict() | {"param_groups": []}
    ),
    "other sizes": lambda m, p: m.SGD(p, lr=1).load_state_dict(m.SGD(p[:1], lr=1).state_dict()),
    "no step": lambda m, p: m.Optimizer(p, {}).step(),
}


@pytest.mark.parametrize("case", MISUSE)
def test_misuse_raises_what_pytorch_raises(case):
    kinds = []
    for build in ours_and_theirs(MISUSE[case]):
        with pytest.raises(Exception) as caught:  # noqa: PT011 - the type is what is compared
            build()
        kinds.append(caught.type)
    assert kinds[0] is kinds[1]


def test_a_tensor_that_was_computed_is_refused():
    ours = pair()[0]
    ours[0].grad_fn = object()
    with pytest.raises(ValueError, match="non-leaf"):
        optim.SGD(ours)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("argument", ["foreach", "differentiable", "capturable", "fused"])
def test_other_implementations_are_refused_by_name(name, argument):
    if argument in getattr(torch.optim, name)(pair()[1]).defaults:
        with pytest.raises(NotImplementedError, match=argument):
            getattr(optim, name)(pair()[0], **{argument: True})
        getattr(optim, name)(pair()[0], **{argument: False})


def test_zero_grad():
    ours = pair()[0]
    optimizer = optim.SGD(ours)
    ours[0].grad = gradient = wrap(np.ones((3, 4)))
    optimizer.zero_grad(set_to_none=False)
    assert ours[0].grad is gradient
    assert not gradient._array.any()
    optimizer.zero_grad()
    assert ours[0].grad is None


def test_closure_is_called_and_its_loss_returned():
    ours = pair()[0]
    for optimizer in (optim.SGD(ours), optim.Adam(ours)):
        assert optimizer.step(lambda: 3.5) == 3.5


class Halving(optim.Optimizer):
    """One of your own: every parameter halves its way."""

    def __init__(self, params, lr=0.5):
        super().__init__(params, {"lr": lr})

    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p]["steps"] = self.state[p].get("steps", 0) + 1
                p._array -= group["lr"] * p.grad._array


def test_an_optimizer_of_ones_own():
    ours = pair()[0]
    optimizer = Halving([{"params": ours[:1]}, {"params": ours[1:], "lr": 0.0}])
    before = [p._array.copy() for p in ours]
    for p in ours:
        p.grad = wrap(p._array.copy())
    scheduler = optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    optimizer.step()
    scheduler.step()
    np.testing.assert_array_equal(ours[0]._array, before[0] / 2)
    np.testing.assert_array_equal(ours[1]._array, before[1])
    assert optimizer.state_dict()["state"][3] == {"steps": 1}
    assert "Halving (\nParameter Group 0\n    initial_lr: 0.5\n    lr: 0.25\n" in repr(optimizer)


def test_learning_rate_as_a_tensor():
    ours, theirs = pair()
    mine, other = (
        optim.AdamW(ours, lr=wrap(np.array(0.1))),
        torch.optim.AdamW(theirs, lr=torch.tensor(0.1, dtype=torch.float64)),
    )
    train(ours, theirs, mine, other, 5)
    same(ours, theirs)
    with pytest.raises(ValueError, match="1-element"):
        optim.SGD(ours, lr=wrap(np.ones(2)))


@pytest.mark.parametrize("name", NAMES)
def test_overflow_and_nan_pass_silently(name):
    p = Parameter(wrap(np.array([1.0, 2.0, 3.0], np.float32)))
    p.grad = wrap(np.array([1e38, np.nan, np.inf], np.float32))
    optimizer = getattr(optim, name)([p], lr=1e3)
    for _ in range(3):
        optimizer.step()


def test_strided_parameters_change_in_place():
    base = np.arange(24.0).reshape(4, 6)
    p = Parameter(wrap(base.T[::-1, ::2]))
    expected = base.T[::-1, ::2] - 0.5 * np.ones((6, 2))
    p.grad = wrap(np.ones((6, 2)))
    optim.SGD([p], lr=0.5).step()
    np.testing.assert_array_equal(base.T[::-1, ::2], expected)


def test_pickled_and_copied_optimizers_go_on():
    ours, theirs = pair()
    mine, other = optim.Adam(ours), torch.optim.Adam(theirs)
    train(ours, theirs, mine, other, 5)
    again = pickle.loads(pickle.dumps(mine))
    moved = [p for group in again.param_groups for p in group["params"]]
    assert all(isinstance(p, Tensor) and p in again.state for p in moved)
    train(moved, theirs, again, other, 5, seed=3)
    same(moved, theirs)
