"""Addressed randomness on any device: the numbers of `keyed.uniform`, as tensors, for the samples of a batch.

The arithmetic is that of `keyed`, on 64-bit integers that hold 32-bit words, so every device gives the same bits. No
product passes 2**63, because the two constants of the mixer lie below 2**31.
"""

import math

import torch
from torch import Tensor

from danlu import keyed

MASK = 0xFFFF_FFFF


def draw(seed: int, epoch: int, ids: Tensor, *, purpose: str, shape: tuple[int, ...] = ()) -> Tensor:
    """Return numbers in [0, 1), each id its own, whichever other ids are asked for with it.

    Args:
        seed: the run's seed.
        epoch: counted from 0.
        ids: sample ids, int64 of shape (B,); the numbers are made on their device.
        purpose: what the numbers are for; two purposes never share numbers.
        shape: how many numbers each id gets.

    Returns:
        float32 of shape (B, *shape): what `keyed.uniform` returns, cut to multiples of 2**-24, which float32 holds.

    Cost: about 60 us and 10 ns a number on a CPU; no sync.
    """
    return unit(words(seed, epoch, ids, purpose=purpose, count=math.prod(shape))).reshape(len(ids), *shape)


def words(seed: int, epoch: int, ids: Tensor, *, purpose: str, count: int) -> Tensor:
    """Return 32-bit words, int64 of shape (B, count), each id its own; the arguments are those of `draw`."""
    state = torch.full_like(ids, keyed.number(purpose, seed, epoch))
    return expand(_absorb(_absorb(state, ids & MASK), (ids >> 32) & MASK), count)


def expand(words_B: Tensor, count: int) -> Tensor:
    """Return `count` words for each word, shape (B, count), so that one word stands for as many as are needed."""
    return _absorb(words_B.unsqueeze(1), torch.arange(count, device=words_B.device).unsqueeze(0))


def unit(words: Tensor) -> Tensor:
    """Return words as float32 in [0, 1): their upper 24 bits."""
    return (words >> 8).to(torch.float32).mul_(2.0**-24)


def _absorb(state: Tensor, word: Tensor) -> Tensor:
    x = (state ^ word).add_(0x9E3779B9).bitwise_and_(MASK)
    x.bitwise_xor_(x >> 16).mul_(0x21F0AAAD).bitwise_and_(MASK)
    x.bitwise_xor_(x >> 15).mul_(0x735A2D97).bitwise_and_(MASK)
    return x.bitwise_xor_(x >> 15)
