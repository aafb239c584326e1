"""Evaluation and prediction change nothing: modes, statistics, weights, generators."""

import random
from collections.abc import Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import danlu
from danlu.data import Arrays, Data, Samples
from danlu.train import Training


def points(n: int = 40) -> Data:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((n + 11, 5)).astype(np.float32), rng.integers(0, 3, n + 11)
    return Data(Arrays(x[:n], y[:n]), {"valid": Arrays(x[n:], y[n:])}, test=Arrays(x[:9], y[:9]))


class Drawing(nn.Module):
    """Draws in evaluation as well, and keeps a buffer outside the state dict."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.frozen_norm = nn.Linear(5, 8), nn.BatchNorm1d(8), nn.BatchNorm1d(8)
        self.drop, self.last = nn.Dropout(0.5), nn.Linear(8, 3)
        self.register_buffer("scale", torch.ones(1), persistent=False)
        self.frozen_norm.eval()
        self.last.bias.requires_grad_(False)

    def forward(self, inputs: Tensor) -> Tensor:
        noise = torch.rand(1) * 1e-3 + float(np.random.rand()) * 1e-3 + random.random() * 1e-3
        hidden = self.frozen_norm(self.norm(self.first(inputs))) * self.scale + noise
        return self.last(self.drop(hidden.relu()))


def everything(model: nn.Module) -> dict[str, object]:
    world = random.getstate(), torch.get_rng_state().numpy().tobytes()
    keys = np.random.get_state(legacy=False)["state"]  # type: ignore[call-overload]
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {
        "tensors": {name: tensor.detach().numpy().tobytes() for name, tensor in tensors.items()},
        "grads": {name: p.grad is None for name, p in model.named_parameters()},
        "trainable": {name: p.requires_grad for name, p in model.named_parameters()},
        "modes": {name: module.training for name, module in model.named_modules()},
        "hooks": {name: len(module._forward_pre_hooks) for name, module in model.named_modules()},
        "world": world,
        "numpy": (keys["key"].tobytes(), keys["pos"]),
        "settings": (torch.are_deterministic_algorithms_enabled(), torch.get_num_threads(), torch.is_grad_enabled()),
    }


RECIPE = danlu.Recipe(metrics=["accuracy"], batch_size=4, threads=1)


def test_evaluate_and_predict_leave_everything_as_it_was():
    model = Drawing()
    model.drop.eval()
    before = everything(model)
    first = danlu.evaluate(model, points(), RECIPE)
    assert danlu.evaluate(model, points(), RECIPE) == first  # its random numbers have an address too
    danlu.predict(model, np.zeros((7, 5), np.float32), RECIPE)
    danlu.evaluate(
        model, points(), RECIPE, on="valid", step=lambda net, batch: F.cross_entropy(net(batch[0]), batch[1])
    )
    assert everything(model) == before


def test_a_failed_evaluation_leaves_everything_as_it_was():
    model = Drawing()
    before = everything(model)
    with pytest.raises(danlu.ModelError):
        danlu.evaluate(model, (np.zeros((5, 4), np.float32), np.zeros(5, np.int64)), RECIPE)
    with pytest.raises(danlu.DataError, match="test targets"):
        danlu.evaluate(model, (np.zeros((5, 5), np.float32), np.array([0, 1, 2, 1, 3])), RECIPE)
    with pytest.raises(danlu.DataError, match="valid"):
        danlu.evaluate(model, points(), RECIPE, on="vaild")
    assert everything(model) == before


def test_validating_moves_no_statistics_and_keeps_each_modules_own_mode():
    model, seen = Drawing(), []

    class Watch(danlu.Hook):
        def on_step_end(self, training: Training, result: object) -> None:
            seen.append({name: module.training for name, module in model.named_modules()})
            self.norm = model.norm.running_mean.clone()  # type: ignore[union-attr]

        def on_eval_end(self, training: Training, figures: object) -> None:
            assert torch.equal(model.norm.running_mean, self.norm)  # type: ignore[arg-type]
            seen.append({name: module.training for name, module in model.named_modules()})

    before = {name: module.training for name, module in model.named_modules()}
    bias = model.last.bias.clone()
    danlu.fit(model, points(), danlu.Recipe(epochs=2, batch_size=8), hooks=[Watch()], quiet=True)
    assert len(seen) == 13
    assert all(modes == before for modes in seen)
    assert not before["frozen_norm"]
    assert before["norm"]
    assert int(model.norm.num_batches_tracked) == 10  # type: ignore[arg-type]
    assert int(model.frozen_norm.num_batches_tracked) == 0  # type: ignore[arg-type]
    assert torch.equal(model.last.bias, bias)


def test_a_model_given_in_evaluation_mode_is_trained_in_training_mode():
    model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)).eval()
    run = danlu.fit(model, points(), danlu.Recipe(epochs=1, batch_size=8), quiet=True)
    assert int(model[1].num_batches_tracked) == 5
    assert any("evaluation mode" in text for _, kind, text in run.events if kind == "notice")


def batched(source: object, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    yield from danlu.data.batches(source, size).iterate(0)  # type: ignore[arg-type,misc]


def test_figures_do_not_depend_on_the_batch_size():
    model, data = nn.Linear(5, 3), points()
    with torch.no_grad():
        inputs, target = next(batched(data.test, 9))
        output = model(inputs)
    expected = float(F.cross_entropy(output, target)), float((output.argmax(1) == target).double().mean())
    for size in (1, 4, 9, 100):
        found = danlu.evaluate(model, data, danlu.Recipe(metrics=["accuracy"], eval_batch_size=size))
        assert found["loss"] == pytest.approx(expected[0], rel=1e-6)
        assert found["accuracy"] == expected[1]


@pytest.mark.parametrize("kind", ["arrays", "dataset", "workers", "loader"])
def test_whatever_holds_the_samples_the_figures_are_the_same(kind: str):
    torch.manual_seed(0)
    model, x, y = nn.Linear(5, 3), torch.randn(13, 5), torch.arange(13) % 3
    pairs = TensorDataset(x, y)
    data = {
        "arrays": (x, y),
        "dataset": pairs,
        "workers": Samples(pairs, workers=1),
        "loader": DataLoader(pairs, batch_size=4),
    }[kind]
    found = danlu.evaluate(model, data, RECIPE)
    with torch.no_grad():
        assert found["loss"] == pytest.approx(float(F.cross_entropy(model(x), y)), rel=1e-6)


def test_predictions_are_probabilities_in_the_order_of_the_samples():
    model, x = nn.Linear(5, 3), np.random.default_rng(0).standard_normal((13, 5)).astype(np.float32)
    with torch.no_grad():
        expected = model(torch.from_numpy(x)).softmax(1).numpy()
    assert np.allclose(danlu.predict(model, x, RECIPE), expected, atol=1e-6)
    assert np.allclose(danlu.predict(model, Arrays(x), RECIPE), expected, atol=1e-6)
    plain = danlu.predict(model, x, danlu.Recipe(loss="mse", batch_size=5))
    assert plain.shape == (13, 3)
    assert np.allclose(np.exp(plain) / np.exp(plain).sum(1, keepdims=True), expected, atol=1e-6)


def test_a_model_that_draws_by_itself_trains_alike_however_often_it_is_evaluated():
    found = []
    for given in ({}, {"validate_per": "update"}, {"validate_every": 9}):
        torch.manual_seed(0)
        model = Drawing()
        danlu.fit(model, points(), danlu.Recipe(epochs=2, batch_size=8, **given), quiet=True)  # type: ignore[arg-type]
        found.append(everything(model)["tensors"])
    assert found[0] == found[1] == found[2]
