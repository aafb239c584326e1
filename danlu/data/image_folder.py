"""Folders of pictures as `Data`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from danlu.data.cache_folder import cache_folder
from danlu.data.dataset import Samples
from danlu.data.decode import Form
from danlu.data.picture_cache import PictureCache, cache_of
from danlu.data.picture_files import PictureFiles, from_folders, from_table
from danlu.data.pictures import Pictures, tell
from danlu.data.sets import Data
from danlu.data.source import Source
from danlu.data.split import Ask, Share, Stratify, divide
from danlu.errors import DataError

NAME = "images"
VALID_SHARE = 0.2
LARGEST = 4096  # pixels to a side


def images(
    folder: str | Path,
    *,
    csv: str | Path | None = None,
    size: int | Sequence[int] = 224,
    channels: int = 3,
    valid: Share = "default",
    test: float = 0.0,
    stratify: Stratify = "default",
    seed: int = 0,
    cache: bool = True,
) -> Data:
    """Return `Data` of a folder of pictures: JPEG, PNG, BMP, GIF (the first frame) and WEBP.

    Every picture is turned upright as its EXIF orientation says, cut to the largest box of the wanted shape around its
    centre, and resized; batches have floats from 0 to 1, shape (B, C, H, W). Transparent parts are white, 16 bits
    become 8.

    Args:
        folder: one subfolder for each class; or train/, valid/ (or val/) and test/ with such subfolders; or with `csv`
            anything.
        csv: a file with the name of a picture, relative to `folder`, and its label in each row, with or without a
            header; its own path may be relative to `folder`, too.
        size: height and width, or one number for both.
        channels: 3 for colour, 1 for grey.
        valid: share of the training pictures held out for validation; the default is a fifth where there is no valid/.
        test: share held out as the test set.
        stratify: hold out the same share of every class; the default does.
        seed: another seed, another cut.
        cache: keep decoded pictures on disk, under danlu's cache folder, for later epochs and runs.

    Raises:
        DataError: no such folder or file, another layout, fewer than two classes, a size or share that is none.

    Cost: asks the system for the size and date of every file; pictures are decoded when they are first served.
    """
    ask = Ask(valid, stratify, seed)
    return pictures(ask, folder=folder, csv=csv, size=size, channels=channels, test=test, cache=cache)


def pictures(
    ask: Ask,
    *,
    folder: str | Path = "",
    csv: str | Path | None = None,
    size: int | Sequence[int] = 224,
    channels: int = 3,
    test: float = 0.0,
    cache: bool = True,
) -> Data:
    """Return what `images` does."""
    form = _form(size, channels)
    _check_paths(folder, csv, cache)
    place = Path(folder).expanduser()
    table = None if csv is None else _table(place, Path(csv).expanduser())
    files = from_folders(place) if table is None else from_table(place, table)
    kept = _cache(files, str(table), form) if cache else None
    whole = Samples(Pictures(files, form, kept))
    sets: dict[str, Source] = {name: whole.take(rows) for name, rows in files.parts.items()}
    for name, share in ("valid", ask.valid), ("test", test):
        if name in sets and share not in ("default", 0):
            got = f"a share of {share}, and the folder {name}/"
            want = "one or the other"
            raise DataError(where=name, got=got, want=want, fix=f"leave {name} out, or rename the folder")
    shares = ask.shares(0.0 if "valid" in sets else VALID_SHARE, test)
    sets |= divide(sets["train"], shares, ask)
    about = f"{len(files.names):,} pictures in {place}"
    about += f"; {files.left_out:,} other files left out" if files.left_out else ""
    held = {name: source for name, source in sets.items() if name == "valid"}
    return Data(sets["train"], held, sets.get("test"), place.resolve().name or NAME, files.classes, {}, about)


def _table(folder: Path, path: Path) -> Path:
    return path if path.exists() or not (folder / path).exists() else folder / path


def _cache(files: PictureFiles, key: str, form: Form) -> PictureCache | None:
    try:
        return cache_of(files, key, form, cache_folder(NAME))
    except OSError as error:
        tell(error)
        return None


def _check_paths(folder: object, csv: object, cache: object) -> None:
    if not folder or not isinstance(folder, str | Path):
        fix = 'name it: folder = "pictures"'
        raise DataError(where="folder", got=folder or "nothing", want="the folder of the pictures", fix=fix)
    if csv is not None and (not csv or not isinstance(csv, str | Path)):
        fix = 'name it: csv = "labels.csv", or leave it out'
        raise DataError(where="csv", got=csv, want="the path of an annotations file", fix=fix)
    if not isinstance(cache, bool):
        raise DataError(where="cache", got=cache, want="true or false", fix="use one of them")


def _form(size: Any, channels: Any) -> Form:
    sides = [size, size] if isinstance(size, int) else list(size) if isinstance(size, Sequence) else []
    whole = all(isinstance(side, int) and not isinstance(side, bool) and 1 <= side <= LARGEST for side in sides)
    if len(sides) != 2 or not whole or isinstance(size, str):
        want = f"a whole number from 1 to {LARGEST}, or two of them: height, width"
        raise DataError(where="size", got=size, want=want, fix="use size = 64, or size = [48, 64]")
    if isinstance(channels, bool) or channels not in (1, 3):
        raise DataError(where="channels", got=channels, want="3 for colour, 1 for grey", fix="use one of them")
    return Form(channels, sides[0], sides[1])
