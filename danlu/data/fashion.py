"""Fashion-MNIST: 70,000 grey pictures of clothes in 10 classes, 28 x 28; found on this machine, or downloaded."""

from collections.abc import Sequence
from pathlib import Path

from danlu.data.cache_folder import cache_folder
from danlu.data.download import Wanted, content_sha256, download
from danlu.data.idx_file import read_idx
from danlu.data.sets import Data
from danlu.data.source import Arrays
from danlu.data.split import Ask, divide
from danlu.errors import DataError

NAME = "fashion-mnist"
VALID_SHARE = 1 / 12  # 5,000 of 60,000, so that the official test set is kept for the last figure
SYSTEM_FOLDER = Path("/usr/share/datasets/fashion-mnist")  # the Debian package dataset-fashion-mnist
MIRRORS = (
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
)
FILES = {
    "train images": Wanted(
        "train-images-idx3-ubyte.gz", 26_421_880, "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"
    ),
    "train labels": Wanted(
        "train-labels-idx1-ubyte.gz", 29_515, "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"
    ),
    "test images": Wanted(
        "t10k-images-idx3-ubyte.gz", 4_422_102, "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"
    ),
    "test labels": Wanted(
        "t10k-labels-idx1-ubyte.gz", 5_148, "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"
    ),
}
CLASSES = (
    "t-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
ABOUT = "Fashion-MNIST; H. Xiao, K. Rasul, R. Vollgraf (2017); Zalando SE; MIT licence"


def fashion_mnist(ask: Ask) -> Data:
    """Return 60,000 training and 10,000 test images of shape (N, 1, 28, 28), uint8.

    Cost: about 55 MB, and 0.3 s to decompress.
    """
    place = find(places()) or fetch()
    train = _images(place, "train")
    sets = divide(train, ask.shares(VALID_SHARE), ask)
    return Data(sets.pop("train"), sets, _images(place, "test"), NAME, CLASSES, {}, ABOUT)


def cache() -> Path:
    """Return danlu's own folder for this data set."""
    return cache_folder(NAME)


def places() -> tuple[Path, ...]:
    """Return the folders that are looked through, in this order."""
    return cache(), SYSTEM_FOLDER


def find(folders: Sequence[Path], files: Sequence[Wanted] = tuple(FILES.values())) -> Path | None:
    """Return the first folder that has all the files; their content is checked when it is read."""
    return next((place for place in folders if all((place / file.name).is_file() for file in files)), None)


def fetch(
    folders: Sequence[Path] | None = None,
    mirrors: Sequence[str] = MIRRORS,
    files: Sequence[Wanted] = tuple(FILES.values()),
) -> Path:
    """Return a folder with all the files, whole; download to the first of `folders` what is missing or damaged there.

    Raises:
        DataError: names every way to get the files, and what each of them said.
    """
    folders = places() if folders is None else folders
    for place in folders:
        if find([place], files) and not any(_wrong(place / file.name, file) for file in files):
            return place
    try:
        for file in files:
            if _wrong(folders[0] / file.name, file):
                download(file, folders[0], mirrors)
    except DataError as error:
        raise _nowhere(folders, files, error) from error
    return folders[0]


def _wrong(path: Path, file: Wanted) -> str | None:
    """Return what is wrong with a file, or None."""
    if not path.is_file():
        return "missing"
    try:
        return None if content_sha256(path) == file.sha256 else "other content"
    except DataError as error:
        return str(error.got)


def _nowhere(folders: Sequence[Path], files: Sequence[Wanted], error: DataError) -> DataError:
    said = []
    for place in folders:
        wrong = {file.name: _wrong(place / file.name, file) for file in files}
        said.append(f"{place}: " + ", ".join(f"{name} {reason}" for name, reason in wrong.items() if reason))
    names = ", ".join(file.name for file in files)
    return DataError(
        where=NAME,
        got="; ".join([*said, str(error.got)]),
        want=f"{names} in one of these folders",
        fix=f"copy the files into {folders[0]}, or run `apt-get install dataset-fashion-mnist`, or run "
        f"`danlu data fetch {NAME}` with a network",
    )


def _images(place: Path, part: str) -> Arrays:
    images, labels = (
        read_idx(place / file.name, sha256=file.sha256) for file in (FILES[f"{part} images"], FILES[f"{part} labels"])
    )
    return Arrays(images.reshape(-1, 1, 28, 28), labels)
