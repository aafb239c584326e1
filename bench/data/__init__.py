"""How fast data is served: from memory, from disk, from pictures, changed at random; and what an order costs.

Each part is a file with `measure(options, scratch, tell)`, which returns its `Race`s.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bench.targets import Target

Tell = Callable[[str], None]


@dataclass
class Race:
    """danlu and another way to the same, in turns.

    Fields:
        name: of its target.
        what: is served.
        beside: the other way, in words.
        ours, theirs: samples per second, by round.
        more: what else was measured.
        missing: why it was not measured, or "".
    """

    name: str
    what: str
    beside: str
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)
    more: dict[str, Any] = field(default_factory=dict)
    missing: str = ""


TARGETS = {
    "serving": Target("arrays in memory, samples per second over a DataLoader's", 15.0, "at least", "x"),
    "disk-3kb": Target("from disk, rows of 3 kB, over a DataLoader's", 5.0, "at least", "x"),
    "disk-150kb": Target("from disk, rows of 150 kB, over a DataLoader's", 1.5, "at least", "x"),
    "disk-memory": Target("from disk: memory that serving takes over what it is allowed", 1.0, "at most", "x"),
    "pictures-first": Target("a folder of JPEGs, first epoch, over a DataLoader's", 1.4, "at least", "x"),
    "pictures-second": Target("a folder of JPEGs, second epoch, over a DataLoader's", 10.0, "at least", "x"),
    "augment": Target("crop, flip and erase, each sample its own, over kornia's", 2.0, "at least", "x"),
    "order-growth": Target("begin an epoch: time at the most samples over the least, per sample", 1.0, "at most", "x"),
    "order-memory": Target("begin an epoch: most memory at any size", 800.0, "at most", "MB"),
}
