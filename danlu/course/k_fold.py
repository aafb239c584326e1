"""K-fold cross-validation: choosing the strength of weight decay without touching a test set.

442 patients, 10 measurements and their products, so 65 inputs: enough to overfit. In every fold the inputs are scaled
with the mean and standard deviation of that fold's *training* part: statistics of the held-out part would leak.

`scratch` cuts the folds and writes the model, penalty and gradient descent out in NumPy; `concise` takes `nn.Linear`
and `optim.SGD` with a parameter group for the decay.

What to see: the error on the training parts grows with the decay; the error on the held-out parts has its minimum in
between, and that decay is chosen. How much the held-out error varies over the folds says little about which decay is
better: a hard fold is hard for all of them. What counts is the difference between two decays, fold by fold.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from danlu import zero
from danlu.course.page import Page
from danlu.course.samples import diabetes
from danlu.zero import nn, optim

Array = npt.NDArray[Any]
Fold = tuple[Array, Array, Array, Array]
DECAYS = (0.001, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
LR = 0.05


def products(x: Array) -> Array:
    """Return the measurements and all their products, shape (samples, 65)."""
    x = (x - x.mean(axis=0)) / x.std(axis=0)  # only so that products are of one size; the folds scale again
    first, second = np.triu_indices(x.shape[1])
    return np.concatenate([x, x[:, first] * x[:, second]], axis=1)


def folds(x: Array, y: Array, k: int) -> Iterator[Fold]:
    """Yield k times: inputs and targets to train on, and those held out; every sample is held out once."""
    parts = np.array_split(np.random.default_rng(0).permutation(len(x)), k)
    for i, held_out in enumerate(parts):
        kept = np.concatenate([part for j, part in enumerate(parts) if j != i])
        mean, std = x[kept].mean(axis=0), x[kept].std(axis=0)
        centre, scale = y[kept].mean(), y[kept].std()
        scaled, target = (x - mean) / std, (y - centre) / scale
        yield tuple(a.astype(np.float32) for a in (scaled[kept], target[kept], scaled[held_out], target[held_out]))


def scratch(fold: Fold, decay: float, steps: int) -> tuple[float, float]:
    """Fit by gradient descent in NumPy; return the errors (RMSE) on both parts."""
    x, y, x_valid, y_valid = fold
    w, b = np.zeros((x.shape[1], 1), np.float32), np.zeros(1, np.float32)
    for _ in range(steps):
        residual = x @ w + b - y
        gradient_w, gradient_b = 2 / len(x) * x.T @ residual + decay * w, 2 * residual.mean(axis=0)
        w, b = w - LR * gradient_w, b - LR * gradient_b
    return rmse(x @ w + b - y), rmse(x_valid @ w + b - y_valid)


def concise(fold: Fold, decay: float, steps: int) -> tuple[float, float]:
    """Fit a layer with the optimizer; return the errors (RMSE) on both parts."""
    x, y, x_valid, y_valid = (zero.tensor(array) for array in fold)
    net, objective = nn.Linear(x.shape[1], 1), nn.MSELoss()
    nn.init.zeros_(net.weight)
    nn.init.zeros_(net.bias)
    optimizer = optim.SGD([{"params": [net.weight], "weight_decay": decay}, {"params": [net.bias]}], lr=LR)
    for _ in range(steps):
        optimizer.zero_grad()
        objective(net(x), y).backward()
        optimizer.step()
    with zero.no_grad():
        return rmse((net(x) - y).numpy()), rmse((net(x_valid) - y_valid).numpy())


def rmse(residual: Array) -> float:
    """Return the root of the mean square, in standard deviations of the target."""
    return float(np.sqrt(np.mean(residual**2)))


def validated(fit: Callable[[Fold, float, int], tuple[float, float]], parts: list[Fold], steps: int) -> Array:
    """Return the errors, shape (decays, folds, 2): on what was trained on, and on what was held out."""
    return np.array([[fit(fold, decay, steps) for fold in parts] for decay in DECAYS])


def lesson(page: Page, *, short: bool = False) -> None:
    """Choose the weight decay by cross-validation, both ways."""
    page.title = "K-fold cross-validation: which weight decay?"
    x, y = diabetes()
    parts, steps = list(folds(products(x), y, k=3 if short else 5)), 20 if short else 400
    first, second = (validated(fit, parts, steps) for fit in (scratch, concise))
    worse = first[..., 1] - first[first.mean(axis=1)[:, 1].argmin(), :, 1]  # than the chosen decay, in every fold
    rows = [
        (f"{decay:g}", *errors.mean(axis=0), paired.mean(), paired.std(ddof=1))
        for decay, errors, paired in zip(DECAYS, first, worse, strict=True)
    ]
    page.table(
        ("weight decay", "training error", "held-out error", "more than the best, fold by fold", "its spread"), rows
    )
    chosen = [DECAYS[int(errors.mean(axis=1)[:, 1].argmin())] for errors in (first, second)]
    page.compare(
        {"training errors": (first[..., 0], second[..., 0]), "held-out errors": (first[..., 1], second[..., 1])}
    )
    page.compare({"chosen decay": (chosen[0], chosen[1])})
    both = {
        part: (first.mean(axis=1)[:, i], second.mean(axis=1)[:, i]) for i, part in enumerate(("training", "held out"))
    }
    page.curves("mean error over the folds", both, x=DECAYS, labels=("weight decay", "RMSE"), log="x")
    each = {f"fold {i + 1}": (first[:, i, 1], second[:, i, 1]) for i in range(len(parts))}
    page.curves("held-out error, fold by fold", each, x=DECAYS, labels=("weight decay", "RMSE"), log="x")
    page.say(
        f"See: the training error is lowest with the least decay; the held-out error chooses {chosen[0]:g}. A "
        "hard fold is hard for every decay, so compare two decays fold by fold: a difference whose mean is small "
        "beside its own spread is not one to believe."
    )
