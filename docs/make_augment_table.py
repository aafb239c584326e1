"""Write docs/augment.md: every augmentation of training samples, with its options and their defaults.

    python docs/make_augment_table.py

Names, options and defaults are read from the code.
"""

import inspect
from pathlib import Path
from typing import Any

import msgspec

from danlu.data.augment import KINDS

TARGET = Path(__file__).parent / "augment.md"
HEAD = """# Augmentations

Made by `docs/make_augment_table.py`; do not edit. A recipe lists what happens to training samples, in the order of
the list; each sample has its own random numbers in each epoch, which follow from seed, epoch and sample id:

```toml
augment = ["horizontal_flip", {name = "random_crop", padding = 4, mode = "reflect"}]
```

In Python: `Recipe(augment=["horizontal_flip", Augment("random_crop", padding=4, mode="reflect")])`. An option without
a default here must be given.

| name | options | what it does |
| --- | --- | --- |
"""


def text() -> str:
    """Return the whole page."""
    return HEAD + "".join(f"| `{name}` | {_options(kind)} | {_about(kind)} |\n" for name, kind in KINDS.items())


def _options(kind: type[msgspec.Struct]) -> str:
    return "<br>".join(
        f"`{field.name}`" if field.required else f"`{field.name} = {_toml(field.default)}`"
        for field in msgspec.structs.fields(kind)
    )


def _toml(value: Any) -> str:
    """Write a default as a recipe would."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return f'"{value}"' if isinstance(value, str) else f"{value:.4g}"


def _about(kind: type[msgspec.Struct]) -> str:
    """Return the first paragraph of a docstring, and what it says of the options, on one line."""
    first, *rest = inspect.cleandoc(kind.__doc__ or "").split("\n\n")
    fields = next((part for part in rest if part.startswith("Fields:")), "").removeprefix("Fields:")
    named = [" ".join(line.split()) for line in _joined(fields.splitlines())]
    return "<br>".join([" ".join(first.split()), *(line.replace(":", "`:", 1).join(("`", "")) for line in named)])


def _joined(lines: list[str]) -> list[str]:
    """Put what was broken over several lines together: a continuation is indented further."""
    whole: list[str] = []
    for line in filter(None, lines):
        if line.startswith(" " * 8) and whole:
            whole[-1] += f" {line.strip()}"
        else:
            whole.append(line)
    return whole


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
