"""How text and Python values become a checked recipe, and how a mistake in one becomes one line.

`read` takes TOML, `override` takes `dotted.key=value`, `settle` checks a recipe made in Python and parts it from the
real objects it holds, `write` gives TOML back with every default written out.
"""

import dataclasses
import re
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from danlu.errors import RecipeError, nearest
from danlu.recipe import PARTS, Part, Recipe, Settled

Tree = dict[str, Any]
T = TypeVar("T")
LISTS = ("augment", "init", "metrics")  # the parts of which a recipe has several


def read(path: Path, overrides: Iterable[str] = ()) -> Settled:
    """Read a recipe file.

    Args:
        path: a TOML file.
        overrides: texts such as "optim.lr=0.05", applied in order.

    Raises:
        RecipeError: the file is missing or no TOML; a key, type or value is wrong.
    """
    try:
        if not (path.is_file() or path.is_dir() or path.parts[:2] == ("/", "dev")) and path.exists():
            got, fix = "something that is no plain file", "check the path"  # but `<(command)` is a pipe in /dev
            raise RecipeError(where=str(path), got=got, want="a recipe file", fix=fix)
        tree = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "text that is not UTF-8"
        raise RecipeError(
            where=str(path), got=reason or "no file", want="a recipe file", fix="check the path"
        ) from None
    except (ValueError, RecursionError) as error:  # besides invalid TOML: a number too long, brackets too deep
        raise RecipeError(where=str(path), got=str(error), want="valid TOML", fix="mend that line") from None
    return from_tree(tree, overrides)


def from_tree(tree: Tree, overrides: Iterable[str] = ()) -> Settled:
    """Check a tree of plain values (as TOML gives it) with overrides on top; raise `RecipeError` where it is wrong."""
    tree = _shape(tree)
    for text in overrides:
        override(tree, text)
    tree = _shape(tree)
    try:
        return msgspec.convert(tree, Settled)
    except msgspec.ValidationError as error:
        raise _explain(str(error), tree) from None


def override(tree: Tree, text: str) -> None:
    """Set one dotted key of `tree` in place; the value is TOML, or else a bare string."""
    key, equals, value = text.partition("=")
    path = key.strip().split(".")
    if not equals or not all(path):
        raise RecipeError(where="--set", got=repr(text), want="dotted.key=value", fix="write it as --set optim.lr=0.05")
    try:
        parsed: Any = tomllib.loads(f"value = {value.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()
    node = tree
    for name in path[:-1]:
        below = node.get(name)
        if isinstance(below, str) and below != "off" and name in PARTS:
            below = {PARTS[name].head: below}
        node[name] = below if isinstance(below, dict) else {}
        node = node[name]
    node[path[-1]] = parsed


def check_options(where: str, options: Mapping[str, Any], schema: type[T]) -> T:
    """Return a part's options as `schema`, whose fields they are.

    Args:
        where: the part's place in the recipe, such as "augment[0]".
        options: what the recipe says.
        schema: a `msgspec.Struct` that forbids unknown fields.

    Raises:
        RecipeError: a key that is unknown or missing, a type or value that is wrong.
    """
    try:
        return msgspec.convert(dict(options), schema)
    except msgspec.ValidationError as error:
        raise _explain(str(error), dict(options), schema, where) from None


def settle(recipe: Recipe) -> tuple[Settled, dict[str, Any]]:
    """Check a recipe made in Python and part it from the real objects in it.

    Returns:
        the recipe in plain schema types, and the objects by field ("loss", "optim", "schedule"): what stood there
        instead of a name, or a part with callables among its options.

    Raises:
        RecipeError: a type or value is wrong.
    """
    objects: dict[str, Any] = {}
    tree: Tree = {}
    for name in Recipe.__struct_fields__:
        value = getattr(recipe, name)
        if name in PARTS and callable(value):
            objects[name] = value
            value = {PARTS[name].head: origin(value)}
        elif isinstance(value, Part) and _holds_callable(value.options):
            objects[name] = value
        if name in PARTS:
            _check_kind(value, name)
        tree[name] = value
    plain = msgspec.to_builtins({k: v for k, v in tree.items() if v is not None}, enc_hook=_plain)
    return from_tree({k: _storable(v, k) for k, v in plain.items()}), objects


def _check_kind(value: Any, name: str) -> None:
    """Refuse a part of another kind, whose fields would be taken for options."""
    for part in value if isinstance(value, list | tuple) else [value]:
        if isinstance(part, Part) and not isinstance(part, PARTS[name]):
            want = f"danlu.{PARTS[name].__name__}"
            raise RecipeError(where=name, got=f"danlu.{type(part).__name__}", want=want, fix=f"write {want}(...)")


def _storable(value: Any, where: str) -> Any:
    """Return a plain value in the types that TOML gives back, so that a written recipe is the one that ran."""
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise RecipeError(where=where, got=f"the key {key!r}", want="strings as keys", fix=f'write "{key}"')
        return {key: _storable(item, f"{where}.{key}".replace(".options.", ".")) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if value is None:
        raise RecipeError(where=where, got=None, want="a value that TOML can hold", fix="leave it out")
    return value


def _holds_callable(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_holds_callable, value.values()))
    return any(map(_holds_callable, value)) if isinstance(value, list | tuple) else callable(value)


def _plain(thing: object) -> Any:
    """Return an array or tensor as lists, a path as text, anything else as where it came from."""
    if isinstance(thing, Path):
        return str(thing)
    tolist = getattr(thing, "tolist", None)
    return tolist() if callable(tolist) else origin(thing)


def origin(thing: object) -> str:
    """Return where an object came from, `module:qualified.name`; with `(...)` where a name cannot remake it."""
    if isinstance(thing, type | types.FunctionType | types.BuiltinFunctionType):
        return f"{thing.__module__}:{thing.__qualname__}"
    return f"{type(thing).__module__}:{type(thing).__qualname__}(...)"


def to_tree(recipe: Settled) -> Tree:
    """Return a settled recipe as plain values, every default written out, options beside a part's own fields."""
    tree: Tree = {}
    for name in Recipe.__struct_fields__:
        value = getattr(recipe, name)
        if isinstance(value, list) and name in PARTS:
            tree[name] = [_part_tree(part) for part in value]
        elif value is not None:
            tree[name] = _part_tree(value) if isinstance(value, Part) else msgspec.to_builtins(value)
    return tree


def _part_tree(part: Part) -> Tree:
    own = {each.name: getattr(part, each.name) for each in dataclasses.fields(part) if each.name != "options"}
    return msgspec.to_builtins({**own, **part.options})  # type: ignore[no-any-return]


def write(recipe: Settled) -> str:
    """Return a settled recipe as TOML."""
    import tomli_w

    return tomli_w.dumps(to_tree(recipe))


def _shape(tree: Tree) -> Tree:
    """Bring parts into the schema's form: a bare string becomes a table, foreign keys go into `options`."""
    shaped = dict(tree)
    for name, part in PARTS.items():
        value = tree.get(name)
        if isinstance(value, list):
            shaped[name] = [_shape_part(item, part) for item in value]
        elif value is not None and name not in LISTS and not (value == "off" and name in ("schedule", "weights")):
            shaped[name] = _shape_part(value, part)
    return shaped


def _shape_part(value: Any, part: type[Part]) -> Any:
    if isinstance(value, str):
        return {part.head: value}
    if not isinstance(value, Mapping) or not isinstance(value.get("options", {}), Mapping):
        return value
    own = {name for name in typing.get_type_hints(part, include_extras=True) if name != "head"}
    options = {**value.get("options", {}), **{k: v for k, v in value.items() if k not in own}}
    return {**{k: v for k, v in value.items() if k in own}, "options": options}


_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>[^`]*)`")
_MISSING = re.compile(r"Object missing required field `(?P<name>[^`]*)`")
_PLACE = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")


def _explain(message: str, tree: Tree, root: Any = Recipe, where: str = "") -> RecipeError:
    """Turn msgspec's message into an error that says where, what it got, what it wants and how to mend it."""
    place = _PLACE.search(message)
    path = place["path"] if place else ""
    missing, unknown = _MISSING.search(message), _UNKNOWN.search(message)
    if unknown:
        known = _fields_at(path, root)
        close = nearest(unknown["name"], known)
        fix = f"did you mean {' or '.join(close)}?" if close else f"choose from: {', '.join(sorted(known))}"
        full = _joined(where, path, unknown["name"])
        return RecipeError(where=full, got="a key that no recipe has", want="a known key", fix=fix)
    if missing:
        path = _joined(path, missing["name"])
    want, full = _describe(_type_at(path, root)), _joined(where, path)
    if missing:
        return RecipeError(where=full, got="nothing", want=want, fix=f"set {full} in the recipe")
    fix = "set it in the recipe" if "[" in full else f"set {full} in the recipe, or pass --set {full}=VALUE"
    return RecipeError(where=full or "recipe", got=_value_at(tree, path), want=want, fix=fix)


def _joined(*parts: str) -> str:
    return ".".join(part for part in parts if part)


def _steps(path: str) -> list[str]:
    return [step for step in re.split(r"\.|\[|\]", path) if step]


def _value_at(tree: Any, path: str) -> Any:
    for step in _steps(path):
        tree = tree[int(step)] if isinstance(tree, list) else tree[step]
    return tree


def _type_at(path: str, root: Any = Recipe) -> Any:
    """Return the annotation that stands at a path of the schema."""
    here: Any = root
    for step in _steps(path):
        for option in typing.get_args(here) if typing.get_origin(here) in (typing.Union, types.UnionType) else (here,):
            hints = typing.get_type_hints(option, include_extras=True) if isinstance(option, type) else {}
            if typing.get_origin(option) is list:
                here = typing.get_args(option)[0]
                break
            if step in hints:
                here = hints[step]
                break
    return here


def _fields_at(path: str, root: Any = Recipe) -> list[str]:
    options = (_type_at(path, root), *typing.get_args(_type_at(path, root)))
    hints = [typing.get_type_hints(option) for option in options if isinstance(option, type)]
    return [n for each in hints for n, hint in each.items() if typing.get_origin(hint) is not typing.ClassVar]


_WORDS = {int: "a whole number", float: "a number", str: "a string", bool: "true or false", dict: "a table"}
_SIGNS = (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<="))


def _describe(annotation: Any) -> str:
    """Say an annotation in words: `a number > 0 or "off"`."""
    kind = typing.get_origin(annotation)
    if kind in (typing.Union, types.UnionType):
        return " or ".join(_describe(option) for option in typing.get_args(annotation) if option is not type(None))
    if kind is typing.Literal:
        return " or ".join(f'"{value}"' for value in typing.get_args(annotation))
    if kind is typing.Annotated:
        base, *metas = typing.get_args(annotation)
        bounds = [
            f"{sign} {getattr(m, name):g}" for m in metas for name, sign in _SIGNS if getattr(m, name) is not None
        ]
        return f"{_describe(base)} {' and '.join(bounds)}"
    if kind is tuple:
        each = typing.get_args(annotation)
        return f"a list of {len(each)}, each {_describe(each[0])}"
    if kind is list:
        return f"a list, each {_describe(typing.get_args(annotation)[0])}"
    if isinstance(annotation, type) and issubclass(annotation, Part | msgspec.Struct):
        return "a name or a table" if issubclass(annotation, Part) else "a table"
    return _WORDS.get(kind or annotation, "another value")
