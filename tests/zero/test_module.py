"""Modules: attributes, tree, state, hooks and printing are PyTorch's."""

import copy
import pickle

import numpy as np
import pytest
import torch

from danlu import zero
from danlu.zero import nn


def both(build):
    return build(nn, zero), build(torch.nn, torch)


def net(m, t):
    class Block(m.Module):
        def __init__(self):
            super().__init__()
            self.first = m.Linear(3, 4)
            self.scale = m.Parameter(t.ones(4))
            self.register_buffer("mean", t.zeros(4))
            self.register_buffer("scratch", t.zeros(2), persistent=False)
            self.register_parameter("nothing", None)
            self.layers = m.Sequential(m.ReLU(), m.Linear(4, 4, bias=False), m.Dropout(0.1))
            self.again = self.first
            self.number = 7

        def forward(self, x):
            return self.layers(self.first(x) * self.scale)

    return Block()


def names(module):
    return {
        "parameters": [n for n, _ in module.named_parameters()],
        "own": [n for n, _ in module.named_parameters(recurse=False)],
        "prefixed": [n for n, _ in module.named_parameters("p")],
        "twice": [n for n, _ in module.named_parameters(remove_duplicate=False)],
        "buffers": [n for n, _ in module.named_buffers()],
        "modules": [(n, type(k).__name__) for n, k in module.named_modules()],
        "children": [n for n, _ in module.named_children()],
        "state": list(module.state_dict(prefix="x.")),
        "counts": [len(list(f())) for f in (module.parameters, module.buffers, module.modules, module.children)],
        "metadata": dict(module.state_dict()._metadata),
        "repr": repr(module),
        "dir": [n for n in ("first", "scale", "mean", "layers", "number", "forward") if n in dir(module)],
    }


def test_the_tree_is_that_of_pytorch():
    ours, theirs = both(net)
    a, b = names(ours), names(theirs)
    for what in a:
        assert a[what] == b[what], what


CHANGES = {
    "replaced by None": lambda n, m, t: setattr(n, "scale", None),
    "parameter for parameter": lambda n, m, t: setattr(n, "scale", m.Parameter(t.zeros(2))),
    "child for child": lambda n, m, t: setattr(n, "first", m.Linear(1, 2)),
    "buffer for buffer": lambda n, m, t: setattr(n, "mean", t.ones(9)),
    "parameter for child": lambda n, m, t: setattr(n, "layers", m.Parameter(t.zeros(2))),
    "deleted": lambda n, m, t: [delattr(n, k) for k in ("scale", "mean", "layers")],
    "added": lambda n, m, t: (n.add_module("more", m.Tanh()), n.register_module("yet", m.Tanh())),
    "plain then parameter": lambda n, m, t: setattr(n, "number", m.Parameter(t.zeros(2))),
    "train": lambda n, m, t: n.train(False),
    "nested": lambda n, m, t: setattr(n.layers, "1", m.Linear(4, 1)),
    "filled later": lambda n, m, t: setattr(n, "nothing", m.Parameter(t.zeros(2))),
    "double": lambda n, m, t: n.double(),
    "frozen": lambda n, m, t: n.requires_grad_(False),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_changes(change):
    ours, theirs = both(net)
    change(ours, nn, zero), change(theirs, torch.nn, torch)
    assert names(ours) == names(theirs)
    assert [m.training for m in ours.modules()] == [m.training for m in theirs.modules()]
    assert [(p.requires_grad, str(p.dtype)) for p in ours.parameters()] == [
        (p.requires_grad, str(p.dtype)) for p in theirs.parameters()
    ]


def early(m, value):
    class Early(m.Module):
        def __init__(self):
            self.x = value

    return Early()


MISUSE = {
    "no forward": lambda m, t: m.Module()(t.ones(1)),
    "parameter before init": lambda m, t: early(m, m.Parameter(t.ones(1))),
    "child before init": lambda m, t: early(m, m.ReLU()),
    "no such attribute": lambda m, t: m.Linear(1, 1).nothing,
    "no parameter": lambda m, t: setattr(m.Linear(1, 1), "weight", t.ones(1, 1)),
    "child for parameter": lambda m, t: setattr(net(m, t), "scale", m.ReLU()),
    "no child": lambda m, t: setattr(net(m, t), "first", 3),
    "no buffer": lambda m, t: setattr(net(m, t), "mean", 3),
    "dot": lambda m, t: m.Module().add_module("a.b", m.ReLU()),
    "empty name": lambda m, t: m.Module().register_buffer("", t.ones(1)),
    "no string": lambda m, t: m.Module().add_module(1, m.ReLU()),
    "taken": lambda m, t: m.Module().register_buffer("forward", t.ones(1)),
    "not a module": lambda m, t: m.Module().add_module("a", 1),
    "not a parameter": lambda m, t: m.Module().register_parameter("a", t.ones(1)),
    "not a buffer": lambda m, t: m.Module().register_buffer("a", 1),
    "mode": lambda m, t: m.Module().train(1),
    "no path": lambda m, t: net(m, t).get_submodule("layers.7"),
    "no module there": lambda m, t: net(m, t).get_submodule("number"),
    "no parameter there": lambda m, t: net(m, t).get_parameter("layers.weight"),
    "buffer asked as parameter": lambda m, t: net(m, t).get_parameter("mean"),
    "parameter asked as buffer": lambda m, t: net(m, t).get_buffer("scale"),
    "integer module": lambda m, t: m.Linear(1, 1).to(t.int64),
    "integer parameter": lambda m, t: m.Parameter(t.ones(1, dtype=t.int64)),
    "state of a number": lambda m, t: m.Linear(1, 1).load_state_dict(3),
    "delete": lambda m, t: delattr(m.Linear(1, 1), "nothing"),
    "wrong width": lambda m, t: net(m, t)(t.ones(2, 5)),
}


@pytest.mark.parametrize("call", MISUSE.values(), ids=MISUSE)
def test_misuse_raises_the_same_type(call):
    with pytest.raises(Exception) as theirs:  # noqa: PT011 - PyTorch says which
        call(torch.nn, torch)
    with pytest.raises(theirs.type):
        call(nn, zero)


def test_an_error_tells_its_layer():
    model = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.ReLU(), nn.Linear(4, 5)))
    with pytest.raises(RuntimeError, match=r"7, 3.*4, 5") as error:
        model(zero.ones(7, 2))
    assert error.value.__notes__ == ["in layer '1.1' (Linear)"]
    with pytest.raises(RuntimeError) as error:
        nn.Linear(2, 3)(zero.ones(7, 3))
    assert error.value.__notes__ == ["in Linear(in_features=2, out_features=3, bias=True)"]


def test_state_dict_is_carried_over():
    ours, theirs = both(net)
    result = ours.load_state_dict({k: zero.tensor(v.numpy()) for k, v in theirs.state_dict().items()})
    assert (result.missing_keys, result.unexpected_keys, repr(result)) == ([], [], "<All keys matched successfully>")
    x = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
    y, z = ours.eval()(zero.tensor(x)), theirs.eval()(torch.tensor(x))
    np.testing.assert_allclose(y.detach().numpy(), z.detach().numpy(), rtol=1e-5)
    state = ours.state_dict()
    state["scale"].fill_(3)
    assert ours.scale[0].item() == 3
    assert not state["scale"].requires_grad
    assert ours.state_dict(keep_vars=True)["scale"] is ours.scale


def test_loading_lists_everything_that_is_wrong():
    messages, results = [], []
    for m, t in ((nn, zero), (torch.nn, torch)):
        model = net(m, t)
        state = model.state_dict()
        state["more"] = state.pop("mean")
        result = model.load_state_dict(state, strict=False)
        results.append((result.missing_keys, result.unexpected_keys))
        state["scale"] = t.ones(5)
        with pytest.raises(RuntimeError, match="size mismatch for scale") as error:
            model.load_state_dict(state)
        messages.append(str(error.value))
    assert messages[0] == messages[1]
    assert results[0] == results[1]
    assign = nn.Linear(2, 2)
    given = {"weight": zero.ones(2, 2), "bias": nn.Parameter(zero.ones(2))}
    assign.load_state_dict(given, assign=True)
    assert assign.bias is given["bias"]
    assert isinstance(assign.weight, nn.Parameter)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["copy", "pickle"])
def test_copies_are_whole_and_apart(duplicate):
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 3))
    model[2].weight.requires_grad = False
    model.tied = model[0]
    twin = duplicate(model)
    assert names(twin) == names(model)
    assert twin.tied is twin[0]
    assert twin[0].weight is twin[0]._parameters["weight"]
    assert type(twin[0].weight) is nn.Parameter
    assert not twin[2].weight.requires_grad
    twin[0].weight._array[:] = 0
    assert model[0].weight._array.any()


def test_apply_zero_grad_and_casts():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    seen = []
    assert model.apply(lambda m: seen.append(type(m).__name__)) is model
    assert seen == ["Linear", "Linear", "Sequential"]
    model(zero.ones(1, 2)).sum().backward()
    model.zero_grad(set_to_none=False)
    assert all((p.grad._array == 0).all() for p in model.parameters())
    model.zero_grad()
    assert all(p.grad is None for p in model.parameters())
    weight = model[0].weight
    assert model.to("cpu", zero.float64)[0].weight is weight
    assert weight.dtype is zero.float64
    with pytest.raises(RuntimeError, match="cuda"):
        model.to("cuda")


def hooked(m, t):
    log, model = [], m.Sequential(m.Linear(2, 3), m.Tanh())
    with t.no_grad():
        for p in model.parameters():
            p.fill_(0.5)
    handles = [
        model.register_forward_pre_hook(lambda _, inputs: log.append(("pre", len(inputs))) or (inputs[0] * 2,)),
        model.register_forward_hook(lambda _, inputs, y: log.append(("post", y.sum().item())) or y * 3),
        model.register_forward_hook(lambda *_: log.append("first"), prepend=True),
        model[0].register_forward_hook(lambda _, i, o, y: log.append(("options", o)), with_kwargs=True),
        model.register_full_backward_hook(
            lambda _, gi, go: log.append(("back", [g.sum().item() for g in gi], go[0].sum().item())) or (gi[0] * 10,)
        ),
        model[1].register_full_backward_hook(lambda _, gi, go: log.append(("inner", gi[0].shape, go[0].shape))),
    ]
    x = t.ones(2, 2, requires_grad=True)
    model(x).sum().backward()
    log.append(x.grad.sum().item())
    for handle in handles:
        handle.remove()
    model(x).sum().backward()
    return log, [p.grad.sum().item() for p in model.parameters()]


def test_hooks():
    ours, theirs = both(hooked)
    for a, b in zip(str(ours).split(), str(theirs).split(), strict=True):
        try:
            assert float(a.strip("[](),")) == pytest.approx(float(b.strip("[](),")), rel=1e-5)
        except ValueError:
            assert a == b


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
def test_backward_hook_where_no_input_wants_a_gradient():
    for m, t in ((nn, zero), (torch.nn, torch)):
        seen = []
        model = m.Linear(2, 1)
        model.register_full_backward_hook(lambda _, gi, go, seen=seen: seen.append((gi, go[0].shape)))
        model(t.ones(3, 2)).sum().backward()
        assert seen == [((None,), (3, 1))]
        assert model.weight.grad is not None


def test_parameter():
    p = nn.Parameter(zero.ones(2))
    assert repr(p).startswith("Parameter containing:\n")
    assert p.requires_grad
    assert p.is_leaf
    assert not nn.Parameter(zero.ones(2), requires_grad=False).requires_grad
    p.grad = zero.ones(2)
    q = copy.deepcopy(p)
    assert isinstance(q, nn.Parameter)
    assert q.grad is not p.grad
