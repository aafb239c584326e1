"""Lightning: checkpoints by steps, and `trainer.fit(..., ckpt_path="last")`.

As https://lightning.ai/docs/pytorch/stable/common/checkpointing_basic.html (resume with `ckpt_path`),
.../checkpointing_intermediate.html (`every_n_train_steps`, `save_last`) and `seed_everything(workers=True)` of
https://lightning.ai/docs/pytorch/stable/common/trainer.html#reproducibility. Since 2.2 a loader with `state_dict` is
saved with the rest (https://github.com/Lightning-AI/pytorch-lightning/pull/19475).
"""

import logging
import warnings
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from torch import nn

from bench.resumes.job import SEED, Job, cosine, loaders, optimizer

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
logging.getLogger("lightning.fabric").setLevel(logging.ERROR)
warnings.filterwarnings("ignore")


class Module(lightning.LightningModule):
    def __init__(self, job: Job) -> None:
        super().__init__()
        self._job, self.model, self.loss_function = job, job.model(), nn.CrossEntropyLoss()

    def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
        loss: torch.Tensor = self.loss_function(self.model(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: list[torch.Tensor], index: int) -> None:
        self.log("valid_loss", self.loss_function(self.model(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        adam = optimizer(self.model)
        return {"optimizer": adam, "lr_scheduler": {"scheduler": cosine(adam, self._job), "interval": "step"}}

    def on_train_start(self) -> None:
        self._job.goes_on_after(self.trainer.global_step)


def run(job: Job, resume: bool) -> Any:
    lightning.seed_everything(SEED, workers=True, verbose=False)
    train, valid = loaders(job)
    saving = ModelCheckpoint(dirpath=job.folder / "checkpoints", every_n_train_steps=job.every, save_last=True)
    trainer = lightning.Trainer(
        max_epochs=job.epochs,
        accelerator="cpu",
        devices=1,
        deterministic=True,
        callbacks=[saving],
        logger=TensorBoardLogger(job.folder, name="", version="tensorboard"),  # one curve for both parts of the run
        log_every_n_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    module = Module(job)
    trainer.fit(module, train, valid, ckpt_path="last" if resume else None)
    return module.model
