"""Changes in place, alone and through views, with PyTorch's gradients and refusals."""

import numpy as np
import pytest
import torch

import danlu.zero as zero


def leaf(t, *shape):
    return t.tensor(
        np.linspace(0.3, 1.7, int(np.prod(shape))).reshape(shape).tolist(), dtype=t.float64, requires_grad=True
    )


def run(t, change):
    """Change a clone of x in place, with w in reach; return all there is to compare."""
    x, w = leaf(t, 3, 4), leaf(t, 4)
    y = x.clone()
    views = change(t, y, w) or ()
    ((y * y).sum() + sum((v * v * v).sum() for v in views)).backward()
    return [y, x.grad, w.grad, *views]


CHANGES = {
    "add": lambda t, y, w: (y.add_(w), None)[1],
    "sub": lambda t, y, w: (y.sub_(w, alpha=2), None)[1],
    "mul": lambda t, y, w: (y.mul_(w), None)[1],
    "mul twice": lambda t, y, w: (y.mul_(w).mul_(w), None)[1],
    "div": lambda t, y, w: (y.div_(w), None)[1],
    "pow": lambda t, y, w: (y.pow_(3), None)[1],
    "pow of w": lambda t, y, w: (y.pow_(w), None)[1],
    "exp": lambda t, y, w: (y.exp_(), None)[1],
    "relu": lambda t, y, w: (y.sub_(1).relu_(), None)[1],
    "clamp": lambda t, y, w: (y.clamp_(0.5, 1.2), None)[1],
    "zero": lambda t, y, w: (y.zero_(), None)[1],
    "fill": lambda t, y, w: (y.fill_(2), None)[1],
    "fill with a tensor": lambda t, y, w: (y.fill_(w[1]), None)[1],
    "copy": lambda t, y, w: (y.copy_(w), None)[1],
    "masked_fill": lambda t, y, w: (y.masked_fill_(y > 1, 0.5), None)[1],
    "index_add": lambda t, y, w: (y.index_add_(0, t.tensor([2, 0, 2]), w.expand(3, 4)), None)[1],
    "scatter_add": lambda t, y, w: (y.scatter_add_(0, t.tensor([[0, 1, 2, 0]]), w.unsqueeze(0)), None)[1],
    "scatter": lambda t, y, w: (y.scatter_(0, t.tensor([[0, 1, 2, 0]]), w.unsqueeze(0)), None)[1],
    "row of the base": lambda t, y, w: (y[0].mul_(2), None)[1],
    "row by a tensor": lambda t, y, w: (y[1].mul_(w), None)[1],
    "view of a view": lambda t, y, w: (y.t()[1:3].view(2, 3)[0].mul_(3).add_(w[0]), None)[1],
    "reshaped": lambda t, y, w: (y.view(2, 6)[1].exp_(), None)[1],
    "transposed": lambda t, y, w: (y.transpose(0, 1).mul_(w.unsqueeze(1)), None)[1],
    "set a row": lambda t, y, w: y.__setitem__(1, w),
    "set a slice": lambda t, y, w: y.__setitem__((slice(None), slice(1, 3)), w[:2]),
    "set by a mask": lambda t, y, w: y.__setitem__(y > 1, w.sum()),
    "set by indices": lambda t, y, w: y.__setitem__((t.tensor([0, 2]), t.tensor([1, 1])), w[:2]),
    "set with more ones": lambda t, y, w: y.__setitem__(1, w.view(1, 4)),
    "set in a view": lambda t, y, w: y[1:].__setitem__(0, w),
}


def _other_views(t, y, w):
    """Views taken before the change see it, and so do their gradients."""
    first, column = y[0], y[:, 1]
    y.mul_(w)
    column.exp_()
    return first, column, first[1:]


def _augmented(t, y, w):
    y += w
    y -= 1
    y *= 2
    y /= w
    y **= 2
    y[0] += 1
    y[1:, 2] *= w[0]


CHANGES |= {"other views": _other_views, "augmented": _augmented}


@pytest.mark.parametrize("name", CHANGES)
def test_gradients_are_pytorchs(name):
    for ours, theirs in zip(run(zero, CHANGES[name]), run(torch, CHANGES[name]), strict=True):
        assert (ours is None) == (theirs is None), name
        if ours is not None:
            np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=1e-10)


def test_a_buffer_filled_row_by_row_takes_part():
    def make(t):
        w = leaf(t, 4)
        out = t.zeros(3, 4, dtype=t.float64)
        early = out[1]
        for i in range(3):
            out[i] = w * (i + 1)
        (out * out).sum().backward()
        return w.grad, out.requires_grad, early.requires_grad, out.is_leaf

    for ours, theirs in zip(make(zero), make(torch), strict=True):
        np.testing.assert_allclose(np.asarray(ours), np.asarray(theirs))


def _expand(t):
    t.ones(1, 3).expand(2, 3).add_(1)


REFUSED = {
    "a leaf": lambda t: leaf(t, 3).add_(1),
    "a view of a leaf": lambda t: leaf(t, 3)[0].add_(1),
    "setting in a leaf": lambda t: leaf(t, 3).__setitem__(0, 1),
    "zero_ of a leaf": lambda t: leaf(t, 3).zero_(),
    "broadcasting the destination": lambda t: t.ones(3).add_(t.ones(2, 3)),
    "shapes that do not fit": lambda t: t.ones(3).copy_(t.ones(2)),
    "float into integers": lambda t: t.tensor([1, 2]).add_(0.5),
    "true division of integers": lambda t: t.tensor([1, 2]).div_(2),
    "integers into bools": lambda t: t.tensor([True]).add_(2),
    "an expanded tensor": _expand,
    "setting a wrong shape": lambda t: t.ones(3).__setitem__(slice(0, 2), t.ones(3)),
    "setting out of range": lambda t: t.ones(3).__setitem__(5, 1),
    "fill_ with more than a number": lambda t: t.ones(3).fill_(t.ones(3)),
    "x.mul_(x), which needs the old x": lambda t: (lambda y: y.mul_(y).sum().backward())(leaf(t, 3).clone()),
    "detach_ of a view": lambda t: t.ones(3)[0].detach_(),
    "data of another kind": lambda t: setattr(leaf(t, 3), "data", t.tensor([1])),
    "data that is no tensor": lambda t: setattr(leaf(t, 3), "data", 1),
    "uniform_ the wrong way round": lambda t: t.ones(3).uniform_(2, 1),
    "normal_ with a negative std": lambda t: t.ones(3).normal_(0, -1),
    "setting backwards": lambda t: t.ones(3).__setitem__(slice(None, None, -1), t.ones(3)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_pytorch_refuses(name):
    errors = []
    for t in (zero, torch):
        with pytest.raises((RuntimeError, TypeError, IndexError, ValueError)) as caught:
            REFUSED[name](t)
        errors.append(caught.type)
    assert errors[0] is errors[1]


def test_a_refused_change_changes_nothing():
    x = zero.tensor([1, 2])
    version = x._version[0]
    with pytest.raises(RuntimeError, match="can't be cast"):
        x.add_(0.5)
    assert x.tolist() == [1, 2]
    assert x._version[0] == version


def test_versions_are_shared_by_views_and_detach_but_not_by_data():
    for t in (zero, torch):
        x = t.ones(2, 3, dtype=t.float64)
        w = t.ones(3, dtype=t.float64, requires_grad=True)
        for change, noticed in (
            (lambda x: x[1].zero_(), True),
            (lambda x: x.detach().zero_(), True),
            (lambda x: x.view(-1)[0:2].zero_(), True),
            (lambda x: x.data.zero_(), False),
            (lambda x: x.clone().zero_(), False),
        ):
            y = (x * w).sum()
            change(x)
            if noticed:
                with pytest.raises(RuntimeError, match="modified by an inplace"):
                    y.backward()
            else:
                y.backward()


def test_leaves_may_be_changed_where_nothing_is_recorded():
    for t in (zero, torch):
        x = leaf(t, 3)
        with t.no_grad():
            x.sub_(0.5)
            x[0] = 7
            x[1:].mul_(2)
        assert x.is_leaf
        assert x.requires_grad
        x.data = t.zeros(2, dtype=t.float64)
        x.sum().backward()
        assert x.grad.tolist() == [1, 1]


def test_random_fills_take_a_generator():
    generator = zero.Generator()
    for fill in (
        lambda x, g: x.uniform_(-1, 2, generator=g),
        lambda x, g: x.normal_(1, 2, generator=g),
    ):
        x = zero.zeros(50)
        first = fill(x, generator.manual_seed(3)).clone()
        assert fill(x, generator.manual_seed(3)) is x
        assert first.tolist() == x.tolist()
        assert len(set(x.tolist())) > 1


def test_many_views_of_one_base_are_forgotten():
    x = zero.zeros(10)
    for _ in range(1000):
        x[0]
    assert len(x._views) <= 129
