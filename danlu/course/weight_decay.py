"""Weight decay: 200 weights and 20 samples, where only a penalty on large weights keeps a fit useful.

`scratch` adds decay / 2 * |w|^2 to the loss; `concise` gives `optim.SGD` a parameter group with `weight_decay`, which
adds decay * w to the gradient: the same thing. The bias is in a group of its own, without decay.

What to see: without decay the training loss goes to zero and the test loss stays where it began; with decay the
training loss stays higher, and the test loss falls.
"""

from typing import Any

from danlu import zero
from danlu.course.page import Page
from danlu.zero import Tensor, nn, optim

INPUTS, TRAIN, TEST = 200, 20, 100
BATCH, LR, DECAY = 5, 0.003, 3.0


def made(samples: int) -> tuple[Tensor, Tensor]:
    """Return x, shape (samples, 200), and y = 0.01 (x_1 + ... + x_200) + 0.05 + noise, shape (samples, 1)."""
    x = zero.randn(samples, INPUTS)
    return x, 0.01 * x.sum(dim=1, keepdim=True) + 0.05 + 0.01 * zero.randn(samples, 1)


def scratch(data: list[Tensor], w0: Tensor, orders: list[Tensor], decay: float) -> dict[str, Any]:
    """Fit with the penalty written into the loss."""
    x, y, x_test, y_test = data
    w, b = w0.clone().requires_grad_(), zero.zeros(1, requires_grad=True)
    curves: dict[str, Any] = {"train": [], "test": []}
    for order in orders:
        for start in range(0, TRAIN, BATCH):
            chosen = order[start : start + BATCH]
            loss = ((x[chosen] @ w + b - y[chosen]) ** 2).mean() + decay / 2 * (w**2).sum()
            loss.backward()
            with zero.no_grad():
                for parameter in (w, b):
                    parameter -= LR * parameter.grad
                    parameter.grad.zero_()
        with zero.no_grad():
            curves["train"].append(((x @ w + b - y) ** 2).mean().item())
            curves["test"].append(((x_test @ w + b - y_test) ** 2).mean().item())
    return {**curves, "norm": w.detach().norm().item(), "b": b.item()}


def concise(data: list[Tensor], w0: Tensor, orders: list[Tensor], decay: float) -> dict[str, Any]:
    """Fit with the optimizer's own decay, for the weight alone."""
    x, y, x_test, y_test = data
    net, objective = nn.Linear(INPUTS, 1), nn.MSELoss()
    with zero.no_grad():
        net.weight.copy_(w0.T)
        net.bias.zero_()
    optimizer = optim.SGD([{"params": [net.weight], "weight_decay": decay}, {"params": [net.bias]}], lr=LR)
    curves: dict[str, Any] = {"train": [], "test": []}
    for order in orders:
        for chosen in order.split(BATCH):
            optimizer.zero_grad()
            objective(net(x[chosen]), y[chosen]).backward()
            optimizer.step()
        with zero.no_grad():
            curves["train"].append(objective(net(x), y).item())
            curves["test"].append(objective(net(x_test), y_test).item())
    return {**curves, "norm": net.weight.detach().norm().item(), "b": net.bias.item()}


def lesson(page: Page, *, short: bool = False) -> None:
    """Fit 20 samples with and without decay, both ways."""
    page.title = "Weight decay, 200 weights and 20 samples"
    zero.manual_seed(0)
    data = [*made(TRAIN), *made(TEST)]
    orders = [zero.randperm(TRAIN) for _ in range(10 if short else 200)]
    w0 = zero.randn(INPUTS, 1)
    ends = []
    for decay in (0.0, DECAY):
        first, second = scratch(data, w0, orders, decay), concise(data, w0, orders, decay)
        name = f"decay {decay:g}"
        page.compare(
            {
                f"{name}: train loss": (first["train"][-1], second["train"][-1]),
                f"{name}: test loss": (first["test"][-1], second["test"][-1]),
                f"{name}: |w|": (first["norm"], second["norm"]),
                f"{name}: b": (first["b"], second["b"]),
            }
        )
        both = {part: (first[part], second[part]) for part in ("train", "test")}
        page.curves(f"weight decay {decay:g}", both, labels=("epoch", "mean squared error"), log="y")
        ends.append(first["test"][-1])
    page.say(
        f"See: weight decay brings the test loss from {ends[0]:.3g} to {ends[1]:.3g}, because of all the weights that "
        "fit 20 samples it chooses small ones. Biases are left out: they do not make a function steeper."
    )
