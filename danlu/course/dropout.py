"""Dropout: in training, every hidden unit is left out at random, and the rest is scaled up; in evaluation, all stay.

`scratch` draws the mask and divides by the share that is kept ("inverted" dropout, so that the expected value stays and
evaluation needs no change); `concise` has `nn.Dropout`, which `net.train()` and `net.eval()` switch.

What to see: with few pictures the plain network learns all of them by heart; with dropout the training accuracy is
lower and the gap to the test accuracy smaller. Both halves begin with the same seed and draw one number for every
hidden unit, so their masks are the same and their results agree to the last digits.

Source: N. Srivastava and others, Dropout: a simple way to prevent neural networks from overfitting, JMLR 15 (2014).
"""

from collections.abc import Callable
from typing import Any

from danlu import zero
from danlu.course.page import Page
from danlu.course.samples import pictures
from danlu.zero import Tensor, nn, optim

HIDDEN, CLASSES, BATCH, LR = 256, 10, 50, 0.1
DROP = (0.3, 0.5)  # after the first and the second hidden layer
Curves = dict[str, list[float]]


def dropped(x: Tensor, p: float, training: bool) -> Tensor:
    """Return x with a share p of its numbers set to 0, the others divided by 1 - p; outside training x itself."""
    if not training or p == 0:
        return x
    mask = (zero.rand(x.shape) >= p).float()
    return x * (mask * (1 / (1 - p)))


class Scratch:
    """Three layers written out, with dropout after the hidden ones."""

    def __init__(self, weights: list[Tensor], drop: tuple[float, float]) -> None:
        self.weights = [w.clone().requires_grad_() for w in weights]
        self.biases = [zero.zeros(len(w), requires_grad=True) for w in weights]
        self.drop = drop

    def __call__(self, x: Tensor, training: bool) -> Tensor:
        """Return the logits, shape (N, 10), of pictures, shape (N, pixels)."""
        for w, b, p in zip(self.weights, self.biases, (*self.drop, None), strict=True):
            x = x @ w.T + b
            if p is not None:
                x = dropped(x.relu(), p, training)
        return x

    def update(self) -> None:
        """Step against the gradients and forget them."""
        with zero.no_grad():
            for parameter in (*self.weights, *self.biases):
                parameter -= LR * parameter.grad
                parameter.grad.zero_()


def scratch(data: list[Tensor], weights: list[Tensor], orders: list[Tensor], drop: tuple[float, float]) -> Any:
    """Train with the mask written out; return the curves and the network."""
    net = Scratch(weights, drop)
    return train(data, orders, net, net.update), net


def layers(weights: list[Tensor], biases: list[Tensor], drop: tuple[float, float]) -> nn.Sequential:
    """Return the same network of layers, with these weights, shape (outputs, inputs), and biases."""
    pixels = weights[0].shape[1]
    first = (nn.Linear(pixels, HIDDEN), nn.ReLU(), nn.Dropout(drop[0]))
    net = nn.Sequential(*first, nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Dropout(drop[1]), nn.Linear(HIDDEN, CLASSES))
    with zero.no_grad():
        for layer, w, b in zip((net[0], net[3], net[6]), weights, biases, strict=True):
            layer.weight.copy_(w)
            layer.bias.copy_(b)
    return net


def concise(data: list[Tensor], weights: list[Tensor], orders: list[Tensor], drop: tuple[float, float]) -> Any:
    """Train with `nn.Dropout`; return the curves and the network."""
    net = layers(weights, [zero.zeros(len(w)) for w in weights], drop)
    optimizer = optim.SGD(net.parameters(), lr=LR)

    def step() -> None:
        optimizer.step()
        optimizer.zero_grad()

    return train(data, orders, lambda x, training: net.train(training)(x), step), net


def train(data: list[Tensor], orders: list[Tensor], net: Callable[[Tensor, bool], Tensor], update: Any) -> Curves:
    """Train `net(x, training)`; return the accuracies after every epoch, dropout switched off."""
    x, y, x_test, y_test = data
    objective = nn.CrossEntropyLoss()
    zero.manual_seed(1)  # so that both halves draw the same masks
    curves: Curves = {"train": [], "test": []}
    for order in orders:
        for chosen in order.split(BATCH):
            objective(net(x[chosen], True), y[chosen]).backward()
            update()
        with zero.no_grad():
            curves["train"].append(accuracy(net(x, False), y))
            curves["test"].append(accuracy(net(x_test, False), y_test))
    return curves


def accuracy(scores: Tensor, y: Tensor) -> float:
    """Return the share of rows whose largest score is the right class's."""
    return (scores.argmax(dim=1) == y).float().mean().item()


def lesson(page: Page, *, short: bool = False) -> None:
    """Train on few pictures without and with dropout, both ways."""
    page.title = "Dropout, a network that is too large for its pictures"
    zero.manual_seed(0)
    data = [zero.tensor(a) for a in (pictures(300, 300, page) if short else pictures(1000, 2000, page))]
    orders = [zero.randperm(len(data[0])) for _ in range(3 if short else 40)]
    sizes = ((HIDDEN, data[0].shape[1]), (HIDDEN, HIDDEN), (CLASSES, HIDDEN))
    weights = [zero.randn(*size) * (2 / size[1]) ** 0.5 for size in sizes]
    results: dict[str, Any] = {}
    gaps = []
    for name, drop in (("without dropout", (0.0, 0.0)), ("with dropout", DROP)):
        first, net = scratch(data, weights, orders, drop)
        second, twin = concise(data, weights, orders, drop)
        results |= {f"{name}: {part} accuracy": (first[part][-1], second[part][-1]) for part in first}
        both = {part: (first[part], second[part]) for part in first}
        page.curves(name, both, labels=("epoch", "share of right answers"))
        gaps.append(first["train"][-1] - first["test"][-1])
    page.compare(results)
    with zero.no_grad():
        zero.manual_seed(2)
        left_on = accuracy(net(data[2], True), data[3])
        zero.manual_seed(2)
        page.compare({"test accuracy without net.eval()": (left_on, accuracy(twin.train()(data[2]), data[3]))})
        mask = dropped(zero.ones(1000, 100), DROP[1], True)
    rows = [("share left out", mask.eq(0).float().mean().item()), ("mean after scaling", mask.mean().item())]
    page.table(("100,000 ones, dropped with p = 0.5", ""), rows)
    page.say(
        f"See: the gap between training and test accuracy is {gaps[0]:.3f} without dropout and {gaps[1]:.3f} with it. "
        "Where net.eval() is forgotten, dropout stays on while the network is measured, and the accuracy is lower."
    )
