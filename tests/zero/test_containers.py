"""Containers: access, changes, names and printing are PyTorch's."""

from collections import OrderedDict

import numpy as np
import pytest
import torch

from danlu import zero
from danlu.zero import nn


def shown(x):
    if isinstance(x, nn.Module | torch.nn.Module):
        return repr(x), list(x.state_dict())
    if isinstance(x, list | tuple):
        return [shown(v) for v in x]
    return tuple(x.shape) if isinstance(x, zero.Tensor | torch.Tensor) else x


def seq(m):
    return m.Sequential(m.Linear(1, 2), m.ReLU(), m.Linear(2, 3))


def then(x, change):
    change(x)
    return x


CALLS = {
    "ordered": lambda m, t: m.Sequential(OrderedDict(a=m.Linear(1, 2), b=m.ReLU())),
    "ordered slice": lambda m, t: m.Sequential(OrderedDict(a=m.Linear(1, 2), b=m.ReLU()))[1:],
    "index": lambda m, t: [seq(m)[0], seq(m)[-1], len(seq(m)), list(seq(m))],
    "slice": lambda m, t: [seq(m)[:2], seq(m)[::2], seq(m)[1:]],
    "append": lambda m, t: seq(m).append(m.Tanh()),
    "insert": lambda m, t: [seq(m).insert(1, m.Tanh()), seq(m).insert(0, m.Tanh()), seq(m).insert(3, m.Tanh())],
    "extend": lambda m, t: seq(m).extend(seq(m)),
    "plus": lambda m, t: seq(m) + seq(m),
    "pop": lambda m, t: then(seq(m), lambda s: s.pop(1)),
    "delete": lambda m, t: then(seq(m), lambda s: s.__delitem__(0)),
    "delete slice": lambda m, t: then(seq(m), lambda s: s.__delitem__(slice(0, 2))),
    "set": lambda m, t: then(seq(m), lambda s: s.__setitem__(-1, m.Tanh())),
    "add": lambda m, t: then(seq(m), lambda s: s.add_module("last", m.Tanh())),
    "empty": lambda m, t: [m.Sequential(), m.ModuleList(), m.ModuleDict(), m.ParameterList()],
    "beyond": lambda m, t: seq(m)[3],
    "before": lambda m, t: seq(m)[-4],
    "no module": lambda m, t: m.Sequential(3),
    "insert beyond": lambda m, t: seq(m).insert(5, m.ReLU()),
    "insert nothing": lambda m, t: seq(m).insert(0, 3),
    "list": lambda m, t: m.ModuleList(
        [m.ReLU(), m.ReLU(), m.Linear(1, 2), m.Linear(1, 2), m.Linear(2, 2), m.Sequential(m.ReLU())]
    ),
    "list index": lambda m, t: [m.ModuleList(seq(m))[1], m.ModuleList(seq(m))[1:], len(m.ModuleList(seq(m)))],
    "list append": lambda m, t: m.ModuleList().append(m.ReLU()).extend([m.Tanh()]),
    "list insert": lambda m, t: then(m.ModuleList(seq(m)), lambda x: x.insert(1, m.Tanh())),
    "list delete": lambda m, t: then(m.ModuleList(seq(m)), lambda x: x.__delitem__(0)),
    "list pop": lambda m, t: then(m.ModuleList(seq(m)), lambda x: x.pop(-1)),
    "list plus": lambda m, t: m.ModuleList(seq(m)) + m.ModuleList(seq(m)),
    "list call": lambda m, t: m.ModuleList(seq(m))(t.ones(1)),
    "list number": lambda m, t: m.ModuleList().extend(3),
    "dict": lambda m, t: m.ModuleDict({"a": m.Linear(1, 2), "b": m.ReLU()}),
    "dict pairs": lambda m, t: m.ModuleDict([("a", m.Linear(1, 2)), ("b", m.ReLU())]),
    "dict views": lambda m, t: [
        list(m.ModuleDict({"a": m.ReLU()}).keys()),
        "a" in m.ModuleDict({"a": m.ReLU()}),
        [k for k in m.ModuleDict({"b": m.ReLU()})],
    ],
    "dict update": lambda m, t: then(
        m.ModuleDict({"a": m.ReLU()}), lambda d: d.update(m.ModuleDict({"a": m.Tanh(), "c": m.ELU()}))
    ),
    "dict pop": lambda m, t: then(m.ModuleDict({"a": m.ReLU(), "b": m.ELU()}), lambda d: d.pop("a")),
    "dict clear": lambda m, t: then(m.ModuleDict({"a": m.ReLU()}), lambda d: d.clear()),
    "dict missing": lambda m, t: m.ModuleDict()["a"],
    "dict attribute": lambda m, t: m.ModuleDict({"keys": m.ReLU()}),
    "parameters": lambda m, t: m.ParameterList([m.Parameter(t.ones(2)), t.ones(3, 4)]),
    "parameters append": lambda m, t: m.ParameterList([t.ones(2)]).append(t.ones(1)).extend([t.ones(5)]),
    "parameters index": lambda m, t: [
        m.ParameterList([t.ones(2), t.ones(3)])[-1],
        len(m.ParameterList([t.ones(2), t.ones(3)])[:1]),
    ],
    "parameters beyond": lambda m, t: m.ParameterList([t.ones(2)])[1],
    "parameters of one": lambda m, t: m.ParameterList().extend(t.ones(2)),
    "parameters set": lambda m, t: then(m.ParameterList([t.ones(2)]), lambda p: p.__setitem__(0, t.ones(7))),
    "identity": lambda m, t: [m.Identity(3, a=4), m.Identity()(t.ones(2))],
    "flatten": lambda m, t: [m.Flatten(), m.Flatten()(t.ones(2, 3, 4)), m.Flatten(0, 1)(t.ones(2, 3, 4))],
    "unflatten": lambda m, t: [m.Unflatten(1, (2, 3)), m.Unflatten(1, (2, -1))(t.ones(5, 6))],
    "unflatten float": lambda m, t: m.Unflatten(1, (2, 3.0)),
    "unflatten int": lambda m, t: m.Unflatten(1, 2),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_containers_are_those_of_pytorch(call):
    try:
        theirs = shown(call(torch.nn, torch))
    except Exception as error:
        with pytest.raises(type(error)):
            call(nn, zero)
        return
    assert shown(call(nn, zero)) == theirs


def test_sequential_computes_and_trains_all_its_parts():
    model = seq(nn)
    x = zero.tensor(np.ones((2, 1), np.float32))
    by_hand = x
    for layer in model:
        by_hand = layer(by_hand)
    np.testing.assert_array_equal(model(x)._array, by_hand._array)
    model(x).sum().backward()
    assert all(p.grad is not None for p in model.parameters())
