"""The base of every optimizer: groups of parameters with their options, and the state kept for each parameter."""

import warnings
from collections import defaultdict
from collections.abc import Callable
from copy import deepcopy
from itertools import chain
from typing import Any

import numpy as np

from danlu.zero.tape import recording
from danlu.zero.tensor import Tensor, wrap

Group = dict[str, Any]


class Optimizer:
    """Change parameters by their gradients; subclass it, and write `step`, to make one of your own.

    Args:
        params: tensors, (name, tensor) pairs, or dicts with "params" and options of that group.
        defaults: options of groups that do not set them.

    Fields:
        param_groups: dicts of "params" and options; schedules write `lr` here.
        state: for every parameter, what the optimizer remembers of it.
    """

    _opt_called = True  # whether `step` was called; those that do not note it count as if it was

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise TypeError("params must be an iterable of Tensors or dicts, but got one Tensor; put it in a list")
        self.defaults = defaults
        self._arrays: dict[Any, tuple[Any, Any]] = {}
        self.state: defaultdict[Any, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[Group] = []
        groups = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        for group in groups if isinstance(groups[0], dict) else [{"params": groups}]:
            self.add_param_group(group)

    def add_param_group(self, param_group: Group) -> None:
        """Add parameters with options of their own.

        Raises:
            TypeError: it is no dict, or its parameters are a set or not tensors.
            ValueError: a parameter is no leaf, or belongs to another group.
        """
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        given = param_group["params"]
        if isinstance(given, set):
            raise TypeError("optimizer parameters must be an ordered collection; a set's order changes between runs")
        tensors = param_group["params"] = [given] if isinstance(given, Tensor) else list(given)
        for tensor in tensors:
            if not isinstance(tensor, Tensor):
                raise TypeError(
                    f"optimizer can only optimize Tensors, but one of the params is {type(tensor).__name__}"
                )
            if tensor.grad_fn is not None and not tensor.retains_grad:
                raise ValueError("can't optimize a non-leaf Tensor: an operation made it")
        if len(set(map(id, tensors))) != len(tensors):
            warnings.warn("optimizer contains a parameter group with duplicate parameters", stacklevel=3)
        known = {id(p) for group in self.param_groups for p in group["params"]}
        if any(id(tensor) in known for tensor in tensors):
            raise ValueError("some parameters appear in more than one parameter group")
        for name, default in self.defaults.items():
            param_group.setdefault(name, default)
        self.param_groups.append(param_group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients, or fill them with zeros."""
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none:
                    p.grad = None
                elif p.grad is not None:
                    p.grad._array.fill(0)
                    p.grad._version[0] += 1

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Change every parameter that has a gradient; `closure` computes the loss anew, and it is returned."""
        raise NotImplementedError(f"{type(self).__name__} has to define step()")

    def state_dict(self) -> dict[str, Any]:
        """Return state and options, with parameters numbered by position; the state's tensors are not copied."""
        numbers: dict[int, int] = {}
        for p in chain.from_iterable(group["params"] for group in self.param_groups):
            numbers.setdefault(id(p), len(numbers))
        groups = [{**group, "params": [numbers[id(p)] for p in group["params"]]} for group in self.param_groups]
        return {"state": {numbers.get(id(p), p): kept for p, kept in self.state.items()}, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take state and options that `state_dict` returned; tensors are copied, in their parameter's type.

        Raises:
            ValueError: the groups are not as many, or not as large, as this optimizer's.
        """
        saved = deepcopy(state_dict["param_groups"])
        sizes = [[len(group["params"]) for group in groups] for groups in (saved, self.param_groups)]
        if sizes[0] != sizes[1]:
            raise ValueError(f"loaded state dict has groups of {sizes[0]} parameters, the optimizer {sizes[1]}")
        state: defaultdict[Any, dict[str, Any]] = defaultdict(dict)
        for group, loaded in zip(self.param_groups, saved, strict=True):
            for number, p in zip(loaded["params"], group["params"], strict=True):
                if number in state_dict["state"]:
                    kept = state_dict["state"][number]
                    state[p] = {name: _copied(name, value, p._array.dtype) for name, value in kept.items()}
            loaded["params"] = group["params"]
        self.state, self.param_groups = state, saved

    def _scratch(self, p: Any, g: Any) -> tuple[Any, Any]:
        """Return two arrays like `p` to compute in; parameters of one shape share them. Its gradient has to fit."""
        if g.shape != p.shape:
            raise RuntimeError(f"a gradient of shape {list(g.shape)} cannot change a parameter of {list(p.shape)}")
        found = self._arrays.get((p.shape, p.dtype.char))
        if found is None:
            found = self._arrays[p.shape, p.dtype.char] = np.empty_like(p), np.empty_like(p)
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {"defaults": self.defaults, "state": self.state, "param_groups": self.param_groups}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._arrays = {}
        self.__dict__.update(state)

    def __repr__(self) -> str:
        text = f"{type(self).__name__} ("
        for i, group in enumerate(self.param_groups):
            text += f"\nParameter Group {i}\n"
            text += "".join(f"    {name}: {group[name]}\n" for name in sorted(group) if name != "params")
        return text + ")"


def evaluate(closure: Callable[[], Any]) -> Any:
    """Return a closure's loss; its operations are recorded even where recording is off."""
    with recording(True):
        return closure()


def number(value: Any) -> Any:
    """Return an option as a plain number; it may be a tensor of one element."""
    return value._array.item() if isinstance(value, Tensor) else value


def _copied(name: str, value: Any, dtype: Any) -> Any:
    """Return a copy of saved state: tensors in their parameter's type, but "step" in its own."""
    if not isinstance(value, Tensor):
        return deepcopy(value)
    return wrap(value._array.astype(value._array.dtype if name == "step" or dtype.kind != "f" else dtype))
