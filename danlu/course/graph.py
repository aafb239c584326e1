"""The computational graph: forward and backward through a small network, by hand, and the same from autograd.

    x -> z = W1 x -> h = relu(z) -> o = W2 h -> L = |o - y|^2 / 2 -> J = L + s,   s = lambda / 2 (|W1|^2 + |W2|^2)

`scratch` walks forward and keeps z, h and o; then it walks back with the chain rule, one line for every node. `concise`
writes the forward pass alone, and `backward` does the rest.

What to see: what the backward pass needs is what the forward pass computed, which is why training takes more memory
than prediction; and the gradients by hand are those of autograd. The graph that was recorded is drawn as an SVG.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from danlu import zero
from danlu.course.page import Page
from danlu.zero import Tensor

Array = npt.NDArray[Any]
INPUTS, HIDDEN, OUTPUTS, DECAY = 4, 8, 3, 0.1


def scratch(x: Array, y: Array, w1: Array, w2: Array) -> dict[str, Array]:
    """Return every node's value and gradient, by the chain rule."""
    z = w1 @ x
    h = np.maximum(z, 0)
    o = w2 @ h
    data_loss = ((o - y) ** 2).sum() / 2
    penalty = DECAY / 2 * ((w1**2).sum() + (w2**2).sum())

    dL = ds = 1.0  # J = L + s
    do = dL * (o - y)
    dw2 = np.outer(do, h) + ds * DECAY * w2  # W2 is used twice, so its gradient is a sum of two
    dh = w2.T @ do
    dz = dh * (z > 0)
    dw1 = np.outer(dz, x) + ds * DECAY * w1
    return {"J": data_loss + penalty, "dJ/do": do, "dJ/dh": dh, "dJ/dz": dz, "dJ/dW2": dw2, "dJ/dW1": dw1}


def concise(x: Array, y: Array, w1: Array, w2: Array) -> tuple[dict[str, Array], dict[str, Tensor]]:
    """Return the same from autograd, and the tensors by name, J with its graph among them."""
    W1, W2 = zero.tensor(w1, requires_grad=True), zero.tensor(w2, requires_grad=True)
    z = W1 @ zero.tensor(x)
    h = z.relu()
    o = W2 @ h
    J = ((o - zero.tensor(y)) ** 2).sum() / 2 + DECAY / 2 * ((W1**2).sum() + (W2**2).sum())
    for inner in (z, h, o):
        inner.retain_grad()  # otherwise only leaves keep theirs
    J.backward(retain_graph=True)
    tensors = {"o": o, "h": h, "z": z, "W2": W2, "W1": W1}
    gradients = {f"dJ/d{name}": tensor.grad.numpy() for name, tensor in tensors.items()}
    return {"J": J.detach().numpy(), **gradients}, {"J": J, **tensors}


def walked(J: Tensor) -> list[tuple[str, str]]:
    """Return the graph's operations, each with those that `backward` visits after it."""
    rows, waiting, seen = [], [J.grad_fn], set()
    while waiting:
        node = waiting.pop(0)
        if node in seen:
            continue
        seen.add(node)
        following = [following for following, _ in node.next_functions if following is not None]
        rows.append((node.name(), ", ".join(one.name() for one in following) or "(a leaf: its .grad)"))
        waiting += following
    return rows


def lesson(page: Page, *, short: bool = False) -> None:
    """Compare gradients by hand with those of autograd; show the graph."""
    page.title, page.halves = "A small graph, backward by hand and by autograd", ("by hand", "autograd")
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal(INPUTS).astype(np.float32), rng.standard_normal(OUTPUTS).astype(np.float32)
    w1, w2 = (rng.standard_normal(size).astype(np.float32) for size in ((HIDDEN, INPUTS), (OUTPUTS, HIDDEN)))
    by_hand = scratch(x, y, w1, w2)
    found, tensors = concise(x, y, w1, w2)
    page.compare({name: (by_hand[name], found[name]) for name in by_hand})
    if not short:
        page.table(("operation", "backward goes on to"), walked(tensors["J"]))
    page.texts[".svg"] = zero.draw(tensors["J"], names=tensors)
    for name in ("dJ/dW1", "dJ/dW2"):
        both = {"entries, row by row": (by_hand[name], found[name])}
        page.curves(name, both, labels=("entry", "gradient"), points=True)
    page.say(
        "See: the backward pass uses z, h and o of the forward pass, and every gradient is the one by hand. Where a "
        "value is used twice, as both weights are, its gradients add up: that is the + in the chain rule."
    )
