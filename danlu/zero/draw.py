"""A picture of what the tape holds: which operations made a tensor, and of which leaves."""

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any, final

from danlu.zero.arguments import require
from danlu.zero.tape import AccumulateGrad, Node
from danlu.zero.tensor import Tensor

ROW, GAP, HEIGHT, LETTER = 64, 24, 32, 8  # pixels: between rows, between boxes, of a box, of a letter
COLOURS = {"leaf": "#d7e8ff", "operation": "#f2f2f2", "output": "#d9f2d9"}
ARROW = (
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
    '<path d="M0 0L8 4L0 8z"/></marker></defs>'
)


@final
class Drawing(str):
    """SVG text that a notebook shows as a picture."""

    __slots__ = ()

    def _repr_svg_(self) -> str:
        return str(self)


def draw(y: Tensor, path: Any = None, names: Mapping[str, Tensor] | None = None) -> Drawing:
    """Return a picture (SVG) of the operations that made `y`: leaves on top with their shapes, arrows down to `y`.

    `path` is a file to write it to; `names` says what to call leaves, for example `dict(model.named_parameters())`.
    """
    require(isinstance(y, Tensor), "draw: a tensor is wanted", TypeError, y=y)
    boxes, users = _graph(y, {id(tensor): name for name, tensor in (names or {}).items()})
    places, width, height = _layout(boxes, users)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-family="monospace" font-size="13">{ARROW}'
    ]
    for start, ends in users.items():
        for x, top, _ in map(places.__getitem__, ends):
            x1, y1, _ = places[start]
            lines.append(
                f'<line x1="{x1}" y1="{y1 + HEIGHT}" x2="{x}" y2="{top}" stroke="black" marker-end="url(#tip)"/>'
            )
    for key, (kind, label) in boxes.items():
        x, top, wide = places[key]
        lines.append(
            f'<rect x="{x - wide // 2}" y="{top}" width="{wide}" height="{HEIGHT}" rx="6" fill="{COLOURS[kind]}" '
            f'stroke="black"/><text x="{x}" y="{top + 21}" text-anchor="middle">{escape(label)}</text>'
        )
    drawing = Drawing("\n".join([*lines, "</svg>\n"]))
    if path is not None:
        Path(path).write_text(drawing, encoding="utf-8")
    return drawing


def _graph(y: Tensor, known: dict[int, str]) -> tuple[dict[Any, tuple[str, str]], dict[Any, list[Any]]]:
    """Return the boxes by key, as (kind, label), every one after its users; and the users of every box."""

    def named(tensor: Tensor, otherwise: str) -> str:
        return f"{known.get(id(tensor), otherwise)} {'×'.join(map(str, tensor.shape)) or 'scalar'}".strip()

    boxes: dict[Any, tuple[str, str]] = {"y": ("output", named(y, "output"))}
    users: dict[Any, list[Any]] = {"y": []}
    if y.grad_fn is not None:
        users[y.grad_fn] = ["y"]
    waiting: list[Node] = [node for node in users if node != "y"]
    while waiting:
        node = waiting.pop()
        for source, _ in node.next_functions:
            if source is not None and source not in users:
                users[source] = []
                waiting.append(source)
            if source is not None and node not in users[source]:
                users[source].append(node)
    for node in sorted((node for node in users if node != "y"), key=lambda node: node.order):
        if isinstance(node, AccumulateGrad):
            boxes[node] = "leaf", "leaf" if node.variable is None else named(node.variable, "")
        else:
            boxes[node] = "operation", node.name().rstrip("0").removesuffix("Backward")
    return boxes, users


def _layout(boxes: dict[Any, Any], users: dict[Any, list[Any]]) -> tuple[dict[Any, tuple[int, int, int]], int, int]:
    """Return every box's (centre, top, width), and the picture's width and height."""
    row: dict[Any, int] = {}
    rows: list[list[Any]] = []
    for key in boxes:  # a box lies one row above the highest of its users
        row[key] = 1 + max((row[user] for user in users[key]), default=-1)
        rows += [[]] * (row[key] == len(rows))
        rows[row[key]] = [*rows[row[key]], key]
    places: dict[Any, tuple[int, int, int]] = {}
    for number, keys in enumerate(rows):
        wished = {key: sum(places[user][0] for user in users[key]) // max(len(users[key]), 1) for key in keys}
        right = None
        for key in sorted(keys, key=lambda key: wished[key]):
            wide = LETTER * len(boxes[key][1]) + 20
            centre = wished[key] if right is None else max(wished[key], right + GAP + wide // 2)
            places[key] = centre, GAP // 2 + (len(rows) - 1 - number) * ROW, wide
            right = centre + wide // 2
    left = min(x - wide // 2 for x, _, wide in places.values()) - GAP
    places = {key: (x - left, top, wide) for key, (x, top, wide) in places.items()}
    return places, max(x + wide // 2 for x, _, wide in places.values()) + GAP, len(rows) * ROW - ROW + HEIGHT + GAP
