import pytest
import torch
from torch import nn

from danlu.errors import RecipeError
from danlu.models import ACTIVATIONS, BUILDERS, linear_regression, mlp, softmax_regression


def parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


def test_mlp_flattens_and_has_the_parameters_of_its_layers():
    model = mlp(784, 10, hidden=(256, 128))
    assert model(torch.zeros(3, 1, 28, 28)).shape == (3, 10)
    assert parameters(model) == 784 * 256 + 256 + 256 * 128 + 128 + 128 * 10 + 10


def test_mlp_without_hidden_layers_is_softmax_regression():
    assert [type(layer) for layer in mlp(4, 3, hidden=())] == [type(layer) for layer in softmax_regression(4, 3)]


def test_mlp_order_of_layers():
    kinds = [type(layer) for layer in mlp(4, 3, hidden=[8], activation="gelu", dropout=0.5, batch_norm=True)]
    assert kinds == [nn.Flatten, nn.Linear, nn.BatchNorm1d, nn.GELU, nn.Dropout, nn.Linear]


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("relu", torch.relu),
        ("leaky_relu", nn.functional.leaky_relu),
        ("prelu", lambda x: torch.where(x > 0, x, 0.25 * x)),
        ("elu", nn.functional.elu),
        ("softplus", nn.functional.softplus),
        ("sigmoid", torch.sigmoid),
        ("tanh", torch.tanh),
        ("gelu", nn.functional.gelu),
        ("silu", nn.functional.silu),
        ("identity", lambda x: x),
    ],
)
def test_activation_names(name, function):
    x = torch.linspace(-3, 3, 13)
    assert torch.equal(ACTIVATIONS[name]()(x), function(x))
    assert isinstance(mlp(2, 2, activation=name)[2], type(ACTIVATIONS[name]()))


def test_each_hidden_layer_has_a_prelu_of_its_own():
    model = mlp(4, 3, hidden=(5, 6), activation="prelu")
    assert model[2].weight is not model[4].weight


def test_linear_regression_matches_the_formula():
    model = linear_regression(3, 2)
    x = torch.randn(5, 3)
    assert torch.allclose(model(x), x @ model[1].weight.T + model[1].bias)
    assert linear_regression(3)(x).shape == (5, 1)
    assert parameters(linear_regression(3, bias=False)) == 3


def test_softmax_regression_returns_logits():
    model = softmax_regression(784, 10)
    nn.init.constant_(model[1].weight, -1.0)
    assert model(torch.ones(2, 1, 28, 28)).max() < -700
    assert parameters(model) == 7850


def test_all_parameters_get_a_gradient():
    model = mlp(6, 3, hidden=(8, 8), activation="prelu", batch_norm=True)
    model(torch.randn(16, 6)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert all(parameter.grad.abs().sum() > 0 for parameter in model[-1].parameters())


@pytest.mark.parametrize(
    ("build", "where"),
    [
        (lambda: mlp(0, 3), "mlp.inputs"),
        (lambda: mlp(4, -1), "mlp.outputs"),
        (lambda: mlp(4.5, 3), "mlp.inputs"),
        (lambda: mlp(True, 3), "mlp.inputs"),
        (lambda: mlp(4, 3, hidden=256), "mlp.hidden"),
        (lambda: mlp(4, 3, hidden=(8, -8)), "mlp.hidden[1]"),
        (lambda: mlp(4, 3, dropout=1.0), "mlp.dropout"),
        (lambda: mlp(4, 3, dropout=float("nan")), "mlp.dropout"),
        (lambda: mlp(4, 3, activation=None), "mlp.activation"),
        (lambda: softmax_regression(4, 1), "softmax_regression.outputs"),
        (lambda: linear_regression(-4), "linear_regression.inputs"),
    ],
)
def test_mistakes_name_the_argument(build, where):
    with pytest.raises(RecipeError) as caught:
        build()
    assert caught.value.where == where
    assert "\n" not in str(caught.value)


def test_an_unknown_activation_names_the_nearest():
    with pytest.raises(RecipeError, match=r"mlp.activation: got 'leakyrelu'.*did you mean leaky_relu"):
        mlp(4, 3, activation="leakyrelu")


def test_builders_by_name():
    assert set(BUILDERS) == {
        "mlp", "softmax_regression", "linear_regression", "lenet", "cnn", "vgg",
        "resnet18", "resnet34", "resnet50", "lstm", "bilstm",
    }  # fmt: skip
    assert all(build.__name__ == name for name, build in BUILDERS.items())
