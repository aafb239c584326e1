"""Augmentations that add something to a sample: noise, or another sample."""

import functools
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor

from danlu import keyed
from danlu.data.augment_geometry import Transform, levels, look
from danlu.data.source import Ids
from danlu.device import expand
from danlu.errors import DataError
from danlu.recipe import Count, NotNegative, Off, Positive

HALF = 0xFFFF


@final
class Noise(Transform, frozen=True):
    """Add normal noise of standard deviation `std`, independent in every number of the inputs.

    A number is one of 65,536 quantiles of the normal distribution, so none lies beyond 4.3 standard deviations.
    """

    moves: ClassVar[bool] = False

    std: NotNegative

    def __call__(self, inputs: Tensor, words_BK: Tensor) -> Tensor:
        """Add it."""
        count = inputs[0].numel()
        words = expand(words_BK[:, 0], -(-count // 2))  # each has two numbers of 16 bits in it
        index = torch.stack((words >> 16, words & HALF), dim=2).flatten()
        normal = _normals(inputs.device).index_select(0, index).view(len(inputs), -1)[:, :count]
        return inputs + (normal * self.std).to(inputs.dtype).view(inputs.shape)


@final
class Mixup(Transform, frozen=True):
    """Mix each sample with another of the training set: share * sample + (1 - share) * other, the targets likewise.

    The other one is a keyed sample of its own, any of the set with equal chance, as it is augmented in this epoch so
    far; one that is bad is replaced as `bad = "replace"` would, and by the sample itself where no other is good. The
    share is a quantile of Beta(alpha, alpha), at one of 65,536 equally likely levels. Classes become class
    probabilities; targets that are floats are mixed as they are.

    Fields:
        alpha: the smaller, the closer most shares are to 0 or 1; 1 makes them uniform.
        classes: how many there are; "off" counts them in the targets of all sets.

    Source: H. Zhang and others, "mixup: Beyond Empirical Risk Minimization", 2018.
    """

    moves: ClassVar[bool] = False

    alpha: Positive = 0.2
    classes: Count | Off = "off"

    def __call__(self, inputs: Tensor, words_BK: Tensor) -> Tensor:
        """Mix the first half of a batch with its second half."""
        return _mixed(inputs, self._share(inputs, words_BK))

    def targets(self, target: Tensor | None, words_BK: Tensor, classes: int) -> Tensor:
        """Mix the targets of the first half with those of the second.

        Args:
            target: shape (2 B, ...).
            words_BK: what the inputs were mixed by.
            classes: how many there are, where the options do not say so; 0 where nobody knows.

        Raises:
            DataError: there are none, they are pictures of classes, or the number of classes is unknown.
        """
        if target is None or (not target.is_floating_point() and target.ndim != 1):
            got = "no targets" if target is None else f"whole numbers of shape {tuple(target.shape[1:])} for a sample"
            want = "one class for each sample, or targets that are floats"
            raise DataError(where="augment mixup", got=got, want=want, fix="leave mixup out")
        if not target.is_floating_point():
            target = _one_hot(target, self._classes(classes))
        return _mixed(target, self._share(target, words_BK))

    def _classes(self, known: int) -> int:
        if self.classes == "off" and not known:
            got, fix = "classes whose number is not known without fetching every sample", "set classes of mixup"
            raise DataError(where="augment mixup", got=got, want="the number of the model's outputs", fix=fix)
        return known if self.classes == "off" else self.classes

    def _share(self, mixed: Tensor, words_BK: Tensor) -> Tensor:
        share = look(_shares(self.alpha, mixed.device), words_BK[:, 0]).to(mixed.dtype)
        return share.view(-1, *[1] * (mixed.ndim - 1))


def partners(seed: int, epoch: int, ids: Ids, *, purpose: str, samples: int) -> Ids:
    """Return the sample that each sample is mixed with, any of `samples` with equal chance, itself among them."""
    drawn = keyed.uniform(seed, epoch, ids, purpose) * samples
    return np.minimum(drawn.astype(np.int64), samples - 1)


def _mixed(pairs: Tensor, share: Tensor) -> Tensor:
    own, other = pairs[: len(share)], pairs[len(share) :]
    return own * share + other * (1 - share)


def _one_hot(target: Tensor, classes: int) -> Tensor:
    """Return float rows; one of zeros for a class that there is not, such as an ignored one."""
    return target.unsqueeze(1).eq(torch.arange(classes, device=target.device)).to(torch.get_default_dtype())


@functools.lru_cache(maxsize=16)
def _normals(device: torch.device) -> Tensor:
    normal: Tensor = torch.special.ndtri(torch.from_numpy(levels()))
    return normal.to(torch.float32).to(device)


@functools.lru_cache(maxsize=16)
def _shares(alpha: float, device: torch.device) -> Tensor:
    """Return quantiles of Beta(alpha, alpha), by integrating its density over [0, 1/2]; the rest is its mirror image.

    With t = x**e, e = min(alpha, 1), the density over t is x**(alpha - e) (1 - x)**(alpha - 1), which is bounded.
    """
    e = min(alpha, 1.0)
    t = np.linspace(0.0, 0.5**e, 4 * len(levels()) + 1)
    x = t ** (1 / e)
    density = x ** (alpha - e) * (1 - x) ** (alpha - 1)
    mass = np.concatenate(([0.0], np.cumsum(density[1:] + density[:-1])))
    lower = np.interp(levels()[: len(levels()) // 2], mass / mass[-1] / 2, t) ** (1 / e)
    return torch.from_numpy(np.concatenate((lower, 1 - lower[::-1]))).to(torch.float32).to(device)
