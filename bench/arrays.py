"""The arrays that are trained on: written once, read by every competitor with `bench.task.load`."""

from pathlib import Path

import numpy as np

from bench.rounds import BenchError


def save_pictures(folder: Path) -> None:
    """Write the 60,000 training and 10,000 test pictures of Fashion-MNIST as the arrays that are read.

    The official test pictures are the validation set here, so that nobody has to be told how to split.
    """
    import danlu

    data = danlu.data.load("fashion-mnist", valid=0)
    for name, source in (("train", data.train), ("valid", data.test)):
        if not isinstance(source, danlu.data.Arrays):
            raise BenchError(f"Fashion-MNIST came without arrays for {name}")
        inputs, target = source.columns.tensors
        np.save(folder / f"{name}_inputs.npy", inputs.numpy())
        np.save(folder / f"{name}_target.npy", target.numpy().astype(np.int64))


def save_line(folder: Path, samples: int) -> None:
    """Write made data for the regression of one number on two: y = 1 x1 - 2 x2 + 0.5 and a little noise."""
    generator = np.random.default_rng(0)
    for name in ("train", "valid"):
        inputs = generator.normal(size=(samples, 2)).astype(np.float32)
        noise = generator.normal(scale=0.1, size=(samples, 1)).astype(np.float32)
        np.save(folder / f"{name}_inputs.npy", inputs)
        np.save(folder / f"{name}_target.npy", inputs @ np.array([[1.0], [-2.0]], np.float32) + np.float32(0.5) + noise)


def save_colours(folder: Path, train: int, valid: int) -> None:
    """Write made pictures, 3 x 32 x 32 of random pixels, and classes: for a network whose learning is not looked at."""
    generator = np.random.default_rng(0)
    for name, samples in (("train", train), ("valid", valid)):
        pictures = generator.integers(0, 256, (samples, 3, 32, 32), dtype=np.uint8)
        np.save(folder / f"{name}_inputs.npy", pictures)
        np.save(folder / f"{name}_target.npy", generator.integers(0, 10, samples))
