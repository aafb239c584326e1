"""What `danlu predict` reads from a file, and the picture it draws."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from danlu.data import Arrays, Source
from danlu.errors import DataError
from danlu.track import grid

Array = npt.NDArray[Any]


def read_inputs(path: Path, like: Source) -> Arrays:
    """Return a picture or an .npy file as inputs that are scaled like the training data.

    Raises:
        DataError: the file is missing or neither; the training data are no pictures.
    """
    if not isinstance(like, Arrays):
        want = "a run whose data are arrays"
        raise DataError(where=str(path), got="a run on a Dataset", want=want, fix="call danlu.predict from Python")
    if not path.is_file():
        raise DataError(where=str(path), got="no file", want="a picture or an .npy file", fix="check the path")
    if path.suffix == ".npy":
        try:
            return like.like(np.load(path, allow_pickle=False))
        except (ValueError, OSError) as error:
            raise DataError(where=str(path), got=str(error), want="an .npy file", fix="save it with np.save") from None
    return like.like(_picture(path, like)[None])


def _picture(path: Path, like: Arrays) -> Array:
    """Return a picture file as one input, (C, H, W), in the size and channels of the training data."""
    from PIL import Image, UnidentifiedImageError

    stored = next(iter(like.stored().values()))
    if stored.ndim != 4 or stored.shape[1] not in (1, 3):
        got = f"a picture, for a model that takes inputs of shape {tuple(stored.shape[1:])}"
        raise DataError(where=str(path), got=got, want="an .npy file of such inputs", fix="save them with np.save")
    channels, height, width = stored.shape[1:]
    try:
        with Image.open(path) as image:
            small = image.convert("L" if channels == 1 else "RGB").resize((width, height))
    except (UnidentifiedImageError, OSError) as error:
        raise DataError(
            where=str(path), got=str(error), want="a picture or an .npy file", fix="check the file"
        ) from None
    pixels = np.asarray(small).reshape(height, width, channels).transpose(2, 0, 1)
    top = float(stored.max()) if stored.numel() else 255.0
    return (pixels.astype(np.float64) * (top / 255.0)).astype(stored.numpy().dtype)


def draw(path: Path, inputs: Source, predicted: Array, truth: Array | None, classes: tuple[str, ...]) -> None:
    """Draw picture inputs in a grid, each with its likeliest class, its probability and whether that is right."""
    stored = next(iter(inputs.stored().values())) if isinstance(inputs, Arrays) else None
    if stored is None or stored.ndim != 4 or stored.shape[1] not in (1, 3):
        raise DataError(
            where="--picture", got="inputs that are no pictures", want="a run on pictures", fix="leave it out"
        )
    pixels = stored.numpy().transpose(0, 2, 3, 1).astype(np.float64)
    top = pixels.max() if pixels.max() > 0 else 1.0
    said = predicted.argmax(axis=1)
    names = [classes[index] if index < len(classes) else str(index) for index in said]
    captions = [f"{name} {row.max():.0%}" for name, row in zip(names, predicted, strict=True)]
    good = None if truth is None else [bool(s == t) for s, t in zip(said, truth, strict=True)]
    try:
        grid(np.round(pixels / top * 255).astype(np.uint8), captions, good).save(path)
    except (OSError, ValueError) as error:
        raise DataError(where=str(path), got=str(error), want="a .png path", fix="choose another path") from None
