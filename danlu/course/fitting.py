"""Under- and overfitting: a polynomial that is too small, too large, or fitted to too few samples.

The truth is a cubic: y = 5 + 1.2 x - 3.4 x^2/2! + 5.6 x^3/3! + noise. The inputs of a linear model are x^i / i!, up to
the chosen degree. `scratch` writes model, loss and gradient descent out; `concise` takes `nn.Linear` and `optim.SGD`.

What to see: degree 1 cannot bend enough, so both losses stay high (underfitting). With the right degree both reach the
noise's variance, 0.01. Degree 12 on 10 samples has a low training loss and a high test loss (overfitting), and more
samples mend it.
"""

import math
from typing import Any

from danlu import zero
from danlu.course.page import Page
from danlu.zero import Tensor, nn, optim

TRUTH, NOISE = (5.0, 1.2, -3.4, 5.6), 0.1
LR = 0.05
DEGREES, SAMPLES = (0, 1, 2, 3, 4, 6, 9, 12), (5, 10, 20, 50, 100)
LARGE = 12


def powers(x: Tensor, degree: int) -> Tensor:
    """Return x^i / i! for i = 0..degree, shape (samples, degree + 1)."""
    return zero.cat([x**i / math.factorial(i) for i in range(degree + 1)], dim=1)


def made(samples: int) -> tuple[Tensor, Tensor]:
    """Return x, normal, and the cubic's y with noise, each of shape (samples, 1)."""
    x = zero.randn(samples, 1)
    return x, powers(x, 3) @ zero.tensor(TRUTH).reshape(4, 1) + NOISE * zero.randn(samples, 1)


def scratch(data: list[Tensor], degree: int, steps: int) -> dict[str, list[float]]:
    """Fit by gradient descent on all samples at once, with the update written out."""
    x, y, x_test, y_test = powers(data[0], degree), data[1], powers(data[2], degree), data[3]
    w = zero.zeros(degree + 1, 1, requires_grad=True)
    curves: dict[str, list[float]] = {"train": [], "test": []}
    for _ in range(steps):
        loss = ((x @ w - y) ** 2).mean()
        loss.backward()
        with zero.no_grad():
            w -= LR * w.grad
            w.grad.zero_()
            curves["train"].append(loss.item())
            curves["test"].append(((x_test @ w - y_test) ** 2).mean().item())
    return curves


def concise(data: list[Tensor], degree: int, steps: int) -> dict[str, list[float]]:
    """Fit a layer with the optimizer."""
    x, y, x_test, y_test = powers(data[0], degree), data[1], powers(data[2], degree), data[3]
    net, objective = nn.Linear(degree + 1, 1, bias=False), nn.MSELoss()  # x^0 is the bias
    nn.init.zeros_(net.weight)
    optimizer = optim.SGD(net.parameters(), lr=LR)
    curves: dict[str, list[float]] = {"train": [], "test": []}
    for _ in range(steps):
        optimizer.zero_grad()
        loss = objective(net(x), y)
        loss.backward()
        optimizer.step()
        with zero.no_grad():
            curves["train"].append(loss.item())
            curves["test"].append(objective(net(x_test), y_test).item())
    return curves


def fits(data: list[Tensor], degree: int, samples: int, steps: int) -> tuple[Any, Any]:
    """Return both halves' curves for one degree and so many of the training samples."""
    part = [data[0][:samples], data[1][:samples], *data[2:]]
    return scratch(part, degree, steps), concise(part, degree, steps)


def lesson(page: Page, *, short: bool = False) -> None:
    """Fit models of many sizes to data of many sizes, both ways."""
    page.title = "Under- and overfitting, by model size and by data size"
    zero.manual_seed(3)
    data, steps = [*made(100), *made(100)], 50 if short else 2000
    cases = {"degree 1, 100 samples": (1, 100), "degree 3, 100 samples": (3, 100), "degree 12, 10 samples": (LARGE, 10)}
    results: dict[str, Any] = {}
    for name, (degree, samples) in cases.items():
        first, second = fits(data, degree, samples, steps)
        both = {part: (first[part], second[part]) for part in first}
        page.curves(name, both, labels=("step", "mean squared error"), log="xy")
        results |= {f"{name}: {part} loss": (first[part][-1], second[part][-1]) for part in first}
    page.compare(results)
    sweeps = (
        ("by model size, 10 samples", "degree", DEGREES, [(degree, 10) for degree in DEGREES]),
        (f"by data size, degree {LARGE}", "training samples", SAMPLES, [(LARGE, samples) for samples in SAMPLES]),
    )
    for title, label, x, points in sweeps:
        ends = [fits(data, degree, samples, steps) for degree, samples in points]
        both = {part: ([one[part][-1] for one, _ in ends], [two[part][-1] for _, two in ends]) for part in first}
        page.curves(title, both, x=x, labels=(label, "mean squared error"), log="y")
    page.say(
        "See: degree 1 underfits: both losses stay high. Degree 3 reaches the noise's variance, 0.01, on both. Degree "
        "12 on 10 samples overfits: a low training loss, a high test loss; more samples bring the two together."
    )
