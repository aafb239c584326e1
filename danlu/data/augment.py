"""Augmentations by name: from a recipe's parts to what changes a batch."""

from collections.abc import Sequence

from danlu.data.augment_geometry import (
    Erase,
    HorizontalFlip,
    RandomCrop,
    RandomResizedCrop,
    Rotation,
    Transform,
    VerticalFlip,
)
from danlu.data.augment_mixing import Mixup, Noise
from danlu.errors import RecipeError, unknown_name
from danlu.recipe import Augment
from danlu.recipe_text import check_options

KINDS: dict[str, type[Transform]] = {
    "random_crop": RandomCrop,
    "random_resized_crop": RandomResizedCrop,
    "horizontal_flip": HorizontalFlip,
    "vertical_flip": VerticalFlip,
    "rotation": Rotation,
    "erase": Erase,
    "noise": Noise,
    "mixup": Mixup,
}


def make_transforms(parts: Sequence[Augment | str]) -> list[Transform]:
    """Build what a recipe's `augment` names, in its order.

    Raises:
        RecipeError: an unknown name or option, a value that is wrong, or mixup twice.
    """
    made: list[Transform] = []
    for index, given in enumerate(parts):
        part = Augment(given) if isinstance(given, str) else given
        where = f"augment[{index}]"
        if part.name not in KINDS:
            raise unknown_name(RecipeError, f"{where}.name", part.name, KINDS, "augmentation")
        transform = check_options(where, part.options, KINDS[part.name])
        transform.check(where)
        if isinstance(transform, Mixup) and any(isinstance(one, Mixup) for one in made):
            raise RecipeError(where=where, got="mixup twice", want="mixup once", fix="leave one out")
        made.append(transform)
    return made
