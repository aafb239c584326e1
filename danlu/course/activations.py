"""Activations: the functions between the layers, and the derivatives that the gradient is multiplied by.

`scratch` writes each function and its derivative in NumPy; `concise` takes the layer and lets `backward` differentiate.

What to see: the sigmoid's derivative is 1/4 at most and tanh's falls to 0 on both sides, so a deep stack of them makes
gradients small; ReLU's derivative is 1 or 0. Softmax is not in the picture, because each of its outputs depends on all
inputs: its derivative is a matrix, compared in the table.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from danlu import zero
from danlu.course.page import Page
from danlu.zero import nn

Array = npt.NDArray[Any]
Curves = dict[str, tuple[Array, Array]]  # by name: the values, the derivatives
LAYERS = {
    "ReLU": nn.ReLU(),
    "LeakyReLU": nn.LeakyReLU(0.1),
    "PReLU": nn.PReLU(init=0.25),
    "ELU": nn.ELU(),
    "Softplus": nn.Softplus(),
    "sigmoid": nn.Sigmoid(),
    "tanh": nn.Tanh(),
}


def scratch(x: Array) -> Curves:
    """Return values and derivatives from their formulas."""
    one, above = np.ones_like(x), x > 0
    sigmoid, tanh = 1 / (1 + np.exp(-x)), np.tanh(x)
    return {
        "ReLU": (np.maximum(x, 0), np.where(above, one, 0)),
        "LeakyReLU": (np.where(above, x, 0.1 * x), np.where(above, one, 0.1)),
        "PReLU": (np.where(above, x, 0.25 * x), np.where(above, one, 0.25)),  # 0.25 is learned in training
        "ELU": (np.where(above, x, np.expm1(x)), np.where(above, one, np.exp(x))),
        "Softplus": (np.log1p(np.exp(x)), sigmoid),
        "sigmoid": (sigmoid, sigmoid * (1 - sigmoid)),
        "tanh": (tanh, 1 - tanh**2),
    }


def concise(x: Array) -> Curves:
    """Return values from the layers and derivatives from `backward`."""
    found = {}
    for name, layer in LAYERS.items():
        t = zero.tensor(x, requires_grad=True)
        y = layer(t)
        y.sum().backward()
        found[name] = y.detach().numpy(), t.grad.numpy()
    return found


def softmax_by_hand(x: Array) -> tuple[Array, Array]:
    """Return p = exp(x) / sum exp(x), and dp_i/dx_j = p_i ((i = j) - p_j); the largest x is taken off first."""
    e = np.exp(x - x.max())  # exp(1000) would be infinite; the quotient stays what it is
    p = e / e.sum()
    return p, np.diag(p) - np.outer(p, p)


def softmax_by_layer(x: Array) -> tuple[Array, Array]:
    """Return the same from the layer: one `backward` for every row of the matrix."""
    t = zero.tensor(x, requires_grad=True)
    p = nn.Softmax(dim=0)(t)
    rows = []
    for unit in zero.eye(len(x)):
        t.grad = None
        p.backward(unit, retain_graph=True)
        rows.append(t.grad.numpy())
    return p.detach().numpy(), np.stack(rows)


def lesson(page: Page, *, short: bool = False) -> None:
    """Compare seven activations and their derivatives, and softmax with its Jacobian."""
    page.title, page.halves = "Activations and their derivatives", ("by hand", "layer")
    x = np.linspace(-4, 4, 82 if short else 402, dtype=np.float32)  # an even number: 0, where ReLU has a corner, is out
    by_hand, found = scratch(x), concise(x)
    for name in LAYERS:
        both = {"value": (by_hand[name][0], found[name][0]), "derivative": (by_hand[name][1], found[name][1])}
        page.curves(name, both, x=x, labels=("x", ""))
    logits = np.array([1000.0, 1001.0, 1002.0, 998.0], np.float32)
    hand, layer = softmax_by_hand(logits), softmax_by_layer(logits)
    named = {f"{name}, derivative": (by_hand[name][1], found[name][1]) for name in LAYERS}
    page.compare({**named, "softmax": (hand[0], layer[0]), "softmax, Jacobian": (hand[1], layer[1])})
    rows = [(name, derivative.min(), derivative.max()) for name, (_, derivative) in found.items()]
    page.table(("derivative on [-4, 4]", "least", "largest"), rows)
    page.say(
        "See: a gradient is multiplied by the derivative once in every layer. The sigmoid's is never above 0.25, so "
        "ten layers of it leave less than a millionth; ReLU passes the gradient on whole, or not at all."
    )
