"""ResNet-18, -34 and -50, with torchvision's parameter names and shapes, so that its weights fit.

Source: He et al., "Deep residual learning for image recognition", 2015; in ResNet-50 the stride is on the 3x3
convolution, as in torchvision.
"""

from collections.abc import Sequence
from typing import Literal, final

from torch import Tensor, nn

from danlu.models.arguments import choice, whole

Stem = Literal["imagenet", "small"]


def resnet18(outputs: int = 1000, *, channels: int = 3, stem: Stem = "imagenet") -> nn.Module:
    """Build ResNet-18: images (B, channels, H, W) of any size to logits (B, outputs).

    Args:
        outputs: classes.
        channels: channels of the images.
        stem: "imagenet" (7x7 stride 2 and max pooling) or "small" (3x3 stride 1, for images of 28 or 32 pixels).
    """
    return _build("resnet18", BasicBlock, (2, 2, 2, 2), outputs, channels, stem)


def resnet34(outputs: int = 1000, *, channels: int = 3, stem: Stem = "imagenet") -> nn.Module:
    """Build ResNet-34; the arguments are those of `resnet18`."""
    return _build("resnet34", BasicBlock, (3, 4, 6, 3), outputs, channels, stem)


def resnet50(outputs: int = 1000, *, channels: int = 3, stem: Stem = "imagenet") -> nn.Module:
    """Build ResNet-50; the arguments are those of `resnet18`."""
    return _build("resnet50", Bottleneck, (3, 4, 6, 3), outputs, channels, stem)


@final
class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    expansion = 1  # output channels over width

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(inputs, width * self.expansion, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, width, H / stride, W / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.bn2(self.conv2(x))
        return self.relu(x + shortcut)  # type: ignore[no-any-return]


@final
class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * self.expansion
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, 4 * width, H / stride, W / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        x = self.bn3(self.conv3(x))
        return self.relu(x + shortcut)  # type: ignore[no-any-return]


Block = type[BasicBlock] | type[Bottleneck]


@final
class ResNet(nn.Module):
    """A stem, four stages of residual blocks, the mean over the image, and a Linear."""

    def __init__(self, block: Block, depths: Sequence[int], outputs: int, channels: int, stem: str) -> None:
        super().__init__()
        small = stem == "small"
        self.conv1 = nn.Conv2d(
            channels, 64, 3 if small else 7, 1 if small else 2, padding=1 if small else 3, bias=False
        )
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.Identity() if small else nn.MaxPool2d(3, 2, padding=1)
        self.layer1 = _stage(block, 64, 64, depths[0], stride=1)
        self.layer2 = _stage(block, 64 * block.expansion, 128, depths[1], stride=2)
        self.layer3 = _stage(block, 128 * block.expansion, 256, depths[2], stride=2)
        self.layer4 = _stage(block, 256 * block.expansion, 512, depths[3], stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(512 * block.expansion, outputs)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):  # BatchNorm starts at 1 and 0 by itself
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, channels, H, W) to logits (B, outputs)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(x).flatten(1))  # type: ignore[no-any-return]


def _stage(block: Block, inputs: int, width: int, depth: int, *, stride: int) -> nn.Sequential:
    """Return blocks of one width; only the first has a stride."""
    outputs = width * block.expansion
    return nn.Sequential(block(inputs, width, stride), *(block(outputs, width, 1) for _ in range(depth - 1)))


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


def _build(name: str, block: Block, depths: Sequence[int], outputs: int, channels: int, stem: str) -> ResNet:
    classes, depth = whole(f"{name}.outputs", outputs), whole(f"{name}.channels", channels)
    return ResNet(block, depths, classes, depth, choice(f"{name}.stem", stem, ("imagenet", "small"), "stem"))
