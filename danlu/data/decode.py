"""From the bytes of a picture file to pixels of one size: decoded, turned upright, cropped at the centre, resized."""

import importlib.metadata
import io
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

Pixels = npt.NDArray[np.uint8]

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP")  # Pillow would run Ghostscript for some others
ORIENTATION = 0x0112  # the EXIF tag that says how the camera was held
WHITE = (255, 255, 255, 255)  # what shows through where a picture is transparent
_SPACES = ("YCbCr", "RGB", "Gray")  # colour spaces of a JPEG file that libjpeg turns into RGB by itself

try:
    from simplejpeg import decode_jpeg, decode_jpeg_header
except ImportError:  # it has no wheel for every system
    decode_jpeg = None


class PictureError(Exception):
    """A file that is no picture, or one that cannot be read."""


class Form(NamedTuple):
    """What every picture becomes: uint8, shape (channels, height, width)."""

    channels: int
    height: int
    width: int


def decoder() -> str:
    """Return what decodes and resizes, with versions: others may give other bits."""
    names = ["pillow", "torch"] + ([] if decode_jpeg is None else ["simplejpeg"])
    return " ".join(["1", *(f"{name} {importlib.metadata.version(name)}" for name in names)])


def decode(data: bytes, form: Form) -> Pixels:
    """Return a picture file as pixels, shape (H, W, C) of `form`, perhaps not contiguous.

    The picture is turned upright as its EXIF orientation says, cut to the largest box of the wanted shape around its
    centre, and resized as Pillow's antialiased bilinear filter does, which PyTorch computes faster. Where a JPEG is
    twice the wanted size or more, libjpeg decodes 1/2, 1/4 or 1/8 of it, never less than what is wanted.

    Raises:
        PictureError: it is no picture in one of `FORMATS`, is damaged, or has more pixels than Pillow allows.
    """
    if not data:
        raise PictureError("an empty file")
    whole = _jpeg(data, form) if data[:2] == b"\xff\xd8" and decode_jpeg is not None else None
    if whole is None:
        whole = _any(data, form)
    return _resized(_centre(whole, form.height, form.width), form.height, form.width)


def size_of(file: IO[bytes]) -> tuple[int, int]:
    """Return the height and width that a picture file says it has, upright; raise PictureError where it says none."""
    image = _opened(file)
    width, height = image.size
    return (width, height) if _orientation(image) >= 5 else (height, width)


def _jpeg(data: bytes, form: Form) -> Pixels | None:
    """Return a JPEG file decoded without Pillow, or None where that has to be asked: it says what is wrong, too."""
    from PIL import Image

    turn = _orientation(_opened(io.BytesIO(data))) if b"Exif\x00\x00" in data else 1
    try:
        height, width, space, _ = decode_jpeg_header(data)
        if space not in _SPACES or height * width > (Image.MAX_IMAGE_PIXELS or height * width):
            return None
        part = _reduction(height, width, form, turn)
        least = {} if part == 1 else {"min_height": -(-height // part), "min_width": -(-width // part)}
        pixels: Pixels = decode_jpeg(data, "GRAY" if form.channels == 1 else "RGB", **least)
    except ValueError:
        return None
    return _upright(pixels[: height // part, : width // part], turn)


def _any(data: bytes, form: Form) -> Pixels:
    """Return a picture file decoded by Pillow."""
    image = _opened(io.BytesIO(data))
    turn, (width, height) = _orientation(image), image.size
    is_jpeg = image.format in ("JPEG", "MPO")  # the latter has several in one file, of which the first counts
    part = _reduction(height, width, form, turn) if is_jpeg else 1
    try:
        if is_jpeg:
            image.draft("L" if form.channels == 1 else "RGB", (width // part, height // part))
        image.load()
        pixels = _plain(image, "L" if form.channels == 1 else "RGB")
    except MemoryError:
        raise
    except Exception as error:  # whatever a decoder makes of damaged or hostile bytes
        raise PictureError(f"a damaged {image.format} file: {error}") from error
    pixels = pixels.reshape(*pixels.shape[:2], form.channels)
    return _upright(pixels[: height // part, : width // part], turn)


def _opened(file: IO[bytes]) -> Any:
    from PIL import Image, UnidentifiedImageError

    try:
        image = Image.open(file, formats=FORMATS)
    except UnidentifiedImageError:
        raise PictureError(f"no picture in a format that can be read ({', '.join(FORMATS)})") from None
    except MemoryError:
        raise
    except Exception as error:  # a picture that would fill the memory is one of them
        raise PictureError(str(error)) from error
    allowed, (width, height) = Image.MAX_IMAGE_PIXELS, image.size
    if allowed is not None and width * height > allowed:
        raise PictureError(f"{width} x {height} pixels, more than the {allowed:,} that Pillow allows")
    return image


def _orientation(image: Any) -> int:
    """Return how a picture has to be turned, 1 to 8, as EXIF numbers it."""
    try:
        turn = image.getexif().get(ORIENTATION, 1)
    except Exception:  # damaged notes about a picture are no reason to refuse it
        return 1
    return turn if turn in range(1, 9) else 1


def _reduction(height: int, width: int, form: Form, turn: int) -> int:
    """Return 1, 2, 4 or 8: as much smaller a JPEG can be decoded, and still be as large as is wanted.

    Columns and rows that are no whole multiple of it are cut off, which may be a hundredth of the picture.
    """
    tall, wide = (form.width, form.height) if turn >= 5 else (form.height, form.width)
    for part in (8, 4, 2):
        if height // part >= tall and width // part >= wide and min(height, width) >= 100 * (part - 1):
            return part
    return 1


def _plain(image: Any, mode: str) -> Pixels:
    """Return a Pillow image as 8-bit grey ("L") or colour ("RGB"): transparent parts on white, 16 bits cut to 8."""
    from PIL import Image

    if image.mode == "I" or image.mode.startswith("I;16"):
        high = (np.asarray(image).astype(np.int64).clip(0, 65535) >> 8).astype(np.uint8)
        image = Image.fromarray(high)
    elif image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = Image.alpha_composite(Image.new("RGBA", image.size, WHITE), image.convert("RGBA"))
    return np.array(image.convert(mode))


def _upright(pixels: Pixels, turn: int) -> Pixels:
    """Return pixels (H, W, C) turned and mirrored as an EXIF orientation says."""
    if turn in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if turn in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels[:, ::-1] if turn in (2, 3, 6, 7) else pixels


def _centre(pixels: Pixels, height: int, width: int) -> Pixels:
    """Return the largest box of the shape `height` : `width` around the centre."""
    tall, wide = pixels.shape[:2]
    if wide * height >= tall * width:
        box = tall, max(1, (tall * width + height // 2) // height)
    else:
        box = max(1, (wide * height + width // 2) // width), wide
    top, left = (tall - box[0]) // 2, (wide - box[1]) // 2
    return pixels[top : top + box[0], left : left + box[1]]


def _resized(pixels: Pixels, height: int, width: int) -> Pixels:
    if pixels.shape[:2] == (height, width):
        return pixels
    whole = np.ascontiguousarray(pixels)  # PyTorch would copy it with threads of its own
    batch = torch.from_numpy(whole).permute(2, 0, 1).unsqueeze(0)
    small = F.interpolate(batch, size=(height, width), mode="bilinear", antialias=True)
    result: Pixels = small[0].permute(1, 2, 0).numpy()
    return result
