import numpy as np
import pytest

from danlu.errors import DataError
from danlu.track.pictures import FRAME, GREEN, PADDING, PAPER, RED, grid


def test_every_picture_is_shown_enlarged_by_a_whole_factor():
    images = np.arange(6 * 28 * 20, dtype=np.uint64).astype(np.uint8).reshape(6, 28, 20)
    sheet = np.asarray(grid(images))
    factor = 4  # the least whole one that brings 28 to 96 or more
    width, height = 20 * factor + 2 * FRAME, 28 * factor + 2 * FRAME
    columns = (sheet.shape[1] - PADDING) // (width + PADDING)
    for index, image in enumerate(images):
        y = PADDING + FRAME + index // columns * (height + PADDING)
        x = PADDING + FRAME + index % columns * (width + PADDING)
        shown = sheet[y : y + 28 * factor, x : x + 20 * factor]
        expected = image.repeat(factor, 0).repeat(factor, 1)
        np.testing.assert_array_equal(shown, np.stack([expected] * 3, -1))


def test_large_pictures_keep_their_size():
    assert grid(np.zeros((1, 200, 300, 3), np.uint8)).size == (300 + 2 * (PADDING + FRAME), 200 + 2 * (PADDING + FRAME))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_channels(channels):
    images = np.full((2, 4, 4, channels), 90, np.uint8)
    colours = {colour for _, colour in grid(images).getcolors()}
    transparent = round((90 * 90 + 255 * 165) / 255)
    assert colours == {PAPER, (90,) * 3 if channels < 4 else (transparent,) * 3}


def test_right_is_green_and_wrong_is_red():
    images = np.zeros((2, 96, 96), np.uint8)
    sheet = grid(images, ["3", "5 (true 8)"], [True, False])
    left, right = (sheet.crop((x, 0, x + sheet.width // 2, sheet.height)) for x in (0, sheet.width // 2))
    for half, own, other in ((left, GREEN, RED), (right, RED, GREEN)):
        caption = half.crop((0, PADDING + 96 + 2 * FRAME, half.width, half.height))
        for part in (half, caption):
            assert nearest(part, own) < 30  # letters have soft edges
            assert nearest(part, other) > 30


def nearest(picture, colour):
    """Return how far the nearest pixel is from a colour, in its worst channel."""
    return np.abs(np.asarray(picture).astype(int) - colour).max(-1).min()


def test_a_long_caption_stays_in_its_own_cell():
    images = np.zeros((2, 96, 96), np.uint8)
    sheet = np.asarray(grid(images, ["m" * 200, ""]))
    middle = PADDING + 96 + 2 * FRAME
    np.testing.assert_array_equal(sheet[:, middle : middle + PADDING], 255)


def test_more_lines_make_room():
    images = np.zeros((1, 96, 96), np.uint8)
    assert grid(images, ["a\nb"]).height > grid(images, ["a"]).height > grid(images).height


def test_other_scripts_are_drawn():
    images = np.zeros((1, 96, 96), np.uint8)
    assert grid(images, ["踝靴"]).tobytes() != grid(images, [" "]).tobytes()


@pytest.mark.parametrize(
    ("images", "captions", "good", "said"),
    [
        (np.zeros((2, 4, 4)), None, None, r"images: got float64 \(2, 4, 4\)"),
        (np.zeros((4, 4), np.uint8), None, None, r"images: got uint8 \(4, 4\)"),
        (np.zeros((2, 4, 4, 2), np.uint8), None, None, "C 1, 3 or 4"),
        (np.zeros((0, 4, 4), np.uint8), None, None, "one or more pictures"),
        (np.zeros((2, 4, 4), np.uint8), ["a"], None, "captions: got 1 of them"),
        (np.zeros((2, 4, 4), np.uint8), None, [True] * 3, "good: got 3 of them"),
    ],
)
def test_what_does_not_fit_is_named(images, captions, good, said):
    with pytest.raises(DataError, match=said):
        grid(images, captions, good)
