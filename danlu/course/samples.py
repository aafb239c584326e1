"""Real samples for the lessons, as NumPy arrays: pictures of clothes where they are on this machine, else digits."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from danlu.course.page import Page
from danlu.data import Arrays, fashion, load, read_idx  # PyTorch comes along: danlu.data serves the trainer

Array = npt.NDArray[Any]


class Pictures(NamedTuple):
    """Flat pictures, shape (N, pixels), float32 from 0 to 1, and their classes, shape (N,), int64 from 0 to 9."""

    x_train: Array
    y_train: Array
    x_test: Array
    y_test: Array


def pictures(train: int, test: int, page: Page) -> Pictures:
    """Return the first pictures of Fashion-MNIST, where it is on this machine, or of the digits that are always there.

    Args:
        train: training pictures; there are no more than 1,297 digits for this.
        test: test pictures; there are no more than 500 digits for this.
        page: is told which pictures they are.
    """
    place = fashion.find(fashion.places())
    if place is None:
        page.say("Fashion-MNIST is not on this machine (danlu data fetch fashion-mnist), so these are 8 x 8 digits.")
        inputs, target = _stored("digits")
        x, y = inputs.reshape(-1, 64) / np.float32(16), target.astype(np.int64)
        return Pictures(x[500:][:train], y[500:][:train], x[:500][:test], y[:500][:test])
    page.say(f"Fashion-MNIST: {train:,} of 60,000 training pictures, {test:,} of 10,000 test pictures.")
    parts: list[Array] = []
    for part, count in (("train", train), ("test", test)):
        images, labels = (read_idx(place / fashion.FILES[f"{part} {kind}"].name) for kind in ("images", "labels"))
        parts += [images[:count].reshape(count, -1) / np.float32(255), labels[:count].astype(np.int64)]
    return Pictures(*parts)


def diabetes() -> tuple[Array, Array]:
    """Return 10 measurements of 442 patients, shape (442, 10), and how far the disease went, shape (442, 1)."""
    return _stored("diabetes")


def _stored(name: str) -> tuple[Array, Array]:
    """Return inputs and targets of a data set that is one table."""
    table = load(name, valid=0.0).train
    assert isinstance(table, Arrays)
    columns = table.stored()
    return columns["inputs"].numpy(), columns["target"].numpy()
