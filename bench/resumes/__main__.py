"""One leg of a run in a process of its own."""

import argparse
import sys
from pathlib import Path

import torch

from bench.resumes import TRAINERS, trainer
from bench.resumes.job import Job


def main() -> int:
    parser = argparse.ArgumentParser("python -m bench.resumes")
    parser.add_argument("name", choices=TRAINERS)
    parser.add_argument("folder", type=Path)
    for option in ("--epochs", "--every", "--kill"):
        parser.add_argument(option, type=int, required=True)
    parser.add_argument("--resume", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    job = Job(options.folder, options.epochs, options.every, options.kill, stateful="Stateful" in options.name)
    job.keep(trainer(options.name)(job, options.resume))
    return 0


if __name__ == "__main__":
    sys.exit(main())
