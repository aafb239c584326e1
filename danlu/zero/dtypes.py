"""Number types with PyTorch's names, and which type comes out when two meet."""

from typing import Any, final

import numpy as np
import numpy.typing as npt


@final
class dtype:  # noqa: N801 - PyTorch's name
    """A number type; `.numpy` is NumPy's."""

    __slots__ = ("is_floating_point", "itemsize", "name", "numpy")

    def __init__(self, name: str) -> None:
        self.name, self.numpy = name, np.dtype(name)
        self.is_floating_point = self.numpy.kind == "f"
        self.itemsize = self.numpy.itemsize

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self) -> str:
        return "bool_" if self.name == "bool" else self.name


float16, float32, float64 = half, float_, double = dtype("float16"), dtype("float32"), dtype("float64")
uint8, int8, int16, int32, int64 = (dtype(name) for name in ("uint8", "int8", "int16", "int32", "int64"))
short, int_, long = int16, int32, int64
bool_ = dtype("bool")

CONSTRUCTORS = {  # what PyTorch calls a tensor of each type
    **{"HalfTensor": float16, "FloatTensor": float32, "DoubleTensor": float64, "ByteTensor": uint8, "CharTensor": int8},
    **{"ShortTensor": int16, "IntTensor": int32, "LongTensor": int64, "BoolTensor": bool_},
}
_KNOWN = {kind.numpy: kind for kind in CONSTRUCTORS.values()}
_PYTHONS: dict[Any, dtype] = {float: float64, int: int64, bool: bool_}
_KINDS = {"b": 0, "u": 1, "i": 1, "f": 2}
_default = [float32]


def known(given: Any) -> dtype:
    """Return a type that was given as one, or as Python's `float`, `int` or `bool`."""
    found = _PYTHONS.get(given, given)
    if not isinstance(found, dtype):
        raise TypeError(f"dtype must be a torch.dtype such as torch.float32, not {given!r}")
    return found


def of(array: npt.NDArray[Any]) -> dtype:
    """Return the type of an array's numbers. Raises TypeError where PyTorch's tensors know no such type."""
    kind = _KNOWN.get(array.dtype)
    if kind is None:
        names = ", ".join(kind.name for kind in _KNOWN.values())
        raise TypeError(f"can't convert np.ndarray of type {array.dtype}. The only supported types are: {names}.")
    return kind


def canonical(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a view whose dtype is the one object that NumPy has for it; out of a pickle comes another, equal one."""
    return array.view(np.dtype(array.dtype.type))


def get_default_dtype() -> dtype:
    """Return the type that numbers with a point get."""
    return _default[0]


def set_default_dtype(d: dtype) -> None:
    """Set the type that numbers with a point get. Raises TypeError for one that is not floating."""
    if not d.is_floating_point:
        raise TypeError("only floating-point types are supported as the default type")
    _default[0] = d


def promote(a: Any, b: Any) -> tuple[Any, Any]:
    """Return two operands in the type that both meet in; a Python number stays one where it yields to an array.

    Source: PyTorch's type promotion: bool < integer < floating; within a kind dimensions beat none beat numbers.
    """
    if type(a) is np.ndarray:
        if type(b) is np.ndarray:
            if a.dtype is b.dtype:
                return a, b
            meet = _meet(a, b)
            return a.astype(meet, copy=False), b.astype(meet, copy=False)
        return _with_number(a, b)
    if type(b) is np.ndarray:
        b, a = _with_number(b, a)
        return a, b
    return promote(as_array(a), as_array(b))


def as_floating(a: Any) -> Any:
    """Return integers and bools in the default floating type, anything else as it is."""
    if type(a) is np.ndarray and a.dtype.kind != "f":
        return a.astype(_default[0].numpy)
    return a


def as_array(value: Any) -> npt.NDArray[Any]:
    """Return a number as a 0-d array of its type (`float` in the default floating type); an array as it is."""
    if isinstance(value, np.ndarray):
        return value
    return np.asarray(value, _number_type(value))


def result_type(a: Any, b: Any) -> dtype:
    """Return the type in which two tensors or numbers meet."""
    a, b = (getattr(value, "_array", value) for value in (a, b))
    if not isinstance(a, np.ndarray):
        a, b = (b, a) if isinstance(b, np.ndarray) else (as_array(a), as_array(b))
    return _KNOWN[_meet(a, b) if isinstance(b, np.ndarray) else _yielding(a.dtype, _number_type(b))]


def can_cast(from_: dtype, to: dtype) -> bool:
    """Return whether PyTorch lets an in-place operation turn `from_` into `to`: to no lower kind."""
    return _KINDS[from_.numpy.kind] <= _KINDS[to.numpy.kind]


def join(a: np.dtype[Any], b: np.dtype[Any]) -> np.dtype[Any]:
    """Return the smallest type that holds both; a floating type holds every integer, unlike NumPy's rule."""
    if a.kind == "f" and b.kind != "f":
        return a
    if b.kind == "f" and a.kind != "f":
        return b
    return np.promote_types(a, b)


def _yielding(strong: np.dtype[Any], weak: np.dtype[Any]) -> np.dtype[Any]:
    """Return where they meet if `weak` counts only when its kind is higher."""
    return strong if _KINDS[strong.kind] >= _KINDS[weak.kind] else join(strong, weak)


def _meet(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> np.dtype[Any]:
    """Return the type in which two arrays meet; 0-d arrays yield to those with dimensions."""
    if (a.ndim == 0) == (b.ndim == 0):
        return join(a.dtype, b.dtype)
    return _yielding(b.dtype, a.dtype) if a.ndim == 0 else _yielding(a.dtype, b.dtype)


def _number_type(number: Any) -> np.dtype[Any]:
    """Return a Python number's type. Raises TypeError for what is no number."""
    if isinstance(number, (bool, np.bool_)):
        return bool_.numpy
    if isinstance(number, (int, np.integer)):
        return int64.numpy
    if isinstance(number, (float, np.floating)):
        return _default[0].numpy
    raise TypeError(f"expected a Tensor or a number, got {type(number).__name__}")


def _with_number(a: npt.NDArray[Any], number: Any) -> tuple[Any, Any]:
    """Return an array and a number in the array's type, or in the number's where its kind is higher."""
    kind = type(number)
    if kind is not float and (kind is not int or a.dtype.kind == "b"):
        strong = _yielding(a.dtype, _number_type(number))
        return a.astype(strong, copy=False), number.item() if isinstance(number, np.generic) else number
    if kind is float and a.dtype.kind != "f":
        return a.astype(_default[0].numpy), number
    return a, number
