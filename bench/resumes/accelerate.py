"""Accelerate: `save_state` by steps, `load_state`, and `skip_first_batches` into the interrupted epoch.

As https://huggingface.co/docs/accelerate/usage_guides/checkpoint ("Restoring the state of the DataLoader") and
https://github.com/huggingface/accelerate/blob/main/examples/by_feature/checkpointing.py; `use_seedable_sampler` of
https://huggingface.co/docs/accelerate/package_reference/utilities (DataLoaderConfiguration) makes the order repeatable.
With `use_stateful_dataloader=True`, `load_state` restores the loader instead.
"""

from typing import Any

from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration, ProjectConfiguration, set_seed
from torch import nn

from bench.resumes.job import SEED, Job, cosine, loaders, optimizer


def run(job: Job, resume: bool) -> Any:
    set_seed(SEED)
    accelerator = Accelerator(
        cpu=True,
        log_with="tensorboard",
        project_config=ProjectConfiguration(project_dir=str(job.folder), logging_dir=str(job.board)),
        dataloader_config=DataLoaderConfiguration(
            use_seedable_sampler=True, use_stateful_dataloader=job.stateful, data_seed=SEED
        ),
    )
    model, loss_function = job.model(), nn.CrossEntropyLoss()
    adam = optimizer(model)
    own = Job(job.folder, job.epochs, job.every)  # with use_stateful_dataloader, Accelerate makes that loader itself
    train, valid = loaders(own)
    model, adam, train, valid, schedule = accelerator.prepare(model, adam, train, valid, cosine(adam, job))
    accelerator.init_trackers("run")
    step = begin = skip = 0
    if resume:
        path = max((job.folder / "checkpoints").glob("step_*"), key=lambda one: int(one.name.removeprefix("step_")))
        accelerator.load_state(str(path))
        step = int(path.name.removeprefix("step_"))
        begin, skip = divmod(step, len(train))
    job.goes_on_after(step)
    for epoch in range(begin, job.epochs):
        model.train()
        skips = resume and epoch == begin and skip and not job.stateful
        train.set_epoch(epoch)  # the seedable sampler's order is that of (seed, epoch)
        for inputs, target in accelerator.skip_first_batches(train, skip) if skips else train:
            loss = loss_function(model(inputs), target)
            accelerator.backward(loss)
            adam.step()
            schedule.step()
            adam.zero_grad()
            step += 1
            accelerator.log({"train_loss": loss.item()}, step=step)
            if step % job.every == 0:
                accelerator.save_state(str(job.folder / "checkpoints" / f"step_{step}"))
        model.eval()
        total = sum(float(loss_function(model(inputs), target)) for inputs, target in valid)
        accelerator.log({"valid_loss": total / len(valid)}, step=step)
    accelerator.end_training()
    return accelerator.unwrap_model(model)
