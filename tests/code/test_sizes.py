"""Sizes: today's exceptions stand in `sizes.toml`, each with its number and a reason; the list may only shrink."""

import ast
import importlib
import inspect
import tomllib
from pathlib import Path

import pytest

import danlu

ROOT = Path(__file__).parents[2]
HOME = ROOT / "danlu"
LIMITS = {"lines of a file": 400, "lines of a function": 40, "parameters": 7, "positional parameters": 3}
LOOP, LOOP_LINES = "danlu/train/loop.py:run", 60
KINDS = (ast.FunctionDef, ast.AsyncFunctionDef)


def public_places():
    """Return module and qualified name of every function and class that danlu and its rooms offer."""
    offers = [importlib.import_module(f"danlu.{path.parent.name}") for path in HOME.glob("*/__init__.py")]
    offers += [importlib.import_module(f"danlu.{path.stem}") for path in HOME.glob("[!_]*.py")]
    things = [getattr(danlu, name) for name in danlu.__all__]
    for offer in offers:
        names = vars(offer).get("__all__", [name for name in vars(offer) if not name.startswith("_")])
        things += [getattr(offer, name) for name in names]
    named = [t for t in things if inspect.isclass(t) or inspect.isfunction(t)]
    return {(t.__module__, t.__qualname__) for t in named if t.__module__.startswith("danlu")}


def functions(tree, outer=()):
    """Yield every function with the names that it lies in."""
    for node in ast.iter_child_nodes(tree):
        inner = (*outer, node.name) if isinstance(node, (*KINDS, ast.ClassDef)) else outer
        if isinstance(node, KINDS):
            yield inner, node
        yield from functions(node, inner)


def parameters(node, is_method):
    """Return how many parameters a call may give, and how many of them by position."""
    positional = [*node.args.posonlyargs, *node.args.args]
    given = len(positional) - (1 if is_method else 0)
    return given + len(node.args.kwonlyargs), given


def measure(place, text, public):
    """Return {(rule, place): number} of one file of danlu."""
    sizes = {("lines of a file", place): len(text.splitlines())}
    module = place.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    for names, node in functions(ast.parse(text)):
        where = f"{place}:{'.'.join(names)}"
        sizes[("lines of a function", where)] = node.end_lineno - node.lineno + 1
        is_static = any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in node.decorator_list)
        is_method = len(names) > 1 and not is_static
        known = (module, ".".join(names)) in public or (module, ".".join(names[:-1])) in public
        known = known and not place.startswith("danlu/zero/")  # those signatures are PyTorch's
        if known and (not node.name.startswith("_") or node.name == "__init__"):
            sizes[("parameters", where)], sizes[("positional parameters", where)] = parameters(node, is_method)
    return sizes


def limit(rule, place):
    return LOOP_LINES if place == LOOP and rule == "lines of a function" else LIMITS[rule]


def too_large(sizes):
    return {key: number for key, number in sizes.items() if number > limit(*key)}


def sizes_today():
    public = public_places()
    sizes = {}
    for path in sorted(HOME.rglob("*.py")):
        sizes |= measure(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"), public)
    for folder in ("tests", "bench"):
        for path in (ROOT / folder).rglob("*.py"):
            place = path.relative_to(ROOT).as_posix()
            sizes["lines of a file", place] = len(path.read_text(encoding="utf-8").splitlines())
    return sizes


def exceptions():
    listed = tomllib.loads((Path(__file__).parent / "sizes.toml").read_text(encoding="utf-8")).get("exception", [])
    return {(one["rule"], one["place"]): one for one in listed}


def test_nothing_is_larger_than_its_limit_but_what_the_list_says():
    allowed = {key: one["today"] for key, one in exceptions().items()}
    beyond = {key: n for key, n in too_large(sizes_today()).items() if n > allowed.get(key, 0)}
    assert not beyond, "make these smaller"


def test_the_list_only_shrinks():
    sizes = too_large(sizes_today())
    stale = {key: one["today"] for key, one in exceptions().items() if one["today"] > sizes.get(key, 0)}
    assert not stale, f"lower these numbers in sizes.toml, or take them out; today: {[sizes.get(key) for key in stale]}"


def test_every_exception_has_a_reason():
    for key, one in exceptions().items():
        assert set(one) == {"rule", "place", "today", "reason"}, key
        assert len(one["reason"].split()) >= 5, key


def test_the_loop_is_where_its_limit_expects_it():
    assert ("lines of a function", LOOP) in sizes_today()


LONG = """
class Offered:
    def __init__(self, a, b, c, d):
        pass

    def _hidden(self, a, b, c, d, e):
        pass

    @staticmethod
    def still(a, b, c, d):
        pass


def offered(a, b, *, c, d, e, f, g, h):
    def inner(x):
        return x

    return inner


def not_offered(a, b, c, d, e, f, g, h):
    pass
"""


@pytest.mark.parametrize(("padding", "lines"), [(0, 2), (39, 41)])
def test_the_measure_can_fail(padding, lines):
    text = LONG + "\n\ndef long():\n" + "    x = 1\n" * padding + "    return 1\n"
    public = {("danlu.room.file", "Offered"), ("danlu.room.file", "offered")}
    found = too_large(measure("danlu/room/file.py", text, public))
    place = "danlu/room/file.py:"
    wanted = {
        ("positional parameters", f"{place}Offered.__init__"): 4,
        ("positional parameters", f"{place}Offered.still"): 4,
        ("parameters", f"{place}offered"): 8,
    }
    if lines > 40:
        wanted["lines of a function", f"{place}long"] = lines
    assert found == wanted


def test_a_long_file_is_found():
    assert too_large(measure("danlu/a.py", "x = 1\n" * 401, set())) == {("lines of a file", "danlu/a.py"): 401}
    assert too_large(measure("danlu/a.py", "x = 1\n" * 400, set())) == {}
