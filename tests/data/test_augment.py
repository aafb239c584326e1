"""What each augmentation does: against a plain loop over samples, and how often."""

import math
from typing import Any

import numpy as np
import pytest
import scipy.special
import torch
import torch.nn.functional as F
from torch import Tensor

from danlu import Augment
from danlu.data.augment import make_transforms
from danlu.data.augment_geometry import _boxes, below, look
from danlu.data.augment_mixing import _normals, _shares
from danlu.device import unit, words
from danlu.errors import RecipeError

CPU = torch.device("cpu")


def one(name: str, **options: Any) -> Any:
    return make_transforms([Augment(name, **options)])[0]


def pictures(count: int = 40, height: int = 9, width: int = 7) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, 2, height, width, generator=generator)


def lots(transform: Any, count: int) -> Tensor:
    return words(1, 2, torch.arange(count), purpose="test", count=transform.numbers)


def changed(transform: Any, inputs: Tensor) -> Tensor:
    before = inputs.clone()
    result = transform(inputs, lots(transform, len(inputs)))
    assert torch.equal(inputs, before)
    assert result.dtype == inputs.dtype
    return result


# against a plain loop over samples


@pytest.mark.parametrize("mode", ["zeros", "reflect"])
@pytest.mark.parametrize("padding", [1, 4])
def test_random_crop_is_the_crop_of_each_padded_picture(mode: str, padding: int) -> None:
    inputs, crop = pictures(), one("random_crop", padding=padding, mode=mode)
    corners = below(lots(crop, 40), 2 * padding + 1)
    found = changed(crop, inputs)
    for picture, (down, right), got in zip(inputs, corners.tolist(), found, strict=True):
        kind = "constant" if mode == "zeros" else "reflect"
        padded = F.pad(picture, (padding,) * 4, mode=kind)
        assert torch.equal(got, padded[:, down : down + 9, right : right + 7])


@pytest.mark.parametrize(("name", "axis"), [("horizontal_flip", 2), ("vertical_flip", 1)])
def test_flips(name: str, axis: int) -> None:
    inputs, flip = pictures(), one(name, p=0.4)
    chosen = unit(lots(flip, 40))[:, 0] < 0.4
    assert 0 < chosen.sum() < 40
    for picture, is_flipped, got in zip(inputs, chosen, changed(flip, inputs), strict=True):
        assert torch.equal(got, picture.flip(axis) if is_flipped else picture)


@pytest.mark.parametrize(("size", "shape"), [("same", (9, 7)), (5, (5, 5)), ([12, 4], (12, 4))])
def test_random_resized_crop_is_each_crop_interpolated(size: object, shape: tuple[int, int]) -> None:
    inputs, crop = pictures(), one("random_resized_crop", size=size, scale=[0.1, 0.9])
    boxes = torch.stack(_boxes(lots(crop, 40), (9, 7), crop.scale, crop.ratio), dim=1)
    for picture, (top, left, high, wide), got in zip(inputs, boxes.tolist(), changed(crop, inputs), strict=True):
        cut = picture[None, :, top : top + high, left : left + wide]
        wanted = F.interpolate(cut, shape, mode="bilinear", align_corners=False)[0]
        torch.testing.assert_close(got, wanted, rtol=0, atol=3e-6)


def turned(picture: Tensor, angle: float) -> Tensor:
    """Turn one picture, pixel by pixel, with bilinear interpolation between zeros."""
    channels, height, width = picture.shape
    padded = F.pad(picture, (1, 1, 1, 1)).numpy()
    result = np.zeros((channels, height, width))
    for row in range(height):
        for column in range(width):
            y, x = row - (height - 1) / 2, column - (width - 1) / 2
            at_y = math.cos(angle) * y - math.sin(angle) * x + (height - 1) / 2 + 1
            at_x = math.cos(angle) * x + math.sin(angle) * y + (width - 1) / 2 + 1
            low_y, low_x = math.floor(at_y), math.floor(at_x)
            for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
                weight = (1 - abs(at_y - low_y - i)) * (1 - abs(at_x - low_x - j))
                if 0 <= low_y + i < height + 2 and 0 <= low_x + j < width + 2:
                    result[:, row, column] += weight * padded[:, low_y + i, low_x + j]
    return torch.from_numpy(result).float()


@pytest.mark.parametrize("degrees", [15, 90, 180])
def test_rotation(degrees: float) -> None:
    inputs, rotation = pictures(12), one("rotation", degrees=degrees)
    levels = (lots(rotation, 12)[:, 0] >> 16).double()
    angles = torch.deg2rad((2 * (levels + 0.5) / 65536 - 1) * degrees)
    for picture, angle, got in zip(inputs, angles.tolist(), changed(rotation, inputs), strict=True):
        torch.testing.assert_close(got, turned(picture, angle), rtol=0, atol=2e-5)


def test_erase() -> None:
    inputs, erase = pictures(), one("erase", p=0.6, value=-1.0, scale=[0.05, 0.4])
    found = changed(erase, inputs)
    drawn = lots(erase, 40)
    boxes = torch.stack(_boxes(drawn[:, 1:], (9, 7), erase.scale, erase.ratio), dim=1)
    for picture, lot, (top, left, high, wide), got in zip(
        inputs, unit(drawn[:, 0]), boxes.tolist(), found, strict=True
    ):
        wanted = picture.clone()
        if lot < 0.6:
            wanted[:, top : top + high, left : left + wide] = -1.0
        assert torch.equal(got, wanted)


@pytest.mark.parametrize(
    "transform",
    [
        one("random_crop", padding=0),
        one("random_crop", padding=0, mode="reflect"),
        one("horizontal_flip", p=0),
        one("vertical_flip", p=0),
        one("rotation", degrees=0),
        one("erase", p=0),
        one("noise", std=0),
    ],
)
def test_what_changes_nothing(transform: Any) -> None:
    assert torch.equal(changed(transform, pictures()), pictures())


def test_a_crop_of_the_whole_is_nearly_the_whole() -> None:
    whole = one("random_resized_crop", scale=[1, 1], ratio=[7 / 9, 7 / 9])
    torch.testing.assert_close(changed(whole, pictures()), pictures(), rtol=0, atol=2e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_every_floating_type_and_shape_is_kept(dtype: torch.dtype) -> None:
    inputs = pictures().to(dtype)
    for transform in make_transforms(
        [
            Augment("random_crop", padding=2),
            Augment("rotation", degrees=5),
            "random_resized_crop",
            "horizontal_flip",
            "erase",
            Augment("noise", std=0.1),
        ]
    ):
        assert changed(transform, inputs).shape == inputs.shape


# how often: 5 standard errors


def test_shares_of_flips_and_erasures() -> None:
    count, inputs = 20_000, torch.arange(2.0).view(1, 1, 1, 2).expand(20_000, 1, 1, 2)
    flipped = changed(one("horizontal_flip", p=0.3), inputs)[:, 0, 0, 0].mean().item()
    assert abs(flipped - 0.3) < 5 * math.sqrt(0.21 / count)
    erased = changed(one("erase", p=0.3, value=7.0), inputs).eq(7).flatten(1).any(1).float().mean().item()
    assert abs(erased - 0.3) < 5 * math.sqrt(0.21 / count)


def test_crops_cover_every_offset_equally() -> None:
    crop, count = one("random_crop", padding=2), 25_000
    centre = torch.zeros(1, 1, 5, 5)
    centre[..., 2, 2] = 1
    hits = changed(crop, centre.expand(count, 1, 5, 5)).sum((0, 1)).flatten()
    assert hits.sum() == count
    assert ((hits - 1000) ** 2 / 1000).sum().item() < 24 + 5 * math.sqrt(48)


def test_boxes_have_the_areas_and_ratios_that_were_asked_for() -> None:
    top, left, high, wide = _boxes(
        words(0, 0, torch.arange(20_000), purpose="b", count=4), (64, 64), (0.2, 0.6), (0.5, 2)
    )
    area, ratio = (high * wide).double() / 64**2, wide.double() / high
    assert abs(area.mean().item() - 0.4) < 0.01
    assert area.min() > 0.18
    assert area.max() < 0.63
    assert abs(ratio.log().mean().item()) < 0.02
    assert ratio.min() > 0.47
    assert ratio.max() < 2.15
    for start, length in ((top, high), (left, wide)):
        assert start.min() == 0
        assert (start + length).max() == 64
        free = (64 - length).double()
        assert abs((start.double() - free / 2).mean().item()) < 5 * (free / math.sqrt(12)).mean().item() / math.sqrt(
            20_000
        )


def test_noise_is_normal_and_independent() -> None:
    noise = changed(one("noise", std=0.5), torch.zeros(300, 1, 15, 15)).flatten(1) / 0.5
    count = noise.numel()
    assert abs(noise.mean().item()) < 5 / math.sqrt(count)
    assert abs(noise.var().item() - 1) < 5 * math.sqrt(2 / count)
    assert abs((noise**4).mean().item() - 3) < 5 * math.sqrt(96 / count)
    for first, second in ((noise[:, 1:], noise[:, :-1]), (noise[1:], noise[:-1])):
        assert abs((first * second).mean().item()) < 5 / math.sqrt(first.numel())
    assert _normals(CPU).abs().max() < 4.4


@pytest.mark.parametrize("alpha", [0.05, 0.2, 0.5, 1.0, 2.0, 8.0, 100.0])
def test_the_shares_of_mixup_are_quantiles_of_beta(alpha: float) -> None:
    shares = _shares(alpha, CPU).double().numpy()
    assert (np.diff(shares) >= 0).all()
    assert shares.min() >= 0
    assert shares.max() <= 1
    np.testing.assert_allclose(shares + shares[::-1], 1, atol=1e-6)
    wanted = (np.arange(65_536) + 0.5) / 65_536
    below_half = (shares < 0.5) & (shares > 1e-38)  # where float32 holds small shares well
    found = scipy.special.betainc(alpha, alpha, shares)
    np.testing.assert_allclose(found[below_half], wanted[below_half], atol=3e-5)


def test_tables_are_read_evenly() -> None:
    table = torch.arange(65_536)
    read = look(table, words(0, 0, torch.arange(50_000), purpose="t", count=1)[:, 0])
    counts = torch.bincount(read >> 8, minlength=256).double()
    assert ((counts - 50_000 / 256) ** 2 / (50_000 / 256)).sum() < 255 + 5 * math.sqrt(510)


# mistakes


@pytest.mark.parametrize(
    ("augment", "says"),
    [
        ([Augment("random_crops", padding=1)], r"augment\[0\].name: got 'random_crops'; .* did you mean random_crop"),
        (
            ["random_crop"],
            r"augment\[0\].padding: got nothing; want a whole number >= 0. Fix: set augment\[0\].padding",
        ),
        (["vertical_flip", "rotation"], r"augment\[1\].degrees: got nothing; want a number >= 0 and <= 180"),
        ([Augment("random_crop", padding=1.5)], r"augment\[0\].padding: got 1.5; want a whole number >= 0"),
        ([Augment("random_crop", padding=-1)], r"augment\[0\].padding: got -1"),
        ([Augment("random_crop", padding=1, mode="wrap")], r'augment\[0\].mode: got wrap; want "zeros" or "reflect"'),
        ([Augment("random_crop", pading=1)], r"augment\[0\].pading: got a key .* did you mean padding\?"),
        ([Augment("horizontal_flip", p=1.5)], r"augment\[0\].p: got 1.5; want a number >= 0 and <= 1"),
        ([Augment("horizontal_flip", numbers=2)], r"augment\[0\].numbers: got a key that no recipe has.*: p\."),
        ([Augment("erase", scale=[0.5, 0.1])], r"augment\[0\].scale: got \[0.5, 0.1\]; .* write \[0.1, 0.5\]"),
        (
            [Augment("erase", scale=[0.5])],
            r"augment\[0\].scale: got \[0.5\]; want a list of 2, each a number > 0 and <= 1",
        ),
        ([Augment("erase", ratio=3)], r"augment\[0\].ratio: got 3; want a list of 2"),
        ([Augment("random_resized_crop", size=[3])], r"augment\[0\].size: got \[3\]; want .* \[height, width\]"),
        ([Augment("random_resized_crop", size=[0, 3])], r"augment\[0\].size\[0\]: got 0"),
        ([Augment("random_resized_crop", size=0)], r"augment\[0\].size: got 0"),
        ([Augment("noise", std=-1)], r"augment\[0\].std: got -1; want a number >= 0"),
        ([Augment("mixup", alpha=0)], r"augment\[0\].alpha: got 0; want a number > 0"),
        (["mixup", "mixup"], r"augment\[1\]: got mixup twice"),
        ([""], r"augment\[0\].name"),
    ],
)
def test_a_wrong_name_or_option_is_one_line(augment: Any, says: str) -> None:
    with pytest.raises(RecipeError, match=says) as caught:
        make_transforms(augment)
    assert "\n" not in str(caught.value)
