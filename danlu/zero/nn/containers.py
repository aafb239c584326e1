"""Modules that hold modules or parameters."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, MutableMapping
from itertools import groupby
from typing import Any

from danlu.zero.arguments import require
from danlu.zero.nn.module import Module
from danlu.zero.nn.parameter import Parameter
from danlu.zero.tensor import Tensor


class _Numbered(Module):
    """A container whose modules, or parameters, are called "0", "1", ... in the order of their places."""

    _table = "_modules"

    def __len__(self) -> int:
        return len(self.__dict__[self._table])

    def __iter__(self) -> Iterator[Any]:
        return iter(self.__dict__[self._table].values())

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return self._part(list(self.__dict__[self._table].items())[index])
        return getattr(self, self._key(index))

    def __setitem__(self, index: int, value: Any) -> None:
        setattr(self, self._key(index), value)

    def __delitem__(self, index: int | slice) -> None:
        kept = list(self)
        del kept[index]
        self._renumber(kept)

    def __iadd__(self, values: Iterable[Any]) -> Any:
        return self.extend(values)

    def _part(self, items: list[tuple[str, Any]]) -> Any:
        """Return a container of some of its (name, value) pairs."""
        kind: Any = type(self)
        return kind(value for _, value in items)

    def _key(self, index: Any) -> str:
        """Return the name at a place. Raises IndexError where there is none."""
        return str(list(self.__dict__[self._table])[index.__index__()])

    def _renumber(self, values: list[Any]) -> None:
        """Hold exactly these values, named "0", "1", ..."""
        for key in list(self.__dict__[self._table]):
            delattr(self, key)
        self.extend(values)

    def append(self, value: Any) -> Any:
        """Add one behind the last."""
        self.add_module(str(len(self)), value)
        return self

    def extend(self, values: Iterable[Any]) -> Any:
        """Add several behind the last."""
        fits = isinstance(values, Iterable) and not isinstance(values, Tensor)
        require(fits, f"{type(self).__name__} takes an iterable", TypeError, values=values)
        for value in list(values):
            self.append(value)
        return self

    def insert(self, index: int, module: Any) -> Any:
        """Put one before that at `index`."""
        values = list(self)
        values.insert(index, module)
        self._renumber(values)
        return self

    def pop(self, key: int | slice) -> Any:
        """Take one out and return it."""
        value = self[key]
        del self[key]
        return value


class Sequential(_Numbered):
    """Modules called one after another, each on what the one before returned."""

    def __init__(self, *args: Any) -> None:
        super().__init__()
        ordered = len(args) == 1 and isinstance(args[0], OrderedDict)
        for name, module in args[0].items() if ordered else enumerate(args):
            self.add_module(str(name), module)

    def forward(self, input: Any) -> Any:
        """Return the last module's output."""
        for module in self._modules.values():
            input = module(input)  # type: ignore[misc]
        return input

    def _part(self, items: list[tuple[str, Any]]) -> Any:
        return type(self)(OrderedDict(items))

    def __add__(self, other: "Sequential") -> "Sequential":
        return type(self)(*self, *other)

    def insert(self, index: int, module: Module) -> Any:
        """Put a module before the one at `index`."""
        require(isinstance(module, Module), "a module is wanted", AssertionError, module=module)
        require(-len(self) <= index <= len(self), f"there are {len(self)} modules", IndexError, index=index)
        return super().insert(index, module)


class ModuleList(_Numbered):
    """A list of modules, whose parameters belong to the module that holds it."""

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        super().__init__()
        self.extend(() if modules is None else modules)

    def __add__(self, other: Iterable[Module]) -> "ModuleList":
        return ModuleList([*self, *other])

    def __repr__(self) -> str:
        lines, first = [], 0
        for text, run in groupby(repr(module) for module in self):
            last = first + len(list(run)) - 1
            where = f"({first}): " if first == last else f"({first}-{last}): {last - first + 1} x "
            lines.append(f"\n  {where}" + text.replace("\n", "\n  "))
            first = last + 1
        return f"{self._get_name()}({''.join(lines)}\n)" if lines else f"{self._get_name()}()"


class ModuleDict(Module, MutableMapping[str, Any]):
    """Modules by name, whose parameters belong to the module that holds it."""

    __hash__, __eq__ = Module.__hash__, Module.__eq__  # it is one module, whatever it holds

    def __init__(self, modules: Any = None) -> None:
        super().__init__()
        self.update(() if modules is None else modules)

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __getitem__(self, key: str) -> Any:
        return self._modules[key]

    def __setitem__(self, key: str, module: Module) -> None:
        self.add_module(key, module)

    def __delitem__(self, key: str) -> None:
        del self._modules[key], self.__dict__[key]


class ParameterList(_Numbered):
    """A list of parameters; plain tensors become parameters when they are added."""

    _table = "_parameters"

    def __init__(self, values: Iterable[Any] | None = None) -> None:
        super().__init__()
        self.extend(() if values is None else values)

    def __setitem__(self, index: int, value: Any) -> None:
        super().__setitem__(index, value if isinstance(value, Parameter) else Parameter(value))

    def append(self, value: Any) -> Any:
        """Add a parameter behind the last."""
        self.register_parameter(str(len(self)), value if isinstance(value, Parameter) else Parameter(value))
        return self

    def extra_repr(self) -> str:
        """Return one line for every parameter."""
        return "\n".join(
            f"  ({i}): Parameter containing: [{value.dtype} of size {'x'.join(map(str, value.shape))}]"
            for i, value in enumerate(self)
        )
