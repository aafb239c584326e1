"""danlu: `fit(..., resume=True)` with the same recipe."""

from typing import Any

import danlu
from bench.resumes.job import BATCH, LR, SEED, WORKERS, Digits, Job
from danlu.data import Data, Samples


class Start(danlu.Hook):
    """Tells where the run goes on."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def on_fit_start(self, training: Any) -> None:
        self._job.goes_on_after(training.state.updates_done)


def run(job: Job, resume: bool) -> Any:
    model = job.model()
    data = Data(Samples(Digits(train=True), workers=WORKERS), {"valid": Samples(Digits(train=False))})
    recipe = danlu.Recipe(
        optim=danlu.Optim("adam", lr=LR),
        schedule=danlu.Schedule("cosine", per="update"),
        checkpoints=danlu.recipe.Checkpoints(every=job.every, per="update"),
        metrics=["accuracy"],
        epochs=job.epochs,
        batch_size=BATCH,
        seed=SEED,
        threads=1,
        log_every=1,
        rehearse=False,  # its batches would be counted as seen
    )
    danlu.fit(model, data, recipe, out=job.folder / "run", quiet=True, resume=resume, hooks=[Start(job)])
    return model
