"""What the tape notes beside the graph: saved arrays, views, inputs given by keyword, and where NaN comes from."""

import traceback
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from danlu.zero.tensor import Tensor

if TYPE_CHECKING:
    from danlu.zero.tape import Edge, Node

_CONTAINERS = frozenset((tuple, list, dict, FunctionType))
_package = str(Path(__file__).parent)


def held(values: Iterable[Any], found: set[int]) -> set[int]:
    """Add the ids of all arrays among values and in what they hold: functions' closures, lists, dictionaries."""
    for value in values:
        kind = type(value)
        if kind is np.ndarray:
            found.add(id(value))
        elif kind is FunctionType:
            for cell in value.__closure__ or ():
                content = cell.cell_contents
                if type(content) is np.ndarray:
                    found.add(id(content))
                elif type(content) in _CONTAINERS:
                    held((content,), found)
        elif kind is tuple or kind is list:
            held(value, found)
        elif kind is dict:
            held(value.values(), found)
    return found


def check_unchanged(node: "Node") -> None:
    """Raise RuntimeError where a tensor that the node saved was changed in place since."""
    for counter, version in node.saved:
        if counter[0] != version:
            raise RuntimeError(changed_since(node.label, counter, version))


def changed_since(label: str, counter: list[int], version: int) -> str:
    """Return what to say where a saved tensor was changed."""
    text = "one of the variables needed for gradient computation has been modified by an inplace operation"
    return f"{text}: {label} saved a tensor at version {version}, now it is at {counter[0]}; clone() it first"


def note_view(output: Tensor, call: Callable[..., Tensor], arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
    """Note whether an output shares its first input's memory, and how to take that view again; see inplace.py."""
    source, array = arguments[0], output._array
    if not isinstance(source, Tensor):
        return
    first = source._array
    if array is first or array.base is first or array.base is first.base:
        base = source if source._base is None else source._base
        output._version, output._base = source._version, base
        output._view = source, call, arguments[1:], options
        if base._views is None:
            base._views = []
        elif len(base._views) >= 64 and len(base._views).bit_count() == 1:  # now and then, forget those that are gone
            base._views = [view for view in base._views if view() is not None]
        base._views.append(weakref.ref(output))


def complete(forward: Any, given: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, ...]:
    """Return the tensor inputs, those that came by keyword or have a default put in their place."""
    code, defaults = forward.__code__, forward.__defaults__ or ()
    names, inputs = code.co_varnames[: code.co_posonlyargcount], list(given)
    for i in range(len(given), len(names)):
        name = names[i] if names[i] in options or i > 1 else ("input", "other")[i]
        default = i - (code.co_argcount - len(defaults))
        if name not in options and default < 0:
            raise TypeError(f"{forward.__name__}() missing required argument {names[i]!r} (position {i + 1})")
        inputs.append(options.pop(name) if name in options else defaults[default])
    return tuple(inputs)


def fit(gradient: Any, like: tuple[tuple[int, ...], Any]) -> npt.NDArray[Any]:
    """Sum a gradient over the dimensions that were broadcast, and give it its input's dtype."""
    shape, dtype = like
    if gradient.shape != shape:
        extra = gradient.ndim - len(shape)
        stretched = [i + extra for i, size in enumerate(shape) if size == 1 and gradient.shape[i + extra] != 1]
        gradient = np.add.reduce(gradient, axis=(*range(extra), *stretched)).reshape(shape)
    return np.asarray(gradient, dtype)


def leading_to(wanted: Iterable["Edge"], roots: Iterable["Edge"]) -> dict["Node", bool]:
    """Return the nodes on the paths from `roots` to what is wanted, and whether anything beyond a node is wanted."""
    reached: set[Node] = set()
    waiting = [node for node, _ in roots]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in reached:
            reached.add(node)
            waiting.extend(following for following, _ in node.next_functions)
    needed = {node: False for node, _ in wanted if node is not None}
    for node in sorted(reached, key=lambda node: -node.order):  # the earliest first; leaves are wanted or not
        if any(following in needed for following, _ in node.next_functions):
            needed[node] = True
    return needed


def source_line() -> str:
    """Return the caller's line of code outside this package, as `file:number in function: code`."""
    for frame in reversed(traceback.extract_stack()):
        if not frame.filename.startswith(_package):
            return f"{frame.filename}:{frame.lineno} in {frame.name}: {frame.line}"
    return "(inside danlu.zero)"


def look_for_nan(label: str, way: str, results: Iterable[Any], inputs: Iterable[Any], line: str) -> None:
    """Raise RuntimeError where an operation made NaN of inputs that had none."""

    def has_nan(arrays: Iterable[Any]) -> bool:
        return any(type(x) is np.ndarray and x.dtype.kind == "f" and np.isnan(x).any() for x in arrays)

    if has_nan(results) and not has_nan(inputs):
        raise RuntimeError(f"Function '{label}' returned nan values in its {way}; the operation stands at {line}")
