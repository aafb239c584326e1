"""Stochastic gradient descent, with and without momentum."""

from typing import Any

import numpy as np

from danlu.zero.optim.optimizer import Group, number
from danlu.zero.optim.options import FUSED, takes
from danlu.zero.optim.perparameter import Array, PerParameter, descent
from danlu.zero.tensor import wrap


@takes(FUSED, lr=1e-3, momentum=0, dampening=0, weight_decay=0, nesterov=False)
class SGD(PerParameter):
    """p -= lr g; with momentum b = momentum b + (1 - dampening) g and p -= lr b, or lr (g + momentum b) for Nesterov's.

    Source: Sutskever et al. 2013, "On the importance of initialization and momentum in deep learning"; the learning
    rate is outside of the momentum's buffer, and the first buffer is the first gradient, as in PyTorch.
    """

    @classmethod
    def _settle(cls, options: Group) -> None:
        if options["nesterov"] and (options["momentum"] <= 0 or options["dampening"] != 0):
            got = f"{options['momentum']} and {options['dampening']}"
            raise ValueError(f"Nesterov momentum requires a momentum > 0 and dampening 0, but got {got}")

    def _change(self, group: Group) -> None:
        lr, plain = number(group["lr"]), not (group["momentum"] or group["maximize"] or group["weight_decay"])
        for tensor in group["params"]:
            if tensor.grad is not None:
                p, g = tensor._array, tensor.grad._array
                work, out = self._scratch(p, g)
                if not plain:
                    g = descent(p, g, group, work)
                    g = self._with_momentum(tensor, g, group, out) if group["momentum"] else g
                np.multiply(g, lr, out)
                np.subtract(p, out, p)
                tensor._version[0] += 1

    def _with_momentum(self, tensor: Any, g: Array, group: Group, out: Array) -> Array:
        """Return where momentum leads."""
        state, momentum = self.state[tensor], group["momentum"]
        if state.get("momentum_buffer") is None:
            buffer = g.copy()
            state["momentum_buffer"] = wrap(buffer)
        else:
            buffer = state["momentum_buffer"]._array
            np.multiply(buffer, momentum, buffer)
            np.add(buffer, np.multiply(g, 1 - group["dampening"], out), buffer)
        return np.add(g, np.multiply(buffer, momentum, out), out) if group["nesterov"] else buffer
