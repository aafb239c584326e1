"""Linear regression: y = x w + b, fitted by mini-batch SGD to data whose true w and b are known.

`scratch` has parameters, model, loss, batches and update rule as a few lines each; `concise` takes the layer, the loss,
the DataLoader and the optimizer. Both begin with the same weights and see the same batches.

What to see: the loss falls to the noise's variance, 0.01^2 = 1e-4, and no lower; w and b are the true ones, up to what
the noise hides. Both halves go through the same numbers, up to the last digits of float32.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from danlu import zero
from danlu.course.page import Page
from danlu.zero import Tensor, nn, optim
from danlu.zero.utils.data import DataLoader, TensorDataset

Curves = dict[str, list[float]]
TRUE_W, TRUE_B, NOISE = (2.0, -3.4), 4.2, 0.01
BATCH, LR = 10, 0.03


def made(samples: int) -> tuple[Tensor, Tensor]:
    """Return x, shape (samples, 2), and y = x w + b + noise, shape (samples, 1)."""
    x = zero.randn(samples, 2)
    return x, x @ zero.tensor(TRUE_W).reshape(2, 1) + TRUE_B + NOISE * zero.randn(samples, 1)


def batches(x: Tensor, y: Tensor, order: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield mini-batches in the given order; the last one has what is left."""
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        yield x[chosen], y[chosen]


def sgd(parameters: list[Tensor]) -> None:
    """Step against every gradient, then forget it: the next backward adds to what is there."""
    with zero.no_grad():
        for parameter in parameters:
            parameter -= LR * parameter.grad
            parameter.grad.zero_()


def scratch(x: Tensor, y: Tensor, w0: Tensor, orders: list[Tensor]) -> Curves:
    """Fit with tensors and autograd alone."""
    w, b = w0.clone().requires_grad_(), zero.zeros(1, requires_grad=True)
    seen = []
    for order in orders:  # one of them is an epoch
        for x_batch, y_batch in batches(x, y, order):
            loss = ((x_batch @ w + b - y_batch) ** 2).mean()
            loss.backward()
            sgd([w, b])
            seen.append((loss.item(), *w.flatten().tolist(), b.item()))
    return curves(seen)


def concise(x: Tensor, y: Tensor, w0: Tensor, orders: list[Tensor]) -> Curves:
    """Fit with a layer, a loss, a DataLoader and an optimizer."""
    net = nn.Linear(2, 1)
    with zero.no_grad():
        net.weight.copy_(w0.T)  # a layer keeps its weight as (outputs, inputs)
        net.bias.zero_()
    objective, optimizer = nn.MSELoss(), optim.SGD(net.parameters(), lr=LR)
    data, seen = TensorDataset(x, y), []
    for order in orders:  # the order is given for the comparison's sake: one would write shuffle=True
        for x_batch, y_batch in DataLoader(data, batch_size=BATCH, sampler=order.tolist()):
            optimizer.zero_grad()
            loss = objective(net(x_batch), y_batch)
            loss.backward()
            optimizer.step()
            seen.append((loss.item(), *net.weight.flatten().tolist(), net.bias.item()))
    return curves(seen)


def curves(seen: list[Any]) -> Curves:
    """Return what was noted after every update as curves by name."""
    return dict(zip(("loss", "w1", "w2", "b"), map(list, zip(*seen, strict=True)), strict=True))


def lesson(page: Page, *, short: bool = False) -> None:
    """Fit 1,000 samples twice, and compare what was learned with what is true."""
    page.title = "Linear regression, from scratch and concise"
    zero.manual_seed(0)
    x, y = made(1000)
    orders = [zero.randperm(len(x)) for _ in range(2 if short else 3)]
    w0 = 0.01 * zero.randn(2, 1)
    first, second = scratch(x, y, w0, orders), concise(x, y, w0, orders)
    true = {"w1": TRUE_W[0], "w2": TRUE_W[1], "b": TRUE_B}
    page.compare({name: (first[name][-1], second[name][-1]) for name in true}, true)
    last = slice(-len(x) // BATCH, None)
    page.compare({"mean loss of the last epoch": (np.mean(first["loss"][last]), np.mean(second["loss"][last]))})
    losses = {"mean squared error": (first["loss"], second["loss"])}
    page.curves("loss of every batch", losses, labels=("update", "mean squared error"), log="y")
    paths = {name: (first[name], second[name]) for name in true}
    page.curves("parameters", paths, labels=("update", "value"))
    error = max(abs(first[name][-1] - true[name]) for name in true)
    page.say(
        f"See: both halves end at the same numbers, {error:.4f} from the true ones at most, and the loss stops at the "
        f"noise's variance, {np.square(NOISE):g}: what is left cannot be learned."
    )
