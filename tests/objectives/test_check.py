"""The check before training: each mismatch is one error that names both sides; what fits passes in silence."""

import warnings

import pytest
import torch

from danlu.errors import DataError, ModelError, RecipeError
from danlu.objectives import check, make_loss
from danlu.recipe import Loss

R = torch.Generator().manual_seed(0)
SCORES = torch.randn(8, 3, generator=R)
INDICES = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
FLAGS = torch.tensor([[1.0, 0, 1]] * 8)
LOG_P = SCORES.log_softmax(1)
P = SCORES.softmax(1)
NAN = torch.full((8, 3), float("nan"))
PICTURES = torch.randn(2, 3, 4, 4, generator=R)

GOOD = {
    "cross_entropy": (SCORES, INDICES),
    "probabilities": (SCORES, P),
    "bytes": (SCORES, INDICES.to(torch.uint8)),
    "tokens": (torch.randn(2, 3, 4, generator=R), torch.zeros(2, 4, dtype=torch.long)),
    "nll": (LOG_P, INDICES),
    "nll2d": (PICTURES.log_softmax(1), torch.zeros(2, 4, 4, dtype=torch.long)),
    "l1": (SCORES, SCORES * 2),
    "mse": (SCORES, SCORES.double()),
    "smooth_l1": (SCORES[:, 0], SCORES[:, 1]),
    "huber": (SCORES, SCORES + 1),
    "kl_div": (LOG_P, P),
    "bce": (P, FLAGS),
    "bce_with_logits": (SCORES, FLAGS),
    "soft_margin": (SCORES, 2 * FLAGS - 1),
    "multilabel_soft_margin": (SCORES, FLAGS),
    "multi_label_margin": (SCORES, torch.tensor([[2, 0, -1]] * 8)),
    "margin_ranking": ((SCORES[:, 0], SCORES[:, 1]), 2 * FLAGS[:, 0] - 1),
    "ignored": (SCORES, torch.where(INDICES == 2, -100, INDICES)),
}
NAMED = {
    "probabilities": "cross_entropy",
    "bytes": "cross_entropy",
    "tokens": "cross_entropy",
    "ignored": "cross_entropy",
}


@pytest.mark.parametrize("case", GOOD)
@pytest.mark.parametrize("graph", [True, False])
def test_what_fits_passes_in_silence_and_leaves_no_trace(case, graph):
    output, target = GOOD[case]
    if graph and isinstance(output, torch.Tensor):
        output = output.clone().requires_grad_()
    before = torch.get_rng_state()
    with torch.set_grad_enabled(graph):
        assert check(make_loss(NAMED.get(case, case)), output, target) == []
    assert torch.equal(torch.get_rng_state(), before)
    assert isinstance(output, tuple) or output.grad is None


# loss, output, target, error, what the message says
BAD = [
    ("cross_entropy", SCORES, INDICES.float(), DataError, ["float32 (8,)", "float32 (8, 3)", "target.long()"]),
    ("cross_entropy", SCORES, INDICES.int(), DataError, ["int32", "target.long()"]),
    ("cross_entropy", SCORES, INDICES > 0, DataError, ["bool", "target.long()"]),
    ("cross_entropy", SCORES, INDICES + 1, DataError, ["values 3", "0 to 2", "subtract 1"]),
    ("cross_entropy", SCORES, INDICES * 5, DataError, ["values 5, 10", "give the model 11 outputs"]),
    ("cross_entropy", SCORES, INDICES * 2 - 1, DataError, ["values -1, 3", "mend the labels", "ignore_index (-100)"]),
    ("cross_entropy", SCORES, torch.where(INDICES == 2, -1, INDICES), DataError, ["loss.ignore_index=-1"]),
    (
        "cross_entropy",
        SCORES,
        torch.where(INDICES == 2, 255, INDICES),
        DataError,
        ["loss.ignore_index=255", "256 outputs"],
    ),
    ("cross_entropy", SCORES, torch.arange(8), DataError, ["values 3, 4, 5, 6, 7;", "8 outputs"]),
    ("cross_entropy", SCORES, torch.arange(8) * 3, DataError, ["values 3, 6, 9, 12, 15 and 2 more"]),
    ("cross_entropy", SCORES, INDICES[:, None], DataError, ["(8, 1)", "target.squeeze(1)"]),
    ("cross_entropy", SCORES, FLAGS.long(), DataError, ["argmax(1)", "target.float()"]),
    ("cross_entropy", SCORES, -P, DataError, ["probabilities >= 0"]),
    ("cross_entropy", SCORES[:4], INDICES, ModelError, ["(4, 3)", "8 rows", "start_dim=1"]),
    ("cross_entropy", SCORES[:, 0], INDICES, ModelError, ["(N, C)", "one output for each class"]),
    ("cross_entropy", torch.zeros(2, 4, 5), torch.zeros(2, 4).long(), ModelError, ["movedim(-1, 1)"]),
    ("cross_entropy", NAN, INDICES, ModelError, ["without NaN"]),
    ("cross_entropy", INDICES, INDICES, ModelError, ["before argmax"]),
    ("cross_entropy", {"logits": SCORES}, INDICES, ModelError, ["{logits: float32 (8, 3)}", "alone"]),
    ("cross_entropy", SCORES, None, DataError, ["None", "a tensor"]),
    ("cross_entropy", SCORES[:0], INDICES[:0], DataError, ["at least one sample"]),
    ("nll", LOG_P, P, DataError, ["class indices"]),
    ("nll2d", LOG_P, INDICES, ModelError, ["(N, C, H, W)"]),
    ("mse", SCORES[:, :1], SCORES[:, 0], DataError, ["(8, 1)", "(8,)", "output.squeeze(-1)", "(8, 8)"]),
    ("l1", SCORES[:, 0], SCORES[:, :1], DataError, ["target.squeeze(-1)"]),
    ("huber", SCORES, SCORES[:, :1], DataError, ["would stretch both to (8, 3)"]),
    ("smooth_l1", SCORES, SCORES.reshape(8, 3, 1)[:, :2], DataError, ["(8, 2, 1)"]),
    ("mse", SCORES[:4], SCORES, ModelError, ["8 rows"]),
    ("mse", SCORES, SCORES.long(), DataError, ["int64", "target.float()"]),
    ("mse", SCORES, NAN, DataError, ["without NaN"]),
    ("mse", SCORES, torch.full((8, 3), float("inf")), DataError, ["finite"]),
    ("huber", SCORES, SCORES.double(), DataError, ["target.to(output.dtype)"]),
    ("bce", SCORES, FLAGS, ModelError, ["bce_with_logits", "probabilities from 0 to 1"]),
    ("bce", P, FLAGS.long(), DataError, ["target.float()"]),
    ("bce", P, FLAGS * 2, DataError, ["values 2", "scale"]),
    ("bce_with_logits", SCORES, 2 * FLAGS - 1, DataError, ["values -1", "(target + 1) / 2"]),
    ("bce_with_logits", SCORES[:, :1], FLAGS[:, 0], DataError, ["output.squeeze(-1)"]),
    ("kl_div", P, P, ModelError, ["log_softmax"]),
    ("kl_div", LOG_P, LOG_P, DataError, ["log_target=true"]),
    (Loss("kl_div", log_target=True), LOG_P, P, DataError, ["target.log()"]),
    ("kl_div", LOG_P, P[:1], ModelError, ["1 rows"]),
    ("soft_margin", SCORES, FLAGS, DataError, ["2 * target - 1"]),
    ("margin_ranking", SCORES[:, :2], FLAGS[:, 0] - 0.5, DataError, ["values 0.5;", "-1 or 1"]),
    ("margin_ranking", SCORES[:, :2], 2 * FLAGS[:, :1] - 1, DataError, ["target.squeeze(-1)"]),
    ("margin_ranking", SCORES, FLAGS[:, 0], ModelError, ["a pair (x1, x2)"]),
    ("multi_label_margin", SCORES, FLAGS, DataError, ["-1", "multilabel_soft_margin"]),
    ("multi_label_margin", SCORES, INDICES, DataError, ["(8,)", "(8, 3)"]),
    ("multi_label_margin", SCORES, FLAGS.long() * 3, DataError, ["values 3", "0 to 2"]),
    ("multilabel_soft_margin", SCORES, FLAGS * 3, DataError, ["values 3"]),
    (Loss("cross_entropy", weight=[1.0, 2.0]), SCORES, INDICES, RecipeError, ["2 weights", "3 classes"]),
    (
        Loss("bce_with_logits", pos_weight=[1.0] * 8),
        SCORES[:, 0],
        FLAGS[:, 0],
        RecipeError,
        ["8 weights", "each column"],
    ),
]


@pytest.mark.parametrize(
    "row", BAD, ids=lambda row: f"{row[0] if isinstance(row[0], str) else row[0].name}-{row[4][-1]}"
)
def test_what_does_not_fit_is_one_clear_error(row):
    spec, output, target, error, says = row
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # PyTorch warns where it broadcasts: the check speaks first
        with pytest.raises(error) as caught:
            check(make_loss(spec), output, target)
    for words in says:
        assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("loss", "output", "target", "says"),
    [
        ("cross_entropy", P, INDICES, "softmax"),
        ("cross_entropy", SCORES[:, :1], INDICES * 0, "always 0"),
        ("cross_entropy", SCORES, P * 2, "do not sum to 1"),
        ("cross_entropy", SCORES, torch.full((8,), -100), "nothing is learned"),
        ("nll", SCORES, INDICES, "log_softmax"),
        ("nll", P, INDICES, "log_softmax"),
        ("bce_with_logits", P, FLAGS, "sigmoid"),
        ("multi_label_margin", SCORES, torch.full((8, 3), -1), "empty"),
    ],
)
def test_what_looks_wrong_is_a_warning(loss, output, target, says):
    found = check(make_loss(loss), output, target)
    assert len(found) == 1
    assert says in found[0]


def test_callables_only_have_to_run():
    def own(output, target):
        return (output["a"] - target["b"]).square().mean()

    assert check(make_loss(own), {"a": SCORES}, {"b": FLAGS}) == []
    assert check(make_loss(lambda output, target: output.mean()), SCORES, None) == []


def test_outputs_of_a_class_of_their_own_are_passed_as_they_are():
    class Answer(dict):
        @property
        def logits(self):
            return self["logits"]

    for grad in (True, False):
        output = Answer(logits=SCORES.clone().requires_grad_(grad))
        assert check(make_loss(lambda output, target: output.logits.mean()), output, None) == []


def test_a_loss_that_works_in_place_does_not_touch_the_output():
    output, before = (SCORES.clone(), [INDICES]), SCORES.clone()
    assert check(make_loss(lambda output, target: output[0].mul_(2).mean()), output, None) == []
    assert torch.equal(output[0], before)


@pytest.mark.parametrize(
    ("function", "error", "says"),
    [
        (lambda output, target: (output - target).square(), ModelError, "return its mean()"),
        (lambda output, target: 0.5, ModelError, "one floating number"),
        (lambda output, target: output.argmax(), ModelError, "one floating number"),
        (lambda output, target: output.detach().mean(), ModelError, "without a gradient"),
        (lambda output, target: torch.ones((), requires_grad=True) * 2, ModelError, "does not depend on the output"),
        (lambda output, target: output @ output, DataError, "output float32 (8, 3)"),
    ],
)
def test_callables_that_cannot_be_minimised(function, error, says):
    with pytest.raises(error) as caught:
        check(make_loss(function), SCORES, FLAGS)
    assert says in str(caught.value)


def test_an_output_without_tensors_is_refused():
    with pytest.raises(ModelError, match="something with tensors"):
        check(make_loss(lambda output, target: output), "nothing", None)
