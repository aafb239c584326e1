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
    "model": ("mlp", "lstm"),
    "accumulate": ("1", "4"),
    "ema": ("off", "0.9"),
    "optim": ("sgd", "adam", "custom"),
    "schedule": ("plateau", "cosine"),
    "validate": ("epoch", "update"),
    "save": ("update", "updates", "epoch"),  # after every update, every third one, every epoch
    "stop": ("off", "best"),  # early stopping, which puts the best weights back
}


def possible(axes: Axes) -> bool:
    """Say whether such a run exists: arrays that lie on the device have no code that could augment them."""
    return not (axes.get("data") == "resident" and axes.get("samples") == "augmented")


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
