"""What a person should know of how a stored set is read in a run."""

import numpy as np
import torch

from danlu import keyed
from danlu.data.block_order import WINDOW, Blocks
from danlu.data.sampling import is_classes
from danlu.data.store_source import Stored

LOOKED_AT = 4  # windows whose classes are counted
FEW = 0.5  # a window that has less than this share of the classes that it would have by chance is told of


def notes_on_reading(source: Stored, device: torch.device, *, sampler: object, seed: int) -> list[str]:
    """Return notes: that a set is read from disk, in which order, and that its windows hold few classes.

    Args:
        source: the training set.
        device: where its batches go.
        sampler: as for `batches`.
        seed: the run's.
    """
    notes = []
    if not source.folder.fits(device):
        size = len(source) * source.row_bytes / 1e9
        notes.append(f"data: {size:.3g} GB that do not fit in memory are read from disk in every epoch")
    if sampler != "block_shuffle":
        return notes
    blocks = Blocks(len(source), source.block_samples())
    if blocks.windows > 1:
        window = WINDOW * blocks.size
        order = f"block_shuffle: quasi-random, shuffled within windows of {window:,} of {len(source):,} samples"
        notes.append(f"{order} that come from {WINDOW} places of the files")
    return notes + _few_classes(source, blocks, seed)


def _few_classes(source: Stored, blocks: Blocks, seed: int) -> list[str]:
    targets = source.targets()
    if targets is None or not is_classes(targets):
        return []
    flat = targets.reshape(-1)
    shares = []
    for window in range(min(blocks.windows, LOOKED_AT)):
        start, stop = blocks.span(window)
        here = len(np.unique(flat[blocks.ids(seed, 0, start, stop)]))
        by_chance = len(np.unique(flat[keyed.order(seed, 0, len(flat), start, stop)]))
        shares.append((here / by_chance, here, by_chance))
    share, here, by_chance = min(shares)
    if share >= FEW:
        return []
    got = f"a window of block_shuffle has {here} classes, where chance would give it {by_chance}"
    return [f"the set is sorted by class: {got}; convert it again with `danlu data convert --shuffle`"]
