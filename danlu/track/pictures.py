"""Pictures in a grid, each with a caption: what a model was shown, what it said, and whether that was right."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from danlu.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

READABLE = 96  # pixels: smaller pictures are enlarged by the least whole factor that brings their longer side here
PADDING, LINE, FRAME, TEXT_SIZE = 10, 17, 2, 13
INK, GREEN, RED, PAPER = (36, 41, 47), (26, 127, 55), (207, 34, 46), (255, 255, 255)
_WIDE_FONTS = ("NotoSansCJK-Regular.ttc", "wqy-microhei.ttc", "msyh.ttc", "PingFang.ttc", "Arial Unicode.ttf")


def grid(
    images: npt.NDArray[np.uint8], captions: Sequence[str] | None = None, good: Sequence[bool] | None = None
) -> "Image":
    """Lay pictures out in a grid.

    Args:
        images: uint8, shape (N, H, W) or (N, H, W, C) with C 1, 3 or 4.
        captions: a text for under each, of one line or more; a long one is shortened.
        good: whether each is right: its frame and caption are green then, else red.

    Returns:
        an RGB picture.

    Raises:
        DataError: another shape or dtype, no pictures, or texts that do not match them in number.
    """
    from PIL import Image, ImageDraw

    _check(images, captions, good)
    pictures = [_enlarge(image) for image in images]
    width, height = pictures[0].size
    lines = [text.splitlines() for text in captions] if captions is not None else [[] for _ in pictures]
    caption_height = LINE * max(map(len, lines)) + 4 if captions else 0
    cell_width, cell_height = width + 2 * FRAME, height + 2 * FRAME + caption_height
    columns = _columns(len(pictures), cell_width, cell_height)
    rows = math.ceil(len(pictures) / columns)
    size = (PADDING + columns * (cell_width + PADDING), PADDING + rows * (cell_height + PADDING))
    sheet = Image.new("RGB", size, PAPER)
    draw, font = ImageDraw.Draw(sheet), _font(captions or [])
    for index, picture in enumerate(pictures):
        colour = INK if good is None else GREEN if good[index] else RED
        x = PADDING + index % columns * (cell_width + PADDING)
        y = PADDING + index // columns * (cell_height + PADDING)
        if good is not None:
            draw.rectangle((x, y, x + cell_width - 1, y + height + 2 * FRAME - 1), fill=colour)
        sheet.paste(picture, (x + FRAME, y + FRAME))
        middle, below = x + cell_width / 2, y + height + 2 * FRAME + 3
        for number, text in enumerate(_shorten(line, cell_width, draw, font) for line in lines[index]):
            draw.text((middle, below + number * LINE), text, fill=colour, font=font, anchor="ma")
    return sheet


def _check(images: npt.NDArray[np.uint8], captions: Sequence[str] | None, good: Sequence[bool] | None) -> None:
    shape = images.shape
    if images.dtype != np.uint8 or len(shape) not in (3, 4) or 0 in shape or shape[3:] not in ((), (1,), (3,), (4,)):
        want = "one or more pictures: uint8, shape (N, H, W) or (N, H, W, C), C 1, 3 or 4"
        raise DataError(where="images", got=f"{images.dtype} {shape}", want=want, fix="convert the array first")
    for where, given in (("captions", captions), ("good", good)):
        if given is not None and len(given) != len(images):
            want = f"one for each of the {len(images)} pictures"
            raise DataError(
                where=where, got=f"{len(given)} of them", want=want, fix="give as many as pictures, or none"
            )


def _enlarge(image: npt.NDArray[np.uint8]) -> "Image":
    from PIL import Image

    picture = Image.fromarray(image[..., 0] if image.shape[2:] == (1,) else image)
    factor = math.ceil(READABLE / max(picture.size))
    if picture.mode == "RGBA":
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, PAPER), picture)
    return picture.convert("RGB").resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)


def _columns(count: int, cell_width: int, cell_height: int) -> int:
    """Return how many columns make a sheet of about three by two."""
    return min(count, max(1, round(math.sqrt(count * 1.5 * cell_height / cell_width))))


def _font(captions: Sequence[str]) -> Any:
    """Return Pillow's own font, or where its letters do not suffice, one of the system's that has more."""
    from PIL import ImageFont

    if any(ord(letter) > 0x24F for text in captions for letter in text):
        for name in _WIDE_FONTS:
            try:
                return ImageFont.truetype(name, TEXT_SIZE)
            except OSError:
                continue
    return ImageFont.load_default(TEXT_SIZE)


def _shorten(text: str, width: int, draw: "ImageDraw", font: Any) -> str:
    if draw.textlength(text, font=font) <= width:
        return text
    while text and draw.textlength(text + "...", font=font) > width:
        text = text[:-1]
    return text + "..."
