import pytest
import torch
from torch import nn

from danlu.errors import ModelError
from danlu.models import cnn, lstm, mlp, summary


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x):
        return torch.cat([self.inner(x), torch.zeros(1, 1, 1)])


class Forgiving(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = nn.Linear(3, 2), nn.Linear(4, 2), nn.Linear(7, 2)

    def forward(self, x):
        try:
            x = self.first(x)
        except RuntimeError:
            x = self.second(x)
        return self.third(x)


def failure(model, *inputs):
    with pytest.raises(ModelError) as caught:
        summary(model, *inputs)
    assert "\n" not in str(caught.value)
    return caught.value


def test_the_layer_what_it_got_and_what_it_wants():
    error = failure(nn.Sequential(nn.ReLU(), mlp(784, 10)), torch.zeros(3, 100))
    assert error.where == "layer 1.1 (Linear)"
    assert error.got.startswith("float32 (3, 100), and failed (RuntimeError: mat1 and mat2 shapes cannot be multiplied")
    assert error.want == "float32 (..., 784)"
    assert isinstance(error.__cause__, RuntimeError)


@pytest.mark.parametrize(
    ("layer", "x", "want"),
    [
        (nn.Linear(4, 2), torch.zeros(3, 4, dtype=torch.uint8), "float32 (..., 4)"),
        (nn.Conv1d(3, 2, 1), torch.zeros(1, 2, 9), "float32 (B, 3, L)"),
        (nn.Conv2d(3, 2, 1), torch.zeros(1, 2, 9, 9), "float32 (B, 3, H, W)"),
        (nn.ConvTranspose3d(3, 2, 1), torch.zeros(1, 2, 9, 9, 9), "float32 (B, 3, D, H, W)"),
        (nn.BatchNorm2d(3), torch.zeros(1, 2, 9, 9), "float32 (B, 3, ...)"),
        (nn.GroupNorm(3, 6), torch.zeros(1, 4, 9), "float32 (B, 6, ...)"),
        (nn.LayerNorm((4, 5)), torch.zeros(2, 5, 4), "float32 (..., 4, 5)"),
        (nn.Embedding(5, 2), torch.tensor([[7]]), "int64 or int32 numbers in [0, 5)"),
        (nn.LSTM(4, 2), torch.zeros(3, 1, 5), "float32 (T, B, 4)"),
        (nn.GRU(4, 2, batch_first=True), torch.zeros(3, 1, 5), "float32 (B, T, 4)"),
        (nn.GRUCell(4, 2), torch.zeros(3, 5), "float32 (B, 4)"),
        (nn.Unflatten(1, (2, 3)), torch.zeros(3, 5), "inputs that it can compute with"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_what_each_layer_wants(layer, x, want):
    error = failure(nn.Sequential(layer), x)
    assert error.where == f"layer 0 ({type(layer).__name__})"
    assert error.want == want
    assert f"{tuple(x.shape)}, and failed" in error.got


def test_a_failure_between_layers_names_the_module_that_holds_them():
    assert failure(nn.Sequential(nn.ReLU(), Block()), torch.zeros(2, 4)).where == "layer 1 (Block)"
    assert failure(Block(), torch.zeros(2, 4)).where == "the model's own forward (Block)"


def test_a_failure_that_the_model_caught_is_not_blamed():
    assert failure(Forgiving(), torch.zeros(2, 4)).where == "layer third (Linear)"


def test_missing_inputs():
    assert "no tensors" in failure(cnn()).got


def test_the_models_own_danlu_error_comes_through_as_it_is():
    error = failure(lstm(9, 2), torch.zeros(2, 3))
    assert (error.where, error.__cause__) == ("LSTM input", None)
    assert failure(lstm(9, 2), torch.tensor([[9]])).where == "layer embedding (Embedding)"


def test_other_stops_are_not_turned_into_model_errors():
    class Stopped(nn.Module):
        def forward(self, x):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        summary(Stopped(), torch.zeros(1))
