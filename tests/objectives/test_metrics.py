"""Metrics against scikit-learn, and the law that batches of any size give the value of the whole."""

import itertools
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from torch import Tensor

from danlu.errors import RecipeError
from danlu.objectives import METRICS, Objective, higher_is_better, make_loss
from danlu.recipe import Loss, Metric

C = 5


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def measure(loss, metrics, output: Tensor, target: Tensor, cuts: list[int] | None = None) -> dict:
    """Run an objective over a batch, split at `cuts`."""
    objective = Objective(make_loss(loss), metrics)
    objective.prepare(output, target)
    sums = objective.zeros()
    edges = [0, *sorted(cuts or []), len(target)]
    for start, stop in itertools.pairwise(edges):
        if stop > start:
            part = (output[start:stop], target[start:stop])
            objective.add(sums, objective.loss(*part), *part)
    return objective.read(sums.numpy())


def classes(n: int, seed: int, high: int = C) -> tuple[Tensor, Tensor]:
    output = torch.randn(n, C, dtype=torch.float64, generator=generator(seed))
    return output, torch.randint(0, high, (n,), generator=generator(seed + 1))


def sorted_scores(truth, guess, **more) -> dict[str, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of labels without predictions
        return {
            "precision": sk.precision_score(truth, guess, zero_division=0, **more),
            "recall": sk.recall_score(truth, guess, zero_division=0, **more),
            "f1": sk.f1_score(truth, guess, zero_division=0, **more),
        }


CLASS_METRICS = ["accuracy", "top2_accuracy", "precision", "recall", "f1", "perplexity", "confusion_matrix"]
cut_points = st.lists(st.integers(0, 20), max_size=4)


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 20), seed=st.integers(0, 999), high=st.integers(1, C), cuts=cut_points)
def test_class_metrics_are_sklearns_for_any_split(n, seed, high, cuts):
    output, target = classes(n, seed, high)
    got = measure("cross_entropy", CLASS_METRICS, output, target, [min(cut, n) for cut in cuts])
    guess, truth = output.argmax(1).numpy(), target.numpy()
    assert got["accuracy"] == sk.accuracy_score(truth, guess)
    for name, value in sorted_scores(truth, guess, average="macro").items():
        assert got[name] == pytest.approx(value, rel=1e-12, abs=1e-15)
    top2 = sk.top_k_accuracy_score(truth, output.numpy(), k=2, labels=range(C))
    assert got["top2_accuracy"] == pytest.approx(top2, rel=1e-12)
    assert got["confusion_matrix"] == sk.confusion_matrix(truth, guess, labels=range(C)).tolist()
    nll = sk.log_loss(truth, output.softmax(1).numpy(), labels=range(C))
    assert got["perplexity"] == pytest.approx(np.exp(nll), rel=1e-10)
    assert got["loss"] == pytest.approx(nll, rel=1e-10)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 999), ignored=st.sampled_from([-100, -1, 0, 3, 255]), cuts=cut_points)
def test_ignored_targets_count_nowhere(seed, ignored, cuts):
    output, target = classes(20, seed)
    target = torch.where(torch.rand(20, generator=generator(seed + 2)) < 0.4, ignored, target)
    keep = target != ignored
    loss = Loss("cross_entropy", ignore_index=ignored)
    got = measure(loss, CLASS_METRICS, output, target, cuts)
    want = measure("cross_entropy", CLASS_METRICS, output[keep], target[keep])
    for name, value in want.items():
        assert got[name] == (value if isinstance(value, list) else pytest.approx(value, rel=1e-12))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), cuts=st.lists(st.integers(0, 4), max_size=2))
def test_positions_of_pictures_count_one_by_one(seed, cuts):
    output = torch.randn(4, C, 2, 3, generator=generator(seed))
    target = torch.randint(0, C, (4, 2, 3), generator=generator(seed + 1))
    got = measure(Loss("cross_entropy", ignore_index=2), CLASS_METRICS, output, target, cuts)
    flat = output.movedim(1, -1).reshape(-1, C), target.reshape(-1)
    want = measure(Loss("cross_entropy", ignore_index=2), CLASS_METRICS, *flat)
    for name, value in want.items():
        assert got[name] == (value if isinstance(value, list) else pytest.approx(value, rel=1e-6))


def test_weights_and_smoothing_change_the_loss_but_not_the_metrics():
    output, target = classes(20, 4)
    plain = measure("cross_entropy", CLASS_METRICS, output, target)
    weight = torch.tensor([1.0, 5.0, 0.1, 2.0, 1.0], dtype=torch.float64)
    changed = measure(Loss("cross_entropy", weight=weight, label_smoothing=0.3), CLASS_METRICS, output, target, [7])
    assert changed["loss"] != pytest.approx(plain["loss"], rel=1e-3)
    for name in CLASS_METRICS:
        assert changed[name] == (
            plain[name] if isinstance(plain[name], list) else pytest.approx(plain[name], rel=1e-12)
        )
    nll = measure(Loss("nll", weight=weight), CLASS_METRICS, output.log_softmax(1), target)
    assert nll["perplexity"] == pytest.approx(plain["perplexity"], rel=1e-12)


def test_class_probabilities_are_compared_by_their_highest():
    output, target = classes(12, 1)
    soft = torch.nn.functional.one_hot(target, C).double() * 0.8 + 0.04
    got = measure("cross_entropy", ["accuracy", "f1", "top2_accuracy", "confusion_matrix"], output, soft)
    want = measure("cross_entropy", ["accuracy", "f1", "top2_accuracy", "confusion_matrix"], output, target)
    assert {k: v for k, v in got.items() if k != "loss"} == {k: v for k, v in want.items() if k != "loss"}


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 20), seed=st.integers(0, 999), cuts=cut_points, shape=st.sampled_from(["flat", "column"]))
def test_binary_metrics_are_sklearns(n, seed, cuts, shape):
    logits = torch.randn(n, generator=generator(seed))
    truth = torch.randint(0, 2, (n,), generator=generator(seed + 1)).float()
    if shape == "column":
        logits, truth = logits[:, None], truth[:, None]
    names = ["accuracy", "precision", "recall", "f1", "confusion_matrix"]
    cuts = [min(cut, n) for cut in cuts]
    from_logits = measure("bce_with_logits", names, logits, truth, cuts)
    from_probabilities = measure("bce", names, logits.sigmoid(), truth, cuts)
    from_signs = measure("soft_margin", names, logits, 2 * truth - 1, cuts)
    true, guess = truth.reshape(-1).int().numpy(), (logits.reshape(-1) > 0).int().numpy()
    want = {"accuracy": sk.accuracy_score(true, guess), **sorted_scores(true, guess)}
    for got in (from_logits, from_probabilities, from_signs):
        for name, value in want.items():
            assert got[name] == pytest.approx(value, rel=1e-12)
        assert got["confusion_matrix"] == sk.confusion_matrix(true, guess, labels=[0, 1]).tolist()


@settings(max_examples=40, deadline=None)
@given(n=st.integers(2, 20), seed=st.integers(0, 999), cuts=cut_points)
def test_label_metrics_are_sklearns_macro(n, seed, cuts):
    logits = torch.randn(n, 3, generator=generator(seed))
    truth = torch.randint(0, 2, (n, 3), generator=generator(seed + 1)).float()
    truth[:, 2] = 0
    for loss in ("bce_with_logits", "multilabel_soft_margin"):
        got = measure(loss, ["accuracy", "precision", "recall", "f1"], logits, truth, [min(cut, n) for cut in cuts])
        true, guess = truth.int().numpy(), (logits > 0).int().numpy()
        assert got["accuracy"] == pytest.approx((true == guess).mean(), rel=1e-12)
        for name, value in sorted_scores(true, guess, average="macro").items():
            assert got[name] == pytest.approx(value, rel=1e-12)


def test_labels_of_pictures_lie_in_dimension_1():
    logits = torch.randn(4, 3, 2, 2, generator=generator(0))
    truth = torch.randint(0, 2, (4, 3, 2, 2), generator=generator(1)).float()
    got = measure("bce_with_logits", ["f1"], logits, truth)
    flat = [x.movedim(1, -1).reshape(-1, 3).numpy() for x in (truth, (logits > 0).float())]
    assert got["f1"] == pytest.approx(sorted_scores(*flat, average="macro")["f1"], rel=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(2, 20),
    columns=st.sampled_from([None, 1, 3]),
    seed=st.integers(0, 999),
    mean=st.sampled_from([0.0, -3.0, 1e9]),
    cuts=cut_points,
)
def test_regression_metrics_are_sklearns_even_far_from_zero(n, columns, seed, mean, cuts):
    shape = (n,) if columns is None else (n, columns)
    target = mean + torch.randn(*shape, dtype=torch.float64, generator=generator(seed))
    output = target + 0.5 * torch.randn(*shape, dtype=torch.float64, generator=generator(seed + 1))
    got = measure("huber", ["mae", "rmse", "r2"], output, target, [min(cut, n) for cut in cuts])
    true, guess = target.numpy(), output.numpy()
    assert got["mae"] == pytest.approx(sk.mean_absolute_error(true, guess), rel=1e-12)
    assert got["rmse"] == pytest.approx(float(np.sqrt(np.mean((true - guess) ** 2))), rel=1e-12)
    assert got["r2"] == pytest.approx(sk.r2_score(true, guess), rel=1e-9, abs=1e-9)


def test_r2_of_constant_targets_follows_sklearn():
    target = torch.full((6, 2), 0.1)
    assert measure("mse", ["r2"], target.clone(), target, [2])["r2"] == 1.0
    output = target.clone()
    output[:, 0] += 1
    assert measure("mse", ["r2"], output, target, [2])["r2"] == sk.r2_score(target.numpy(), output.numpy()) == 0.5
    assert np.isnan(measure("mse", ["r2"], output[:1], target[:1])["r2"])


def test_r2_keeps_its_value_when_sums_are_joined_or_taken_apart():
    objective = Objective(make_loss("mse"), ["r2", "mae"])
    target = 1e6 + torch.randn(30, 2, generator=generator(0), dtype=torch.float64)
    output = target + 0.1
    objective.prepare(output[:10], target[:10])
    first, second = objective.zeros(), objective.zeros()
    for sums, part in ((first, slice(0, 11)), (second, slice(11, 30))):
        objective.add(sums, objective.loss(output[part], target[part]), output[part], target[part])
    whole = objective.read((first + second).numpy())
    assert whole["r2"] == pytest.approx(sk.r2_score(target.numpy(), output.numpy()), rel=1e-9)
    apart = objective.read((first + second - first).numpy())
    assert apart["r2"] == pytest.approx(sk.r2_score(target[11:].numpy(), output[11:].numpy()), rel=1e-9)


def test_ranking_accuracy_counts_a_tie_as_wrong():
    output = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 2.0], [3.0, 1.0]])
    target = torch.tensor([1.0, -1.0, 1.0, -1.0])
    assert measure("margin_ranking", ["accuracy"], output, target, [1])["accuracy"] == 0.5


def test_nan_stays_nan_and_nothing_is_nan():
    output, target = torch.tensor([[1.0], [float("nan")]]), torch.zeros(2, 1)
    got = measure("mse", ["mae", "rmse", "r2"], output, target)
    assert all(np.isnan(value) for value in got.values())
    for loss, names in (("cross_entropy", CLASS_METRICS[:-1]), ("mse", ["mae", "rmse", "r2"])):
        objective = Objective(make_loss(loss), names)
        batch = classes(4, 0) if loss == "cross_entropy" else (torch.ones(4), torch.ones(4))
        objective.prepare(*batch)
        assert all(np.isnan(value) for value in objective.read(objective.zeros().numpy()).values())


def test_nan_of_the_network_is_not_hidden_by_ignoring():
    output = torch.full((3, C), float("nan"))
    got = measure("cross_entropy", ["perplexity"], output, torch.tensor([0, -100, 1]), [1, 2])
    assert np.isnan(got["loss"])
    assert np.isnan(got["perplexity"])


def test_perplexity_overflows_to_infinity():
    output = torch.tensor([[0.0, 2000.0]])
    assert measure("cross_entropy", ["perplexity"], output, torch.tensor([0]))["perplexity"] == float("inf")


def test_a_callable_loss_gets_the_metrics_its_targets_allow():
    output, target = classes(8, 0)

    def own(output: Tensor, target: Tensor) -> Tensor:
        return output.square().mean()

    got = measure(own, ["accuracy", "f1"], output, target, [3])
    assert got["accuracy"] == sk.accuracy_score(target.numpy(), output.argmax(1).numpy())
    whole = float(own(output, target))
    assert got["loss"] == pytest.approx(whole, rel=1e-12)
    values = measure(own, ["mae"], torch.zeros(4, 2), torch.ones(4, 2))
    assert values["mae"] == 1.0
    with pytest.raises(RecipeError, match="numbers"):
        measure(own, ["accuracy"], torch.zeros(4, 2), torch.ones(4, 2))
    with pytest.raises(RecipeError, match="perplexity"):
        measure(own, ["perplexity"], output, target)


def test_top_k_by_name_and_by_option_agree():
    output, target = classes(20, 3)
    by_name = measure("cross_entropy", ["top3_accuracy"], output, target)["top3_accuracy"]
    assert measure("cross_entropy", [Metric("top_k_accuracy", k=3)], output, target)["top_k_accuracy"] == by_name
    assert measure("cross_entropy", ["top_k_accuracy"], output, target)["top_k_accuracy"] == 1.0


@pytest.mark.parametrize(
    ("loss", "metrics", "says"),
    [
        ("cross_entropy", ["acuracy"], "accuracy"),
        ("cross_entropy", ["accuracy", "accuracy"], "twice"),
        ("cross_entropy", [Metric("top_k_accuracy", k=2), Metric("top_k_accuracy", k=3)], "top3_accuracy"),
        ("cross_entropy", [Metric("top_k_accuracy", k=0)], ">= 1"),
        ("cross_entropy", [Metric("top_k_accuracy", n=2)], "top_k_accuracy"),
        ("cross_entropy", [Metric("accuracy", k=2)], "no options"),
        ("cross_entropy", ["mae"], "one class per sample"),
        ("mse", ["accuracy"], "mae, r2, rmse"),
        ("bce", ["perplexity"], "yes/no"),
        ("kl_div", ["accuracy"], "leave metrics empty"),
        ("multi_label_margin", ["accuracy"], "leave metrics empty"),
        ("margin_ranking", ["f1"], "accuracy"),
    ],
)
def test_metrics_that_do_not_fit_are_refused(loss, metrics, says):
    with pytest.raises(RecipeError, match=says):
        Objective(make_loss(loss), metrics)


def test_metrics_that_do_not_fit_the_shapes_are_refused():
    with pytest.raises(RecipeError, match="at most the 5 classes"):
        measure("cross_entropy", ["top6_accuracy"], *classes(4, 0))
    with pytest.raises(RecipeError, match="3000 classes"):
        measure("cross_entropy", ["confusion_matrix"], torch.zeros(2, 3000), torch.zeros(2, dtype=torch.long))
    with pytest.raises(RecipeError, match="2 labels"):
        measure("bce", ["confusion_matrix"], torch.zeros(2, 2), torch.zeros(2, 2))


def test_higher_is_better():
    assert [higher_is_better(name) for name in ("loss", "valid/loss", "noisy/rmse", "perplexity")] == [False] * 4
    assert [higher_is_better(name) for name in ("accuracy", "valid/f1", "test/top5_accuracy", "r2")] == [True] * 4
    with pytest.raises(RecipeError, match="accuracy"):
        higher_is_better("valid/acuracy")
    with pytest.raises(RecipeError, match="one number"):
        higher_is_better("valid/confusion_matrix")
    assert set(METRICS) >= {
        "accuracy",
        "top_k_accuracy",
        "precision",
        "recall",
        "f1",
        "mae",
        "rmse",
        "r2",
        "perplexity",
    }
