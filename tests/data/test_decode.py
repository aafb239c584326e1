"""From the bytes of a picture file to pixels: what Pillow makes of it, in one size."""

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from danlu.data import decode as decoding
from danlu.data.decode import Form, PictureError, decode, size_of

LEVELS = 1  # PyTorch's resize differs from Pillow's by rounding


def shapes(width: int = 131, height: int = 97, mode: str = "RGB") -> Image.Image:
    """Return a picture with gradients and edges."""
    coarse = np.random.default_rng(0).integers(0, 255, (9, 13, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def file(image: Image.Image, kind: str = "PNG", **given: object) -> bytes:
    held = io.BytesIO()
    image.save(held, kind, **given)
    return held.getvalue()


def reference(data: bytes, form: Form) -> np.ndarray:
    """Return what Pillow makes of a file: upright, the largest centred box of the shape, antialiased bilinear."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    width, height = image.size
    if width * form.height >= height * form.width:
        box = (height * form.width + form.height // 2) // form.height, height
    else:
        box = width, (width * form.height + form.width // 2) // form.width
    left, top = (width - box[0]) // 2, (height - box[1]) // 2
    cut = image.crop((left, top, left + box[0], top + box[1]))
    return np.asarray(cut.resize((form.width, form.height), Image.Resampling.BILINEAR)).astype(int)


def distance(data: bytes, form: Form) -> np.ndarray:
    return np.abs(decode(data, form).astype(int) - reference(data, form))


@pytest.fixture(params=["simplejpeg", "Pillow"])
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "simplejpeg":
        pytest.importorskip("simplejpeg")
    else:
        monkeypatch.setattr(decoding, "decode_jpeg", None)
    return request.param


@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP", "GIF", "JPEG"])
def test_without_a_resize_every_pixel_is_pillows(kind: str, decoder: str):
    data = file(shapes(), kind, **({"lossless": True} if kind == "WEBP" else {}))
    assert distance(data, Form(3, 97, 131)).max() == 0


@pytest.mark.parametrize("form", [Form(3, 40, 40), Form(3, 20, 50), Form(3, 60, 20), Form(3, 200, 150)])
@pytest.mark.parametrize("turn", range(1, 9))
def test_pictures_are_turned_upright_cut_and_resized_as_pillow_does(turn: int, form: Form, decoder: str):
    exif = Image.Exif()
    exif[0x0112] = turn
    for kind in ("PNG", "JPEG"):
        assert distance(file(shapes(), kind, exif=exif), form).max() <= LEVELS
    assert size_of(io.BytesIO(file(shapes(), exif=exif))) == ((131, 97) if turn >= 5 else (97, 131))


def test_a_large_jpeg_is_decoded_smaller_and_looks_the_same(decoder: str):
    data = file(shapes(1000, 760), "JPEG", quality=90)
    for side, part in ((64, 8), (100, 4), (300, 2), (400, 1)):
        form = Form(3, side, side)
        assert decoding._reduction(760, 1000, form, 1) == part
        assert distance(data, form).mean() < 1  # level of 255; the box may be a hundredth smaller
        assert distance(data, form).max() < 16


def test_both_decoders_give_the_same_bits(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("simplejpeg")
    for mode in ("RGB", "L"):
        data = file(shapes(500, 375, mode), "JPEG")
        forms = [Form(channels, side, side) for channels in (1, 3) for side in (40, 64, 224)]
        fast = [decode(data, form) for form in forms]
        with monkeypatch.context() as patch:
            patch.setattr(decoding, "decode_jpeg", None)
            assert all(np.array_equal(one, decode(data, form)) for one, form in zip(fast, forms, strict=True))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK"])
def test_every_kind_of_colour_becomes_rgb_or_grey(mode: str, decoder: str):
    image = shapes(mode=mode)
    data = file(image, "JPEG" if mode == "CMYK" else "PNG")
    assert distance(data, Form(3, 97, 131)).max() == 0
    grey = decode(data, Form(1, 97, 131))
    assert grey.shape == (97, 131, 1)
    assert np.abs(grey[..., 0] - np.asarray(Image.open(io.BytesIO(data)).convert("L")).astype(int)).max() <= LEVELS


def test_what_is_transparent_becomes_white():
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[:2, :, 3] = 255
    for image in (Image.fromarray(pixels), Image.fromarray(pixels[:, :, 2:].copy(), "LA")):
        data = file(image)
        assert (decode(data, Form(3, 4, 4))[:2] == 0).all()
        assert (decode(data, Form(3, 4, 4))[2:] == 255).all()
    palette = Image.new("P", (4, 4))
    data = file(palette, transparency=0)
    assert (decode(data, Form(3, 4, 4)) == 255).all()


def test_sixteen_bits_are_cut_to_eight():
    levels = np.arange(256 * 256, dtype=np.uint16).reshape(256, 256)
    data = file(Image.fromarray(levels))
    for channels in (1, 3):
        assert np.array_equal(decode(data, Form(channels, 256, 256)), np.repeat(levels[..., None] >> 8, channels, 2))


def test_of_a_gif_the_first_frame_counts():
    frames = [Image.new("RGB", (5, 5), colour) for colour in ("red", "blue")]
    data = file(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode(data, Form(3, 5, 5))[0, 0].tolist() == [255, 0, 0]


def bomb() -> bytes:
    """Return a file of a few bytes that says it has 20,000 x 20,000 pixels."""
    data = bytearray(file(Image.new("L", (1, 1)), "GIF"))
    data[6:10] = (20_000).to_bytes(2, "little") * 2
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", "an empty file"),
        (b"not a picture\n", "no picture in a format that can be read"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "no picture in a format that can be read"),
        (b"\xff\xd8\xff nothing", "no picture in a format that can be read"),
        (file(shapes(), "JPEG")[:900], "a damaged JPEG file: image file is truncated"),
        (file(shapes(), "PNG")[:900], "a damaged PNG file: "),
        (bomb(), "400000000 pixels"),
    ],
    ids=["empty", "text", "postscript", "start", "half JPEG", "half PNG", "bomb"],
)
def test_what_is_no_picture_says_so(data: bytes, error: str, decoder: str):
    for _ in range(2):  # in the same words: they are part of a run's record
        with pytest.raises(PictureError, match=error) as found:
            decode(data, Form(3, 8, 8))
        assert " at 0x" not in str(found.value)


def test_more_pixels_than_pillow_allows_are_refused(monkeypatch: pytest.MonkeyPatch, decoder: str):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 131 * 97 - 1)
    with pytest.raises(PictureError):
        decode(file(shapes(), "JPEG"), Form(3, 8, 8))
