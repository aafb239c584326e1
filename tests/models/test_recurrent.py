import inspect

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from danlu.errors import ModelError, RecipeError
from danlu.models import bilstm, lstm

BUILDS = [lstm, bilstm]


def make(build, **options):
    torch.manual_seed(0)
    return build(30, 3, embedding=5, hidden=6, **options).eval()


def padded(rows, length, padding=0):
    return torch.tensor([row + [padding] * (length - len(row)) for row in rows])


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("padding", [0, 29])
@given(rows=st.lists(st.lists(st.integers(1, 28), max_size=10), min_size=1, max_size=5))
@settings(max_examples=15, deadline=None)
def test_padding_changes_nothing(build, padding, rows):
    model = make(build, layers=2, padding_index=padding)
    assert torch.equal(model(padded(rows, 10, padding)), model(padded(rows, 20, padding)))


@pytest.mark.parametrize("build", BUILDS)
def test_each_sequence_is_read_as_if_it_stood_alone(build):
    model = make(build, layers=2)
    rows = [[4, 5], [7, 8, 9, 1, 2], [3]]
    for row, logits in zip(rows, model(padded(rows, 9)), strict=True):
        _, (hidden, _) = model.lstm(model.embedding(torch.tensor([row])))
        last = hidden[-1] if build is lstm else torch.cat([hidden[-2], hidden[-1]], dim=1)
        assert torch.allclose(logits, model.fc(last)[0], atol=1e-6)


def test_a_padding_token_inside_a_sequence_does_not_cut_it():
    model = make(lstm)
    assert not torch.allclose(model(torch.tensor([[4, 0, 5, 0]])), model(torch.tensor([[4, 0, 6, 0]])))
    assert not torch.allclose(model(torch.tensor([[0, 0, 5, 6]])), model(torch.tensor([[0, 0, 5, 7]])))


def test_only_padding_is_read_as_one_padding_token():
    model = make(lstm)
    _, (hidden, _) = model.lstm(torch.zeros(1, 1, 5))
    assert torch.allclose(model(torch.zeros(1, 4, dtype=torch.int64)), model.fc(hidden[-1]))


@pytest.mark.parametrize("build", BUILDS)
def test_all_parameters_get_a_gradient_and_padding_gets_none(build):
    model = make(build, layers=2, dropout=0.1).train()
    tokens = padded([[1, 2, 3], [4, 5]], 6)
    nn.functional.cross_entropy(model(tokens), torch.tensor([0, 2])).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())
    assert torch.equal(model.embedding.weight.grad[0], torch.zeros(5))


def test_parameter_counts():
    one, two = (sum(p.numel() for p in build(50, 2).parameters()) for build in BUILDS)
    direction = 4 * 100 * (100 + 100) + 2 * 4 * 100
    assert one == 50 * 100 + direction + 100 * 2 + 2
    assert two == 50 * 100 + 2 * direction + 200 * 2 + 2


def test_both_builders_take_the_same_arguments():
    assert inspect.signature(lstm) == inspect.signature(bilstm)


def test_dropout_drops_in_training_only():
    model = lstm(30, 3, dropout=0.5)  # one layer: PyTorch would warn of dropout between layers
    tokens = torch.ones(64, 3, dtype=torch.int64)
    assert not torch.equal(model.train()(tokens)[0], model(tokens)[1])
    assert torch.equal(model.eval()(tokens)[0], model(tokens)[1])


@pytest.mark.parametrize("tokens", [torch.zeros(2, 4), torch.zeros(4, dtype=torch.int64), torch.zeros(2, 0).long()])
def test_what_are_no_tokens_is_refused(tokens):
    with pytest.raises(ModelError, match=r"want int64 tokens of shape \(B, T\)"):
        lstm(30, 3)(tokens)


@pytest.mark.parametrize(
    ("build", "where"),
    [
        (lambda: lstm(0, 2), "lstm.vocabulary"),
        (lambda: lstm(9, 2, embedding=0), "lstm.embedding"),
        (lambda: bilstm(9, 2, hidden=-3), "bilstm.hidden"),
        (lambda: bilstm(9, 2, layers=0), "bilstm.layers"),
        (lambda: lstm(9, 2, padding_index=9), "lstm.padding_index"),
        (lambda: lstm(9, 2, padding_index=-1), "lstm.padding_index"),
        (lambda: lstm(9, 2, dropout=2), "lstm.dropout"),
    ],
)
def test_mistakes_name_the_argument(build, where):
    with pytest.raises(RecipeError) as caught:
        build()
    assert caught.value.where == where
