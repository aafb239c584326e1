"""What danlu and its rooms offer: names in order, each documented, none of them loading PyTorch too early."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import danlu

HOME = Path(danlu.__file__).parent
FILES = sorted(HOME.rglob("*.py"))
ROOMS = sorted(path.parent.name for path in HOME.glob("*/__init__.py"))
HEAVY = ("torch", "numpy", "matplotlib", "polars", "sklearn", "scipy", "tensorboard", "PIL", "pandas")


def in_order(names):
    """Sort as the linter does: constants, classes, the rest."""
    return sorted(names, key=lambda name: (0 if name.isupper() else 1 if name[0].isupper() else 2, name))


def offered(room):
    """Return the public names that a room's `__init__` defines, takes from its own files, and uses itself."""
    tree = ast.parse((HOME / room / "__init__.py").read_text(encoding="utf-8"))
    defined, taken = set(), set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            defined.add(node.name)
        elif isinstance(node, ast.Assign):
            defined |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.ImportFrom) and str(node.module).startswith(f"danlu.{room}."):
            taken |= {alias.asname or alias.name for alias in node.names}
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return *({name for name in names if not name.startswith("_")} for names in (defined, taken)), used


def test_danlus_names_are_sorted_and_resolve():
    assert danlu.__all__ == sorted(danlu.__all__)
    assert len(set(danlu.__all__)) == len(danlu.__all__)
    for name in danlu.__all__:
        assert getattr(danlu, name) is not None
    assert set(danlu.__all__) <= set(dir(danlu))


def test_what_type_checkers_see_is_what_there_is():
    tree = ast.parse((HOME / "__init__.py").read_text(encoding="utf-8"))
    (block,) = [n for n in tree.body if isinstance(n, ast.If) and getattr(n.test, "id", "") == "TYPE_CHECKING"]
    seen = {alias.name: node.module for node in block.body for alias in node.names}
    assert sorted(seen) == danlu.__all__
    for name, module in seen.items():
        assert getattr(importlib.import_module(module), name, None) is getattr(danlu, name) or module == "danlu"


def test_an_unknown_name_of_danlu_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'danlu' has no attribute 'fitt'"):
        danlu.fitt  # noqa: B018


# danlu.zero's names are PyTorch's, most of them found where its operations are; tests/zero/test_namespace.py compares.
@pytest.mark.parametrize("room", [room for room in ROOMS if room != "zero"])
def test_a_rooms_names_are_sorted_and_are_what_it_offers(room):
    module = importlib.import_module(f"danlu.{room}")
    defined, taken, used = offered(room)
    if "__all__" not in vars(module):
        assert taken <= used, f"danlu/{room}/__init__.py passes {sorted(taken - used)} on, so it needs __all__"
        assert defined
        return
    assert module.__all__ == in_order(defined | taken)
    for name in module.__all__:
        assert name in vars(module)


def public(node):
    """Yield a module's or class's public functions and classes, and the public methods of the classes."""
    for child in node.body:
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not child.name.startswith("_"):
            yield child
            if isinstance(child, ast.ClassDef):
                yield from public(child)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(HOME)))
def test_everything_public_has_a_docstring(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    silent = [f"{path}:{node.lineno} {node.name}" for node in public(tree) if not ast.get_docstring(node)]
    assert not silent


def loaded(code):
    """Return which heavy packages a fresh interpreter has loaded after running `code`."""
    after = f"\nimport sys\nprint('LOADED', *(name for name in {HEAVY} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code + after], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split()[1:])


COMMAND = """
import sys
from danlu.cli import main
sys.argv = ["danlu", {words}]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
"""


def test_the_probe_sees_what_is_loaded():
    assert loaded("import danlu; danlu.fit") >= {"torch", "numpy"}


def test_importing_danlu_loads_nothing_heavy():
    assert loaded("import danlu; danlu.__version__; dir(danlu)") == set()


def test_writing_a_recipe_loads_nothing_heavy():
    assert loaded("import danlu; danlu.Recipe(optim=danlu.Optim('sgd', lr=0.1)); danlu.RecipeError") == set()


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["train", "--help"],
        ["runs", "--help"],
        ["data", "--help"],
        ["recipes"],
        ["recipes", "show", "digits"],
    ],
    ids=" ".join,
)
def test_help_and_recipes_load_nothing_heavy(words):
    assert loaded(COMMAND.format(words=", ".join(map(repr, words)))) == set()


@pytest.mark.parametrize("room", ["track", "save"])
def test_what_reads_a_run_never_loads_pytorch(room):
    code = f"import danlu; [getattr(danlu.{room}, name) for name in danlu.{room}.__all__]"
    assert "torch" not in loaded(code)
