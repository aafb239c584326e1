"""One update once more: the same bits, its samples, its gradients; and nothing in the run's folder is touched."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import danlu
from danlu import save
from danlu.data import Arrays, Data, Samples
from danlu.errors import RecipeError, RunError

pytestmark = pytest.mark.usefixtures("quick")

ENGINES = pytest.mark.parametrize("engine", ["torch", "zero"])


def points(n: int = 70) -> Data:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n + 30, 6)).astype(np.float32)
    y = (x[:, 0] > 0) + 2 * (x[:, 1] > 0)
    return Data(Arrays(x[:n], y[:n]), {"valid": Arrays(x[n:], y[n:])})


class Noisy(Dataset[tuple[Tensor, int]]):
    def __len__(self) -> int:
        return 50

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.arange(6.0) * index / 50 + 0.1 * torch.randn(6), index % 4


def network(engine: str = "torch") -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        first, last = nn.Linear(6, 16), nn.Linear(16, 4)
    model = nn.Sequential(first, nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), last)
    if engine == "zero":
        from danlu.models.twin import twin

        return twin(model)
    return model


def recipe(**given: Any) -> danlu.Recipe:
    part = danlu.recipe.Checkpoints(every=1, per="update", keep=99, keep_every=1)
    plain: dict[str, Any] = {"epochs": 3, "batch_size": 16, "seed": 5, "metrics": ["accuracy"], "tensorboard": False}
    return danlu.Recipe(**{**plain, "checkpoints": part, **given})


def two_losses(model: nn.Module, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    output = model(batch[0])
    return {"fit": F.cross_entropy(output, batch[1]), "size": 0.01 * output.square().mean()}


def trained(tmp_path: Path, engine: str = "torch", data: Any = None, step: Any = None, **given: Any) -> Path:
    """A run with a checkpoint of every update, and a copy of it that has only those of updates 0 and 6."""
    whole, few = tmp_path / "whole", tmp_path / "few"
    data = points() if data is None else data
    danlu.fit(network(engine), data, recipe(**given), step=step, out=whole, quiet=True)
    shutil.copytree(whole, few)
    for step_ in save.steps(few):
        if step_ not in (0, 6):
            save.remove(save.folder(few, step_))
    return few


def weights(folder: Path, update: int) -> dict[str, bytes]:
    tensors, _ = save.read(save.folder(folder, update))
    return {name: array.tobytes() for name, array in tensors["model"].items()}


def bits(model: Any) -> dict[str, bytes]:
    return {name: tensor.detach().numpy().tobytes() for name, tensor in model.state_dict().items()}


CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "adam, cosine, accumulated, averaged, clipped": {
        "optim": danlu.Optim("adam", lr=0.01, clip_norm=0.5),
        "schedule": danlu.Schedule("cosine", per="update", warmup=3),
        "accumulate": 2,
        "ema": 0.9,
    },
    "plateau": {
        "optim": danlu.Optim("sgd", lr=0.5, momentum=0.9),
        "schedule": danlu.Schedule("plateau", patience=0, threshold=0.5),
        "early_stop": danlu.EarlyStop(patience=9),
        "validate_every": 2,
        "validate_per": "update",
    },
    "skipping": {"on_nan": "skip"},
}


@ENGINES
@pytest.mark.parametrize("name", CASES)
def test_the_weights_after_it_are_those_of_the_run(name: str, engine: str, tmp_path: Path):
    few = trained(tmp_path, engine, **CASES[name])
    last = save.steps(tmp_path / "whole")[-1]
    for update in (1, 5, 7, last):
        model = network(engine)
        danlu.replay(few, update, model, data=points())
        assert bits(model) == weights(tmp_path / "whole", update), update


def test_with_workers_that_draw_at_random(tmp_path: Path):
    data = Data(Samples(Noisy(), workers=2), {"valid": points().valid["valid"]})
    few = trained(tmp_path, data=data, batch_size=8)
    model = network()
    replayed = danlu.replay(few, 12, model, data=data)
    assert bits(model) == weights(tmp_path / "whole", 12)
    assert (replayed.epoch, replayed.batches) == (1, [4])


@ENGINES
def test_what_it_tells_is_what_the_update_was(engine: str, tmp_path: Path):
    few = trained(tmp_path, engine, accumulate=2, optim=danlu.Optim("sgd", lr=0.2, clip_norm=1e-3))
    told = danlu.replay(few, 8, network(engine), data=points())
    before, after = (save.read(save.folder(tmp_path / "whole", n))[0]["model"] for n in (7, 8))
    assert (told.update, told.epoch, told.batches, told.lr) == (8, 2, [2, 3], 0.2)
    training = danlu.train.prepare(network(), points(), recipe())  # type: ignore[attr-defined]
    assert told.sample_ids == [int(i) for p in (2, 3) for i in training.train.ids(2, p)]
    names = ["0.weight", "0.bias", "1.weight", "1.bias", "4.weight", "4.bias"]
    assert [layer.name for layer in told.layers] == names
    for layer in told.layers:
        moved = np.linalg.norm(after[layer.name] - before[layer.name])
        assert layer.change == pytest.approx(moved / np.linalg.norm(before[layer.name]), rel=1e-4)
    assert told.gradient_norm == pytest.approx(np.linalg.norm([layer.gradient_norm for layer in told.layers]))
    assert told.gradient_norm > 0.01  # before it was clipped to 0.001
    moved = np.sqrt(sum(np.linalg.norm(after[name] - before[name]) ** 2 for name in names))
    assert moved == pytest.approx(0.2 * 1e-3, rel=1e-2)
    assert 0 <= told.figures["accuracy"] <= 1


def test_named_losses_of_an_own_step(tmp_path: Path):
    few = trained(tmp_path, step=two_losses)
    model = network()
    told = danlu.replay(few, 9, model, data=points(), step=two_losses)
    assert bits(model) == weights(tmp_path / "whole", 9)
    assert told.figures.keys() == {"fit", "size"}
    assert told.loss == pytest.approx(sum(told.figures.values()))
    assert "  fit " in str(told)


def test_ids_of_a_split_set_come_with_rows_of_the_whole(tmp_path: Path):
    x, y = points(100).train.stored().values()  # type: ignore[union-attr]
    data = danlu.data.arrays(x.numpy(), y.numpy(), valid=0.3)
    told = danlu.replay(trained(tmp_path, data=data), 2, network(), data=data)
    assert told.rows == [int(data.train.rows[one]) for one in told.sample_ids]
    assert "rows of the whole data set: " in str(told)


def test_a_loader_of_ones_own_has_no_ids(tmp_path: Path):
    x, y = points().train.stored().values()  # type: ignore[union-attr]
    loader = DataLoader(TensorDataset(x, y), batch_size=16, shuffle=True)
    few = trained(tmp_path, data=loader)
    model = network()
    told = danlu.replay(few, 8, model, data=loader)
    assert bits(model) == weights(tmp_path / "whole", 8)
    assert told.sample_ids is None
    assert "sample ids" not in str(told)


@ENGINES
def test_it_finds_the_gradient_that_a_later_loss_told_of(engine: str, tmp_path: Path):
    """Weights so large after update 8 that the loss is infinite: the gradient of update 9 is not finite."""

    class Spoil(danlu.Hook):
        def on_grads_ready(self, training: Any) -> None:
            if training.state.updates_done == 8:
                parameter = next(iter(training.learner.parts.model.parameters()))
                parameter.grad *= float("nan")

    with pytest.raises(danlu.TrainingError, match="update 9: got weights"):
        danlu.fit(network(engine), points(), recipe(), out=tmp_path / "run", quiet=True, hooks=[Spoil()])
    clean = danlu.replay(tmp_path / "run", 9, network(engine), data=points())
    assert clean.notes == []  # the hook was not there: the update itself is sound
    poisoned = points()
    poisoned.train.stored()["inputs"][:] = 3e38  # type: ignore[union-attr]
    told = danlu.replay(tmp_path / "run", 10, network(engine), data=poisoned)
    assert any("replay that one" in note for note in told.notes)


def test_the_folder_of_a_run_is_only_read_even_while_it_trains(tmp_path: Path):
    few = trained(tmp_path)

    def listing() -> dict[Path, tuple[int, int]]:
        files = [few, *few.rglob("*")]
        return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in files}

    before = listing()
    with save.locked(few):
        held = listing()
        code = f"""
import sys, importlib.util
spec = importlib.util.spec_from_file_location("replaying", {__file__!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
module.danlu.replay({str(few)!r}, 9, module.network(), data=module.points())
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert done.stdout == "replaying update 9: 3 to train from the checkpoint of update 6 on\n"
        assert listing() == held
    assert {path for path in listing() if path != few} == {path for path in before if path != few}


def test_a_run_without_an_end_is_replayed_as_far_as_its_recipe_goes(tmp_path: Path):
    few = trained(tmp_path)
    (few / "summary.json").unlink()
    model = network()
    danlu.replay(few, 15, model, data=points())
    assert bits(model) == weights(tmp_path / "whole", 15)
    with pytest.raises(RunError, match="got 16; want one of the run's updates, 1 to 15"):
        danlu.replay(few, 16, network(), data=points())


def test_what_cannot_be_replayed(tmp_path: Path):
    few = trained(tmp_path)

    def refused(update: int, **given: Any) -> str:
        with pytest.raises((RunError, RecipeError)) as caught:
            danlu.replay(given.pop("folder", few), update, **{"model": network(), "data": points(), **given})
        return str(caught.value)

    assert "got 0; want one of the run's updates, 1 to 15" in refused(0)
    assert "got -2" in refused(-2)
    assert "got 16" in refused(16)
    assert "holds no run" in refused(1, folder=tmp_path / "nothing")
    assert "got a recipe that names no model and no data" in refused(2, model=None, data=None)
    assert "got a recipe that names no data" in refused(2, data=None)
    assert "got 60 training samples; want the 70" in refused(2, data=points(60))
    assert "optim.lr: 0.1 -> 0.3" in refused(2, recipe=recipe(optim=danlu.Optim("sgd", lr=0.3)))
    (save.folder(few, 6) / "model.safetensors").write_bytes(b"")
    danlu.replay(few, 8, network(), data=points())  # from the start instead
    save.remove(save.folder(few, 0))
    assert "no sound checkpoint from before it" in refused(8)
    save.remove(save.folder(few, 6))
    assert "got no checkpoint from before it" in refused(8)


def test_a_recipe_that_changed_on_the_way_is_not_mistaken_for_the_one_before(tmp_path: Path):
    few = trained(tmp_path, epochs=2)
    other = recipe(epochs=3, optim=danlu.Optim("sgd", lr=0.3))
    danlu.fit(network(), points(), other, out=few, quiet=True, resume="accept changes")
    changed = 6  # the newest checkpoint that the copy had
    model = network()
    danlu.replay(few, 9, model, data=points())
    assert bits(model) == weights(few, 9)
    with pytest.raises(RunError, match=f"after update {changed}, where the run went on with another recipe"):
        danlu.replay(few, 3, network(), data=points())


CODE = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, flowers):
        scores = self.layer(flowers)
        return scores
"""


def test_the_command_stops_in_forward(tmp_path: Path):
    (tmp_path / "net.py").write_text(CODE)
    environment = {**os.environ, "COLUMNS": "100"}

    def danlu_says(words: str, typed: str = "") -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "danlu", *words.split()]
        given: dict[str, Any] = {"capture_output": True, "text": True, "cwd": tmp_path, "env": environment}
        return subprocess.run(command, input=typed, timeout=90, **given)

    words = "--set model=net.py:Net --set data=iris --set tensorboard=false --set epochs=1 --set batch_size=40"
    (tmp_path / "mine.toml").write_text("")
    done = danlu_says(f"train mine.toml --out run -q {words}")
    assert done.returncode == 0, done.stderr
    assert save.steps(tmp_path / "run") == [3]  # what the recipe builds needs no checkpoint to begin with
    done = danlu_says("replay run --update 2 --pdb", "p flowers.shape, self.training\nn\np scores.shape\nc\n")
    assert done.returncode == 0, done.stderr
    assert "net.py(10)forward()" in done.stdout
    assert "(torch.Size([40, 4]), True)" in done.stdout
    assert "torch.Size([40, 3])" in done.stdout
    assert "update 2: epoch 0, batch 1, counted from 0" in done.stdout
    done = danlu_says("replay run --update 2 --pdb", "q\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("left the debugger\n")
