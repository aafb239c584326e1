"""The picture of a graph."""

from xml.etree import ElementTree

import danlu.zero as zero
from danlu.zero.draw import draw

SVG = "{http://www.w3.org/2000/svg}"


def texts(svg):
    return sorted(element.text for element in ElementTree.fromstring(svg).iter(f"{SVG}text"))


def test_a_graph_shows_operations_and_leaves_with_their_names(tmp_path):
    x = zero.ones(2, 3, requires_grad=True)
    w = zero.ones(3, requires_grad=True)
    h = x * w
    y = (h.exp() + h).sum()
    svg = draw(y, tmp_path / "graph.svg", names={"a < b": w})
    assert texts(svg) == sorted(["2×3", "a < b 3", "Mul", "Exp", "Add", "Sum", "output scalar"])
    assert (tmp_path / "graph.svg").read_text(encoding="utf-8") == svg == svg._repr_svg_()
    root = ElementTree.fromstring(svg)
    assert len(root.findall(f"{SVG}line")) == 7  # x→Mul, w→Mul, Mul→Exp, Mul→Add, Exp→Add, Add→Sum, Sum→output
    width, height = float(root.get("width")), float(root.get("height"))
    for box in root.findall(f"{SVG}rect"):
        left, top, wide, high = (float(box.get(name)) for name in ("x", "y", "width", "height"))
        assert 0 <= left <= left + wide <= width
        assert 0 <= top <= top + high <= height
    for line in root.findall(f"{SVG}line"):
        assert float(line.get("y1")) < float(line.get("y2"))  # every arrow points down


def test_a_tensor_without_a_graph_is_one_box():
    assert texts(draw(zero.ones(2))) == ["output 2"]


def test_a_deep_graph_needs_no_recursion():
    y = zero.ones(1, requires_grad=True)
    for _ in range(2000):
        y = y + 1
    assert draw(y).count("<rect") == 2002
