"""The tasks: which network on how much data, and how often."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.arrays import save_colours, save_line, save_pictures
from bench.task import Task

LINE_BATCH = 10
PICTURES, COLOURS, LINE = "pictures", "colours", "line"  # folders of arrays


@dataclass(frozen=True)
class Job:
    """A task, how many epochs a fit of it has, and what the table says of it.

    Fields:
        rounds: at most so many, for what takes long.
    """

    task: Task
    epochs: int
    about: str
    rounds: int = 99


@dataclass(frozen=True)
class Scale:
    """How large the tasks are.

    Fields:
        share: of the data, batches and updates.
        epochs: of the MLP.
        threads: of PyTorch.
    """

    share: float
    epochs: int
    threads: int

    def batches(self, usual: int) -> int:
        return max(1, round(usual * self.share))

    def samples(self, usual: int) -> int:
        return max(1, round(usual * self.share))


NAMES = ("mlp", "cnn", "line", "mlp-adamw", "cnn-512", "cnn-eval", "lstm", "transformer", "resnet")
LONG = ("resnet-small",)  # minutes of its own: only where it is asked for


def jobs(names: Sequence[str], scale: Scale, scratch: Path, arrays: Path | None) -> list[Job]:
    """Write the arrays and return the jobs that are named; the MLP is first: it measures memory of fresh processes.

    Args:
        names: of `NAMES` and `LONG`.
        scale: how large they are.
        scratch: a folder for arrays and for what is found before the rounds.
        arrays: folder of other pictures than Fashion-MNIST's; None for these.
    """
    pictures = arrays or scratch / PICTURES
    made = [job for name, job in _all(scale, scratch, pictures).items() if name in names]
    needed = {job.task.arrays for job in made}
    for folder in needed - {arrays}:
        folder.mkdir()
    if pictures in needed and arrays is None:
        save_pictures(pictures)
    for job in made:
        if job.task.arrays == scratch / COLOURS:
            save_colours(scratch / COLOURS, job.task.train_samples, job.task.valid_samples)
        if job.task.arrays == scratch / LINE:
            save_line(scratch / LINE, job.task.train_samples)
    (scratch / "found").mkdir()
    return made


def _all(scale: Scale, scratch: Path, pictures: Path) -> dict[str, Job]:
    colours, found, threads = scratch / COLOURS, scratch / "found", scale.threads

    def make(name: str, batches: int, size: int, lr: float, valid: int, **more: object) -> Task:
        arrays = colours if str(more.get("model")).startswith("resnet") else pictures
        train = scale.batches(batches) * size
        fields = {"threads": threads, "found": found, **more}
        return Task(name, arrays, train, scale.samples(valid), size, lr, **fields)  # type: ignore[arg-type]

    train, valid, updates = scale.samples(60_000), scale.samples(10_000), scale.batches(3_000)
    mlp = {"arrays": pictures, "train_samples": train, "valid_samples": valid, "batch_size": 256, "threads": threads}
    line = Task("line", scratch / LINE, updates * LINE_BATCH, LINE_BATCH, LINE_BATCH, 0.01, 1, "line", found=found)
    cnn, epochs = make("cnn", 30, 128, 0.05, 2_000, model="cnn", momentum=0.9), scale.epochs
    rows = "2 x conv-BN-ReLU-pool, linear"
    end = f"{train:,} + {valid:,} pictures an epoch, batch 256"
    return {
        "mlp": Job(Task("mlp", lr=0.1, found=found, **mlp), epochs, f"MLP 784-256-10, {end}, SGD 0.1, {epochs} epochs"),  # type: ignore[arg-type]
        "cnn": Job(
            cnn, 1, f"CNN ({rows}), {_counts(cnn)} of 128 + {cnn.valid_samples:,} pictures, SGD 0.05/0.9, 1 epoch"
        ),
        "line": Job(
            line, 1, f"Linear(2, 1), MSE, SGD, {updates:,} updates of {LINE_BATCH} samples, 1 thread", rounds=5
        ),
        "mlp-adamw": Job(
            Task("mlp-adamw", lr=0.001, found=found, optimizer="adamw", **mlp),  # type: ignore[arg-type]
            1,
            "MLP 784-256-10, batch 256, AdamW",
        ),
        "cnn-512": Job(
            make("cnn-512", 12, 512, 0.05, 512, model="cnn", momentum=0.9), 1, f"CNN ({rows}), batch 512, SGD 0.05/0.9"
        ),
        "cnn-eval": Job(
            make("cnn-eval", 4, 128, 0.05, 10_000, model="cnn", momentum=0.9),
            1,
            f"evaluation of the CNN, {scale.samples(10_000):,} pictures; the bare loop by 128",
        ),
        "lstm": Job(make("lstm", 80, 128, 0.1, 512, model="lstm"), 1, "LSTM 28-128, 28 steps, batch 128, SGD"),
        "transformer": Job(
            make("transformer", 30, 128, 0.05, 512, model="transformer"),
            1,
            "transformer, 2 layers, d128, 28 tokens, batch 128, SGD",
        ),
        "resnet": Job(
            make("resnet", 10, 128, 0.05, 128, model="resnet", momentum=0.9),
            1,
            "ResNet-18, 3 x 32 x 32, batch 128, SGD 0.05/0.9",
        ),
        "resnet-small": Job(
            make("resnet-small", 2, 128, 0.05, 16, model="resnet-small", momentum=0.9),
            1,
            "ResNet-18, first layer for small pictures, 3 x 32 x 32, batch 128, SGD 0.05/0.9",
            rounds=3,
        ),
    }


def _counts(task: Task) -> str:
    batches = task.updates_per_epoch
    return "1 batch" if batches == 1 else f"{batches} batches"
