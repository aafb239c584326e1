"""The module: a layer, or a network of layers; its attributes make a tree of modules, parameters and buffers."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from danlu.zero import dtypes
from danlu.zero.arguments import require
from danlu.zero.device import check, no_cuda
from danlu.zero.nn import hooks, state
from danlu.zero.nn.parameter import Parameter
from danlu.zero.tensor import Tensor

M = TypeVar("M", bound="Module")
Pairs = Iterator[tuple[str, Any]]


class Module:
    """Base class of all layers and networks: assign layers to attributes in `__init__`, compute in `forward`.

    Fields:
        training: whether it is in training mode, which dropout and batch normalisation look at.
    """

    # A parameter, buffer or child stands in `__dict__`, too, so that reading it costs what any attribute does.
    training: bool
    _version: int = 1
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, "Module | None"]
    _non_persistent_buffers_set: set[str]
    _hooks: "hooks.Hooks | None" = None
    _shown: Sequence[str] = ()

    def __init__(self) -> None:
        put = super().__setattr__
        put("training", True)
        put("_parameters", {})
        put("_buffers", {})
        put("_modules", {})
        put("_non_persistent_buffers_set", set())

    def forward(self, *inputs: Any) -> Any:
        """Compute the module's output; every subclass defines it."""
        raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """Call `forward` and the hooks; an error on the way tells in which layer it came up."""
        try:
            if self._hooks is None:
                return self.forward(*inputs, **options)
            return self._hooks.call(self, inputs, options)
        except Exception as error:
            hooks.locate(error, self)
            raise

    # Attributes

    def __setattr__(self, name: str, value: Any) -> None:
        known = self.__dict__
        for kind, table, wanted in KINDS:
            if isinstance(value, wanted) and wanted is not Tensor:
                self._ready(kind)
                self._forget(name, table)
                if name not in known[table]:
                    known.pop(name, None)
                self._register(kind, name, value)
                return
            if name in known.get(table, ()):
                _check_kind(kind, name, value, wanted)
                known[table][name] = known[name] = value
                return
        super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'", name=name, obj=self)

    def __delattr__(self, name: str) -> None:
        self._forget(name)
        super().__delattr__(name)

    def _forget(self, name: str, spare: str = "") -> None:
        """Take a name out of the parameters, buffers and children, but for the table `spare`: it keeps its place."""
        for _, table, _ in KINDS:
            if table != spare:
                self.__dict__[table].pop(name, None)
        self._non_persistent_buffers_set.discard(name)

    def _ready(self, kind: str) -> None:
        if "_modules" not in self.__dict__:
            raise AttributeError(f"cannot assign a {kind} before Module.__init__() call: begin with super().__init__()")

    def _register(self, kind: str, name: str, value: Any) -> None:
        """Put a value under a new name into the table of its kind."""
        self._ready(kind)
        table, wanted = next((table, wanted) for known, table, wanted in KINDS if known == kind)
        _check_kind(kind, name, value, wanted)
        require(isinstance(name, str), f"the name of a {kind} is a string", TypeError, name=name)
        require(name and "." not in name, f'the name of a {kind} is not empty and has no "."', KeyError, name=name)
        taken = name in self.__dict__ or any(name in known.__dict__ for known in type(self).__mro__)
        require(name in self.__dict__[table] or not taken, f"attribute '{name}' already exists", KeyError)
        self.__dict__[table][name] = self.__dict__[name] = value

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter under a name; None keeps the name for later and is left out of `parameters()`."""
        fits = not isinstance(param, Tensor) or param.grad_fn is None
        require(
            fits, f"Cannot assign non-leaf Tensor to parameter '{name}': compute it in forward() instead", ValueError
        )
        self._register("parameter", name, param)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that belongs to the module's state but is not trained; `persistent=False`: not saved either."""
        self._register("buffer", name, tensor)
        (self._non_persistent_buffers_set.discard if persistent else self._non_persistent_buffers_set.add)(name)

    def add_module(self, name: str, module: "Module | None") -> None:
        """Add a child under a name."""
        self._register("module", name, module)

    register_module = add_module

    # The tree

    def named_modules(self, memo: Any = None, prefix: str = "", remove_duplicate: bool = True) -> Pairs:
        """Yield (path, module) for this module and everything below it, every module once."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, child in self._modules.items():
            if child is not None:
                yield from child.named_modules(memo, f"{prefix}.{name}" if prefix else name, remove_duplicate)

    def modules(self) -> Iterator["Module"]:
        """Yield this module and everything below it, every module once."""
        return (module for _, module in self.named_modules())

    def named_children(self) -> Pairs:
        """Yield (name, module) for the direct children, every module once."""
        seen = set()
        for name, child in self._modules.items():
            if child is not None and child not in seen:
                seen.add(child)
                yield name, child

    def children(self) -> Iterator["Module"]:
        """Yield the direct children."""
        return (child for _, child in self.named_children())

    def _named(self, table: str, prefix: str, recurse: bool, remove_duplicate: bool) -> Pairs:
        seen = set()
        modules = self.named_modules(None, prefix, remove_duplicate) if recurse else [(prefix, self)]
        for path, module in modules:
            for name, tensor in module.__dict__[table].items():
                if tensor is None or id(tensor) in seen:
                    continue
                if remove_duplicate:
                    seen.add(id(tensor))
                yield f"{path}.{name}" if path else name, tensor

    def named_parameters(self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True) -> Pairs:
        """Yield (path, parameter) of this module and, with `recurse`, of everything below; shared ones once."""
        return self._named("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Yield the parameters of this module and, with `recurse`, of everything below."""
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    def named_buffers(self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True) -> Pairs:
        """Yield (path, buffer) of this module and, with `recurse`, of everything below."""
        return self._named("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """Yield the buffers of this module and, with `recurse`, of everything below."""
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def get_submodule(self, target: str) -> "Module":
        """Return the module at a path such as "net.0". Raises AttributeError where there is none."""
        module: Any = self
        for name in target.split(".") if target else ():
            module = module._held(name, "_modules")
        found: Module = module
        return found

    def get_parameter(self, target: str) -> Parameter:
        """Return the parameter at a path such as "net.0.weight". Raises AttributeError where there is none."""
        path, _, name = target.rpartition(".")
        return self.get_submodule(path)._held(name, "_parameters")  # type: ignore[no-any-return]

    def get_buffer(self, target: str) -> Tensor:
        """Return the buffer at a path such as "norm.running_mean". Raises AttributeError where there is none."""
        path, _, name = target.rpartition(".")
        return self.get_submodule(path)._held(name, "_buffers")  # type: ignore[no-any-return]

    def _held(self, name: str, table: str) -> Any:
        found = self.__dict__[table].get(name)
        if found is None:
            raise AttributeError(f"{type(self).__name__} has no `{name}` among its {table[1:]}")
        return found

    # What is done to the whole tree

    def apply(self: M, fn: Callable[["Module"], Any]) -> M:
        """Call `fn` with every module, children first."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def train(self: M, mode: bool = True) -> M:
        """Switch training mode on or off, here and below."""
        require(isinstance(mode, bool), "training mode is True or False", ValueError, mode=mode)
        self.training = mode
        for child in self.children():
            child.train(mode)
        return self

    def eval(self: M) -> M:  # model.eval(), which runs no text
        """Switch training mode off, here and below."""
        return self.train(False)

    def requires_grad_(self: M, requires_grad: bool = True) -> M:
        """Let all parameters get gradients, or none."""
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop all gradients, or set them to zero."""
        for parameter in self.parameters():
            if set_to_none:
                parameter.grad = None
            elif parameter.grad is not None:
                parameter.grad._array.fill(0)

    def to(self: M, *args: Any, dtype: Any = None, device: Any = None, non_blocking: bool = False) -> M:
        """Change the dtype of all floating-point parameters and buffers, in place; "cpu" is the only device."""
        for given in args:
            if isinstance(given, Tensor | dtypes.dtype):
                dtype = given.dtype if isinstance(given, Tensor) else given
            elif not isinstance(given, bool):
                device = given
        check(device)
        if dtype is not None:
            require(dtype.is_floating_point, "a model's dtype is floating", TypeError, dtype=dtype)
            state.cast(self, dtype.numpy)
        return self

    def float(self: M) -> M:
        """Change all floating-point parameters and buffers to float32; `double` and `half` to float64 and float16."""
        return self.to(dtypes.float32)

    def double(self: M) -> M:
        """See `float`."""
        return self.to(dtypes.float64)

    def half(self: M) -> M:
        """See `float`."""
        return self.to(dtypes.float16)

    def cpu(self: M) -> M:
        """Return the module: it is on the CPU."""
        return self

    cuda = no_cuda

    # State, hooks, printing

    def state_dict(
        self, *, destination: Any = None, prefix: str = "", keep_vars: bool = False
    ) -> "OrderedDict[str, Tensor]":
        """Return all parameters and persistent buffers by path; they share the module's memory."""
        return state.collect(self, destination, prefix, keep_vars)

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> "state.IncompatibleKeys":
        """Copy parameters and buffers out of a state dict; return (missing_keys, unexpected_keys).

        `assign`: take the tensors themselves. RuntimeError lists all that does not fit: shapes and, if `strict`, paths.
        """
        return state.load(self, state_dict, strict, assign)

    def register_forward_pre_hook(
        self, hook: Any, *, prepend: bool = False, with_kwargs: bool = False
    ) -> "hooks.Handle":
        """Call `hook(module, inputs)` before `forward`; what it returns replaces the inputs."""
        return hooks.of(self).add("before", hook, prepend, with_kwargs)

    def register_forward_hook(
        self, hook: Any, *, prepend: bool = False, with_kwargs: bool = False, always_call: bool = False
    ) -> "hooks.Handle":
        """Call `hook(module, inputs, output)` after `forward`; what it returns replaces the output."""
        require(not always_call, "not supported", NotImplementedError, always_call=always_call)
        return hooks.of(self).add("after", hook, prepend, with_kwargs)

    def register_full_backward_hook(self, hook: Any, prepend: bool = False) -> "hooks.Handle":
        """Call `hook(module, grad_input, grad_output)` in the backward pass; its result replaces grad_input."""
        return hooks.of(self).add("backward", hook, prepend)

    def extra_repr(self) -> str:
        """Return what `repr` shows of the module's own settings: those in `_shown`.

        There "n" stands for a bare value, "n=" for one with its name, "n?" for one that is shown where it is on.
        """
        parts = []
        for word in self._shown:
            name = word.rstrip("=?")
            value = getattr(self, name)
            if name == "bias":  # the parameter, or None
                value = value is not None and value is not False
            if value or word[-1] != "?":
                parts.append(str(value) if word == name else f"{name}={value!r}")
        return ", ".join(parts)

    def _get_name(self) -> str:
        return type(self).__name__

    def __repr__(self) -> str:
        extra = self.extra_repr()
        lines = extra.split("\n") if extra else []
        if len(lines) == 1 and not self._modules:
            return f"{self._get_name()}({extra})"
        lines += [f"({name}): {child!r}".replace("\n", "\n  ") for name, child in self._modules.items()]
        inside = "".join(f"\n  {line}" for line in lines)
        return f"{self._get_name()}({inside}\n)" if lines else f"{self._get_name()}()"

    def __dir__(self) -> list[str]:
        return sorted(name for name in {*dir(type(self)), *self.__dict__} if not name[0].isdigit())


def _check_kind(kind: str, name: str, value: Any, wanted: type) -> None:
    fits = value is None or isinstance(value, wanted)
    require(fits, f"{kind} '{name}' has to be a {wanted.__name__} or None", TypeError, value=value)


# What a module holds: kind, the attribute with all of that kind by name, and their class.
KINDS = (("parameter", "_parameters", Parameter), ("module", "_modules", Module), ("buffer", "_buffers", Tensor))
