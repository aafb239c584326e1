"""Activation layers by name."""

from collections.abc import Callable

from torch import nn

from danlu.models.arguments import choice

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "prelu": nn.PReLU,
    "elu": nn.ELU,
    "softplus": nn.Softplus,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "identity": nn.Identity,
}


def activation_layer(where: str, name: object) -> Callable[[], nn.Module]:
    """Return what makes a new activation layer; RecipeError for a name that is not known."""
    return ACTIVATIONS[choice(where, name, ACTIVATIONS, "activation")]
