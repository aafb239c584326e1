"""What runs may differ in, and the fewest of them that show every pair of settings once."""

import itertools
import random
from collections.abc import Iterator

Axes = dict[str, str]

AXES: dict[str, tuple[str, ...]] = {
    "engine": ("torch", "zero"),
    "door": ("fit", "command"),
    "data": ("resident", "dataset", "workers"),
    "samples": ("plain", "augmented"),
    "model": ("mlp", "lstm", "cnn"),
    "plan": ("eager", "chosen"),  # the second: all that the search may choose at once
    "accumulate": ("1", "4"),
    "ema": ("off", "0.9"),
    "optim": ("sgd", "adam", "custom"),
    "schedule": ("plateau", "cosine"),
    "validate": ("epoch", "update"),
    "save": ("update", "updates", "epoch"),  # after every update, every third one, every epoch
    "stop": ("off", "best"),  # early stopping, which puts the best weights back
}


def possible(axes: Axes) -> bool:
    """Say whether such a run exists.

    Arrays that lie on the device have no code that could augment them; danlu.zero has one plan and no twin of the
    convolution here; what the search may choose is whole for a convolution and PyTorch's own optimizers.
    """
    if axes.get("data") == "resident" and axes.get("samples") == "augmented":
        return False
    if axes.get("engine") == "zero" and (axes.get("model") == "cnn" or axes.get("plan") == "chosen"):
        return False
    own = axes.get("model") in ("mlp", "lstm") or axes.get("optim") == "custom"
    return not (axes.get("plan") == "chosen" and own)


def product() -> Iterator[Axes]:
    """Yield every run there is."""
    for values in itertools.product(*AXES.values()):
        axes = dict(zip(AXES, values, strict=True))
        if possible(axes):
            yield axes


def drawn(chance: random.Random) -> Axes:
    """Return any run."""
    while not possible(axes := {name: chance.choice(values) for name, values in AXES.items()}):
        pass
    return axes


def pairs(axes: Axes) -> set[tuple[str, str, str, str]]:
    """Return every two settings of a run, as (axis, value, axis, value)."""
    return {(*one, *other) for one, other in itertools.combinations(axes.items(), 2)}


def pairwise(seed: int, tries: int = 50) -> list[Axes]:
    """Return runs that together hold every possible pair of settings; greedy, so nearly as few as can be."""
    chance = random.Random(seed)
    wanted: set[tuple[str, str, str, str]] = set()
    for one, other in itertools.combinations(AXES, 2):
        for two in itertools.product(AXES[one], AXES[other]):
            settings = dict(zip((one, other), two, strict=True))
            wanted |= pairs(settings) if possible(settings) else set()
    chosen = []
    while wanted:
        best = max((drawn(chance) for _ in range(tries)), key=lambda axes: len(pairs(axes) & wanted))
        if pairs(best) & wanted:
            chosen.append(best)
            wanted -= pairs(best)
    return chosen


def to_text(axes: Axes) -> str:
    """Return a run's settings as one word, the way `from_text` reads them."""
    return ",".join(f"{name}={value}" for name, value in axes.items())


def from_text(text: str) -> Axes:
    """Return the settings that `to_text` wrote."""
    axes = dict(part.split("=", 1) for part in text.split(","))
    if axes.keys() != AXES.keys() or any(axes[name] not in values for name, values in AXES.items()):
        raise ValueError(f"{text!r}: want one of each of {AXES}")
    return axes
