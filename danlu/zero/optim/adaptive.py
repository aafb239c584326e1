"""Optimizers with a step size for every weight: Adagrad, RMSprop, Adadelta."""

import numpy as np

from danlu.zero.optim.optimizer import Group, number
from danlu.zero.optim.options import CAPTURABLE, FUSED, takes
from danlu.zero.optim.perparameter import Array, Arrays, PerParameter, decayed, decayed_square


@takes(FUSED, lr=1e-2, lr_decay=0, weight_decay=0, initial_accumulator_value=0, eps=1e-10)
class Adagrad(PerParameter):
    """s += g^2; p -= lr / (1 + (t - 1) lr_decay) g / (sqrt(s) + eps); s starts at initial_accumulator_value.

    Source: Duchi, Hazan and Singer 2011, "Adaptive subgradient methods for online learning".
    """

    slots = ("sum",)

    def _begin(self, p: Array, group: Group) -> dict[str, Array]:
        return super()._begin(p, group) | {"sum": np.full_like(p, group["initial_accumulator_value"])}

    def _update(self, p: Array, g: Array, t: float, group: Group, kept: Arrays, scratch: Arrays) -> None:
        (total,), (_, out) = kept, scratch
        rate = number(group["lr"]) / (1 + (t - 1) * group["lr_decay"])
        np.add(total, np.multiply(g, g, out), total)
        np.add(np.sqrt(total, out), group["eps"], out)
        np.divide(g, out, out)
        np.subtract(p, np.multiply(out, rate, out), p)


@takes(CAPTURABLE, lr=1e-2, alpha=0.99, eps=1e-8, weight_decay=0, momentum=0, centered=False)
class RMSprop(PerParameter):
    """s = alpha s + (1 - alpha) g^2; p -= lr g / (sqrt(s) + eps); centered subtracts m^2 from s, m = average of g.

    With momentum, b = momentum b + g / (sqrt(s) + eps) and p -= lr b.

    Source: Tieleman and Hinton 2012, lecture 6.5; centered: Graves 2013, "Generating sequences with recurrent neural
    networks".
    """

    def _slots_of(self, group: Group) -> tuple[str, ...]:
        return "square_avg", *["momentum_buffer"] * (group["momentum"] > 0), *["grad_avg"] * bool(group["centered"])

    def _update(self, p: Array, g: Array, t: float, group: Group, kept: Arrays, scratch: Arrays) -> None:
        (squares, *others), (_, out) = kept, scratch
        decayed_square(squares, g, group["alpha"], out)
        if group["centered"]:
            mean = others[-1]
            decayed(mean, g, group["alpha"], out)
            squares = np.subtract(squares, np.multiply(mean, mean, out), out)
        np.add(np.sqrt(squares, out), group["eps"], out)
        step = np.divide(g, out, out)
        if group["momentum"] > 0:
            buffer = others[0]
            np.multiply(buffer, group["momentum"], buffer)
            step = np.add(buffer, step, buffer)
        np.subtract(p, np.multiply(step, number(group["lr"]), out), p)


@takes(CAPTURABLE, lr=1.0, rho=0.9, eps=1e-6, weight_decay=0)
class Adadelta(PerParameter):
    """s = rho s + (1 - rho) g^2; d = sqrt(a + eps) / sqrt(s + eps) g; a = rho a + (1 - rho) d^2; p -= lr d.

    Source: Zeiler 2012, "ADADELTA: An adaptive learning rate method".
    """

    slots = ("square_avg", "acc_delta")

    def _update(self, p: Array, g: Array, t: float, group: Group, kept: Arrays, scratch: Arrays) -> None:
        (s, a), (_, out), rho, eps = kept, scratch, group["rho"], group["eps"]
        decayed_square(s, g, rho, out)
        d = np.sqrt(a + eps) / np.sqrt(s + eps) * g
        decayed_square(a, d, rho, out)
        p -= number(group["lr"]) * d
