"""Random changes of a batch on its device, each sample its own: danlu's and kornia's."""

import argparse
import importlib.util
from pathlib import Path
from time import perf_counter

import numpy as np
import torch

import danlu
from bench.data import Race, Tell
from danlu.data import augmented

BATCH, BATCHES = 256, 20
PARTS = [danlu.Augment("random_crop", padding=4), "horizontal_flip", "erase"]
ABOUT = "random crop by 4, flip, erase; 256 x 3 x 32 x 32 float32"


def measure(options: argparse.Namespace, scratch: Path, tell: Tell) -> list[Race]:
    """Change the same batches in turn; danlu's time has the fetching of the batch in it, kornia gets it ready."""
    race = Race("augment", ABOUT, "kornia.augmentation")
    if importlib.util.find_spec("kornia") is None:
        race.missing = "kornia is not installed: pip install -r requirements/bench.txt"
        return [race]
    import kornia.augmentation as kornia

    count = max(1, round(BATCHES * options.share))
    pictures = np.random.default_rng(0).random((BATCH * count, 3, 32, 32), np.float32)
    arrays = danlu.data.Arrays(pictures, np.zeros(len(pictures), np.int64))
    ours = augmented(danlu.data.batches(arrays, BATCH, sampler="shuffle"), PARTS, seed=0)
    ready = torch.from_numpy(pictures).split(BATCH)
    theirs = kornia.AugmentationSequential(
        kornia.RandomCrop((32, 32), padding=4),
        kornia.RandomHorizontalFlip(p=0.5),
        kornia.RandomErasing(p=0.5, scale=(0.02, 0.33), ratio=(0.3, 3.3)),
        data_keys=["input"],
        same_on_batch=False,
    )
    for index in range(options.rounds + 1):
        tell(f"augment: {'warm-up' if not index else f'round {index} of {options.rounds}'}")
        for turn in ("danlu", "kornia")[:: 1 if index % 2 else -1]:
            start_s = perf_counter()
            if turn == "danlu":
                for _ in ours.iterate(index):
                    pass
            else:
                for batch in ready:
                    theirs(batch)
            rate = len(pictures) / (perf_counter() - start_s)
            (race.ours if turn == "danlu" else race.theirs).append(rate)
    race.ours, race.theirs = race.ours[1:], race.theirs[1:]
    return [race]
