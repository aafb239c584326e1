"""Plain convolutional models: LeNet-5, a small CNN, VGG. Images are (B, channels, height, width)."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal

from torch import nn

from danlu.errors import RecipeError
from danlu.models.activations import activation_layer
from danlu.models.arguments import choice, image_size, large_enough, share, whole, wholes

POOLS: dict[str, type[nn.MaxPool2d] | type[nn.AvgPool2d]] = {"max": nn.MaxPool2d, "average": nn.AvgPool2d}
VGG11 = ((1, 64), (1, 128), (2, 256), (2, 512), (2, 512))
LENET_LEAST = 12  # pixels: halved to 6, then a 5x5 convolution leaves 2, halved to 1


def lenet(
    outputs: int = 10,
    *,
    channels: int = 1,
    size: int | tuple[int, int] = 28,
    activation: str = "sigmoid",
    pool: Literal["max", "average"] = "average",
) -> nn.Sequential:
    """Build LeNet-5 as courses write it: two 5x5 convolutions (6, 16) with pooling, then 120, 84, `outputs`.

    Args:
        outputs: classes; the model returns logits (B, outputs).
        channels, size: of the images; the size in pixels, one number or (height, width), at least 12.
        activation: a name in `ACTIVATIONS`.
        pool: the 2x2 pooling.

    Raises:
        RecipeError: a size or name that cannot be.

    Source: LeCun et al., 1998, with plain pooling and a plain last Linear instead of trained subsampling and RBF units.
    """
    make_activation = activation_layer("lenet.activation", activation)
    make_pool = POOLS[choice("lenet.pool", pool, POOLS, "pooling")]
    height, width = image_size("lenet.size", size)
    large_enough("lenet.size", (height, width), LENET_LEAST, "two poolings and a 5x5 convolution shrink them")
    features = 16 * ((height // 2 - 4) // 2) * ((width // 2 - 4) // 2)
    return nn.Sequential(
        nn.Conv2d(whole("lenet.channels", channels), 6, 5, padding=2),
        make_activation(),
        make_pool(2),
        nn.Conv2d(6, 16, 5),
        make_activation(),
        make_pool(2),
        nn.Flatten(),
        nn.Linear(features, 120),
        make_activation(),
        nn.Linear(120, 84),
        make_activation(),
        nn.Linear(84, whole("lenet.outputs", outputs)),
    )


def cnn(
    outputs: int = 10,
    *,
    channels: int = 1,
    size: int | tuple[int, int] = 28,
    widths: Sequence[int] = (32, 64),
    batch_norm: bool = True,
    dropout: float = 0.0,
) -> nn.Sequential:
    """Build a small CNN: one block of 3x3 convolution, BatchNorm, ReLU and 2x2 max pooling per width, then Linear.

    Args:
        outputs: classes; the model returns logits (B, outputs).
        channels: channels of the images.
        size: pixels of the images, one number or (height, width), at least 2 ** len(widths).
        widths: output channels of each block.
        batch_norm: whether blocks have BatchNorm; their convolutions then have no bias.
        dropout: share of features dropped before the Linear, in [0, 1).

    Raises:
        RecipeError: a size or share that cannot be.
    """
    blocks = wholes("cnn.widths", widths)
    height, width = _after_pools("cnn.size", size, len(blocks))
    rate = share("cnn.dropout", dropout)
    depth = whole("cnn.channels", channels)
    layers: list[nn.Module] = []
    for block in blocks:
        layers += _convolution(depth, block, batch_norm=batch_norm, bias=not batch_norm)
        layers.append(nn.MaxPool2d(2))
        depth = block
    layers.append(nn.Flatten())
    if rate:
        layers.append(nn.Dropout(rate))
    return nn.Sequential(*layers, nn.Linear(depth * height * width, whole("cnn.outputs", outputs)))


def vgg(
    outputs: int = 10,
    *,
    blocks: Sequence[tuple[int, int]] = VGG11,
    channels: int = 1,
    size: int | tuple[int, int] = 224,
    hidden: int = 4096,
    dropout: float = 0.5,
    batch_norm: bool = False,
) -> nn.Sequential:
    """Build a VGG: blocks of 3x3 convolutions that each end in 2x2 max pooling, then two hidden layers and Linear.

    The default is VGG-11. Parameters are named as torchvision names them (`features.0.weight`, `classifier.6.bias`);
    with 3 channels and 224 pixels its weights fit. Convolutions start from kaiming_normal (fan_out), Linears from
    PyTorch's default.

    Args:
        outputs: classes; the model returns logits (B, outputs).
        blocks: (convolutions, output channels) of each block.
        channels: channels of the images.
        size: pixels of the images, one number or (height, width), at least 2 ** len(blocks).
        hidden: features of the two hidden layers.
        dropout: share of features dropped after each hidden layer, in [0, 1).
        batch_norm: whether BatchNorm stands between each convolution and its ReLU.

    Raises:
        RecipeError: a size, share or block that cannot be.

    Source: Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition", 2014.
    """
    pairs = _blocks("vgg.blocks", blocks)
    height, width = _after_pools("vgg.size", size, len(pairs))
    depth = pairs[-1][1] if pairs else channels
    features = _vgg_features(pairs, whole("vgg.channels", channels), batch_norm=batch_norm)
    sizes = (depth * height * width, whole("vgg.hidden", hidden), whole("vgg.outputs", outputs))
    classifier = _vgg_classifier(sizes, share("vgg.dropout", dropout))
    return nn.Sequential(OrderedDict(features=features, flatten=nn.Flatten(), classifier=classifier))


def _vgg_features(blocks: list[tuple[int, int]], channels: int, *, batch_norm: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for count, block_channels in blocks:
        for _ in range(count):
            layers += _convolution(channels, block_channels, batch_norm=batch_norm, bias=True)
            channels = block_channels
        layers.append(nn.MaxPool2d(2))
    for layer in layers:
        if isinstance(layer, nn.Conv2d) and layer.bias is not None:
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers)


def _vgg_classifier(sizes: tuple[int, int, int], dropout: float) -> nn.Sequential:
    """Return the fully connected part; `sizes`: features from the images, hidden, outputs."""
    inputs, hidden, outputs = sizes
    first = [nn.Linear(inputs, hidden), nn.ReLU(inplace=True), nn.Dropout(dropout)]
    second = [nn.Linear(hidden, hidden), nn.ReLU(inplace=True), nn.Dropout(dropout)]
    return nn.Sequential(*first, *second, nn.Linear(hidden, outputs))


def _convolution(inputs: int, outputs: int, *, batch_norm: bool, bias: bool) -> list[nn.Module]:
    norm = [nn.BatchNorm2d(outputs)] if batch_norm else []
    return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias), *norm, nn.ReLU(inplace=True)]


def _after_pools(where: str, size: object, pools: int) -> tuple[int, int]:
    """Return the (height, width) that is left after so many halvings."""
    height, width = image_size(where, size)
    large_enough(where, (height, width), 2**pools, f"{pools} poolings halve them")
    return height >> pools, width >> pools


def _blocks(where: str, blocks: object) -> list[tuple[int, int]]:
    want, fix = "(convolutions, channels) for each block", "write blocks as [[1, 64], [2, 128]]"
    if not isinstance(blocks, Sequence) or isinstance(blocks, str):
        raise RecipeError(where=where, got=blocks, want=want, fix=fix)
    pairs = []
    for index, block in enumerate(blocks):
        numbers = wholes(f"{where}[{index}]", block)
        if len(numbers) != 2:
            raise RecipeError(where=f"{where}[{index}]", got=block, want=want, fix=fix)
        pairs.append((numbers[0], numbers[1]))
    return pairs
