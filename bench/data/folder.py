"""A folder of JPEGs, by danlu and by a DataLoader over a `Dataset` that opens each with Pillow."""

import argparse
import io
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, final

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

import danlu
from bench.data import Race, Tell
from bench.data.disk import drop

HEIGHT, WIDTH, SIZE, BATCH, CLASSES = 375, 500, 224, 128, 10
DISTINCT = 400  # pictures that are encoded; the others repeat their bytes


@final
class Pictures(Dataset[tuple[Tensor, int]]):
    """What torchvision's ImageFolder with a centre crop, a resize and `ToTensor` does; it does not load here."""

    def __init__(self, folder: Path) -> None:
        self._files = [(path, label) for label, one in enumerate(sorted(folder.iterdir())) for path in one.iterdir()]

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        path, label = self._files[index]
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
        side = min(picture.size)
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        picture = picture.resize((SIZE, SIZE), Image.Resampling.BILINEAR, (left, top, left + side, top + side))
        pixels = torch.from_numpy(np.array(picture, copy=True))
        return pixels.permute(2, 0, 1).contiguous().float().div_(255), label


def measure(options: argparse.Namespace, scratch: Path, tell: Tell) -> list[Race]:
    """Serve two epochs by danlu, with an empty cache of its own, and one by a DataLoader, in turns."""
    what = f"{options.pictures:,} JPEGs of {HEIGHT} x {WIDTH}, to {SIZE} x {SIZE}"
    races = [Race(f"pictures-{name}", f"{what}, {name} epoch", "") for name in ("first", "second")]
    tell(f"pictures: writing {options.pictures:,}")
    folder = scratch / "pictures"
    write(folder, options.pictures)
    workers = _faster(folder, options.workers, tell)
    for index in range(options.disk_rounds):
        for turn in ("danlu", "loader")[:: 1 if index % 2 else -1]:
            _drop(folder)
            if turn == "danlu":
                rates = _danlu(folder, scratch / "cache")
                for race, rate in zip(races, rates, strict=True):
                    race.ours.append(rate)
            else:
                rates = [_rate(DataLoader(Pictures(folder), BATCH, shuffle=True, num_workers=workers))]
                for race in races:  # nothing is kept from one epoch to the next, but files in the page cache
                    race.theirs.append(rates[0])
            told = " and ".join(f"{rate:,.0f}" for rate in rates)
            tell(f"pictures: round {index + 1} of {options.disk_rounds}, {turn}: {told} pictures/s")
    for race in races:
        race.beside = f"DataLoader over a Pillow Dataset, {workers} workers"
    return races


def write(folder: Path, count: int) -> None:
    """Write pictures of smooth noise, about 27 kB each, into one folder for each class."""
    generator, encoded = np.random.default_rng(0), []
    for _ in range(min(count, DISTINCT)):
        coarse = Image.fromarray(generator.integers(0, 256, (HEIGHT // 12, WIDTH // 12, 3), dtype=np.uint8))
        memory = io.BytesIO()
        coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC).save(memory, "JPEG", quality=90)
        encoded.append(memory.getvalue())
    for label in range(CLASSES):
        (folder / f"class-{label}").mkdir(parents=True)
    for index in range(count):
        (folder / f"class-{index % CLASSES}" / f"{index:06d}.jpg").write_bytes(encoded[index % len(encoded)])
    os.sync()


def _drop(folder: Path) -> None:
    for path in folder.rglob("*.jpg"):
        drop(path)


def _faster(folder: Path, workers: Sequence[int], tell: Tell) -> int:
    """Return which number of workers serves some of the pictures faster."""
    whole = Pictures(folder)
    some = Subset(whole, range(0, len(whole), max(1, len(whole) // 1000)))
    rates = {count: _rate(DataLoader(some, BATCH, shuffle=True, num_workers=count)) for count in workers}
    tell("pictures: " + ", ".join(f"DataLoader with {count} workers {rate:,.0f}/s" for count, rate in rates.items()))
    return max(workers, key=lambda count: rates[count])


def _danlu(folder: Path, cache: Path) -> list[float]:
    """Return pictures per second of a first epoch and of a second one."""
    os.environ["DANLU_CACHE"] = str(cache)
    shutil.rmtree(cache, ignore_errors=True)
    data = danlu.data.images(folder, size=SIZE, valid=0.0)
    batches = danlu.data.batches(data.train, BATCH, sampler="shuffle")
    rates = [_rate(batches.iterate(epoch)) for epoch in range(2)]
    batches.close()
    return rates


def _rate(batches: Any) -> float:
    served, start_s = 0, perf_counter()
    for inputs, _ in batches:
        served += len(inputs)
    return served / (perf_counter() - start_s)
