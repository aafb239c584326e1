"""Misuse: PyTorch's type of exception, and a sentence that says what to do; and silence where PyTorch is silent."""

import copy
import pickle

import numpy as np
import pytest

import danlu.zero as zero
from danlu.zero import doors, nn


def leaf(*values):
    return zero.tensor(values, requires_grad=True)


def twice(x):
    y = (x * x).sum()
    y.backward()
    y.backward()


def changed_in_place(x):
    y = x * 1
    z = (y * y).sum()
    y.zero_()
    z.backward()


def in_a_model():
    model = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.ReLU()))
    model[1].fc = nn.Linear(4, 5)
    model(zero.ones(7, 2))


CASES = [
    (lambda: zero.ones(()).backward(), RuntimeError, "does not require grad and does not have a grad_fn"),
    (lambda: twice(leaf(1.0)), RuntimeError, "second time.*retain_graph=True"),
    (lambda: (leaf(1.0, 2.0) * 2).backward(), RuntimeError, r"only for scalar outputs.*\.sum\(\).*output = \[2\]"),
    (lambda: zero.ones(2, 3) + zero.ones(4), RuntimeError, r"\[2, 3\] and \[4\]"),
    (lambda: zero.ones(2, 3) @ zero.ones(4, 5), RuntimeError, r"\[2, 3\].*\[4, 5\]"),
    (in_a_model, RuntimeError, r"\[7, 3\].*\[4, 5\]"),
    (lambda: nn.CrossEntropyLoss()(zero.ones(3, 4), zero.ones(3)), RuntimeError, r"target\.long\(\)"),
    (lambda: nn.CrossEntropyLoss()(zero.ones(1, 4), zero.tensor([4])), IndexError, "4 is out of bounds.*4 classes"),
    (lambda: zero.tensor([1, 2], requires_grad=True), RuntimeError, r"floating point.*\[2\] int64"),
    (lambda: changed_in_place(leaf(1.0)), RuntimeError, r"modified by an inplace.*MulBackward0.*clone\(\)"),
    (lambda: zero.ones(3)[::-1], ValueError, "step"),
    (lambda: zero.ones(3).__setitem__(slice(None, None, -1), 0.0), ValueError, "step"),
]


@pytest.mark.parametrize(("misuse", "kind", "text"), CASES, ids=[text for *_, text in CASES])
def test_misuse_is_told_in_a_sentence(misuse, kind, text):
    with pytest.raises(kind, match=f"(?s){text}"):
        misuse()


def test_an_error_names_the_layer_by_its_path():
    with pytest.raises(RuntimeError) as error:
        in_a_model()
    assert error.value.__notes__ == ["in layer '1.fc' (Linear)"]


def test_nan_is_traced_to_its_operation_and_line():
    with zero.detect_anomaly(), pytest.raises(RuntimeError, match=r"LogBackward0.*test_errors\.py.*leaf\(-1\.0\)\.log"):
        leaf(-1.0).log()
    with zero.detect_anomaly():
        y = (leaf(0.0) * 0).sqrt()  # its slope is infinite
        with pytest.raises(RuntimeError, match=r"backward.*its slope is infinite"):
            (y * 0).backward()


@pytest.mark.parametrize("duplicate", [lambda x: pickle.loads(pickle.dumps(x)), copy.deepcopy, copy.copy])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool"])
def test_copies_have_the_canonical_type_object(duplicate, dtype):
    x = zero.ones(3, dtype=getattr(zero, dtype))
    model = duplicate(nn.Linear(2, 2))
    for array in (duplicate(x)._array, model.weight._array, duplicate(nn.Parameter(zero.ones(3)))._array):
        assert array.dtype is np.dtype(array.dtype.type)


@pytest.mark.parametrize("operation", [lambda y, k: y * k, lambda y, k: k * y, lambda y, _: y * 3, lambda y, k: y / k])
def test_a_factor_that_needs_no_gradient_saves_nothing_of_the_other(operation):
    y = leaf(1.0, 2.0) * 1
    z = operation(y, zero.tensor([3.0, 4.0])).sum()
    y.zero_()  # would be noticed if it were needed to go back
    z.backward()


LARGE = zero.tensor([[np.inf, 3e38], [-np.inf, np.nan]])
SILENT = {
    **{name: lambda x, name=name: getattr(zero, name)(x, -x) for name in ("add", "sub", "mul", "div", "pow")},
    **{name: lambda x, name=name: getattr(zero, name)(x) for name in ("sum", "mean", "prod", "var", "exp", "square")},
    "cumsum": lambda x: x.cumsum(0),
    "matmul": lambda x: x @ x,
    "einsum": lambda x: zero.einsum("ij,kl->ijkl", x, x),
    "in place": lambda x: x.clone().add_(x).mul_(x),
    "half": lambda x: (x.half() + x.half(), x.half() * 60000),
    "assigned": lambda x: x.clone().__setitem__(0, zero.tensor([1e300, 1.0], dtype=zero.float64)),
    "made": lambda x: (zero.tensor(1e300), zero.tensor([1e300], dtype=zero.float16)),
    "losses": lambda x: (
        nn.MSELoss()(x, -x),
        nn.L1Loss()(x, x),
        nn.HuberLoss()(x, x),
        nn.KLDivLoss(reduction="sum")(x, x),
    ),
    "norms": lambda x: (nn.BatchNorm1d(2)(x), nn.LayerNorm(2)(x), nn.GroupNorm(1, 2)(x)),
    "pools": lambda x: (nn.AvgPool1d(2)(x), nn.MaxPool1d(2)(x), nn.AdaptiveAvgPool1d(1)(x)),
    "layers": lambda x: (nn.Linear(2, 1)(x), nn.LSTM(2, 3)(x), nn.Dropout()(x), nn.Conv1d(2, 1, 2)(x)),
    "backward": lambda x: (leaf(3e38, 1.0) * 3e38).sum().backward(),
}


@pytest.mark.parametrize("name", SILENT)
def test_infinities_and_nan_bring_no_warning(name):
    SILENT[name](LARGE)


def test_an_operation_leaves_numpys_own_settings_alone():
    before = np.geterr()
    LARGE - LARGE
    assert np.geterr() == before
    with pytest.warns(RuntimeWarning, match="invalid"):
        LARGE._array - LARGE._array


def test_a_module_that_cannot_be_imported_is_told(monkeypatch):
    monkeypatch.setattr(doors, "MODULES", [*doors.MODULES, "nowhere"])
    with pytest.raises(ModuleNotFoundError, match="nowhere"):
        doors.operations()


def test_types_meet_as_the_namespace_says():
    assert zero.result_type(zero.tensor([1]), 1.5) is zero.float32
    assert zero.can_cast(zero.float64, zero.float32)
    assert not zero.can_cast(zero.float32, zero.int64)


def misspelt(kind, *sizes, **others):
    return lambda: kind(*sizes, bais=1, **others)


def wrong_backward():
    class Wrong(zero.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return 2 * x

        @staticmethod
        def backward(ctx, g):
            return zero.ones(3)

    Wrong.apply(zero.ones(2, requires_grad=True)).sum().backward()


def wrong_gradient(kind):
    p = zero.ones(2, requires_grad=True)
    p.grad = zero.ones(2, 2)
    kind([p], lr=0.1).step()


ones = zero.ones
SENTENCES = [
    (lambda: nn.Linear(2, 1)(ones(4, 3)), RuntimeError, r"^linear: mat1 and mat2 [^.]*\[4, 3\] and \[2, 1\]"),
    (lambda: nn.Linear(2, 1)(ones(4, 2).double()), RuntimeError, r"float64 and float32: .* \.float\(\)"),
    (lambda: nn.Linear(2, 1)([1.0, 2.0]), TypeError, "^Linear: argument 'input' must be a Tensor, not list"),
    (lambda: nn.Linear(2, 1)(np.ones((4, 2), np.float32)), TypeError, "argument 'input' .* not ndarray"),
    (lambda: ones(3) @ ones(4), RuntimeError, "^matmul: .* 3 is not 4$"),
    (lambda: zero.dot(ones(2), ones(3)), RuntimeError, "^dot: .* 2 is not 3$"),
    (lambda: zero.mm(ones(2, 3), ones(2, 3)), RuntimeError, "^mm: .* 3 is not 2$"),
    (lambda: nn.Conv2d(3, 4, 3)(ones(1, 4, 8, 8)), RuntimeError, "^want 3 channels, got 4"),
    (lambda: nn.GRU(2, 3)(ones(4, 1, 2), ones(1, 2, 3)), RuntimeError, r"^hx: want .*\[1, 1, 3\], got \[1, 2, 3\]"),
    (misspelt(nn.Linear, 2, 2), TypeError, "^Linear: unexpected keyword argument 'bais'"),
    (misspelt(nn.LSTM, 2, 2), TypeError, "^LSTM: unexpected keyword argument 'bais'"),
    (misspelt(nn.BatchNorm2d, 2), TypeError, "^BatchNorm2d: unexpected keyword argument 'bais'"),
    (misspelt(nn.MultiheadAttention, 4, 2), TypeError, "^MultiheadAttention: unexpected keyword argument 'bais'"),
    (misspelt(nn.Conv2d, 2, 2, 2), TypeError, "^Conv2d: unexpected keyword argument 'bais'"),
    (misspelt(zero.optim.SGD, [ones(1)], lr=1), TypeError, "^SGD: unexpected keyword argument 'bais'"),
    (wrong_backward, RuntimeError, r"^Wrong.backward .* \[3\], of an input of shape \[2\]$"),
    (lambda: wrong_gradient(zero.optim.SGD), RuntimeError, r"\[2, 2\] cannot change a parameter of \[2\]"),
    (lambda: wrong_gradient(zero.optim.Adam), RuntimeError, r"\[2, 2\] cannot change a parameter of \[2\]"),
    (lambda: float(ones(2)), ValueError, "only one element"),
    (lambda: ones(3)[0.5], IndexError, "not 0.5"),
    (lambda: zero.tensor(["a"]), ValueError, "numbers are wanted"),
    (lambda: zero.draw(3), TypeError, "^draw: a tensor is wanted"),
    (lambda: ones(2).cuda(), AssertionError, r"leave \.cuda\(\) out"),
    (lambda: nn.Linear(2, 2).cuda(), AssertionError, r"leave \.cuda\(\) out"),
    (lambda: zero.zeros(2, dtype="float32"), TypeError, "torch.float32, not 'float32'"),
]  # fmt: skip


@pytest.mark.parametrize(("slip", "kind", "sentence"), SENTENCES)
def test_an_error_says_what_failed_and_no_more(slip, kind, sentence):
    with pytest.raises(kind, match=sentence):
        slip()
