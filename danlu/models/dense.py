"""Models of fully connected layers."""

from collections.abc import Sequence

from torch import nn

from danlu.models.activations import activation_layer
from danlu.models.arguments import share, whole, wholes


def mlp(
    inputs: int,
    outputs: int,
    *,
    hidden: Sequence[int] = (256,),
    activation: str = "relu",
    dropout: float = 0.0,
    batch_norm: bool = False,
) -> nn.Sequential:
    """Build a multilayer perceptron: Flatten, hidden layers, and a last Linear without activation.

    Args:
        inputs: features of one sample once flattened: 784 for (B, 1, 28, 28) or (B, 784).
        outputs: classes or targets; the model returns (B, outputs).
        hidden: features of each hidden layer, from input to output; empty for none.
        activation: a name in `ACTIVATIONS`.
        dropout: share of features dropped after each activation, in [0, 1).
        batch_norm: whether BatchNorm1d stands between each hidden Linear and its activation.

    Raises:
        RecipeError: a size, share or name that cannot be.
    """
    features = whole("mlp.inputs", inputs)
    make_activation = activation_layer("mlp.activation", activation)
    rate = share("mlp.dropout", dropout)
    layers: list[nn.Module] = [nn.Flatten()]
    for width in wholes("mlp.hidden", hidden):
        layers.append(nn.Linear(features, width))
        if batch_norm:
            layers.append(nn.BatchNorm1d(width))
        layers.append(make_activation())
        if rate:
            layers.append(nn.Dropout(rate))
        features = width
    return nn.Sequential(*layers, nn.Linear(features, whole("mlp.outputs", outputs)))


def linear_regression(inputs: int, outputs: int = 1, *, bias: bool = True) -> nn.Sequential:
    """Build linear regression, Flatten and Linear: (B, ...) to (B, outputs).

    Args:
        inputs: features of one sample once flattened.
        outputs: targets of one sample.
        bias: whether the Linear has one.
    """
    features = whole("linear_regression.inputs", inputs)
    return nn.Sequential(nn.Flatten(), nn.Linear(features, whole("linear_regression.outputs", outputs), bias=bias))


def softmax_regression(inputs: int, outputs: int) -> nn.Sequential:
    """Build softmax regression, Flatten and Linear: (B, ...) to logits (B, outputs); cross-entropy has the softmax.

    Args:
        inputs: features of one sample once flattened.
        outputs: classes, at least 2.
    """
    features = whole("softmax_regression.inputs", inputs)
    return nn.Sequential(nn.Flatten(), nn.Linear(features, whole("softmax_regression.outputs", outputs, least=2)))
