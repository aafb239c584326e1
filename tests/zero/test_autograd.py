"""Gradients as PyTorch has them: walking, hooks, modes, own operations, and what is refused."""

import gc
import weakref

import numpy as np
import pytest
import torch

import danlu.zero as zero
from danlu.zero import autograd

BOTH = (zero, torch)


def same(make):
    """Run the same lines with both, and compare the lists of tensors they return."""
    ours, theirs = make(zero), make(torch)
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        if a is None or b is None:
            assert a is b is None
        elif isinstance(b, torch.Tensor):
            np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-6)
            assert tuple(a.shape) == tuple(b.shape)
        else:
            assert a == b


def refused_alike(make):
    errors = []
    for t in BOTH:
        with pytest.raises((RuntimeError, TypeError, ValueError, IndexError)) as caught:
            make(t)
        errors.append(caught.type)
    assert errors[0] is errors[1]


def leaf(t, *numbers):
    return t.tensor(list(numbers), dtype=t.float64, requires_grad=True)


def test_a_leaf_used_twice_and_a_shared_subgraph():
    def make(t):
        x, w = leaf(t, 1.0, 2.0), leaf(t, 3.0, 4.0)
        h = (x * w + x).exp()
        y = (h * h + h).sum() + (h - x).sum()
        y.backward()
        return x.grad, w.grad

    same(make)


def test_gradients_add_up_over_backwards_and_do_not_alias():
    def make(t):
        x, z = leaf(t, 1.0, 2.0), leaf(t, 5.0, 6.0)
        weight = t.tensor([1.0, 10.0], dtype=t.float64)
        (x + z).backward(weight)
        x.grad.mul_(2)
        (x * 3).backward(weight)
        return x.grad, z.grad, weight

    same(make)


def test_a_second_backward_adds_in_place():
    for t in BOTH:
        x = leaf(t, 1.0, 2.0)
        (x * 3).sum().backward()
        held = x.grad
        (x * 3).sum().backward()
        assert held is x.grad
        assert held.tolist() == [6, 6]


def test_backward_of_several_and_for_some_inputs():
    def make(t):
        x, z = leaf(t, 1.0, 2.0), leaf(t, 5.0, 6.0)
        y = x * z
        t.autograd.backward([y, x.sum()], [t.ones_like(y), None])
        first = x.grad.clone()
        (x * z).sum().backward(inputs=[z])
        return first, x.grad, z.grad

    same(make)


def test_grad_of_leaves_and_of_what_lies_between():
    def make(t):
        x, z = leaf(t, 1.0, 2.0), leaf(t, 5.0, 6.0)
        h = x * z
        y = (h * h).sum()
        found = t.autograd.grad(y, [x, h], retain_graph=True)
        unused = t.autograd.grad(y, [x, leaf(t, 1.0)], allow_unused=True, retain_graph=True)
        weighted = t.autograd.grad(h, z, grad_outputs=t.tensor([1.0, 2.0], dtype=t.float64))
        zeros = t.autograd.grad((x * 2).sum(), [z], allow_unused=True, materialize_grads=True)
        return *found, *unused, *weighted, *zeros, x.grad, z.grad

    same(make)


def test_grad_does_not_touch_what_is_not_asked_for():
    called = []
    x, z = leaf(zero, 1.0), leaf(zero, 2.0)
    z.register_hook(called.append)
    side = z * z
    y = (x * x + side).sum()
    autograd.grad(y, x)
    assert called == []
    side.sum().backward()  # was not freed, as nothing went through it
    assert z.grad.item() == 4


@pytest.mark.parametrize(
    "make",
    [
        lambda t: (leaf(t, 1.0, 2.0) * 2).backward(),
        lambda t: t.tensor(1.0).backward(),
        lambda t: leaf(t, 1.0).detach().backward(),
        lambda t: (leaf(t, 1.0, 2.0) * 2).backward(t.ones(3)),
        lambda t: (leaf(t, 1.0, 2.0) * 2).backward([1.0, 2.0]),
        lambda t: t.autograd.grad(leaf(t, 1.0).sum(), t.tensor(1.0)),
        lambda t: t.autograd.grad(leaf(t, 1.0).sum(), leaf(t, 1.0)),
        lambda t: leaf(t, 1.0).sum().backward(inputs=[]),
        lambda t: t.tensor(1.0).register_hook(print),
        lambda t: t.tensor(1.0).retain_grad(),
        lambda t: t.tensor([1]).requires_grad_(),
        lambda t: setattr(leaf(t, 1.0) * 2, "requires_grad", False),
        lambda t: leaf(t, 1.0).numpy(),
        lambda t: bool(t.ones(2)),
        lambda t: t.ones(2).item(),
        lambda t: len(t.tensor(1.0)),
        lambda t: iter(t.tensor(1.0)),
        lambda t: t.ones(2).size(3),
        lambda t: [1, 2][t.tensor(1.0)],
    ],
)
def test_what_pytorch_refuses(make):
    refused_alike(make)


@pytest.mark.parametrize("saves", [True, False])
def test_a_graph_is_freed_where_it_held_something(saves):
    for t in BOTH:
        x = leaf(t, 1.0, 2.0)
        y = (x * x).sum() if saves else (x + x).sum()
        y.backward()
        if saves:
            with pytest.raises(RuntimeError, match="second time"):
                y.backward()
        else:
            y.backward()
        z = (x * x).sum()
        z.backward(retain_graph=True)
        z.backward()


def test_a_saved_tensor_that_changed_is_noticed():
    for t in BOTH:
        x = leaf(t, 1.0, 2.0)
        h = x * 2
        y = (h * h).sum()
        h.add_(1)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            y.backward()
        h = x * 2
        y = (h + h).sum()  # saves nothing
        h.add_(1)
        y.backward()


def test_hooks_replace_gradients_in_order_and_are_removed():
    def make(t):
        seen = []
        x = leaf(t, 1.0, 2.0)
        h = x * 3
        h.retain_grad()
        h.register_hook(lambda g: seen.append("first") or g * 2)
        h.register_hook(lambda g: seen.append("second") or g + 1)
        gone = h.register_hook(lambda g: seen.append("never"))
        gone.remove()
        gone.remove()
        x.register_hook(lambda g: seen.append("leaf") or g * 10)
        (h * h).sum().backward()
        return x.grad, h.grad, seen

    same(make)


def test_create_graph_is_refused_by_name():
    with pytest.raises(NotImplementedError, match="create_graph"):
        leaf(zero, 1.0).sum().backward(create_graph=True)


def test_recording_is_switched_by_context_and_decorator():
    def make(t):
        x = leaf(t, 1.0)

        @t.no_grad()
        def quiet():
            with t.enable_grad():
                inner = (x * 2).requires_grad
            return (x * 2).requires_grad, inner, t.is_grad_enabled()

        seen = [*quiet(), t.is_grad_enabled(), t.no_grad(lambda: t.is_grad_enabled())()]
        with t.set_grad_enabled(False):
            seen.append((x * 2).requires_grad)
        t.set_grad_enabled(False)
        seen.append(t.is_grad_enabled())
        t.set_grad_enabled(True)
        with t.inference_mode():
            seen.append((x * 2).requires_grad)
        try:
            with t.no_grad():
                raise KeyError
        except KeyError:
            seen.append(t.is_grad_enabled())
        return seen

    same(make)


def functions(t):
    class Scale(t.autograd.Function):
        @staticmethod
        def forward(ctx, x, factor, offset=None):
            ctx.save_for_backward(x)
            ctx.factor = factor
            return x * x * factor, (x > 0).to(x.dtype), x.sum() * factor

        @staticmethod
        def backward(ctx, g, _, total):
            (x,) = ctx.saved_tensors
            assert ctx.needs_input_grad == (True, False, False)
            assert _.shape == x.shape
            return g * 2 * x * ctx.factor + total * ctx.factor, None, None

    return Scale


def test_an_operation_of_ones_own():
    def make(t):
        x = leaf(t, 1.0, -2.0)
        y, mask, total = functions(t).apply(x, 3.0, None)
        (y.sum() + total * 2).backward()
        return x.grad, y, mask, total, y.requires_grad, y.grad_fn.name()

    same(make)


def test_an_own_operation_that_saves_its_output_and_marks_one():
    def make(t):
        class Both(t.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                y, order = x.exp(), (x > 0).double()
                ctx.mark_non_differentiable(order)
                ctx.save_for_backward(y)
                return y, order

            @staticmethod
            def backward(ctx, g, _):
                (y,) = ctx.saved_tensors
                return g * y

        x = leaf(t, 1.0, -2.0)
        y, order = Both.apply(x)
        (y * y).sum().backward()
        return x.grad, order.requires_grad, y.requires_grad

    same(make)


def test_a_wrong_number_of_gradients_is_refused():
    def make(t):
        class Wrong(t.autograd.Function):
            @staticmethod
            def forward(ctx, a, b):
                return a * b

            @staticmethod
            def backward(ctx, g):
                return g

        Wrong.apply(leaf(t, 1.0), leaf(t, 2.0)).sum().backward()

    refused_alike(make)


def test_a_gradient_that_its_maker_keeps_is_copied():
    def make(t):
        class Keeps(t.autograd.Function):
            @staticmethod
            def forward(ctx, x, kept):
                ctx.save_for_backward(kept)
                return x.sum()

            @staticmethod
            def backward(ctx, g):
                return ctx.saved_tensors[0], None

        x, kept, seen = leaf(t, 1.0, 2.0), t.ones(2, dtype=t.float64), []
        Keeps.apply(x, kept).backward()
        handle = x.register_hook(seen.append)
        Keeps.apply(x, kept).backward()
        Keeps.apply(x, kept).backward()
        handle.remove()
        return x.grad, kept, *seen

    same(make)


def test_gradcheck_finds_a_wrong_derivative():
    class Wrong(autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, g):
            return g * ctx.saved_tensors[0]

    x = leaf(zero, 0.5, 1.5)
    assert autograd.gradcheck(lambda a: (a * a, a.exp()), (x,))
    assert not autograd.gradcheck(Wrong.apply, (x,), raise_exception=False)
    with pytest.raises(RuntimeError, match="Jacobian mismatch"):
        autograd.gradcheck(Wrong.apply, (x,))


def test_anomalies_name_the_operation_and_its_line():
    x = leaf(zero, -1.0, 0.0)
    with autograd.detect_anomaly(), pytest.raises(RuntimeError, match=r"LogBackward0.*forward.*x\.log\(\)"):
        x.log()
    with autograd.detect_anomaly():
        y = (x * 0).sqrt().sum()  # the square root of zero
        with pytest.raises(RuntimeError, match=r"backward.*the square root of zero"):
            (y * 0).backward()
    x.log()


def test_a_deep_graph_needs_no_recursion():
    x = leaf(zero, 1.0)
    y = x
    for _ in range(10_000):
        y = y + 1
    y.sum().backward()
    assert x.grad.item() == 1
    assert autograd.grad((y * y).sum(), x)[0].item() == 2 * 10_001
    del y


def test_nothing_needs_the_garbage_collector():
    gc.collect()
    gc.disable()
    try:
        x = leaf(zero, 1.0, 2.0)
        h = x.exp()
        h.register_hook(lambda g: None)
        view = h[0]
        y = (h * h).sum() + view
        y.backward()
        watched = [weakref.ref(tensor) for tensor in (x, h, y, view)] + [weakref.ref(h._array)]
        kept = weakref.ref((x * x)._array)
        assert kept() is None
        del x, h, y, view
        assert [watch() for watch in watched] == [None] * 5
    finally:
        gc.enable()


def test_backward_lets_go_of_what_was_saved():
    x = leaf(zero, 1.0, 2.0)
    h = x.exp()
    watch = weakref.ref(h._array)
    y = (h * h).sum()
    del h
    assert watch() is not None
    y.backward()
    assert watch() is None


def test_the_graph_shows_itself():
    x = leaf(zero, 1.0)
    y = (x * 2).exp()
    assert y.grad_fn.name() == "ExpBackward0"
    (before, number), *_ = y.grad_fn.next_functions
    assert (before.name(), number) == ("MulBackward0", 0)
    assert before.next_functions[0][0].variable is x
    assert x.is_leaf
    assert not y.is_leaf
