"""Augmentations that move or cover pixels: each sample of a batch by numbers of its own, without a loop over samples.

Shapes: B samples, C channels, H rows, W columns; every sample has its own K random words (see `danlu.device.words`).
What a distribution needs beyond +, *, / and square roots is read from a table of its quantiles, because other functions
give other last bits on other devices, and where a sample falls into a vector register or behind its end.
"""

import functools
from abc import abstractmethod
from typing import Annotated, ClassVar, Literal, final

import msgspec
import numpy as np
import torch
import torch.nn.functional as F
from msgspec import Meta
from torch import Tensor

from danlu.device import unit
from danlu.errors import DataError, RecipeError
from danlu.recipe import Count, Positive, Whole

LEVELS = 65_536  # entries of a table: a word's upper 16 bits choose one
Chance = Annotated[float, Meta(ge=0, le=1)]
Area = Annotated[float, Meta(gt=0, le=1)]


class Transform(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One change of a batch's inputs; the fields are its options. Abstract.

    Fields:
        numbers: random words that each sample gets.
        moves: whether pixels change places, so that inputs must be pictures and targets must not.
    """

    numbers: ClassVar[int] = 1
    moves: ClassVar[bool] = True

    def check(self, where: str) -> None:
        """Raise a `RecipeError` where options do not go together; `where` is the part's place."""
        for name in ("scale", "ratio"):
            low, high = getattr(self, name, (1.0, 1.0))
            if low > high:
                got, want = [low, high], "the smaller number first"
                raise RecipeError(where=f"{where}.{name}", got=got, want=want, fix=f"write [{high:g}, {low:g}]")

    def fits(self, inputs: Tensor) -> None:
        """Raise a `DataError` where the inputs are too small."""

    @abstractmethod
    def __call__(self, inputs: Tensor, words_BK: Tensor) -> Tensor:
        """Return the changed inputs; those given stay as they are."""
        raise NotImplementedError


@final
class RandomCrop(Transform, frozen=True):
    """Move a picture by up to `padding` pixels each way; what comes into view is zeros, or the picture reflected."""

    numbers: ClassVar[int] = 2

    padding: Whole
    mode: Literal["zeros", "reflect"] = "zeros"

    def fits(self, inputs: Tensor) -> None:
        """Refuse a reflection of more pixels than there are."""
        least = min(inputs.shape[2:])
        if self.mode == "reflect" and self.padding >= least:
            got, want = f"padding {self.padding} for pictures of {least} pixels", "less than the pictures' size"
            fix = f"set padding to at most {least - 1}, or mode to zeros"
            raise DataError(where="augment random_crop", got=got, want=want, fix=fix)

    def __call__(self, inputs: Tensor, words_BK: Tensor) -> Tensor:
        """Cut each picture out of its padded self."""
        if not self.padding:
            return inputs
        size_B, height, width = len(inputs), *inputs.shape[2:]
        padded = F.pad(inputs, (self.padding,) * 4, mode="reflect" if self.mode == "reflect" else "constant")
        windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # a view: one window for each place
        down, right = below(words_BK, 2 * self.padding + 1).unbind(1)
        return windows[torch.arange(size_B, device=inputs.device), :, down, right]


@final
class RandomResizedCrop(Transform, frozen=True):
    """Cut out a part of random area and aspect ratio, and stretch it to `size` with bilinear interpolation.

    Fields:
        size: of the result, one number or [height, width]; "same" is that of the inputs.
        scale: smallest and largest share of the picture's area.
        ratio: smallest and largest width / height; its logarithm is uniform. What is larger than the picture is cut.
    """

    numbers: ClassVar[int] = 4

    size: Count | list[Count] | Literal["same"] = "same"  # a tuple here makes msgspec 0.22 read wild memory
    scale: tuple[Area, Area] = (0.08, 1.0)
    ratio: tuple[Positive, Positive] = (3 / 4, 4 / 3)

    def __call__(self, inputs: Tensor, words_BK: Tensor) -> Tensor:
        """Sample each picture on a grid of its own."""
        height, width = inputs.shape[2:]
        rows, columns = self._size(height, width)
        top, left, high, wide = _boxes(words_BK, (height, width), self.scale, self.ratio)
        y_BH = _places(top, high, rows).mul_(2).add_(1).div_(height).sub_(1)
        x_BW = _places(left, wide, columns).mul_(2).add_(1).div_(width).sub_(1)
        shape = len(inputs), rows, columns
        grid = torch.stack((x_BW.unsqueeze(1).expand(shape), y_BH.unsqueeze(2).expand(shape)), dim=3)
        return F.grid_sample(inputs, grid.to(inputs.dtype), padding_mode="border", align_corners=False)

    def check(self, where: str) -> None:
        """Refuse a list that is not height and width."""
        super().check(where)
        if isinstance(self.size, list) and len(self.size) != 2:
            want, fix = "one number, or [height, width]", f"set {where}.size"
            raise RecipeError(where=f"{where}.size", got=self.size, want=want, fix=fix)

    def _size(self, height: int, width: int) -> tuple[int, int]:
        if self.size == "same":
            return height, width
        return (self.size, self.size) if isinstance(self.size, int) else (self.size[0], self.size[1])


@final
class HorizontalFlip(Transform, frozen=True):
    """Exchange left and right with probability `p`."""

    p: Chance = 0.5

    def __call__(self, inputs: Tensor, words_BK: Tensor) -> Tensor:
        """Turn the columns around where it is a sample's lot."""
        return torch.where(_chosen(words_BK, self.p), inputs.flip(3), inputs)


@final
class VerticalFlip(Transform, frozen=True):
    """Exchange top and bottom with probability `p`."""

    p: Chance = 0.5

    def __call__(self, inputs: Tensor, words_BK: Tensor) -> Tensor:
        """Turn the rows around where it is a sample's lot."""
        return torch.where(_chosen(words_BK, self.p), inputs.flip(2), inputs)


@final
class Rotation(Transform, frozen=True):
    """Turn about the centre by an angle from -degrees to degrees, with bilinear interpolation; zeros come into view."""

    degrees: Annotated[float, Meta(ge=0, le=180)]

    def __call__(self, inputs: Tensor, words_BK: Tensor) -> Tensor:
        """Sample each picture on its turned grid."""
        if not self.degrees:
            return inputs
        height, width = inputs.shape[2:]
        device = inputs.device
        cos_B11, sin_B11 = (column.view(-1, 1, 1) for column in look(_turns(self.degrees, device), words_BK[:, 0]).T)
        y_H1 = torch.arange(height, device=device).sub((height - 1) / 2).unsqueeze(1)
        x_W = torch.arange(width, device=device).sub((width - 1) / 2)
        x_BHW = (cos_B11 * x_W + sin_B11 * y_H1).mul_(2 / width)
        y_BHW = (cos_B11 * y_H1 - sin_B11 * x_W).mul_(2 / height)
        grid = torch.stack((x_BHW, y_BHW), dim=3).to(inputs.dtype)
        return F.grid_sample(inputs, grid, padding_mode="zeros", align_corners=False)


@final
class Erase(Transform, frozen=True):
    """Cover a random rectangle with `value`, with probability `p`; `scale` and `ratio` as for random_resized_crop."""

    numbers: ClassVar[int] = 5

    p: Chance = 0.5
    scale: tuple[Area, Area] = (0.02, 0.33)
    ratio: tuple[Positive, Positive] = (0.3, 3.3)
    value: float = 0.0

    def __call__(self, inputs: Tensor, words_BK: Tensor) -> Tensor:
        """Cover."""
        height, width = inputs.shape[2:]
        top, left, high, wide = _boxes(words_BK[:, 1:], (height, width), self.scale, self.ratio)
        rows_B1H1 = _within(top, high, height).view(-1, 1, height, 1) & _chosen(words_BK, self.p)
        columns_B11W = _within(left, wide, width).view(-1, 1, 1, width)
        return inputs.masked_fill(rows_B1H1 & columns_B11W, self.value)


def below(words: Tensor, n: int | Tensor) -> Tensor:
    """Return whole numbers in [0, n) from words; n is at most 2**31."""
    return (words * n) >> 32


def look(table: Tensor, words: Tensor) -> Tensor:
    """Return the entry of a table of LEVELS rows that each word chooses."""
    return table.index_select(0, words >> 16)


def levels() -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the probabilities, in (0, 1), whose quantiles a table holds."""
    return (np.arange(LEVELS) + 0.5) / LEVELS


def _chosen(words_BK: Tensor, p: float) -> Tensor:
    """Return booleans (B, 1, 1, 1), true with probability p by each sample's first word."""
    return (unit(words_BK[:, :1]) < p).view(-1, 1, 1, 1)


def _boxes(
    words_BK: Tensor, size: tuple[int, int], scale: tuple[float, float], ratio: tuple[float, float]
) -> tuple[Tensor, ...]:
    """Return top, left, height and width of a rectangle for each sample, whole numbers, from four words."""
    height, width = size
    area_B = (unit(words_BK[:, 0]) * (scale[1] - scale[0]) + scale[0]) * (height * width)
    ratio_B = look(_ratios(ratio, words_BK.device), words_BK[:, 1])
    wide = (area_B * ratio_B).sqrt().round().clamp(1, width).long()
    high = (area_B / ratio_B).sqrt().round().clamp(1, height).long()
    return below(words_BK[:, 2], height - high + 1), below(words_BK[:, 3], width - wide + 1), high, wide


def _places(start_B: Tensor, length_B: Tensor, count: int) -> Tensor:
    """Return where `count` pixels lie that share each sample's stretch of pixels, in pixels, shape (B, count)."""
    inside = (torch.arange(count, device=start_B.device) + 0.5) * (length_B / count).unsqueeze(1) - 0.5
    return torch.minimum(inside.clamp_(min=0), (length_B - 1).unsqueeze(1)) + start_B.unsqueeze(1)


def _within(start_B: Tensor, length_B: Tensor, count: int) -> Tensor:
    """Return which of `count` places lie in each sample's stretch, booleans (B, count)."""
    place, start_B1 = torch.arange(count, device=start_B.device), start_B.unsqueeze(1)
    return (place >= start_B1) & (place < start_B1 + length_B.unsqueeze(1))


@functools.lru_cache(maxsize=16)
def _ratios(ratio: tuple[float, float], device: torch.device) -> Tensor:
    low, high = ratio
    return torch.from_numpy(low * (high / low) ** levels()).to(torch.float32).to(device)


@functools.lru_cache(maxsize=16)
def _turns(degrees: float, device: torch.device) -> Tensor:
    """Return cosine and sine of the angles, shape (LEVELS, 2)."""
    angle = np.deg2rad((2 * levels() - 1) * degrees)
    return torch.from_numpy(np.stack((np.cos(angle), np.sin(angle)), axis=1)).to(torch.float32).to(device)
