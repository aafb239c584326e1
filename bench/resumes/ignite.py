"""Ignite: `DeterministicEngine`, `Checkpoint` by iterations, `Checkpoint.load_objects`.

As https://pytorch.org/ignite/engine.html ("Resuming the training" and "Deterministic training": to resume in
mid-epoch, the engine rewinds the loader) and https://pytorch.org/ignite/generated/ignite.handlers.checkpoint.html.
"""

from typing import Any

import torch
from ignite.engine import DeterministicEngine, Events, create_supervised_evaluator
from ignite.handlers import Checkpoint, DiskSaver, LRScheduler, TensorboardLogger
from ignite.metrics import Loss
from ignite.utils import manual_seed
from torch import nn

from bench.resumes.job import SEED, Job, cosine, loaders, optimizer


def run(job: Job, resume: bool) -> Any:
    manual_seed(SEED)
    model, loss_function = job.model(), nn.CrossEntropyLoss()
    adam = optimizer(model)
    schedule = LRScheduler(cosine(adam, job))
    train, valid = loaders(job)

    def update(engine: Any, batch: Any) -> float:
        model.train()
        adam.zero_grad()
        loss = loss_function(model(batch[0]), batch[1])
        loss.backward()
        adam.step()
        return float(loss)

    engine = DeterministicEngine(update)
    evaluator = create_supervised_evaluator(model, metrics={"loss": Loss(loss_function)})
    engine.add_event_handler(Events.ITERATION_COMPLETED, schedule)
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run(valid))
    board = TensorboardLogger(log_dir=str(job.board))
    board.attach_output_handler(
        engine, Events.ITERATION_COMPLETED, tag="train", output_transform=lambda loss: {"loss": loss}
    )
    saved = {"trainer": engine, "model": model, "optimizer": adam, "schedule": schedule}
    folder = job.folder / "checkpoints"
    saving = Checkpoint(saved, DiskSaver(str(folder), create_dir=True, require_empty=False), n_saved=2)
    engine.add_event_handler(Events.ITERATION_COMPLETED(every=job.every), saving)
    if resume:
        newest = max(folder.glob("*.pt"), key=lambda path: int(path.stem.rpartition("_")[2]))
        Checkpoint.load_objects(to_load=saved, checkpoint=torch.load(newest, weights_only=False))
    job.goes_on_after(engine.state.iteration)
    engine.run(train, max_epochs=job.epochs)
    board.close()
    return model
