"""An update whose loss or gradient is NaN or infinite: stop, skip or record, and which samples it was."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from train.killing import Kill, Killed

import danlu
from danlu import save
from danlu.data import Arrays, Data
from danlu.errors import RecipeError, TrainingError
from danlu.train import Training
from danlu.train.watch import FOLD, Watch

pytestmark = pytest.mark.usefixtures("quick")

POISONED = 17
ENGINES = pytest.mark.parametrize("engine", ["torch", "zero"])


def points(poison: float | None = 1e30, target: float | None = None) -> Data:
    """A regression; sample 17 is so large that the square of its error is infinite."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((70, 6)).astype(np.float32)
    y = x[:, :1].copy()
    if poison is not None:
        x[POISONED] = poison
    if target is not None:
        y[POISONED] = target
    return Data(Arrays(x, y), {"valid": Arrays(x[:9].copy(), y[:9].copy())})


def network(engine: str = "torch", norm: bool = True) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        layers = nn.Linear(6, 16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 1)
    model = nn.Sequential(layers[0], nn.BatchNorm1d(16), *layers[1:]) if norm else nn.Sequential(*layers)
    if engine == "zero":
        from danlu.models.twin import twin

        return twin(model)
    return model


def recipe(**given: Any) -> danlu.Recipe:
    plain: dict[str, Any] = {"loss": "mse", "optim": danlu.Optim("sgd", lr=0.01, momentum=0.9), "epochs": 3}
    part = danlu.recipe.Checkpoints(every=1, per="update", keep=99, keep_every=1)
    plain |= {"batch_size": 8, "seed": 2, "log_every": 4, "checkpoints": part, "tensorboard": False}
    return danlu.Recipe(**{**plain, **given})


def fit(out: Path | None = None, engine: str = "torch", data: Data | None = None, **given: Any) -> danlu.Run:
    run_given = {key: given.pop(key) for key in ("hooks", "resume", "quiet") if key in given}
    model = network(engine, norm=False)
    return danlu.fit(model, data or points(), recipe(**given), out=out, **{"quiet": True, **run_given})


def first_bad() -> int:
    """The update that sees sample 17 first, by the order alone."""
    training = danlu.train.prepare(network(norm=False), points(), recipe())  # type: ignore[attr-defined]
    return 1 + next(p for p in range(len(training.train)) if POISONED in training.train.ids(0, p))


@ENGINES
@pytest.mark.parametrize("accumulate", [1, 2])
def test_stop_names_the_update_and_its_samples_and_keeps_no_later_checkpoint(
    engine: str, accumulate: int, tmp_path: Path
):
    bad = -(-first_bad() // accumulate)
    with pytest.raises(TrainingError) as caught:
        fit(tmp_path / "run", engine, accumulate=accumulate)
    said = str(caught.value)
    assert said.startswith(f"update {bad}: got a loss of inf, batch")
    assert f'danlu.replay("{tmp_path}/run", {bad}, model, data=data)' in said
    assert "\n" not in said
    run = danlu.Run(tmp_path / "run")
    assert save.steps(tmp_path / "run")[-1] == bad - 1
    assert run.summary["status"] == "failed"
    assert f"update {bad}" in run.summary["reason"]
    assert run.summary["first_bad_update"] == bad
    ((step, kind, text),) = run.findings
    assert (step, kind) == (bad, "not finite")
    assert "sample ids " in text
    with run._open() as store:
        ((_, _, document),) = store.documents("not finite")
    assert POISONED in document["sample_ids"]
    assert len(document["sample_ids"]) == 8 * accumulate


@ENGINES
def test_a_learning_rate_that_explodes_stops_the_run(engine: str, tmp_path: Path):
    with pytest.raises(TrainingError, match=r"update \d+: got a loss of (inf|nan)"):
        fit(tmp_path / "run", engine, points(None), optim=danlu.Optim("sgd", lr=1e6))
    last, kept = save.steps(tmp_path / "run")[-1], save.steps(tmp_path / "run")
    assert kept == list(range(last + 1))
    tensors, _ = save.read(save.folder(tmp_path / "run", last))
    assert all(np.isfinite(array).all() for array in tensors["model"].values())


@ENGINES
def test_a_norm_that_is_computed_anyway_tells_of_the_gradient_at_once(engine: str, tmp_path: Path):
    """Inputs of 1e20 give a finite loss, and a gradient whose square is infinite."""
    optim = danlu.Optim("sgd", lr=0.01, clip_norm=1.0)
    with pytest.raises(TrainingError, match=rf"update {first_bad()}: got a (loss|gradient norm) of (inf|nan)"):
        fit(tmp_path / "run", engine, points(3e18), optim=optim)
    assert save.steps(tmp_path / "run")[-1] == first_bad() - 1


class RootOfNothing(nn.Module):
    """A finite loss whose gradient is NaN, where a sample is 0 throughout."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 1, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layer(inputs).abs().sqrt()


def test_no_checkpoint_of_weights_that_a_gradient_spoiled_is_kept(tmp_path: Path):
    with pytest.raises(TrainingError, match=rf"update {first_bad()}: got weights that are NaN or infinite"):
        danlu.fit(RootOfNothing(), points(0.0), recipe(), out=tmp_path / "run", quiet=True)
    assert save.steps(tmp_path / "run")[-1] == first_bad() - 1
    with pytest.raises(TrainingError, match=rf"update {first_bad() + 1}: got a loss of nan"):
        danlu.fit(RootOfNothing(), points(0.0), recipe(checkpoints="off", epochs=1), quiet=True)
    run = danlu.fit(RootOfNothing(), points(0.0), recipe(on_nan="skip"), quiet=True)
    assert run.summary["bad_updates"] == 3


@ENGINES
def test_skip_leaves_weights_buffers_optimizer_and_sums_as_they_were(engine: str):
    class Bits(danlu.Hook):
        def __init__(self) -> None:
            self.seen: list[Any] = []
            self.skipped: list[int] = []

        def on_step_end(self, training: Training, result: Any) -> None:
            tensors, _ = training.learner.state()
            flat = {f"{g}/{n}": array.tobytes() for g, named in tensors.items() for n, array in named.items()}
            self.seen.append(flat)
            if result.skipped:
                self.skipped.append(training.state.updates_done)

    bits = Bits()
    model = network(engine)  # with BatchNorm, whose buffers move in the forward pass
    given = recipe(on_nan="skip", ema=0.9, metrics=["mae"])
    run = danlu.fit(model, points(None, target=1e30), given, quiet=True, hooks=[bits])
    bad = first_bad()
    assert bits.skipped[0] == bad
    assert len(bits.skipped) == 3
    assert bits.seen[bad - 1] == bits.seen[bad - 2]
    assert bits.seen[bad] != bits.seen[bad - 1]
    assert [step for step, _, _ in run.findings] == bits.skipped
    assert run.summary["bad_updates"] == 3
    assert run.summary["first_bad_update"] == bad
    assert np.isfinite(run.summary["final"]["train/loss"])


@ENGINES
def test_record_goes_on_and_notes_only_the_first_of_several(engine: str):
    run = fit(None, engine, on_nan="record")
    assert run.summary["status"] == "finished"
    assert [step for step, _, _ in run.findings] == [first_bad()]
    assert run.summary["bad_updates"] == run.summary["updates"] - first_bad() + 1
    assert run.summary["first_bad_update"] == first_bad()
    assert np.isnan(run.summary["final"]["train/loss"])


@ENGINES
def test_without_a_bad_update_the_policy_changes_no_bit(engine: str):
    def trained(policy: str) -> list[bytes]:
        model = network(engine)
        danlu.fit(model, points(None), recipe(on_nan=policy, ema=0.9), quiet=True)
        return [tensor.detach().numpy().tobytes() for tensor in model.state_dict().values()]

    assert trained("stop") == trained("skip") == trained("record")


@ENGINES
def test_killed_and_resumed_with_skip_equals_never_killed(engine: str, tmp_path: Path):
    fit(tmp_path / "whole", engine, on_nan="skip", epochs=2, hooks=[Kill(-1)])
    for update in (first_bad(), first_bad() + 1):
        out = tmp_path / f"killed-{update}"
        with pytest.raises(Killed):
            fit(out, engine, on_nan="skip", epochs=2, hooks=[Kill(update)])
        fit(out, engine, on_nan="skip", epochs=2, hooks=[Kill(-1)], resume=True)
        step = save.steps(tmp_path / "whole")[-1]
        ours, theirs = (save.read(save.folder(run, step)) for run in (out, tmp_path / "whole"))
        assert ours[1] == theirs[1]
        for group, arrays in theirs[0].items():
            assert {n: a.tobytes() for n, a in ours[0][group].items()} == {n: a.tobytes() for n, a in arrays.items()}
        assert danlu.Run(out).findings == danlu.Run(tmp_path / "whole").findings


def test_a_stopped_run_goes_on_with_another_policy_from_its_last_good_checkpoint(tmp_path: Path):
    out = tmp_path / "run"
    with pytest.raises(TrainingError):
        fit(out)
    with pytest.raises(TrainingError, match=f"update {first_bad()}"):  # the same again
        fit(out, resume=True)
    with pytest.raises(RecipeError, match='on_nan: "stop" -> "skip"'):
        fit(out, resume=True, on_nan="skip")
    run = fit(out, resume="accept changes", on_nan="skip")
    assert run.summary["status"] == "finished"
    assert "failed" in [kind for _, kind, _ in run.events]
    assert any(text == f"goes on after update {first_bad() - 1}" for _, _, text in run.events)


def test_skipping_ends_where_no_update_is_left_to_do():
    """A learning rate that makes the weights infinite: there is nothing sound to go back to."""
    optim = danlu.Optim("sgd", lr=3e38)
    with pytest.raises(TrainingError, match="weights that are NaN or infinite"):
        fit(None, "torch", points(None), optim=optim, on_nan="skip")
    rng = np.random.default_rng(0)
    huge = Data(Arrays((rng.standard_normal((900, 6)) * 1e35).astype(np.float32), np.zeros((900, 1), np.float32)), {})
    with pytest.raises(TrainingError, match="100 updates in a row"):
        fit(None, "torch", huge, on_nan="skip")


def test_all_targets_ignored_is_not_bad():
    """Cross entropy over no targets is 0/0, which weighs nothing in the sums and moves no weight."""
    x = np.random.default_rng(0).standard_normal((16, 6)).astype(np.float32)
    y = np.array([0, 1] * 4 + [-100] * 8)
    model = nn.Linear(6, 2)
    data = Data(Arrays(x, y), {})
    part = danlu.Data("", sampler="in_order")
    run = danlu.fit(model, data, danlu.Recipe(batch_size=8, epochs=2, data=part), quiet=True)
    assert run.summary["status"] == "finished"
    assert run.summary["bad_updates"] == 0
    assert run.summary["first_bad_update"] is None


def test_the_loop_stops_without_hooks_and_hooks_do_not_move_where():
    def stopped(hooks: list[danlu.Hook]) -> tuple[str, int]:
        results: list[Any] = []
        with pytest.raises(TrainingError) as caught:
            results.extend(danlu.steps(network(norm=False), points(), recipe(), hooks=hooks))
        return caught.value.where, len(results)

    class Reader(danlu.Hook):
        def on_step_end(self, training: Training, result: Any) -> None:
            training.learner.train_sums()

    assert stopped([]) == stopped([Reader()])


def test_the_watch_finds_numbers_across_its_folds():
    watch = Watch()
    for update in range(3 * FOLD):
        value = float("nan") if update in (5, FOLD, 2 * FOLD + 7) else 1.0
        watch.note(torch.tensor(value))
        watch.note(torch.tensor(2.0, dtype=torch.float64), "gradient norm")
        watch.done()
    assert watch.look() == dict.fromkeys((5, FOLD, 2 * FOLD + 7), "a loss of nan")
    assert watch.look() == {}
    watch.note(torch.tensor(1.0))
    watch.done()
    watch.note(torch.tensor(float("inf")))
    watch.forget()
    watch.done()
    watch.note(torch.tensor(float("-inf")))
    watch.done()
    assert watch.look() == {2: "a loss of -inf"}


TOML = """
epochs = 3
batch_size = 16
loss = "mse"
tensorboard = false
data = "poisoned.py:data"
[model]
build = "mlp"
inputs = 6
outputs = 1
[optim]
name = "sgd"
lr = 0.01
"""
CODE = """
import numpy as np
import danlu
def data():
    x = np.random.default_rng(0).standard_normal((70, 6)).astype("f4")
    y = x[:, :1].copy()
    x[17] = 1e30
    return danlu.data.Data(danlu.data.Arrays(x, y), {"valid": danlu.data.Arrays(x[:9], y[:9])})
"""


def test_the_command_ends_with_one_line_and_code_2_and_shows_what_happened(tmp_path: Path):
    def danlu_says(*words: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "danlu", *words]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60)

    (tmp_path / "recipe.toml").write_text(TOML)
    (tmp_path / "poisoned.py").write_text(CODE)
    done = danlu_says("train", "recipe.toml", "--out", "run")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "danlu replay run --update" in done.stderr
    assert "failed in update" in done.stdout
    update = done.stderr.partition("--update ")[2].partition("`")[0]
    again = danlu_says("replay", "run", "--update", update)
    assert (again.returncode, again.stderr) == (0, "")
    assert (
        "17"
        in again.stdout.partition("sample ids: ")[2].partition("\n\n")[0].replace("\n", "").replace(",", "").split()
    )
    assert "loss inf" in again.stdout
    shown = danlu_says("runs", "show", "run").stdout
    assert f"run: failed, TrainingError: update {update}: got a loss of inf" in shown
    assert f"1 update with a loss or gradient that was NaN or infinite, update {update} the first" in shown
    assert "findings\n" in shown
