"""The tensor: an array that knows which operation made it.

What is an operation (`x.exp()`, `x + y`, `x[0]`) is attached in `doors.py`, so that method, function and layer are
three doors to one definition; the same goes for gradients (`autograd.py`), casts (`casts.py`), changes in place
(`inplace.py`) and printing (`printing.py`).
"""

from collections.abc import Iterator
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from danlu.zero import dtypes
from danlu.zero.arguments import require
from danlu.zero.device import CPU

if TYPE_CHECKING:
    import weakref
    from collections.abc import Callable

    from danlu.zero.tape import AccumulateGrad, Node


class Tensor:
    """An n-dimensional array of numbers, with PyTorch's names and rules.

    Fields:
        requires_grad: operations on it are recorded, and `backward` brings it a gradient.
        grad: the sum of the gradients that reached it; leaves only, unless `retain_grad()`.
        grad_fn: the operation that made it; None for a leaf.
    """

    _array: npt.NDArray[Any]
    _version: list[int]  # [how often changed in place]; a view shares its base's
    _requires_grad: bool = False
    grad: "Tensor | None" = None
    grad_fn: "Node | None" = None
    output_nr: int = 0
    retains_grad: bool = False
    is_cuda, device = False, CPU
    _accumulate: "AccumulateGrad | None" = None
    _base: "Tensor | None" = None  # whose memory it shares
    _view: "tuple[Tensor, Callable[..., Tensor], tuple[Any, ...], dict[str, Any]] | None" = None  # how it was taken
    _views: "list[weakref.ref[Tensor]] | None" = None  # those that share its memory
    __array_priority__ = 1000  # `array + tensor` asks the tensor

    def __init__(self, *data: Any) -> None:
        """Make float32 data of nested numbers, or an uninitialised tensor of a shape, as `torch.Tensor` does."""
        if all(isinstance(size, int) for size in data):
            self._array = np.empty(data or 0, np.float32)
        else:
            self._array = np.array(data[0]._array if isinstance(data[0], Tensor) else data[0], np.float32)
        self._version = [0]

    if TYPE_CHECKING:  # operations, see doors.py

        def __getattr__(self, name: str) -> Any: ...
        def __getitem__(self, index: Any) -> "Tensor": ...
        def __setitem__(self, index: Any, value: Any) -> None: ...
        def __neg__(self) -> "Tensor": ...
        def _two_sided(self, other: Any) -> "Tensor": ...

        __abs__ = __invert__ = __neg__
        __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _two_sided
        __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __pow__ = __rpow__ = __matmul__ = __rmatmul__ = _two_sided
        __and__ = __rand__ = __or__ = __ror__ = __xor__ = __rxor__ = __lt__ = __le__ = __gt__ = __ge__ = _two_sided
        __eq__ = __ne__ = _two_sided  # type: ignore[assignment]

    def _set_requires_grad(self, on: bool) -> None:
        fits = not on or self._array.dtype.kind == "f"
        require(fits, "only Tensors of floating point dtype can require gradients", tensor=self)
        text = "you can only change requires_grad flags of leaf variables; of a result take var_no_grad = var.detach()"
        require(on or self.grad_fn is None, text)
        self._requires_grad = bool(on)

    requires_grad = property(attrgetter("_requires_grad"), _set_requires_grad)
    shape = property(lambda self: Size(self._array.shape), doc="The size of every dimension.")
    dtype = property(lambda self: dtypes.of(self._array), doc="The type of its numbers.")
    ndim = property(attrgetter("_array.ndim"), doc="The number of dimensions.")
    is_leaf = property(lambda self: self.grad_fn is None, doc="Whether no recorded operation made it.")

    def requires_grad_(self, requires_grad: bool = True) -> "Tensor":
        """Set whether it requires a gradient, and return it."""
        self._set_requires_grad(requires_grad)
        return self

    @property
    def data(self) -> "Tensor":
        """The same memory without history; changes through it are not noticed by the tape."""
        return wrap(self._array)

    @data.setter
    def data(self, new: "Tensor") -> None:
        """Take over another tensor's memory."""
        require(isinstance(new, Tensor), "data has to be a tensor", TypeError, data=new)
        fits = not self._requires_grad or new._array.dtype.kind == "f"
        require(fits, "what requires a gradient has to stay floating-point", data=new)
        self._array = new._array

    def detach(self) -> "Tensor":
        """Return a tensor with the same memory and no history; a change of either is noticed by the tape."""
        tensor = wrap(self._array)
        tensor._version = self._version
        return tensor

    def detach_(self) -> "Tensor":
        """Forget which operation made it. Raises RuntimeError for a view."""
        require(self._base is None, "Can't detach views in-place. Use detach() instead.")
        self.grad_fn, self.output_nr, self._requires_grad = None, 0, False
        return self

    def size(self, dim: int | None = None) -> Any:
        """Return the shape, or the size of one dimension."""
        if dim is None:
            return self.shape
        require(-self.ndim <= dim < self.ndim, "Dimension out of range", IndexError, dim=dim, shape=self.shape)
        return self._array.shape[dim]

    def dim(self) -> int:
        """Return the number of dimensions."""
        return self._array.ndim

    def numel(self) -> int:
        """Return the number of elements."""
        return self._array.size

    nelement = numel

    def stride(self, dim: int | None = None) -> Any:
        """Return how many elements lie between neighbours of every dimension, or of one."""
        strides = tuple(step // self._array.itemsize for step in self._array.strides)
        return strides if dim is None else strides[dim]

    def data_ptr(self) -> int:
        """Return the address of the first element."""
        return int(self._array.__array_interface__["data"][0])

    def is_contiguous(self) -> bool:
        """Return whether the elements lie in memory in the order of their indices."""
        return self._array.flags.c_contiguous

    def is_floating_point(self) -> bool:
        """Return whether the numbers are floating."""
        return self._array.dtype.kind == "f"

    def item(self) -> Any:
        """Return the only element as a Python number."""
        if self._array.size != 1:
            require(False, "only a tensor of one element is a number", tensor=self)
        return self._array.item()

    def tolist(self) -> Any:
        """Return nested lists of Python numbers."""
        return self._array.tolist()

    def numpy(self, *, force: bool = False) -> npt.NDArray[Any]:
        """Return the array, with the same memory. Raises RuntimeError where a gradient is required."""
        fits = force or not self._requires_grad
        require(fits, "Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
        return self._array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.array(self.numpy(), dtype, copy=copy) if copy else np.asarray(self.numpy(), dtype)

    def __len__(self) -> int:
        require(self._array.ndim, "len() of a 0-d tensor", TypeError)
        return len(self._array)

    def __iter__(self) -> Iterator["Tensor"]:
        require(self._array.ndim, "iteration over a 0-d tensor", TypeError)
        return iter([self[i] for i in range(len(self._array))])

    def __bool__(self) -> bool:
        require(self._array.size == 1, "only a tensor of one element is true or false", tensor=self)
        return bool(self._array.item())

    def _only(self) -> Any:
        require(self._array.size == 1, "only one element tensors become Python's numbers", ValueError, tensor=self)
        return self._array.item()

    def __int__(self) -> int:
        return int(self._only())

    def __float__(self) -> float:
        return float(self._only())

    def __index__(self) -> int:
        fits = self._array.dtype.kind in "iub" and self._array.size == 1
        require(fits, "only an integer tensor of one element is an index", TypeError, tensor=self)
        return int(self._array.item())

    def __contains__(self, element: Any) -> bool:
        return bool((self._array == (element._array if isinstance(element, Tensor) else element)).any())

    def __hash__(self) -> int:
        return id(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Tensor":
        require(self.grad_fn is None, "Only Tensors created by the user (graph leaves) support deepcopy; use clone()")
        if id(self) not in memo:
            memo[id(self)] = rebuilt(self._array.copy(order="K"), self._requires_grad)
            memo[id(self)].grad = None if self.grad is None else self.grad.__deepcopy__(memo)
        known: Tensor = memo[id(self)]
        return known

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return rebuilt, (self._array, self._requires_grad)


class Size(tuple[int, ...]):
    """A shape."""

    __slots__ = ()

    def numel(self) -> int:
        """Return the number of elements."""
        return int(np.prod(self, dtype=np.int64))

    def __getitem__(self, index: Any) -> Any:
        found = tuple.__getitem__(self, index)
        return Size(found) if isinstance(index, slice) else found

    def __add__(self, other: Any) -> "Size":
        return Size(tuple.__add__(self, tuple(other)))

    def __repr__(self) -> str:
        return f"torch.Size({list(self)})"


def wrap(array: npt.NDArray[Any]) -> Tensor:
    """Return a tensor around an array, without a copy."""
    tensor = object.__new__(Tensor)
    tensor._array, tensor._version = array, [0]
    return tensor


def rebuilt(array: npt.NDArray[Any], requires_grad: bool) -> Tensor:
    """Return a leaf of an array, as it comes out of a file or another process."""
    tensor = wrap(dtypes.canonical(array))
    tensor._requires_grad = requires_grad
    return tensor
