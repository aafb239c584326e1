"""skorch: `Checkpoint` after every epoch, and `LoadInitState`, which loads weights, optimizer and history.

As https://skorch.readthedocs.io/en/stable/user/save_load.html ("Using callbacks"). Its checkpoints know epochs only;
the number of epochs that are left is taken from the history that was saved.
"""

import json
from typing import Any

import torch
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback, Checkpoint, LoadInitState, LRScheduler, TensorBoard
from skorch.helper import predefined_split
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from bench.resumes.job import BATCH, LR, SEED, WORKERS, Digits, Job


class Start(Callback):
    """Tells where the run goes on; it stands behind LoadInitState."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def on_train_begin(self, net: Any, **_: Any) -> None:
        self._job.goes_on_after(len(net.history) * self._job.updates // self._job.epochs)


def run(job: Job, resume: bool) -> Any:
    saving = Checkpoint(monitor=None, dirname=str(job.folder / "checkpoints"))
    history = job.folder / "checkpoints" / "history.json"
    done = len(json.loads(history.read_text())) if resume and history.exists() else 0
    torch.manual_seed(SEED)
    model = job.model()
    net = NeuralNetClassifier(
        model,
        criterion=nn.CrossEntropyLoss,
        classes=list(range(10)),
        optimizer=torch.optim.Adam,
        lr=LR,
        max_epochs=job.epochs - done,
        batch_size=BATCH,
        iterator_train__shuffle=True,
        iterator_train__num_workers=WORKERS,
        train_split=predefined_split(Digits(train=False)),
        callbacks=[
            LRScheduler(policy=torch.optim.lr_scheduler.CosineAnnealingLR, T_max=job.updates, step_every="batch"),
            saving,
            LoadInitState(saving),
            Start(job),
            TensorBoard(SummaryWriter(str(job.board))),
        ],
        verbose=0,
    )
    net.fit(Digits(train=True), y=None)
    return net.module_
