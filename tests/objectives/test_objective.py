"""The objective: its flat sums, what adding a batch may not do, predictions and probabilities."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from danlu.objectives import Objective, make_loss, make_objective
from danlu.recipe import Loss

C = 4
READS = (
    "aten._local_scalar_dense",
    "aten.nonzero",
    "aten.masked_select",
    "aten.equal",
    "aten.is_nonzero",
    "aten.unique",
)
CLASS_METRICS = ["accuracy", "top2_accuracy", "f1", "perplexity", "confusion_matrix"]


def batch(n: int = 6, seed: int = 0) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, C, generator=g), torch.randint(0, C, (n,), generator=g)


def pairs(n: int = 6) -> tuple[tuple[Tensor, Tensor], Tensor]:
    scores, target = batch(n)
    return (scores[:, 0].requires_grad_(), scores[:, 1]), 2.0 * (target % 2) - 1


EVERYTHING = {
    "cross_entropy": (make_loss("cross_entropy"), CLASS_METRICS, batch()),
    "weighted": (make_loss(Loss("cross_entropy", weight=[1.0, 2, 3, 4], ignore_index=2)), CLASS_METRICS, batch()),
    "mse": (make_loss("mse"), ["mae", "rmse", "r2"], (batch()[0], batch(seed=1)[0])),
    "bce": (make_loss("bce_with_logits"), ["accuracy", "f1"], (batch()[0], batch(seed=1)[0].sigmoid().round())),
    "ranking": (make_loss("margin_ranking"), ["accuracy"], pairs()),
    "sum": (make_loss(nn.CrossEntropyLoss(reduction="sum")), ["accuracy"], batch()),
    "callable": (make_loss(lambda output, target: output.mean()), ["accuracy", "f1"], batch()),
}
every_objective = pytest.mark.parametrize("name", EVERYTHING)


class NoReads(TorchDispatchMode):
    """Raise where a number would be read back to the host, or a shape would depend on one."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if str(func).startswith(READS):
            raise AssertionError(f"{func} waits for the device")
        return func(*args, **(kwargs or {}))


def test_the_guard_against_reads_works():
    with NoReads(), pytest.raises(AssertionError, match="waits"):
        torch.ones(()).item()


@every_objective
def test_adding_reads_nothing_back_and_is_deterministic(name):
    loss, metrics, (output, target) = EVERYTHING[name]
    objective = Objective(loss, metrics)
    objective.prepare(output, target)
    sums = objective.zeros()
    value = loss(output, target)
    torch.use_deterministic_algorithms(True)
    try:
        with NoReads():
            objective.add(sums, value, output, target)
            objective.add(sums, value, output, target)
    finally:
        torch.use_deterministic_algorithms(False)
    assert sums.dtype is torch.float64
    assert sums.ndim == 1
    assert not sums.requires_grad
    assert objective.read(sums.numpy())["loss"] == pytest.approx(
        float(value.detach()) / (6 if loss.reduction == "sum" else 1), rel=1e-6
    )


@every_objective
def test_the_graph_of_the_loss_is_left_alone(name):
    loss, metrics, (output, target) = EVERYTHING[name]
    leaf = (
        tuple(part.detach().clone().requires_grad_() for part in output)
        if isinstance(output, tuple)
        else (output.detach().clone().requires_grad_())
    )
    objective = Objective(loss, metrics)
    objective.prepare(leaf, target)
    sums = objective.zeros()
    value = loss(leaf, target)
    objective.add(sums, value, leaf, target)
    first = leaf[0] if isinstance(leaf, tuple) else leaf
    expected = torch.autograd.grad(loss(leaf, target), first)[0]
    assert torch.equal(torch.autograd.grad(value, first)[0], expected)


def test_slots_are_loss_and_denominator_then_metrics():
    output, target = batch()
    objective = Objective(make_loss(Loss("cross_entropy", ignore_index=1)), ["accuracy"])
    objective.prepare(output, target)
    sums = objective.zeros()
    assert sums.tolist() == [0.0, 0.0, 0.0]
    value = objective.loss(output, target)
    objective.add(sums, value, output, target)
    kept = target != 1
    assert sums[1] == kept.sum()
    assert float(sums[0]) == pytest.approx(float(value) * int(kept.sum()), rel=1e-12)
    assert sums[2] == ((output.argmax(1) == target) & kept).sum()


def test_metrics_share_the_sums_they_have_in_common():
    output, target = batch()
    objective = Objective(make_loss("cross_entropy"), ["precision", "recall", "f1", "perplexity"])
    objective.prepare(output, target)
    assert objective.zeros().numel() == 2 + 3 * C


def test_sums_of_two_spans_are_kept_apart():
    output, target = batch()
    objective = Objective(make_loss("cross_entropy"), ["accuracy"])
    objective.prepare(output, target)
    train, valid = objective.zeros(), objective.zeros()
    for sums, count in ((train, 2), (valid, 1), (train, 1)):
        for _ in range(count):
            objective.add(sums, objective.loss(output, target), output, target)
    assert (train[1], valid[1]) == (18, 6)
    assert torch.allclose(train, 3 * valid)


def test_restored_sums_go_on_bit_for_bit():
    output, target = batch(30)
    values = 1e7 + output.double(), 1e7 + batch(30, seed=5)[0].double()
    for loss, metrics, (scores, truth) in (
        ("cross_entropy", CLASS_METRICS, (output, target)),
        ("mse", ["r2", "rmse"], values),
    ):
        one, other = make_objective(loss, metrics), make_objective(loss, metrics)
        one.prepare(scores[:10], truth[:10])
        other.prepare(scores[10:], truth[10:])
        whole, halted = one.zeros(), one.zeros()
        for part in (slice(0, 10), slice(10, 30)):
            one.add(whole, one.loss(scores[part], truth[part]), scores[part], truth[part])
        one.add(halted, one.loss(scores[:10], truth[:10]), scores[:10], truth[:10])
        restored = other.zeros()
        restored.copy_(halted)
        other.add(restored, other.loss(scores[10:], truth[10:]), scores[10:], truth[10:])
        assert torch.equal(restored, whole)


def test_a_batch_that_is_all_ignored_weighs_nothing_and_nan_shows():
    output, target = batch()
    objective = make_objective("cross_entropy", ["accuracy"])
    objective.prepare(output, target)
    sums = objective.zeros()
    objective.add(sums, objective.loss(output, target), output, target)
    before = sums.clone()
    nothing = torch.full_like(target, -100)
    objective.add(sums, objective.loss(output, nothing), output, nothing)
    assert torch.equal(sums, before)
    objective.add(sums, torch.tensor(float("nan")), output, target)
    assert math.isnan(objective.read(sums.numpy())["loss"])


def test_sum_reduction_is_read_as_a_mean():
    output, target = batch()
    objective = make_objective(Loss("cross_entropy", reduction="sum"), ["perplexity"])
    objective.prepare(output, target)
    sums = objective.zeros()
    for part in (slice(0, 1), slice(1, 6)):
        objective.add(sums, objective.loss(output[part], target[part]), output[part], target[part])
    mean = float(make_loss("cross_entropy")(output, target))
    read = objective.read(sums.numpy())
    assert read["loss"] == pytest.approx(mean, rel=1e-6)
    assert read["perplexity"] == pytest.approx(math.exp(mean), rel=1e-6)


def test_losses_in_half_precision_are_summed_in_double():
    objective = make_objective("mse")
    output = torch.zeros(3, 1, dtype=torch.bfloat16)
    sums = objective.zeros()
    value = torch.tensor(1.0078125, dtype=torch.bfloat16)
    for _ in range(1000):
        objective.add(sums, value, output, output)
    assert objective.read(sums.numpy())["loss"] == 1.0078125


def test_zeros_before_prepare_is_refused():
    with pytest.raises(RuntimeError, match="prepare"):
        make_objective("cross_entropy", ["accuracy"]).zeros()


def test_predictions():
    scores = torch.tensor([[0.2, 0.7, 0.1], [0.6, -0.3, 0.55]])
    assert make_objective("cross_entropy").predictions(scores).tolist() == [1, 0]
    assert make_objective("nll2d").predictions(scores[:, :, None, None]).tolist() == [[[1]], [[0]]]
    assert make_objective("bce").predictions(scores).tolist() == [[0, 1, 0], [1, 0, 1]]
    assert make_objective("bce_with_logits").predictions(scores).tolist() == [[1, 1, 1], [1, 0, 1]]
    assert make_objective("soft_margin").predictions(scores).tolist() == [[1, 1, 1], [1, -1, 1]]
    assert make_objective("margin_ranking").predictions((scores[:, 0], scores[:, 1])).tolist() == [-1, 1]
    for loss in ("mse", "multi_label_margin", "kl_div", lambda output, target: output.mean()):
        assert make_objective(loss).predictions(scores) is scores


def test_predictions_of_a_callable_follow_its_targets():
    output, target = batch()
    objective = make_objective(lambda output, target: output.mean())
    objective.prepare(output, target)
    assert torch.equal(objective.predictions(output), output.argmax(1))


def test_probabilities():
    scores = batch()[0]
    assert torch.equal(make_objective("cross_entropy").probabilities(scores), scores.softmax(1))
    assert torch.equal(make_objective("nll").probabilities(scores), scores.exp())
    for loss in ("bce_with_logits", "multilabel_soft_margin", "soft_margin"):
        assert torch.equal(make_objective(loss).probabilities(scores), scores.sigmoid())
    for loss in ("bce", "mse", lambda output, target: output.mean()):
        assert make_objective(loss).probabilities(scores) is scores
