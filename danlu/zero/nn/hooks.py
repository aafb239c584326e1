"""Hooks: functions that are called before, after and on the way back through a module."""

from collections.abc import Callable
from itertools import count
from typing import Any, final

from danlu.zero.tape import Mode, record
from danlu.zero.tensor import Tensor, wrap

_keys = count()


@final
class Handle:
    """What a `register_..._hook` returns; `remove()` takes the hook away again."""

    def __init__(self, entries: dict[int, Any], key: int) -> None:
        self._entries, self.id = entries, key

    def remove(self) -> None:
        """Take the hook away; a second call does nothing."""
        self._entries.pop(self.id, None)

    def __enter__(self) -> "Handle":
        return self

    def __exit__(self, *_: Any) -> None:
        self.remove()


@final
class Hooks:
    """A module's hooks, by kind: "before", "after", "backward"; each kind is {key: (hook, with_kwargs)}."""

    def __init__(self) -> None:
        self.kinds: dict[str, dict[int, tuple[Any, bool]]] = {"before": {}, "after": {}, "backward": {}}

    def add(self, kind: str, hook: Any, prepend: bool = False, with_kwargs: bool = False) -> Handle:
        """Add a hook, last or first of its kind."""
        entries, key = self.kinds[kind], next(_keys)
        others = dict(entries)
        if prepend:
            entries.clear()
        entries[key] = (hook, with_kwargs)
        entries.update(others)
        return Handle(entries, key)

    def call(self, module: Any, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Call a module's `forward` with everything around it."""
        for hook, with_kwargs in list(self.kinds["before"].values()):
            result = hook(module, inputs, options) if with_kwargs else hook(module, inputs)
            if result is not None and with_kwargs:
                inputs, options = result
            elif result is not None:
                inputs = result if isinstance(result, tuple) else (result,)
        back = _Backward(module, list(self.kinds["backward"].values())) if self.kinds["backward"] else None
        if back is not None:
            inputs = back.watch(inputs, back.arrived)
        output = module.forward(*inputs, **options)
        for hook, with_kwargs in list(self.kinds["after"].values()):
            result = hook(module, inputs, options, output) if with_kwargs else hook(module, inputs, output)
            output = output if result is None else result
        if back is None:
            return output
        outputs = back.watch(output if isinstance(output, tuple) else (output,), back.leaving)
        return outputs if isinstance(output, tuple) else outputs[0]


@final
class _Backward:
    """One call of a module between two nodes: `leaving` sees its output's gradients, `arrived` its inputs'."""

    def __init__(self, module: Any, entries: list[tuple[Any, bool]]) -> None:
        self.module, self.entries = module, entries
        self.grad_output: tuple[Any, ...] = ()
        self.inputs: int | None = None  # how many inputs there are while none of them wants a gradient

    def watch(self, values: tuple[Any, ...], seen: Callable[[Any], Any]) -> tuple[Any, ...]:
        """Return the values with one node behind all tensors among them that want gradients."""
        places = [i for i, x in enumerate(values) if isinstance(x, Tensor) and x.requires_grad]
        if not (places and Mode.record):
            self.inputs = len(values) if seen == self.arrived else self.inputs
            return values

        def gradients(g: Any) -> tuple[Any, ...]:
            arrays = dict(zip(places, [g] if len(places) == 1 else g, strict=True))
            given = (arrays.get(i) for i in range(len(values)))
            results = seen(tuple(None if array is None else wrap(array) for array in given))
            return tuple(None if results[i] is None else results[i]._array for i in places)

        passed = [wrap(x._array) if i in places else x for i, x in enumerate(values)]
        record("BackwardHookFunctionBackward", [values[i] for i in places], gradients, *[passed[i] for i in places])
        for i in places:
            passed[i]._version = values[i]._version
        return tuple(passed)

    def leaving(self, gradients: tuple[Any, ...]) -> tuple[Any, ...]:
        """Keep the output's gradients for the hooks, which are called here where no input wants a gradient."""
        self.grad_output = gradients
        if self.inputs is not None:
            self.arrived((None,) * self.inputs)
        return gradients

    def arrived(self, gradients: tuple[Any, ...]) -> tuple[Any, ...]:
        """Call the hooks; return what they make of the inputs' gradients."""
        for hook, _ in self.entries:
            result = hook(self.module, gradients, self.grad_output)
            if result is not None:
                gradients = result if isinstance(result, tuple) else (result,)
        return gradients


def of(module: Any) -> Hooks:
    """Return a module's hooks; the first time, make them."""
    module._hooks = module._hooks or Hooks()
    return module._hooks  # type: ignore[no-any-return]


def locate(error: Exception, module: Any) -> None:
    """Note on an error in which layer of a module it came up; every module further out makes the path longer."""
    layer, note = getattr(error, "_layer", (module, None))
    path = next((path for path, known in module.named_modules() if known is layer), "")
    if note is not None and not path:
        return
    name = type(layer).__name__
    wider = f"in layer '{path}' ({name})" if path else f"in {layer!r}" if not layer._modules else f"in {name}"
    kept = [known for known in getattr(error, "__notes__", ()) if known != note]
    error.__notes__ = [*kept, wider]
    error._layer = (layer, wider)  # type: ignore[attr-defined]
