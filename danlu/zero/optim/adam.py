"""Adam and its relatives: running averages m of the gradient and v of its square, corrected for their start at 0."""

from typing import Any

import numpy as np

from danlu.zero.optim.optimizer import Group, number
from danlu.zero.optim.options import CAPTURABLE, FUSED, takes
from danlu.zero.optim.perparameter import Array, Arrays, PerParameter, decayed, decayed_square
from danlu.zero.tensor import wrap

ADAM = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0}


@takes(FUSED | CAPTURABLE, **ADAM, amsgrad=False, decoupled_weight_decay=False)
class Adam(PerParameter):
    """p -= lr / (1 - beta1^t) m / (sqrt(v) / sqrt(1 - beta2^t) + eps); amsgrad takes the largest v so far.

    Source: Kingma and Ba 2015, "Adam: A method for stochastic optimization"; amsgrad: Reddi et al. 2018.
    """

    def _slots_of(self, group: Group) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_sq", "max_exp_avg_sq") if group["amsgrad"] else ("exp_avg", "exp_avg_sq")

    def _update(self, p: Array, g: Array, t: float, group: Group, kept: Arrays, scratch: Arrays) -> None:
        (m, v, *largest), (_, out), (beta1, beta2) = kept, scratch, group["betas"]
        decayed(m, g, beta1, out)
        decayed_square(v, g, beta2, out)
        if largest:
            v = np.maximum(largest[0], v, out=largest[0])
        np.divide(np.sqrt(v, out), (1 - beta2**t) ** 0.5, out)
        np.divide(m, np.add(out, group["eps"], out), out)
        np.subtract(p, np.multiply(out, number(group["lr"]) / (1 - beta1**t), out), p)


@takes(FUSED | CAPTURABLE, **ADAM | {"weight_decay": 1e-2}, amsgrad=False)
class AdamW(Adam):
    """Adam, with weights decayed by themselves: p = (1 - lr weight_decay) p before every step.

    Source: Loshchilov and Hutter 2019, "Decoupled weight decay regularization".
    """

    @classmethod
    def _settle(cls, options: Group) -> None:
        options["decoupled_weight_decay"] = True


@takes(CAPTURABLE, **ADAM | {"lr": 2e-3})
class Adamax(PerParameter):
    """u = max(beta2 u, |g| + eps); p -= lr / (1 - beta1^t) m / u.

    Source: Kingma and Ba 2015, "Adam: A method for stochastic optimization", section 7.
    """

    slots = ("exp_avg", "exp_inf")

    def _update(self, p: Array, g: Array, t: float, group: Group, kept: Arrays, scratch: Arrays) -> None:
        (m, u), (_, out), (beta1, beta2) = kept, scratch, group["betas"]
        decayed(m, g, beta1, out)
        np.multiply(u, beta2, u)
        np.maximum(u, np.add(np.abs(g, out), group["eps"], out), out=u)
        np.subtract(p, np.multiply(np.divide(m, u, out), number(group["lr"]) / (1 - beta1**t), out), p)


@takes({}, lr=1e-3, betas=(0.9, 0.999), eps=1e-8)
class SparseAdam(PerParameter):
    """Adam that moves only the rows that a gradient touched; the averages of the others rest, too.

    Touched are the rows that the parameter's `grad_rows` lists (an `Embedding` with `sparse=True` writes it); without
    that, those where the gradient is not all zero.
    """

    @classmethod
    def _settle(cls, options: Group) -> None:
        for name in ("lr", "eps"):
            if number(options[name]) == 0:
                raise ValueError(f"Invalid {name}: {options[name]}; SparseAdam needs {name} > 0")

    def _change(self, group: Group) -> None:
        beta1, beta2 = group["betas"]
        for tensor in group["params"]:
            if tensor.grad is not None:
                p, rows, state = tensor._array, _touched(tensor), self.state[tensor]
                if not state:
                    state.update(step=0, exp_avg=wrap(np.zeros_like(p)), exp_avg_sq=wrap(np.zeros_like(p)))
                state["step"] += 1
                t, m, v = state["step"], state["exp_avg"]._array, state["exp_avg_sq"]._array
                g = -tensor.grad._array[rows] if group["maximize"] else tensor.grad._array[rows]
                m[rows] += (1 - beta1) * (g - m[rows])
                v[rows] += (1 - beta2) * (g * g - v[rows])
                rate = number(group["lr"]) * (1 - beta2**t) ** 0.5 / (1 - beta1**t)
                p[rows] -= rate * m[rows] / (np.sqrt(v[rows]) + group["eps"])
                tensor._version[0] += 1


def _touched(tensor: Any) -> Any:
    """Return the numbers of the rows that a gradient touched."""
    known = getattr(tensor, "grad_rows", None)
    if known:
        return np.unique(np.concatenate([np.ravel(rows) for rows in known]))
    g = tensor.grad._array
    return np.nonzero(g.reshape(len(g), -1).any(1))[0] if g.ndim else ...
