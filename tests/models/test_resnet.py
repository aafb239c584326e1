import pytest
import torch
from torch import nn

from danlu.errors import RecipeError
from danlu.models import resnet18, resnet34, resnet50

DEPTHS = {resnet18: (2, 2, 2, 2), resnet34: (3, 4, 6, 3), resnet50: (3, 4, 6, 3)}


def documented(build):
    """Names and shapes as torchvision documents them, written down apart from the model."""
    expansion = 4 if build is resnet50 else 1
    shapes = {}

    def convolution(name, outputs, inputs, kernel):
        shapes[f"{name}.weight"] = (outputs, inputs, kernel, kernel)

    def norm(name, channels):
        for field in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.{field}"] = (channels,)
        shapes[f"{name}.num_batches_tracked"] = ()

    convolution("conv1", 64, 3, 7)
    norm("bn1", 64)
    inputs = 64
    for stage, depth in enumerate(DEPTHS[build], start=1):
        width = 64 * 2 ** (stage - 1)
        for block in range(depth):
            name = f"layer{stage}.{block}"
            kernels = [(width, inputs, 3), (width, width, 3)]
            if build is resnet50:
                kernels = [(width, inputs, 1), (width, width, 3), (4 * width, width, 1)]
            for index, (outputs, source, kernel) in enumerate(kernels, start=1):
                convolution(f"{name}.conv{index}", outputs, source, kernel)
                norm(f"{name}.bn{index}", outputs)
            if block == 0 and (stage > 1 or build is resnet50):
                convolution(f"{name}.downsample.0", width * expansion, inputs, 1)
                norm(f"{name}.downsample.1", width * expansion)
            inputs = width * expansion
    shapes["fc.weight"], shapes["fc.bias"] = (1000, inputs), (1000,)
    return shapes


@pytest.mark.parametrize(("build", "count"), [(resnet18, 11_689_512), (resnet34, 21_797_672), (resnet50, 25_557_032)])
def test_names_shapes_and_counts_are_torchvisions(build, count):
    with torch.device("meta"):
        model = build()
    assert {name: tuple(value.shape) for name, value in model.state_dict().items()} == documented(build)
    assert "layer2.0.downsample.1.running_mean" in model.state_dict()
    assert sum(parameter.numel() for parameter in model.parameters()) == count


def test_strides_as_in_torchvision():
    with torch.device("meta"):
        basic, bottleneck = resnet18(), resnet50()
    assert basic.layer2[0].conv1.stride == basic.layer2[0].downsample[0].stride == (2, 2)
    assert bottleneck.layer2[0].conv1.stride == (1, 1)
    assert bottleneck.layer2[0].conv2.stride == bottleneck.layer2[0].downsample[0].stride == (2, 2)


def test_stems():
    images = torch.empty(2, 3, 64, 48, device="meta")
    with torch.device("meta"):
        large, small = resnet18(7), resnet18(7, stem="small")
    assert large.maxpool(large.conv1(images)).shape == (2, 64, 16, 12)
    assert small.maxpool(small.conv1(images)).shape == (2, 64, 64, 48)
    assert small.conv1.weight.shape == (64, 3, 3, 3)
    assert large(images).shape == small(images).shape == (2, 7)


def test_a_basic_block_is_its_formula():
    block = resnet18(10, stem="small").eval().layer2[0]
    x = torch.randn(2, 64, 7, 9)
    inner = torch.relu(block.bn1(block.conv1(x.clone())))
    shortcut = block.downsample[1](block.downsample[0](x.clone()))
    assert torch.equal(block(x.clone()), torch.relu(block.bn2(block.conv2(inner)) + shortcut))


def test_initial_values():
    torch.manual_seed(0)
    model = resnet18(10, channels=1, stem="small")
    weight = model.layer4[1].conv2.weight
    assert weight.std().item() == pytest.approx((2 / (512 * 9)) ** 0.5, rel=0.01)
    weight = model.layer2[0].conv1.weight  # 64 to 128 channels: fan_out, not fan_in
    assert weight.std().item() == pytest.approx((2 / (128 * 9)) ** 0.5, rel=0.02)
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert all(torch.all(norm.weight == 1) and torch.all(norm.bias == 0) for norm in norms)


@pytest.mark.parametrize("build", [resnet18, resnet50])
def test_all_parameters_get_a_gradient(build):
    torch.manual_seed(0)
    model = build(10, channels=1, stem="small")
    nn.functional.cross_entropy(model(torch.randn(4, 1, 9, 11)), torch.arange(4)).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


@pytest.mark.parametrize(
    ("build", "where"),
    [
        (lambda: resnet18(0), "resnet18.outputs"),
        (lambda: resnet34(channels=0), "resnet34.channels"),
        (lambda: resnet50(stem="tiny"), "resnet50.stem"),
    ],
)
def test_mistakes_name_the_argument(build, where):
    with pytest.raises(RecipeError) as caught:
        build()
    assert caught.value.where == where
