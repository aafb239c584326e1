"""What came of loading weights into a model: a report that prints as a table."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, final

SHOWN = 6  # names in a row


@final
@dataclass(frozen=True)
class Loaded:
    """Which of a model's tensors came from a source.

    Fields:
        source: for people: "runs/a, update 400".
        sha256: checksum of the file that holds the weights.
        loaded: the model's names that were given values.
        missing: the model's names that the source does not have.
        unexpected: the source's names that the model does not have.
        misfits: the model's names whose shape or kind of number the source has otherwise, and how.
        cast: the model's names whose type differs from the source's, and how: "float16 to float32".
        parameters, parameters_total: numbers in the model's parameters that were loaded, and all of them.
    """

    source: str
    sha256: str
    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misfits: dict[str, str]
    cast: dict[str, str]
    parameters: int
    parameters_total: int

    @property
    def share(self) -> float:
        """The share of the model's parameters that were loaded, from 0 to 1."""
        return self.parameters / self.parameters_total if self.parameters_total else 1.0

    @property
    def complete(self) -> bool:
        """Whether everything in the model was loaded, and everything in the source was used."""
        return not (self.missing or self.unexpected or self.misfits)

    @property
    def line(self) -> str:
        """What happened, in one line."""
        tensors = len(self.loaded) + len(self.missing) + len(self.misfits)
        said = f"{self.source}: {len(self.loaded)} of {tensors} tensors, {percent(self.share)} of the parameters"
        return said + "".join(f"; {name} {listed(names, 3)}" for name, names in self._rest().items() if names)

    def _rest(self) -> dict[str, list[str]]:
        misfits = [f"{name} ({how})" for name, how in self.misfits.items()]
        return {"missing": [*self.missing], "wrong shape": misfits, "unexpected": [*self.unexpected]}

    def record(self) -> dict[str, Any]:
        """Return what a run keeps of it, as plain values."""
        return {
            "source": self.source,
            "sha256": self.sha256,
            "parameters": self.parameters,
            "parameters_total": self.parameters_total,
            "missing": list(self.missing),
            "unexpected": list(self.unexpected),
            "misfits": dict(self.misfits),
        }

    def __str__(self) -> str:
        numbers = f"{self.parameters:,} of {self.parameters_total:,}"
        rows = [("loaded", len(self.loaded), f"{numbers} parameters, {percent(self.share)}")]
        rows += [(name, len(names), listed(names, SHOWN)) for name, names in self._rest().items()]
        casts = [f"{how}: {count}" for how, count in Counter(self.cast.values()).items()]
        rows += [("cast", len(self.cast), ", ".join(casts))]
        width = max(len(str(count)) for _, count, _ in rows)
        return "\n".join([self.source, *(f"  {name:<11}  {n:>{width}}  {said}".rstrip() for name, n, said in rows)])


def listed(names: Iterable[str], most: int) -> str:
    """Return the first names, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def percent(share: float) -> str:
    """Write a share so that 100 % is all of it and 0 % nothing."""
    return f"{100 * share:.4g} %" if share in (0.0, 1.0) else f"{min(max(100 * share, 0.1), 99.9):.1f} %"
