"""What survives a restart: N updates, saved, loaded into a fresh run, and N more equal 2 N, bit for bit."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import danlu
from danlu import hooks, save
from danlu.data import Arrays, Data, Samples
from danlu.train import Training, prepare, run


def points(n: int = 44) -> Data:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n + 10, 5)).astype(np.float32)
    y = (x[:, 0] > 0) + 2 * (x[:, 1] > 0)
    return Data(Arrays(x[:n], y[:n]), {"valid": Arrays(x[n:], y[n:])})


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.drop = nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Dropout(0.4)
        self.last = nn.Linear(8, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.last(self.drop(self.norm(self.first(inputs)).relu()))


class Tied(nn.Module):
    """Two names for one weight, one of them trained through the other; and a frozen layer."""

    def __init__(self) -> None:
        super().__init__()
        self.into, self.middle, self.again = nn.Linear(5, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.last = nn.Linear(8, 4)
        self.again.weight = self.middle.weight
        self.into.requires_grad_(False)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.last(self.again(self.middle(self.into(inputs)).relu()).relu())


class Counting(nn.Module):
    """A buffer that training changes and the state dict leaves out."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 4)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        if self.training:
            self.calls += 1
        return self.layer(inputs) * (1 + 0.1 * self.calls)


class Half(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(5, 8).bfloat16(), nn.Linear(8, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.last(self.first(inputs.bfloat16()).relu().float())


def two_losses(model: nn.Module, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    output = model(batch[0])
    return {"fit": F.cross_entropy(output, batch[1]), "size": 0.01 * output.square().mean()}


MOMENTUM = danlu.Optim("sgd", lr=0.05, momentum=0.9, weight_decay=1e-3)
ADAMW = danlu.Optim("adamw", lr=0.01, weight_decay=0.1, no_decay=["bias"])
PLATEAU = danlu.Schedule("plateau", factor=0.5, patience=0, threshold=0.3, monitor="valid/loss")
CASES: dict[str, tuple[Callable[[], nn.Module], dict[str, Any]]] = {
    "momentum": (Plain, {"optim": MOMENTUM}),
    "adamw": (Plain, {"optim": ADAMW, "schedule": danlu.Schedule("cosine", per="update", warmup=3)}),
    "clipped": (Plain, {"optim": danlu.Optim("adam", lr=0.01, clip_norm=0.1), "metrics": ["accuracy", "f1"]}),
    "plateau": (Plain, {"optim": MOMENTUM, "schedule": PLATEAU}),
    "plateau per update": (Plain, {"optim": MOMENTUM, "schedule": PLATEAU, "validate_per": "update"}),
    "epochs": (Plain, {"optim": MOMENTUM, "schedule": danlu.Schedule("step", step_size=1, gamma=0.5)}),
    "ema": (Plain, {"optim": ADAMW, "ema": 0.8}),
    "accumulate": (Plain, {"optim": MOMENTUM, "batch_size": 4, "accumulate": 3}),
    "tied": (Tied, {"optim": MOMENTUM, "ema": 0.5}),
    "frozen": (Plain, {"optim": ADAMW, "freeze": ["first*"]}),
    "buffers": (Counting, {"optim": MOMENTUM}),
    "bf16 momentum": (Half, {"optim": MOMENTUM}),
    "bf16 adamw": (Half, {"optim": ADAMW, "ema": 0.8}),
    "own step": (Plain, {"optim": MOMENTUM, "step": two_losses}),
}


def prepared(build: Callable[[], nn.Module], given: dict[str, Any]) -> Training:
    given = {"batch_size": 8, "epochs": 4, "log_every": 3, "seed": 2, **given}
    step = given.pop("step", None)
    torch.manual_seed(0)
    return prepare(build(), points(), danlu.Recipe(**given), step=step)


def go(training: Training, *given: danlu.Hook, keep: int = 0, folder: Path | None = None) -> None:
    """Run to the end; save the whole state between update `keep` and the next."""
    for _ in run(training, given):
        if folder is not None and training.state.updates_done == keep:
            save.write(folder, *training.state.state_dict())


def go_on(training: Training, *given: danlu.Hook, folder: Path) -> None:
    """Load what was saved into a fresh run, and run it to the end."""
    loop = run(training, given)
    training.state.hooks = {f"{index}:{type(hook).__name__}": hook for index, hook in enumerate(given)}
    training.state.load_state_dict(*save.read(folder))
    for _ in loop:
        pass


def everything(training: Training) -> dict[str, Any]:
    tensors, values = training.state.state_dict()
    arrays = {f"{group}/{name}": array for group, named in tensors.items() for name, array in named.items()}
    kinds = {name: (str(array.dtype), array.shape) for name, array in arrays.items()}
    content = {name: array.tobytes() for name, array in arrays.items()}
    values = save.from_json(save.to_json(values))
    values["hooks"].get("0:Log", {}).pop("rows", None)  # counts its own store's rows, and here each run has a store
    return {"bytes": content, "kinds": kinds, "values": values}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("at", [1, 8])  # one update; and the second epoch's second or fourth
def test_n_and_n_equal_two_n_in_mid_epoch(name: str, at: int, tmp_path: Path):
    build, given = CASES[name]
    whole = prepared(build, given)
    go(whole, hooks.Log(3), keep=at, folder=tmp_path / "kept")
    assert whole.stop is not None
    assert whole.stop.status == "finished"
    resumed = prepared(build, given)
    with torch.no_grad():
        for tensor in resumed.learner.parts.model.state_dict().values():  # type: ignore[attr-defined]
            tensor.fill_(7)
    go_on(resumed, hooks.Log(3), folder=tmp_path / "kept")
    assert everything(resumed) == everything(whole)
    rows = [row for row in whole.store.rows() if row[0] > at]
    assert resumed.store.rows() == rows
    assert len(rows) > 10


class Copy(danlu.Hook):
    """Keeps the state whenever it is said to be whole."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def on_checkpoint(self, training: Training) -> None:
        place = self.home / f"{training.state.updates_done:02}"
        save.write(place, *training.state.state_dict(), overwrite=True)


@pytest.mark.parametrize("name", ["epochs", "plateau", "adamw", "ema"])
def test_the_state_is_whole_whenever_a_hook_is_told_to_save(name: str, tmp_path: Path):
    build, given = CASES[name]
    whole = prepared(build, given)
    go(whole, Copy(tmp_path / "a"))
    kept = sorted((tmp_path / "a").iterdir())
    assert [int(folder.name) for folder in kept][-1] == whole.state.updates_done
    assert len(kept) >= 2
    for folder in kept:
        resumed = prepared(build, given)
        go_on(resumed, Copy(tmp_path / "b"), folder=folder)
        assert everything(resumed) == everything(whole)


def test_the_arrays_may_be_read_by_anybody(tmp_path: Path):
    training = prepared(Plain, {"optim": MOMENTUM, "updates": 3})
    for _ in run(training):
        pass
    save.write(tmp_path / "kept", *training.state.state_dict())
    from safetensors.torch import load_file

    fresh = Plain()
    fresh.load_state_dict(load_file(tmp_path / "kept" / "model.safetensors"))
    model = training.learner.parts.model  # type: ignore[attr-defined]
    for name, tensor in model.state_dict().items():
        assert torch.equal(fresh.state_dict()[name], tensor)


def test_tied_weights_are_stored_once_and_stay_tied():
    training = prepared(Tied, {"optim": MOMENTUM, "updates": 2})
    for _ in run(training):
        pass
    tensors, values = training.state.state_dict()
    assert "again.weight" not in tensors["model"]
    assert values["learner"]["ties"] == {"again.weight": "middle.weight"}
    assert values["learner"]["frozen"] == ["into.weight", "into.bias"]
    tensors = copy.deepcopy(tensors)
    fresh = prepared(Tied, {"optim": MOMENTUM})
    fresh.state.load_state_dict(tensors, values)
    model = fresh.learner.parts.model  # type: ignore[attr-defined]
    assert model.again.weight is model.middle.weight
    assert not model.into.weight.requires_grad
    assert np.array_equal(model.again.weight.detach().numpy(), tensors["model"]["middle.weight"])


def test_weights_that_do_not_fit_are_refused_and_nothing_moves():
    training = prepared(Plain, {"optim": MOMENTUM})
    tensors, values = copy.deepcopy(training.state.state_dict())
    model = training.learner.parts.model  # type: ignore[attr-defined]
    before = copy.deepcopy(model.state_dict())
    for change, text in (
        (lambda weights: weights.pop("last.bias"), "missing ['last.bias']"),
        (lambda weights: weights.update(more=np.zeros(1)), "foreign ['more']"),
        (lambda weights: weights.update({"last.bias": np.zeros(5)}), "of another shape ['last.bias']"),
    ):
        wrong = copy.deepcopy(tensors)
        change(wrong["model"])
        with pytest.raises(danlu.ModelError) as caught:
            training.state.load_state_dict(wrong, values)
        assert text in str(caught.value)
        assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_counters_stand_where_the_data_stands():
    training = prepared(Plain, {"optim": MOMENTUM})  # 44 samples: batches of 8, 8, 8, 8, 8, 4
    seen = []
    for _ in run(training):
        state = training.state
        seen.append((state.updates_done, state.epoch, state.position, state.samples_seen))
        if state.updates_done == 8:
            break
    assert seen[4:] == [(5, 0, 5, 40), (6, 1, 0, 44), (7, 1, 1, 52), (8, 1, 2, 60)]


def test_a_dataset_goes_on_in_mid_epoch_with_its_workers(tmp_path: Path):
    class Noisy(torch.utils.data.Dataset[tuple[Tensor, int]]):
        def __len__(self) -> int:
            return 20

        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            return torch.rand(5) + float(np.random.rand()), index % 4

    def fresh(workers: int) -> Training:
        torch.manual_seed(0)
        recipe = danlu.Recipe(optim=MOMENTUM, batch_size=4, epochs=2)
        return prepare(Plain(), Data(Samples(Noisy(), workers=workers)), recipe)

    whole, resumed = fresh(0), fresh(1)
    go(whole, keep=3, folder=tmp_path / "kept")
    go_on(resumed, folder=tmp_path / "kept")
    assert everything(resumed)["bytes"] == everything(whole)["bytes"]


def test_hooks_keep_what_they_remember():
    class Remembers(danlu.Hook):
        def __init__(self) -> None:
            self.count = 0

        def on_step_end(self, training: Training, result: object) -> None:
            self.count += 1

        def state(self) -> dict[str, Any]:
            return {"count": self.count}

        def load(self, state: dict[str, Any]) -> None:
            self.count = state["count"]

    training = prepared(Plain, {"optim": MOMENTUM, "updates": 5})
    for _ in run(training, [hooks.Checkpoint(), Remembers()]):
        pass
    tensors, values = training.state.state_dict()
    assert values["hooks"] == {"0:Checkpoint": {"for_good": []}, "1:Remembers": {"count": 5}}
    other, hook = prepared(Plain, {"optim": MOMENTUM}), Remembers()
    other.state.hooks = {"1:Remembers": hook, "2:Log": hooks.Log(1)}
    other.state.load_state_dict(copy.deepcopy(tensors), values)
    assert hook.count == 5
