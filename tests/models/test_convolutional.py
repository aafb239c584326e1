import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from danlu.errors import RecipeError
from danlu.models import cnn, lenet, vgg

SMALL_VGG = {"blocks": ((1, 4), (2, 8)), "hidden": 16}


def parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


def test_lenet_is_lenet_5():
    model = lenet()
    assert parameters(model) == 61_706
    assert [type(layer) for layer in model[:3]] == [nn.Conv2d, nn.Sigmoid, nn.AvgPool2d]
    assert [type(layer) for layer in lenet(activation="relu", pool="max")[:3]] == [nn.Conv2d, nn.ReLU, nn.MaxPool2d]


@given(height=st.integers(12, 41), width=st.integers(12, 41))
@settings(max_examples=15, deadline=None)
def test_lenet_fits_every_size(height, width):
    assert lenet(3, channels=2, size=(height, width))(torch.zeros(2, 2, height, width)).shape == (2, 3)


@given(height=st.integers(4, 33), width=st.integers(4, 33))
@settings(max_examples=15, deadline=None)
def test_cnn_fits_every_size(height, width):
    model = cnn(3, channels=2, size=(height, width), widths=(4, 5))
    assert model(torch.zeros(2, 2, height, width)).shape == (2, 3)


@given(height=st.integers(4, 33), width=st.integers(4, 33))
@settings(max_examples=15, deadline=None)
def test_vgg_fits_every_size(height, width):
    model = vgg(3, channels=2, size=(height, width), **SMALL_VGG)
    assert model(torch.zeros(2, 2, height, width)).shape == (2, 3)


def test_cnn_parameters():
    with_norm = 9 * 32 + 2 * 32 + 9 * 32 * 64 + 2 * 64 + 64 * 7 * 7 * 10 + 10
    without = 9 * 32 + 32 + 9 * 32 * 64 + 64 + 64 * 7 * 7 * 10 + 10
    assert parameters(cnn()) == with_norm
    assert parameters(cnn(batch_norm=False)) == without
    assert isinstance(cnn(dropout=0.25)[-2], nn.Dropout)


@pytest.mark.parametrize(("batch_norm", "count"), [(False, 132_863_336), (True, 132_868_840)])
def test_the_default_vgg_is_vgg_11(batch_norm, count):
    with torch.device("meta"):
        model = vgg(1000, channels=3, batch_norm=batch_norm)
    assert parameters(model) == count
    convolutions = [0, 3, 6, 8, 11, 13, 16, 18] if not batch_norm else [0, 4, 8, 11, 15, 18, 22, 25]
    weights = {f"features.{index}.weight" for index in convolutions} | {f"classifier.{i}.weight" for i in (0, 3, 6)}
    assert weights == {name for name, value in model.named_parameters() if value.dim() > 1}
    assert model.get_parameter("classifier.0.weight").shape == (4096, 25088)


def test_vgg_convolutions_start_from_kaiming():
    torch.manual_seed(0)
    layer = vgg(blocks=((1, 64),), channels=64, size=2, hidden=8).features[0]
    assert layer.weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)
    assert torch.equal(layer.bias, torch.zeros(64))


@pytest.mark.parametrize(
    "build",
    [
        lambda: lenet(activation="tanh"),
        lambda: cnn(widths=(4, 4)),
        lambda: cnn(widths=(4,), batch_norm=False, dropout=0.1),
        lambda: vgg(size=28, batch_norm=True, **SMALL_VGG),
    ],
)
def test_all_parameters_get_a_gradient(build):
    torch.manual_seed(0)
    model = build()
    loss = nn.functional.cross_entropy(model(torch.randn(8, 1, 28, 28)), torch.arange(8))
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters() if parameter.dim() > 1)


@pytest.mark.parametrize(
    ("build", "where"),
    [
        (lambda: lenet(size=11), "lenet.size"),
        (lambda: lenet(size=(28, 8)), "lenet.size"),
        (lambda: lenet(size=(1, 28, 28)), "lenet.size"),
        (lambda: lenet(pool="min"), "lenet.pool"),
        (lambda: lenet(activation="sigmoyd"), "lenet.activation"),
        (lambda: cnn(size=3), "cnn.size"),
        (lambda: cnn(size=(28, 0)), "cnn.size[1]"),
        (lambda: cnn(widths=(8, 0)), "cnn.widths[1]"),
        (lambda: cnn(channels=-1), "cnn.channels"),
        (lambda: vgg(size=31), "vgg.size"),
        (lambda: vgg(blocks=5), "vgg.blocks"),
        (lambda: vgg(blocks=((1, 64, 3),)), "vgg.blocks[0]"),
        (lambda: vgg(blocks=((1, 64), 128)), "vgg.blocks[1]"),
        (lambda: vgg(hidden=0), "vgg.hidden"),
        (lambda: vgg(dropout=-0.1), "vgg.dropout"),
    ],
)
def test_mistakes_name_the_argument(build, where):
    with pytest.raises(RecipeError) as caught:
        build()
    assert caught.value.where == where
    assert "\n" not in str(caught.value)


def test_a_size_too_small_says_what_would_do():
    with pytest.raises(RecipeError, match=r"got 3x28 pixels; want at least 8x8, because 3 poolings halve them"):
        cnn(size=(3, 28), widths=(2, 2, 2))
