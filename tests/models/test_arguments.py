import numpy as np
import pytest

from danlu.errors import RecipeError
from danlu.models.arguments import choice, image_size, share, whole, wholes


def test_numpy_numbers_are_numbers():
    assert whole("here", np.int64(3)) == 3
    assert type(whole("here", np.int64(3))) is int
    assert share("here", np.float32(0.5)) == 0.5
    assert wholes("here", [np.uint8(2), 3]) == (2, 3)


@pytest.mark.parametrize(("value", "size"), [(28, (28, 28)), ((28, 32), (28, 32)), ([4, 5], (4, 5))])
def test_image_size(value, size):
    assert image_size("here", value) == size


@pytest.mark.parametrize("value", [0, -1, 2.0, "28", None, True, (1, 2, 3), (28, 2.5), "ab"])
def test_what_is_no_image_size(value):
    with pytest.raises(RecipeError):
        image_size("here", value)


@pytest.mark.parametrize("value", [-0.1, 1, 1.5, float("nan"), "0.5", None, True, False])
def test_what_is_no_share(value):
    with pytest.raises(RecipeError, match=r"here: got .*want a number in \[0, 1\)"):
        share("here", value)


def test_choice():
    assert choice("here", "max", ("max", "average"), "pooling") == "max"
    with pytest.raises(RecipeError, match="did you mean average"):
        choice("here", "avrage", ("max", "average"), "pooling")
    with pytest.raises(RecipeError, match="choose one of: max, average"):
        choice("here", 3, ("max", "average"), "pooling")
