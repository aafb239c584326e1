"""What a function makes of its arguments: the sentence for one that does not fit, shapes and types, what is refused."""

import operator
from collections.abc import Callable
from inspect import Signature
from typing import Any

import numpy as np

from danlu.zero import dtypes
from danlu.zero.device import check

DType = dtypes.dtype | None
ONLY = ("torch.strided", "torch.preserve_format", "torch.contiguous_format")


def require(fits: Any, text: str, kind: type[Exception] = RuntimeError, /, **facts: Any) -> None:
    """Raise an error that says what is wanted, and what came: of arrays and tensors their shapes and types."""
    if not fits:
        arrays = {name: getattr(fact, "_array", fact) for name, fact in facts.items()}
        shown = {k: f"{list(x.shape)} {x.dtype}" if isinstance(x, np.ndarray) else repr(x) for k, x in arrays.items()}
        got = ", ".join(f"{name} = {fact}" for name, fact in shown.items())
        raise kind(f"{text}, got {got}" if got else text)


def refuse(name: str, /, device: Any = None, pin_memory: bool = False, memory_format: Any = None, **rest: Any) -> None:
    """Look at arguments that only have one value here: any other raises and names the argument."""
    check(device)
    rest |= {"pin_memory": pin_memory or None, "memory_format": memory_format}
    for argument, value in rest.items():
        if argument not in ("out", "layout", "pin_memory", "memory_format"):
            raise TypeError(f"{name}() got an unexpected keyword argument '{argument}'")
        if value is not None and str(value) not in (
            "torch.strided",
            "torch.preserve_format",
            "torch.contiguous_format",
        ):
            raise NotImplementedError(f"{name}(): {argument}={value} is not supported; leave {argument} out")


def bound(name: str, signature: Signature, /, *given: Any, **named: Any) -> dict[str, Any]:
    """Return the arguments by name, defaults among them. Raises TypeError that says whose they are."""
    try:
        arguments = signature.bind(*given, **named)
    except TypeError as error:
        raise TypeError(f"{name}: {str(error).removeprefix('got an ')}") from None
    arguments.apply_defaults()
    return arguments.arguments


def shape_of(name: str, size: Any, named: Any = None) -> tuple[int, ...]:
    """Return the shape that was given as numbers or as one sequence, or by name."""
    size = size if named is None else (*size, named)
    together = len(size) == 1 and isinstance(size[0], (tuple, list))
    try:
        shape = tuple(map(operator.index, size[0] if together else size))
    except TypeError:
        shape = None
    require(shape is not None and (together or size), f"{name}: size is a tuple of ints", TypeError, size=size)
    require(min(shape or (0,)) >= 0, f"{name}: sizes are not negative", size=shape)
    return shape or ()


def floating(name: str, dtype: DType, drawn: bool = False) -> np.dtype[Any]:
    """Return NumPy's type, the default floating one where none is given; what is drawn has to be floating."""
    kind = (dtypes.get_default_dtype() if dtype is None else dtypes.known(dtype)).numpy
    require(not drawn or kind.kind == "f", f"{name}: dtype must be floating", NotImplementedError, dtype=dtype)
    return kind


def like(make: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that makes a tensor of another one's shape and dtype: `zeros_like` of `zeros`."""

    def made(input: Any, *values: Any, dtype: DType = None, **rest: Any) -> Any:
        return make(input.shape, *values, dtype=dtype or input.dtype, **rest)

    made.__name__ = made.__qualname__ = f"{make.__name__}_like"
    made.__doc__ = f"Return `{make.__name__}` of another tensor's shape and dtype."
    made.__module__ = make.__module__
    return made
