"""What an update costs: equal to a hand calculation, and counted without a trace."""

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import danlu
from danlu.device import Limits
from danlu.measure.cost import Cost, Counter, cost
from danlu.models.twin import twin
from danlu.train import Training, prepare

B, T, E, H, HEADS = 16, 7, 12, 20, 4


def bound(model: Any, shape: tuple[int, ...], **given: Any) -> Training:
    inputs = np.random.default_rng(0).normal(size=(2 * B, *shape)).astype("f4")
    given = {"batch_size": B, "rehearse": False, **given}
    return prepare(model, (inputs, np.arange(2 * B) % 3), danlu.Recipe(**given))


def counted(training: Training) -> Cost:
    with training.learner.session():
        return cost(training)


class Recurrent(nn.Module):
    def __init__(self, kind: Any) -> None:
        super().__init__()
        self.cells, self.last = kind(E, H, batch_first=True), nn.Linear(H, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.cells(x)[0][:, -1])


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inside, self.last = nn.Linear(E, 3 * E), nn.Linear(E, 3)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part.view(len(x), T, HEADS, E // HEADS).transpose(1, 2) for part in self.inside(x).split(E, dim=-1))
        return self.last(nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2).mean(1))


def test_a_perceptron_by_hand():
    # forward, gradient of the weights, and but for the first layer gradient of the inputs
    flops = 2 * B * (2 * E * H + 3 * H * 3)
    model = nn.Sequential(nn.Linear(E, H), nn.ReLU(), nn.Linear(H, 3))
    found = counted(bound(model, (E,)))
    assert (found.flops, found.samples, found.why) == (flops, B, "")
    twice = counted(bound(model, (E,), accumulate=2))
    assert (twice.flops, twice.samples) == (2 * flops, 2 * B)


def test_a_convolution_by_hand():
    model = nn.Sequential(nn.Conv2d(2, 5, 3, padding=1), nn.Flatten(), nn.Linear(5 * 8 * 8, 3))
    by_hand = 2 * B * (2 * (2 * 9) * 5 * 8 * 8 + 3 * (5 * 8 * 8) * 3)
    assert counted(bound(model, (2, 8, 8))).flops == by_hand


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3)])
def test_recurrent_layers_are_taken_apart(kind: Any, gates: int):
    inputs, hidden, last = T * E * gates * H, H * gates * H, H * 3
    backwards = T - 1  # the first state needs no gradient
    by_hand = 2 * B * (2 * inputs + (2 * T + backwards) * hidden + 3 * last)
    assert counted(bound(Recurrent(kind), (T, E))).flops == by_hand


def test_attention_is_taken_apart():
    inside, products, last = T * E * 3 * E, 2 * T * T * E, E * 3
    assert counted(bound(Attending(), (T, E))).flops == 2 * B * (2 * inside + 3 * products + 3 * last)


def test_the_bytes_of_one_product():
    a, b = torch.ones(3, 4), torch.ones(4, 5)
    with Counter() as counter:
        c = (a @ b).view(-1).expand(2, 15)
    assert (counter.bytes, counter.calls, counter.flops) == (4 * (12 + 20 + 15), 1, 2 * 3 * 4 * 5)
    with Counter() as counter:
        c.clone()
    assert counter.bytes == 4 * (15 + 30)  # what is repeated is read once
    with Counter() as counter:
        a.add_(1)
        a.fill_(2)
    assert counter.bytes == 4 * (12 + 12 + 12)


def test_an_optimizer_reads_gradients_and_moves_weights_and_what_it_remembers():
    model = nn.Linear(E, 3, bias=False)
    plain = counted(bound(model, (E,), optim=danlu.Optim("sgd", lr=0.1))).bytes
    training = bound(model, (E,), optim=danlu.Optim("adam", lr=0.1))
    assert counted(training).bytes == plain  # it remembers nothing before its first step
    with training.learner.session():
        training.learner.update([training.train.batch(0, 0)], None)
    assert counted(training).bytes == plain + 2 * 2 * 4 * 3 * E


class Hidden(nn.Module):
    """Everything that counting might move."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm, self.drop = nn.Linear(E, 3), nn.BatchNorm1d(3), nn.Dropout(0.5)
        self.calls, self.seen, self.named, self.total = 0, [1.0], {"a": 1}, torch.zeros(3)
        self.kinds = {1}

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.seen.append(random.random())
        self.named["b"] = self.calls
        self.kinds.add(self.calls + 5)
        self.total += 1
        with torch.no_grad():
            self.layer.weight.mul_(0.9)
        self.made = x
        return self.drop(self.norm(self.layer(x))) * np.random.rand()


def test_counting_leaves_no_trace():
    model = Hidden()
    training = bound(model, (E,), ema=0.9, metrics=["accuracy"], optim=danlu.Optim("adam", lr=0.1))
    learner = training.learner
    with learner.session():
        learner.update([training.train.batch(0, 0)], None)
        grads = [parameter.grad for parameter in model.parameters()]
        values = [grad.clone() for grad in grads if grad is not None]
        before = learner.state()[0]
        before = {(group, name): array.tobytes() for group, named in before.items() for name, array in named.items()}
        hidden = model.calls, list(model.seen), dict(model.named), set(model.kinds), model.total.clone(), model.made
        generators = random.getstate(), np.random.get_state()[1].tobytes(), torch.get_rng_state()
        assert cost(training).flops == 2 * B * 2 * E * 3
        after = learner.state()[0]
        assert {(group, n): a.tobytes() for group, named in after.items() for n, a in named.items()} == before
        assert all(p.grad is grad for p, grad in zip(model.parameters(), grads, strict=True))
        assert all(map(torch.equal, values, (grad for grad in grads if grad is not None)))
        assert (model.calls, model.seen, model.named, model.kinds) == hidden[:4]
        assert torch.equal(model.total, hidden[4])
        assert model.made is hidden[5]
        assert (random.getstate(), np.random.get_state()[1].tobytes()) == generators[:2]
        assert torch.equal(torch.get_rng_state(), generators[2])


class Uncountable(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            raise NotImplementedError("no counting here")
        return super().forward(x)


def test_what_cannot_be_counted_says_why():
    found = counted(bound(Uncountable(E, 3), (E,)))
    assert (found.flops, found.bytes) == (0, 0)
    assert found.why.startswith("NotImplementedError: no counting here")
    assert "NumPy" in counted(bound(twin(nn.Linear(E, 3)), (E,))).why


def test_the_floor_is_the_longer_of_products_and_memory_and_the_series_their_sum():
    machine = Limits(100.0, 10.0, 1e-6, 1024, "float32")
    assert Cost(200, 10, 3, B).floor_s(machine) == (2.0, 3.0)
    assert Cost(50, 10, 3, B).floor_s(machine) == (1.0, 1.5)
