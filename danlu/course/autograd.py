"""Autograd: what `backward` computes, where it adds it up, and what is not recorded.

`scratch` has every derivative from pencil and paper, as NumPy formulas; `concise` lets `backward` find it.

What to see: both agree to the last digits of float32. A gradient is *added* to `.grad`, so the second `backward` shows
twice the number, until the gradient is set to zero; and what `no_grad` or `detach` hides brings no gradient at all.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from danlu import zero
from danlu.course.page import Page

Array = npt.NDArray[Any]
FUNCTIONS: dict[str, tuple[Callable[[Any], Any], Callable[[Array], Array]]] = {  # on tensors; its derivative, by hand
    "x^3 - 2x": (lambda x: x**3 - 2 * x, lambda x: 3 * x**2 - 2),
    "exp(-x^2)": (lambda x: (-(x**2)).exp(), lambda x: -2 * x * np.exp(-(x**2))),
    "sin(3x) x": (lambda x: (3 * x).sin() * x, lambda x: 3 * np.cos(3 * x) * x + np.sin(3 * x)),
    "log(1 + x^2)": (lambda x: (1 + x**2).log(), lambda x: 2 * x / (1 + x**2)),
    "max(x, 0)^2": (lambda x: x.relu() ** 2, lambda x: 2 * np.maximum(x, 0)),
}


def scratch(x: Array) -> dict[str, Array]:
    """Return every function's derivative at x, from its formula."""
    return {name: derivative(x) for name, (_, derivative) in FUNCTIONS.items()}


def concise(x: Array) -> dict[str, Array]:
    """Return every function's derivative at x, from `backward`."""
    found = {}
    for name, (function, _) in FUNCTIONS.items():
        t = zero.tensor(x, requires_grad=True)
        function(t).sum().backward()  # entry i of x moves entry i of y alone, so the sum's gradient is dy_i/dx_i
        found[name] = t.grad.numpy()
    return found


def rules() -> list[tuple[str, str]]:
    """Return what one writes and what comes of it."""
    seen = []
    x = zero.tensor(3.0, requires_grad=True)
    (x**2).backward()
    seen.append(("x = 3; (x**2).backward(); x.grad", f"{x.grad.item():g}"))
    (x**2).backward()
    seen.append(("(x**2).backward() again: it is added", f"{x.grad.item():g}"))
    x.grad.zero_()
    (x**2).backward()
    seen.append(("x.grad.zero_() first, as zero_grad() does", f"{x.grad.item():g}"))

    x.grad = None
    with zero.no_grad():
        hidden = x**3
    seen.append(("with no_grad(): y = x**3; y.requires_grad", str(hidden.requires_grad)))
    (x**2 + hidden).backward()
    seen.append(("(x**2 + y).backward(): y counts as a constant", f"{x.grad.item():g}"))
    x.grad = None
    (x * x.detach()).backward()
    seen.append(("(x * x.detach()).backward(): 3, not 6", f"{x.grad.item():g}"))

    x.grad = None
    y = x**2
    y.backward()
    try:
        y.backward()
    except RuntimeError as error:
        seen.append(("y.backward() a second time", f"RuntimeError: {str(error)[:52]}..."))

    v = zero.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = v**2
    try:
        y.backward()
    except RuntimeError as error:
        seen.append(("v = (1, 2, 3); (v**2).backward()", f"RuntimeError: {str(error)[:52]}..."))
    y.backward(zero.tensor([1.0, 0.1, 0.01]))
    seen.append(("(v**2).backward(w), w = (1, 0.1, 0.01)", ", ".join(f"{one:g}" for one in v.grad.tolist())))
    return seen


def lesson(page: Page, *, short: bool = False) -> None:
    """Compare derivatives by hand and by `backward`; show how gradients add up, and what is not recorded."""
    page.title, page.halves = "Derivatives by hand and by backward", ("by hand", "backward")
    x = np.linspace(-2, 2, 41 if short else 201, dtype=np.float32)
    by_hand, found = scratch(x), concise(x)
    page.compare({f"d/dx {name}": (by_hand[name], found[name]) for name in FUNCTIONS})
    page.table(("what one writes", "what comes of it"), rules())
    values = {name: function(zero.tensor(x)).numpy() for name, (function, _) in FUNCTIONS.items()}
    page.curves("functions", values, x=x, labels=("x", "y"))
    both = {name: (by_hand[name], found[name]) for name in FUNCTIONS}
    page.curves("their derivatives", both, x=x, labels=("x", "dy/dx"))
    page.say(
        "See: backward finds what pencil and paper find. It adds to .grad, which is why a training loop calls "
        "zero_grad(); a vector needs the gradient of what follows it, and gives the vector-Jacobian product."
    )
