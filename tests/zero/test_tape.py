"""The tape: what an operation's record holds, and what it lets go."""

import threading

import numpy as np
import pytest

import danlu.zero as zero
from danlu.zero.bookkeeping import fit, held
from danlu.zero.tape import Mode, op, record, recording
from danlu.zero.tensor import wrap


@op
def scaled_sum(x, y, bias=None, /, *, scale=1.0):
    """z = scale (x + y) + bias."""
    z = scale * (x + y) + (0 if bias is None else bias)
    return z, (lambda g: g * scale, lambda g: g * scale, lambda g: g)


@op
def joined(x, y, /):
    """Two inputs, one function for both gradients."""
    parts = [x, y]
    return x * y, lambda g: (g * parts[1], g * parts[0])


def leaf(*numbers):
    return zero.tensor(list(numbers), requires_grad=True)


def test_tensor_inputs_come_by_position_keyword_or_default():
    x, y, bias = leaf(1.0, 2.0), leaf(3.0, 4.0), leaf(5.0)
    assert scaled_sum(x, y, scale=2.0).tolist() == [8, 12]
    scaled_sum(x, y, bias=bias).sum().backward()
    assert bias.grad.tolist() == [2]
    with pytest.raises(TypeError, match="'y'"):
        scaled_sum(x)


def test_one_function_may_give_all_gradients_and_its_lists_are_freed():
    x, y = leaf(1.0, 2.0), leaf(3.0, 4.0)
    z = joined(x, y).sum()
    z.backward()
    assert (x.grad.tolist(), y.grad.tolist()) == ([3, 4], [1, 2])
    with pytest.raises(RuntimeError, match="second time"):
        z.backward()


def test_what_counts_as_holding_an_array():
    array = np.ones(2)
    inner = lambda: array  # noqa: E731
    for value in (array, [array], (1, [array]), {"a": array}, inner, [inner]):
        assert held([value], set()) == {id(array)}
    assert held([(2, 3), [], {"a": 1}, lambda: 1], set()) == set()


def test_what_needs_no_gradient_does_not_let_the_other_be_saved():
    y, k = leaf(1.0, 2.0) * 1, zero.tensor([3.0, 4.0])
    z = (y * k).sum()
    y.zero_()  # only k is needed to go back
    z.backward()
    z = (y * k).sum()
    k.zero_()
    with pytest.raises(RuntimeError, match="inplace"):
        z.backward()


@pytest.mark.parametrize(
    ("shape", "wanted"), [((2, 3), (3,)), ((2, 3), (2, 1)), ((2, 3), ()), ((4, 2, 3), (2, 1)), ((0, 3), (1, 3))]
)
def test_gradients_are_summed_over_what_was_broadcast(shape, wanted):
    fitted = fit(np.ones(shape), (wanted, np.dtype("float32")))
    assert fitted.shape == wanted
    assert fitted.dtype == np.float32
    assert fitted.sum() == np.ones(shape).sum()


def test_several_outputs_share_a_node():
    x = leaf(1.0, 2.0)
    outputs = wrap(x._array * 2), wrap(x._array * 3)
    node = record("Pair", (x,), lambda g: (g[0] * 2 + (0 if g[1] is None else g[1] * 3),), *outputs)
    assert outputs[1].grad_fn is node
    assert [y.output_nr for y in outputs] == [0, 1]
    outputs[0].sum().backward()
    (outputs[0].sum() + outputs[1].sum()).backward()
    assert x.grad.tolist() == [7, 7]


def test_recording_comes_back_after_an_error():
    with pytest.raises(ZeroDivisionError), recording(False):
        1 / int(Mode.record)  # it is off inside
    assert Mode.record


def test_gradients_that_pass_through_are_not_shared_between_leaves():
    x, y = leaf(1.0, 2.0), leaf(3.0, 4.0)
    (x + y).sum().backward()
    x.grad.add_(1)
    assert (x.grad.tolist(), y.grad.tolist()) == ([2, 2], [1, 1])
    z = leaf(1.0)
    weight = zero.ones(1)
    z.backward(weight)
    z.grad.add_(1)
    assert weight.item() == 1


def test_no_grad_holds_in_its_own_thread_alone():
    seen = []
    with zero.no_grad():
        other = threading.Thread(target=lambda: seen.append(zero.is_grad_enabled()))
        other.start()
        other.join()
        assert not zero.is_grad_enabled()
    assert seen == [True]
