"""What `danlu predict` reads from a file, and the picture it draws."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from danlu.data import Arrays, Samples, Source, Stored, batches, pictures_of
from danlu.data.canonical import only
from danlu.errors import DataError
from danlu.track import grid

Array = npt.NDArray[Any]

LOOKED_AT = 1024  # samples of a stored set that show what inputs are like
PICTURES = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")  # Pillow would run Ghostscript for some others


def read_inputs(path: Path, like: Source) -> tuple[Arrays, list[str]]:
    """Return a picture or an .npy file as inputs that are scaled like the training data, and what to tell of them.

    Raises:
        DataError: the file is missing or neither; the training data are no pictures.
    """
    pictures = pictures_of(like)
    known = like if pictures is None else pictures.extremes()
    if isinstance(known, Stored):
        known = known.in_memory(0, LOOKED_AT)
    if not isinstance(known, Arrays):
        want = "a run whose data are arrays or pictures"
        raise DataError(where=str(path), got="a run on a Dataset", want=want, fix="call danlu.predict from Python")
    if not path.is_file():
        got = "a folder" if path.is_dir() else "no file"
        raise DataError(where=str(path), got=got, want="a picture or an .npy file", fix="check the path")
    if path.suffix != ".npy":
        return (known.like(_picture(path, known)[None]) if pictures is None else pictures.file(path)), []
    try:
        array = np.load(path, allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise ValueError("an archive of arrays")
    except (ValueError, OSError, EOFError, MemoryError, OverflowError, SyntaxError) as error:
        got = "no plain array" if "pickle" in str(error) else str(error)  # NumPy's advice is to unpickle it
        want, fix = "an .npy file of numbers", "save it with np.save"
        raise DataError(where=str(path), got=got, want=want, fix=fix) from None
    return known.like(array), _units(path, array, known)


def _units(path: Path, array: Array, like: Arrays) -> list[str]:
    """Tell of fractions where the training data are whole numbers: they are scaled as those are."""
    stored = next(iter(like.stored().values()))
    if stored.is_floating_point() or array.dtype.kind != "f":
        return []
    given, known = f"{array.dtype} from {array.min():g} to {array.max():g}", f"{stored.dtype} from {stored.min():g}"
    return [
        f"note: {path} holds {given}; the training inputs are {known.removeprefix('torch.')} to {stored.max():g}, "
        "and the file is read in their units"
    ]


def _picture(path: Path, like: Arrays) -> Array:
    """Return a picture file as one input, (C, H, W), in the size and channels of the training data."""
    from PIL import Image

    stored = next(iter(like.stored().values()))
    if stored.ndim != 4 or stored.shape[1] not in (1, 3):
        got = f"a picture, for a model that takes inputs of shape {tuple(stored.shape[1:])}"
        raise DataError(where=str(path), got=got, want="an .npy file of such inputs", fix="save them with np.save")
    channels, height, width = stored.shape[1:]
    try:
        with warnings.catch_warnings(), Image.open(path, formats=PICTURES) as image:
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            small = image.convert("L" if channels == 1 else "RGB").resize((width, height))
    except Exception as error:  # whatever a decoder makes of damaged or hostile bytes
        want, fix = "a picture or an .npy file", "check the file"
        raise DataError(where=str(path), got=str(error), want=want, fix=fix) from None
    pixels = np.asarray(small).reshape(height, width, channels).transpose(2, 0, 1)
    top = float(stored.max()) if stored.numel() else 255.0
    return (pixels.astype(np.float64) * (top / 255.0)).astype(stored.numpy().dtype)


def draw(path: Path, inputs: Source, captions: Sequence[str], good: Sequence[bool] | None) -> None:
    """Draw picture inputs in a grid, each with what was predicted and whether that is right.

    Raises:
        DataError: the inputs are no pictures, or the path cannot be written to.
    """
    stored = next(iter(inputs.stored().values())) if isinstance(inputs, Arrays) else None
    if isinstance(inputs, Samples) and inputs.pictures:
        stored = only(batches(inputs.unscaled(), len(inputs)).batch(0, 0)[0])
    if stored is None or stored.ndim != 4 or stored.shape[1] not in (1, 3):
        raise DataError(
            where="--picture", got="inputs that are no pictures", want="a run on pictures", fix="leave --picture out"
        )
    pixels = stored.numpy().transpose(0, 2, 3, 1).astype(np.float64)
    low, high = min(0.0, pixels.min()), pixels.max()
    shown = np.round((pixels - low) / (high - low if high > low else 1.0) * 255).astype(np.uint8)
    try:
        grid(shown, captions, good).save(path)
    except (OSError, ValueError) as error:
        got = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise DataError(where=str(path), got=got, want="a .png path", fix="choose another path") from None
