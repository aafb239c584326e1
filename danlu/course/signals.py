"""Vanishing and exploding signals: what the initialiser does to values and gradients over 30 layers.

`scratch` multiplies matrices: forward through the layers, and backward by the chain rule; `concise` builds the layers,
initialises them by `nn.init`, and lets `backward` work. Both use the same weights, drawn once.

What to see: on a logarithmic axis a factor per layer is a straight line. With a small standard deviation the values
shrink by the same factor in every layer, and so do the gradients on their way back; with a large one they grow.
Kaiming's sqrt(2 / inputs) keeps ReLU layers level, and Xavier's sqrt(2 / (inputs + outputs)) nearly so tanh; under a
sigmoid the gradient vanishes even where the values do not.

Source: X. Glorot, Y. Bengio, Understanding the difficulty of training deep feedforward neural networks (2010); K. He
and others, Delving deep into rectifiers (2015).
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from danlu import zero
from danlu.course.page import Page
from danlu.zero import Tensor, nn

Array = npt.NDArray[Any]
WIDTH, BATCH, DEPTH = 128, 64, 30
ACTIVATIONS: dict[
    str, tuple[nn.Module, Callable[[Array], Array], Callable[[Array], Array]]
] = {  # the layer, and by hand: the function, and its derivative from its own value
    "ReLU": (nn.ReLU(), lambda z: np.maximum(z, 0), lambda h: h > 0),
    "tanh": (nn.Tanh(), np.tanh, lambda h: 1 - h**2),
    "sigmoid": (nn.Sigmoid(), lambda z: 1 / (1 + np.exp(-z)), lambda h: h * (1 - h)),
}
INITIALISERS: dict[str, Callable[[Tensor], Any]] = {
    "normal 0.05": lambda w: nn.init.normal_(w, std=0.05),
    "normal 0.3": lambda w: nn.init.normal_(w, std=0.3),
    "Kaiming": lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu"),
    "Xavier": nn.init.xavier_normal_,
}
CASES = (
    ("normal 0.05", "ReLU"), ("normal 0.3", "ReLU"), ("Kaiming", "ReLU"),
    ("Xavier", "ReLU"), ("Xavier", "tanh"), ("Xavier", "sigmoid"),
)  # fmt: skip


def scratch(x: Array, weights: list[Array], activation: str) -> tuple[list[float], list[float]]:
    """Return the standard deviation of every layer's values, and the norm of the loss's gradient at these values."""
    _, function, derivative = ACTIVATIONS[activation]
    values = [x]
    for w in weights:
        values.append(function(values[-1] @ w.T))
    g = np.full_like(x, 1 / x.size)  # the loss is the mean of the last layer's values
    norms = []
    for w, h in zip(reversed(weights), reversed(values), strict=False):
        norms.append(float(np.linalg.norm(g)))
        g = (g * derivative(h)) @ w
    return [float(h.std()) for h in values[1:]], norms[::-1]


def layers(initialiser: str, depth: int) -> list[nn.Linear]:
    """Return `depth` linear layers, initialised by name."""
    made = [nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(depth)]
    for layer in made:
        INITIALISERS[initialiser](layer.weight)
    return made


def concise(x: Tensor, net: list[nn.Linear], activation: str) -> tuple[list[float], list[float]]:
    """Return the same from the layers and `backward`."""
    function, values = ACTIVATIONS[activation][0], []
    for layer in net:
        x = function(layer(x))
        x.retain_grad()  # only leaves would keep their gradient
        values.append(x)
    x.mean().backward()
    return [h.detach().std(correction=0).item() for h in values], [h.grad.norm().item() for h in values]


def lesson(page: Page, *, short: bool = False) -> None:
    """Follow values and gradients through 30 layers for six initialisers."""
    page.title = "Signals over depth: what the initialiser decides"
    zero.manual_seed(0)
    depth = 8 if short else DEPTH
    x = zero.randn(BATCH, WIDTH)
    spreads, norms, logs, rows = {}, {}, {}, []
    for initialiser, activation in CASES:
        name, net = f"{initialiser}, {activation}", layers(initialiser, depth)
        by_hand = scratch(x.numpy(), [layer.weight.detach().numpy() for layer in net], activation)
        spreads[name], norms[name] = zip(by_hand, concise(x, net, activation), strict=True)
        rows.append((name, *(pair[0][place] for pair in (spreads[name], norms[name]) for place in (0, -1))))
        for what, pair in (("values", spreads[name]), ("gradients", norms[name])):
            logs[f"{name}: log10 of {what}"] = np.log10(pair[0]), np.log10(pair[1])
    page.table(("", "spread, layer 1", f"layer {depth}", "gradient, layer 1", f"layer {depth}"), rows)
    page.compare(logs)
    page.curves("spread of the values", spreads, labels=("layer", "standard deviation"), log="y")
    page.curves("gradient of the loss at the values", norms, labels=("layer", "norm"), log="y")
    page.say(
        "See: a factor in every layer is a straight line here. Kaiming keeps ReLU level in both directions, Xavier "
        "nearly so tanh. The others vanish or explode, so that the first layers learn nothing, or break."
    )
