import copy
import pickle

import numpy as np
import pytest
import torch

import danlu.zero as zero

DRAWS = {
    "rand": lambda t: t.rand(2, 3),
    "rand double": lambda t: t.rand((4,), dtype=t.float64),
    "rand half": lambda t: t.rand(4, dtype=t.float16),
    "randn": lambda t: t.randn(2, 0),
    "randn half": lambda t: t.randn(3, dtype=t.float16),
    "randn gradient": lambda t: t.randn(3, requires_grad=True),
    "randint": lambda t: t.randint(5, (2, 3)),
    "randint low": lambda t: t.randint(2, 5, (4,)),
    "randint named": lambda t: t.randint(low=-3, high=5, size=(4,)),
    "randint high named": lambda t: t.randint(high=5, size=(4,)),
    "randint dtype": lambda t: t.randint(5, (2,), dtype=t.float32),
    "normal": lambda t: t.normal(0, 1, (2, 2)),
    "normal size": lambda t: t.normal(1.0, 0.5, size=(3,)),
    "normal of means": lambda t: t.normal(t.arange(3.0)),
    "normal of deviations": lambda t: t.normal(2.0, t.ones(3, dtype=t.float64)),
    "normal of both": lambda t: t.normal(t.zeros(3, 1), t.ones(1, 2)),
    "randperm": lambda t: t.randperm(6),
    "randperm 0": lambda t: t.randperm(0),
    "bernoulli": lambda t: t.bernoulli(t.full((3, 2), 0.5)),
    "bernoulli p": lambda t: t.bernoulli(t.zeros(3, dtype=t.float64), 0.5),
    "multinomial": lambda t: t.multinomial(t.tensor([1.0, 0.0, 3.0]), 2),
    "multinomial rows": lambda t: t.multinomial(t.ones(3, 4), 5, replacement=True),
    "rand_like": lambda t: t.rand_like(t.ones(2, 2, dtype=t.float64)),
    "randn_like": lambda t: t.randn_like(t.ones(2), dtype=t.float16),
}


@pytest.mark.parametrize("name", DRAWS)
def test_shape_and_type_are_pytorchs_and_a_seed_repeats_them(name):
    zero.manual_seed(3)
    first, theirs = DRAWS[name](zero), DRAWS[name](torch)
    zero.manual_seed(3)
    again = DRAWS[name](zero)
    assert tuple(first.shape) == tuple(theirs.shape)
    assert (str(first.dtype), first.requires_grad) == (str(theirs.dtype), theirs.requires_grad)
    np.testing.assert_array_equal(first._array, again._array)


REFUSED = {
    "bounds": lambda t: t.randint(5, 3, (2,)),
    "no size": lambda t: t.randint(3),
    "int size": lambda t: t.randint(3, 3),
    "deviation": lambda t: t.normal(0.0, -1.0, (2,)),
    "shapes": lambda t: t.normal(t.zeros(2), t.ones(3)),
    "int rand": lambda t: t.rand(2, dtype=t.long),
    "int rand_like": lambda t: t.rand_like(t.ones(2, dtype=t.long)),
    "negative": lambda t: t.randperm(-1),
    "probability": lambda t: t.bernoulli(t.tensor([2.0])),
    "int probability": lambda t: t.bernoulli(t.tensor([1])),
    "too many": lambda t: t.multinomial(t.tensor([1.0, 0.0]), 3),
    "none": lambda t: t.multinomial(t.tensor([1.0, 0.0]), 0),
    "no weight": lambda t: t.multinomial(t.tensor([0.0, 0.0]), 1),
    "negative weight": lambda t: t.multinomial(t.tensor([-1.0, 2.0]), 1),
    "int weight": lambda t: t.multinomial(t.tensor([1, 1]), 1),
    "cube": lambda t: t.multinomial(t.ones(2, 2, 2), 1),
    "seed": lambda t: t.manual_seed(2**64),
    "state": lambda t: t.Generator().set_state([1]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_as_pytorch_refuses_it(name):
    with pytest.raises(Exception) as theirs:  # noqa: PT011 - any; ours is compared with it
        REFUSED[name](torch)
    with pytest.raises(theirs.type):
        REFUSED[name](zero)


def test_the_numbers_are_distributed_as_they_should_be():
    zero.manual_seed(0)
    n = 20_000
    assert abs(zero.rand(n)._array.mean() - 0.5) < 0.01
    assert abs(zero.randn(n)._array.std() - 1) < 0.02
    drawn = zero.normal(zero.full((n,), 3.0), 2.0)._array
    assert abs(drawn.mean() - 3) < 0.05
    assert abs(drawn.std() - 2) < 0.05
    assert set(zero.randint(2, 5, (n,)).tolist()) == {2, 3, 4}
    assert sorted(zero.randperm(100).tolist()) == list(range(100))
    assert abs(zero.bernoulli(zero.full((n,), 0.3))._array.mean() - 0.3) < 0.02
    half = zero.rand(n, dtype=zero.float16)._array
    assert 0 <= half.min() <= half.max() < 1


@pytest.mark.parametrize("replacement", [True, False])
def test_multinomial_follows_the_weights(replacement):
    zero.manual_seed(0)
    weights = zero.tensor([[1.0, 0.0, 3.0]])
    drawn = np.concatenate([zero.multinomial(weights, 2, replacement)._array for _ in range(4000)])
    share = np.bincount(drawn[:, 0], minlength=3) / len(drawn)
    np.testing.assert_allclose(share, [0.25, 0, 0.75], atol=0.03)
    assert replacement or all(len(set(row)) == 2 for row in drawn.tolist())


def test_a_generator_is_a_stream_of_its_own():
    first, second = zero.Generator().manual_seed(5), zero.Generator()
    second.manual_seed(5)
    assert first.initial_seed() == 5
    assert zero.rand(3, generator=first).tolist() == zero.rand(3, generator=second).tolist()
    state = first.get_state()
    assert state.dtype is zero.uint8
    ahead = zero.randn(3, generator=first).tolist()
    assert zero.randn(3, generator=zero.Generator().set_state(state)).tolist() == ahead
    for twin in (copy.deepcopy(second), pickle.loads(pickle.dumps(second))):
        assert twin.initial_seed() == 5
        assert zero.rand(2, generator=twin).tolist() == zero.rand(2, generator=_at(second)).tolist()


def _at(generator):
    return zero.Generator().set_state(generator.get_state())


def test_the_default_generator_is_seeded_saved_and_restored():
    assert zero.manual_seed(7) is zero.default_generator
    assert zero.initial_seed() == zero.random.initial_seed() == 7
    state = zero.get_rng_state()
    drawn = zero.rand(3).tolist()
    zero.set_rng_state(state)
    assert zero.rand(3).tolist() == drawn
    assert zero.seed() == zero.initial_seed() != 7
    assert zero.manual_seed(-1).initial_seed() == torch.Generator().manual_seed(-1).initial_seed() % 2**64
    with pytest.raises(RuntimeError, match="new_state"):
        zero.set_rng_state(zero.tensor([1, 2], dtype=zero.uint8))
    with pytest.raises(RuntimeError, match="device"):
        zero.Generator(device="cuda")
