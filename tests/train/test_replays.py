"""A captured update is the eager one: to the same bits, for every batch, after a kill, and where it cannot be replayed.

All of it takes a GPU.
"""

import dataclasses
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from train.capturing import by_plan, came_to, convolutional, dense, training_of

import danlu
from danlu.measure.trial import fetched, one_update
from danlu.train import Training
from danlu.train.captured import WARM_UPS

GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")


def dropping() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(72, 16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 4))


CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "ema": {"ema": 0.9},
    "accumulate": {"accumulate": 2},
    "clipped": {"optim": danlu.Optim("sgd", lr=0.1, momentum=0.9, clip_norm=0.5, clip_value=0.1)},
    "cosine per update": {"schedule": danlu.Schedule("cosine", per="update")},
    "steps per epoch": {"schedule": danlu.Schedule("step", step_size=1)},
    "without momentum": {"optim": danlu.Optim("sgd", lr=0.1)},
    "groups": {"optim": danlu.Optim("sgd", lr=0.1, groups=[{"names": ["*.bias"], "lr": 0.3}])},
    "one cycle, momentum too": {"schedule": danlu.Schedule("one_cycle", per="update", max_lr=0.2)},
}


ON_GPU = CASES | {
    "adamw": {"optim": danlu.Optim("adamw", lr=1e-3)},
    "adamw, cosine per update": {
        "optim": danlu.Optim("adamw", lr=1e-3),
        "schedule": danlu.Schedule("cosine", per="update"),
    },
    "rmsprop": {"optim": danlu.Optim("rmsprop", lr=1e-3)},
}


def on_gpu(model: nn.Module, *, step: Any = None, **changed: Any) -> Training:
    training = training_of(model, step=step, device="cuda", **changed)
    way = "as given" if changed.get("optim", danlu.Optim("sgd")).name != "sgd" else "fused"
    return by_plan(training, captured=True, optimizer=way)


@pytest.mark.gpu
@GPU
@pytest.mark.parametrize("model", [dense, dropping, convolutional])
@pytest.mark.parametrize("case", ON_GPU)
def test_captured_updates_are_the_eager_ones_bit_for_bit(case: str, model: Callable[[], nn.Module]) -> None:
    want = came_to(on_gpu(model(), **ON_GPU[case]), replay=False)
    training = on_gpu(model(), **ON_GPU[case])
    assert came_to(training) == want
    assert training.learner.said == []


@pytest.mark.gpu
@GPU
def test_a_rate_that_float32_holds_gives_the_bits_of_the_plain_fused_optimizer() -> None:
    optim = danlu.Optim("sgd", lr=0.125, momentum=0.9)
    plain = by_plan(training_of(convolutional(), device="cuda", optim=optim), optimizer="fused")
    assert came_to(on_gpu(convolutional(), optim=optim)) == came_to(plain)


@pytest.mark.gpu
@GPU
def test_a_model_that_waits_is_not_captured_and_the_device_goes_on() -> None:
    class Waits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = convolutional()

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.layer(x)
            return out if float(out.detach().sum()) > 0 else out * 0.5

    want = came_to(on_gpu(Waits()), replay=False)
    training = on_gpu(Waits())
    assert came_to(training) == want
    assert len(training.learner.said) == 1
    assert not torch.cuda.is_current_stream_capturing()
    assert torch.cuda.current_stream() == torch.cuda.default_stream()
    other = on_gpu(convolutional())  # another capture works after the one that failed
    came_to(other)
    assert other.learner.said == []


@pytest.mark.gpu
@GPU
@pytest.mark.parametrize("captured", [False, True])
def test_an_update_does_not_wait_for_the_device(captured: bool) -> None:
    training = by_plan(training_of(dropping(), device="cuda", ema=0.9), captured=captured, optimizer="fused")
    batches = fetched(training, 0)
    with training.learner.session():
        for number in range(WARM_UPS + 3):
            one_update(training, number, batches)
        torch.cuda.set_sync_debug_mode("error")
        try:
            for number in range(3):
                one_update(training, number, batches)
        finally:
            torch.cuda.set_sync_debug_mode("default")


KILLED = """
import os, signal, sys
import danlu, torch
sys.path.insert(0, {folder!r})
from case import model, data, recipe

class Kill(danlu.Hook):
    def on_step_end(self, training, result):
        if training.state.updates_done == {at}:
            os.kill(os.getpid(), signal.SIGKILL)

danlu.fit(model(), data(), recipe(), out={out!r}, resume={resume}, hooks=[Kill()], quiet=True)
"""


@pytest.mark.gpu
@GPU
def test_a_captured_run_killed_and_resumed_equals_one_that_was_not(tmp_path: Path) -> None:
    plan = dataclasses.asdict(on_gpu(dropping()).plan)
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    (tmp_path / "case.py").write_text(
        f"""
import danlu, numpy as np, torch
from torch import nn
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(72, 16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 4))
def data():
    rng = np.random.default_rng(0)
    return rng.random((90, 2, 6, 6), np.float32), rng.integers(0, 4, 90)
def recipe():
    return danlu.Recipe(optim=danlu.Optim("sgd", lr=0.1, momentum=0.9), batch_size=16, epochs=6, ema=0.9,
        device="cuda", plan={str(tmp_path / "plan.json")!r}, rehearse=False, tensorboard=False,
        checkpoints=danlu.Checkpoints(every=5, per="update"))
"""
    )

    def fit(out: str, at: int = 0, *, resume: bool = False) -> int:
        given = {"folder": str(tmp_path), "out": str(tmp_path / out), "at": at, "resume": resume}
        return subprocess.run([sys.executable, "-c", KILLED.format(**given)], check=False, timeout=300).returncode

    assert fit("whole") == 0
    assert fit("killed", 13) == -signal.SIGKILL
    assert fit("killed", resume=True) == 0
    assert json.loads((tmp_path / "killed" / "plan.json").read_text())["captured"]
    last = sorted(folder.name for folder in (tmp_path / "whole" / "checkpoints").iterdir())[-1]
    for name in ("model", "optimizer", "ema"):
        one, other = (tmp_path / run / "checkpoints" / last / f"{name}.safetensors" for run in ("whole", "killed"))
        assert one.read_bytes() == other.read_bytes(), name
