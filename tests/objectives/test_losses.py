"""Losses: PyTorch's values to the bit, and denominators that make any split of a batch add up to the whole."""

import functools
import itertools
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from danlu.errors import RecipeError
from danlu.objectives import LOSSES, LossFunction, make_loss
from danlu.recipe import Loss

Batch = tuple[Tensor, Tensor]
C = 4
F64 = torch.float64
WEIGHT = torch.tensor([0.5, 2.0, 1.0, 0.0], dtype=F64)


def numbers(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def indices(*shape: int, seed: int, high: int = C) -> Tensor:
    return torch.randint(0, high, shape, generator=torch.Generator().manual_seed(seed + 1))


def label_lists(n: int, seed: int) -> Tensor:
    rows = torch.stack([torch.randperm(C, generator=torch.Generator().manual_seed(seed + i)) for i in range(n)])
    return torch.where(torch.arange(C) <= torch.arange(n)[:, None] % C, rows, -1)


def classes(n: int, seed: int) -> Batch:
    return numbers(n, C, seed=seed), indices(n, seed=seed)


def some_ignored(value: int) -> Callable[[int, int], Batch]:
    def build(n: int, seed: int) -> Batch:
        output, target = classes(n, seed)
        return output, torch.where(indices(n, seed=seed + 7, high=2).bool(), target, value)

    return build


def flags(n: int, seed: int) -> Batch:
    return numbers(n, C, seed=seed), indices(n, C, seed=seed, high=2).double()


def signs(n: int, seed: int) -> Batch:
    output, target = flags(n, seed)
    return output, 2 * target - 1


CASES: dict[str, tuple[Loss, nn.Module, Callable[[int, int], Batch]]] = {
    "l1": (Loss("l1"), nn.L1Loss(), lambda n, s: (numbers(n, 3, seed=s), numbers(n, 3, seed=s + 1))),
    "mse": (Loss("mse"), nn.MSELoss(), lambda n, s: (numbers(n, seed=s), numbers(n, seed=s + 1))),
    "smooth_l1": (
        Loss("smooth_l1", beta=0.5),
        nn.SmoothL1Loss(beta=0.5),
        lambda n, s: (numbers(n, 3, seed=s), numbers(n, 3, seed=s + 1)),
    ),
    "huber": (
        Loss("huber", delta=0.3),
        nn.HuberLoss(delta=0.3),
        lambda n, s: (numbers(n, 3, seed=s), numbers(n, 3, seed=s + 1)),
    ),
    "cross_entropy": (Loss("cross_entropy"), nn.CrossEntropyLoss(), classes),
    "cross_entropy-100": (Loss("cross_entropy"), nn.CrossEntropyLoss(), some_ignored(-100)),
    "cross_entropy-ignore": (Loss("cross_entropy", ignore_index=1), nn.CrossEntropyLoss(ignore_index=1), classes),
    "cross_entropy-weight": (
        Loss("cross_entropy", weight=WEIGHT, ignore_index=-1),
        nn.CrossEntropyLoss(weight=WEIGHT, ignore_index=-1),
        some_ignored(-1),
    ),
    "cross_entropy-weight-ignore": (
        Loss("cross_entropy", weight=WEIGHT, ignore_index=2),
        nn.CrossEntropyLoss(weight=WEIGHT, ignore_index=2),
        classes,
    ),
    "cross_entropy-smooth": (
        Loss("cross_entropy", weight=WEIGHT + 0.1, ignore_index=0, label_smoothing=0.2),
        nn.CrossEntropyLoss(weight=WEIGHT + 0.1, ignore_index=0, label_smoothing=0.2),
        classes,
    ),
    "cross_entropy-probabilities": (
        Loss("cross_entropy", weight=WEIGHT),
        nn.CrossEntropyLoss(weight=WEIGHT),
        lambda n, s: (numbers(n, C, 3, seed=s), numbers(n, C, 3, seed=s + 1).softmax(1)),
    ),
    "cross_entropy-tokens": (
        Loss("cross_entropy", ignore_index=0),
        nn.CrossEntropyLoss(ignore_index=0),
        lambda n, s: (numbers(n, C, 5, seed=s), indices(n, 5, seed=s)),
    ),
    "nll": (
        Loss("nll", weight=WEIGHT),
        nn.NLLLoss(weight=WEIGHT),
        lambda n, s: (numbers(n, C, seed=s).log_softmax(1), indices(n, seed=s)),
    ),
    "nll2d": (
        Loss("nll2d", ignore_index=3),
        nn.NLLLoss(ignore_index=3),
        lambda n, s: (numbers(n, C, 2, 3, seed=s).log_softmax(1), indices(n, 2, 3, seed=s)),
    ),
    "kl_div": (
        Loss("kl_div"),
        nn.KLDivLoss(reduction="batchmean"),
        lambda n, s: (numbers(n, C, seed=s).log_softmax(1), numbers(n, C, seed=s + 1).softmax(1)),
    ),
    "kl_div-log": (
        Loss("kl_div", log_target=True),
        nn.KLDivLoss(reduction="batchmean", log_target=True),
        lambda n, s: (numbers(n, C, seed=s).log_softmax(1), numbers(n, C, seed=s + 1).log_softmax(1)),
    ),
    "bce": (Loss("bce"), nn.BCELoss(), lambda n, s: (flags(n, s)[0].sigmoid(), flags(n, s)[1])),
    "bce_with_logits": (
        Loss("bce_with_logits", pos_weight=WEIGHT, weight=WEIGHT),
        nn.BCEWithLogitsLoss(pos_weight=WEIGHT, weight=WEIGHT),
        flags,
    ),
    "margin_ranking": (
        Loss("margin_ranking", margin=0.5),
        nn.MarginRankingLoss(margin=0.5),
        lambda n, s: (numbers(n, 2, seed=s), signs(n, s)[1][:, 0]),
    ),
    "multi_label_margin": (
        Loss("multi_label_margin"),
        nn.MultiLabelMarginLoss(),
        lambda n, s: (numbers(n, C, seed=s), label_lists(n, s)),
    ),
    "multilabel_soft_margin": (
        Loss("multilabel_soft_margin", weight=WEIGHT),
        nn.MultiLabelSoftMarginLoss(weight=WEIGHT),
        flags,
    ),
    "soft_margin": (Loss("soft_margin"), nn.SoftMarginLoss(), signs),
}
every_case = pytest.mark.parametrize("case", CASES)


def reference(module: nn.Module, output: Tensor, target: Tensor) -> Tensor:
    if isinstance(module, nn.MarginRankingLoss):
        return module(output[:, 0], output[:, 1], target)
    return module(output, target)


def joined(loss: LossFunction, output: Tensor, target: Tensor, cuts: list[int]) -> float:
    """Split at `cuts`, sum totals and denominators, divide once."""
    total, denominator = torch.zeros((), dtype=F64), torch.zeros((), dtype=F64)
    edges = [0, *sorted(cuts), len(target)]
    for start, stop in itertools.pairwise(edges):
        if stop > start:
            part = target[start:stop]
            count = loss.denominator(part)
            total = total + loss.total(loss(output[start:stop], part), count)
            denominator = denominator + count
    return float(total if loss.reduction == "sum" else total / denominator)


def test_every_named_loss_is_tried():
    assert {spec.name for spec, _, _ in CASES.values()} == set(LOSSES)


@every_case
def test_value_is_pytorchs_to_the_bit(case):
    spec, module, build = CASES[case]
    output, target = build(9, 3)
    loss = make_loss(spec)
    expected = reference(module, output, target)
    assert loss(output, target).shape == ()
    assert torch.equal(loss(output, target), expected)
    assert torch.equal(loss.function(output, target), expected)
    assert loss.exact


@every_case
@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 12), seed=st.integers(0, 999), cuts=st.lists(st.integers(0, 12), max_size=5))
def test_any_split_adds_up_to_the_whole(case, n, seed, cuts):
    spec, module, build = CASES[case]
    output, target = build(n, seed)
    loss = make_loss(spec)
    got = joined(loss, output, target, [min(cut, n) for cut in cuts])
    whole = float(reference(module, output, target))
    assert got == pytest.approx(whole, rel=1e-12, abs=1e-13, nan_ok=True)


@every_case
def test_pytorch_module_has_the_same_denominator(case):
    spec, module, build = CASES[case]
    output, target = build(9, 5)
    given, named = make_loss(module), make_loss(spec)
    assert given.exact
    assert given.task == named.task
    assert given.reduction == named.reduction
    assert float(given.denominator(target)) == float(named.denominator(target))
    assert torch.equal(given(output, target), named(output, target))


@pytest.mark.parametrize("case", ["mse", "cross_entropy-weight", "kl_div", "bce_with_logits", "multi_label_margin"])
def test_reduction_sum_adds_up_too(case):
    spec, _, build = CASES[case]
    output, target = build(7, 2)
    loss = make_loss(Loss(spec.name, **{**spec.options, "reduction": "sum"}))
    mean = make_loss(spec)
    assert joined(loss, output, target, [3, 4]) == pytest.approx(float(loss(output, target)), rel=1e-12)
    assert float(loss(output, target)) == pytest.approx(
        float(mean(output, target)) * float(loss.denominator(target)), rel=1e-12
    )


def test_kl_div_mean_divides_by_elements():
    _, target = CASES["kl_div"][2](6, 1)
    loss = make_loss(nn.KLDivLoss())
    assert loss.denominator(target) == 24.0
    assert make_loss("kl_div").denominator(target) == 6.0


def test_denominators_by_hand():
    target = torch.tensor([0, 1, 1, -100, 3])
    assert int(make_loss("cross_entropy").denominator(target)) == 4
    assert int(make_loss(Loss("cross_entropy", ignore_index=1)).denominator(target[:3])) == 1
    assert float(make_loss(Loss("cross_entropy", weight=[1.0, 2.0, 4.0, 8.0])).denominator(target)) == 13.0
    assert make_loss("mse").denominator(torch.zeros(5, 3)) == 15.0
    assert make_loss("multi_label_margin").denominator(torch.zeros(5, 3, dtype=torch.long)) == 5.0


def test_gradient_of_the_total_skips_a_batch_that_is_all_ignored():
    output = torch.randn(3, C, requires_grad=True)
    target = torch.full((3,), -100)
    loss = make_loss("cross_entropy")
    total = loss.total(loss(output, target), loss.denominator(target))
    total.backward()
    assert float(total.detach()) == 0.0
    assert torch.equal(output.grad, torch.zeros(3, C))


def test_none_ignored_counts_without_a_look_at_the_values():
    target = torch.tensor([0, 1, 2])
    loss = make_loss("cross_entropy").none_ignored()
    assert loss.denominator(target) == 3.0
    assert loss.to("cpu").all_counted
    assert isinstance(loss.to("cpu").denominator(target), float)
    assert loss.denominator(torch.rand(5, C, 2)) == 10.0
    weighted = make_loss(Loss("cross_entropy", weight=[1.0, 2.0, 4.0, 8.0])).none_ignored()
    assert float(weighted.denominator(target)) == 7.0


def test_byte_targets_never_equal_a_negative_ignore_index():
    target = torch.tensor([156, 3], dtype=torch.uint8)
    assert int(make_loss("cross_entropy").denominator(target)) == 2


def test_to_moves_tensors_and_casts():
    loss = make_loss(Loss("cross_entropy", weight=[1.0, 2.0, 3.0, 4.0], ignore_index=1)).to("cpu", F64)
    output, target = classes(6, 0)
    assert torch.equal(
        loss(output, target), F.cross_entropy(output, target, torch.tensor([1.0, 2, 3, 4]).double(), ignore_index=1)
    )
    assert make_loss(Loss("cross_entropy", weight=[1.0])).to("meta").options["weight"].device.type == "meta"
    module = nn.CrossEntropyLoss(weight=torch.ones(4))
    assert make_loss(module).to("cpu", F64)(output, target).dtype is F64
    own = make_loss(lambda output, target: output.sum())
    assert own.to("cpu") is own


def test_pytorch_functions_are_recognised():
    output, target = classes(6, 0)
    for spec in (F.cross_entropy, functools.partial(F.cross_entropy, ignore_index=2, label_smoothing=0.1)):
        loss = make_loss(spec)
        assert (loss.name, loss.exact) == ("cross_entropy", True)
        assert torch.equal(loss(output, target), spec(output, target))
    assert int(make_loss(functools.partial(F.cross_entropy, ignore_index=2)).denominator(target)) == int(
        (target != 2).sum()
    )
    assert make_loss(F.kl_div).reduction == "mean"


def test_callables_are_weighted_by_samples():
    def focal(output: Tensor, target: Tensor) -> Tensor:
        return (output - target).square().mean()

    class Own(nn.MSELoss):
        pass

    for spec, name in ((focal, "focal"), (Own(), "Own"), (functools.partial(focal), "partial")):
        loss = make_loss(spec)
        assert (loss.name, loss.exact, loss.task, loss.reduction) == (name, False, "other", "mean")
        assert loss.denominator(torch.zeros(5, 3)) == 5.0
        assert loss.denominator({"boxes": [torch.zeros(6, 4)]}) == 6.0
        assert loss.denominator(None, torch.zeros(7, 3)) == 7.0


def test_margin_ranking_takes_a_pair_or_a_tensor():
    scores, target = CASES["margin_ranking"][2](8, 1)
    for loss in (make_loss(CASES["margin_ranking"][0]), make_loss(nn.MarginRankingLoss(margin=0.5))):
        assert torch.equal(loss((scores[:, 0], scores[:, 1]), target), loss(scores, target))


@pytest.mark.parametrize(
    ("spec", "where", "says"),
    [
        (Loss("cross_entropi"), "loss.name", "cross_entropy"),
        (Loss("cross_entropy", label_smooting=0.1), "loss.label_smooting", "label_smoothing"),
        (Loss("mse", weight=[1.0]), "loss.weight", "reduction"),
        (Loss("mse", size_average=True), "loss.size_average", "reduction"),
        (Loss("mse", reduction="none"), "loss.reduction", "mean"),
        (Loss("mse", reduction="batchmean"), "loss.reduction", "sum"),
        (nn.MSELoss(reduction="none"), "loss.reduction", "mean"),
        (Loss("cross_entropy", label_smoothing=1.5), "loss.label_smoothing", "from 0 to 1"),
        (Loss("cross_entropy", ignore_index=0.5), "loss.ignore_index", "whole number"),
        (Loss("cross_entropy", weight="heavy"), "loss.weight", "list of numbers"),
        (Loss("cross_entropy", weight=[1.0, -1.0]), "loss.weight", ">= 0"),
        (Loss("cross_entropy", weight=[1.0, float("nan")]), "loss.weight", ">= 0"),
        (Loss("cross_entropy", weight=[1.0, 0.0], label_smoothing=0.1), "loss.weight", "infinite"),
        (nn.CrossEntropyLoss(torch.tensor([1.0, 0.0]), label_smoothing=0.1), "loss.weight", "infinite"),
        (Loss("huber", delta=0), "loss.delta", "> 0"),
        (Loss("smooth_l1", beta=-1), "loss.beta", ">= 0"),
        (Loss("kl_div", log_target=1), "loss.log_target", "true or false"),
        (Loss("margin_ranking", margin="wide"), "loss.margin", "a number"),
        (3, "loss", "callable"),
    ],
)
def test_mistakes_say_where_and_what(spec, where, says):
    with pytest.raises(RecipeError) as caught:
        make_loss(spec)
    assert caught.value.where == where
    assert says in str(caught.value)
