"""Devices: there is one, the processor; `cuda` says so where PyTorch would."""

import re
from typing import Any, final

KNOWN = ("cpu", "cuda", "mps", "xpu", "meta")


@final
class device:  # noqa: N801 - PyTorch's name
    """Where a tensor lives: `device("cpu")`. Others can be named, and compared, but hold nothing."""

    __slots__ = ("index", "type")
    type: str
    index: int | None

    def __init__(self, type: "str | device", index: int | None = None) -> None:
        type = str(type) if isinstance(type, device) else type
        if not isinstance(type, str):
            raise TypeError(f"device(): argument 'type' must be str, not {type.__class__.__name__}")
        found = re.fullmatch(r"([a-z]+)(?::(\d+))?", type)
        if found is None or found[1] not in KNOWN or (found[2] is not None and index is not None):
            raise RuntimeError(f"device: expected one of {', '.join(KNOWN)}, and at most one index; got '{type}'")
        self.type, self.index = found[1], index if found[2] is None else int(found[2])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, device) and (self.type, self.index) == (other.type, other.index)

    def __hash__(self) -> int:
        return hash((self.type, self.index))

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __repr__(self) -> str:
        return f"device(type='{self.type}'{'' if self.index is None else f', index={self.index}'})"

    def __reduce__(self) -> tuple[Any, ...]:
        return device, (self.type, self.index)


CPU = device("cpu")


def check(wanted: Any) -> device:
    """Return the device, which is the processor. Raises RuntimeError for another, naming the argument `device`."""
    if wanted is not None and wanted is not CPU and wanted != "cpu":
        asked = device(f"cuda:{wanted}" if isinstance(wanted, int) else wanted)
        if asked.type != "cpu":
            raise RuntimeError(f"device='{asked}': only 'cpu' is supported here; cuda.is_available() is False")
    return CPU


def no_cuda(self: Any, *arguments: Any, **options: Any) -> Any:
    """Raise AssertionError: `x.cuda()` and `model.cuda()` have nowhere to go."""
    raise AssertionError(
        "cuda(): danlu.zero computes on the processor, there is no CUDA in it: leave .cuda() out, or ask "
        "torch.cuda.is_available() first"
    )


class cuda:  # noqa: N801 - PyTorch's module
    """CUDA as PyTorch shows it where there is none."""

    is_available = staticmethod(lambda: False)
    device_count = staticmethod(lambda: 0)
    manual_seed = manual_seed_all = staticmethod(lambda seed: None)
