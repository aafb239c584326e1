"""Killed at any update equals never killed: weights, optimizer, rows, bit for bit."""

import signal
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset
from train.killing import Kill, Killed, last_state, rows, started, summary

import danlu
from danlu import save
from danlu.data import Arrays, Data, Samples
from danlu.errors import RecipeError, RunError
from danlu.recipe_text import settle
from danlu.train.resume import changes

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that is long enough to be killed from outside, and was not."""
    out = tmp_path_factory.mktemp("long") / "whole"
    danlu.fit(network(), points(700), recipe(), out=out, quiet=True)
    return out


def points(n: int = 70) -> Data:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n + 30, 6)).astype(np.float32)
    y = (x[:, 0] > 0) + 2 * (x[:, 1] > 0)
    return Data(Arrays(x[:n], y[:n]), {"valid": Arrays(x[n:], y[n:])}, test=Arrays(x[:9], y[:9]))


class Noisy(Dataset[tuple[torch.Tensor, int]]):
    def __len__(self) -> int:
        return 50

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
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
    part = danlu.recipe.Checkpoints(every=1, per="update", keep=2)
    plain: dict[str, Any] = {"epochs": 4, "batch_size": 16, "seed": 5, "metrics": ["accuracy"], "log_every": 2}
    return danlu.Recipe(**{**plain, "checkpoints": part, **given})


def record(folder: Path) -> dict[str, Any]:
    """Return all that is promised to be equal: the last state, and every row."""
    step, arrays, state = last_state(folder)
    kept = {key: summary(folder)[key] for key in ("status", "epochs", "updates", "samples_seen", "best", "final")}
    return {"step": step, "state": state, "arrays": arrays, "rows": rows(folder), "summary": kept}


CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "adam, cosine, accumulated, averaged": {
        "optim": danlu.Optim("adamw", lr=0.01, no_decay=["bias"]),
        "schedule": danlu.Schedule("cosine", per="update", warmup=3),
        "accumulate": 2,
        "ema": 0.9,
    },
    "plateau and best put back": {
        "optim": danlu.Optim("sgd", lr=0.5, momentum=0.9),
        "schedule": danlu.Schedule("plateau", patience=0),
        "early_stop": danlu.EarlyStop(patience=2),
        "epochs": 9,
    },
    "evaluated in mid-epoch": {"validate_every": 3, "validate_per": "update"},
}


@pytest.mark.parametrize("engine", ["torch", "zero"])
@pytest.mark.parametrize("name", CASES)
def test_killed_and_resumed_equals_never_killed(name: str, engine: str, tmp_path: Path):
    given = recipe(**CASES[name], tensorboard=False)
    danlu.fit(network(engine), points(), given, out=tmp_path / "whole", quiet=True)
    for update in (1, 8):
        out = tmp_path / f"killed-{update}"
        with pytest.raises(Killed):
            danlu.fit(network(engine), points(), given, out=out, quiet=True, hooks=[Kill(update)])
        with pytest.raises(Killed):
            danlu.fit(network(engine), points(), given, out=out, quiet=True, hooks=[Kill(update + 1)], resume=True)
        danlu.fit(network(engine), points(), given, out=out, quiet=True, hooks=[Kill(-1)], resume=True)
        whole, resumed = record(tmp_path / "whole"), record(out)
        for key in whole:
            if key == "state":
                whole[key]["hooks"], resumed[key]["hooks"] = None, None  # they differ by the hook that kills
            assert resumed[key] == whole[key], (update, key)


def test_with_workers_that_draw_at_random(tmp_path: Path):
    data = Data(Samples(Noisy(), workers=2), {"valid": points().valid["valid"]})
    given = recipe(epochs=3, batch_size=8)
    danlu.fit(network(), data, given, out=tmp_path / "whole", quiet=True)
    with pytest.raises(Killed):
        danlu.fit(network(), data, given, out=tmp_path / "killed", quiet=True, hooks=[Kill(10)])
    danlu.fit(network(), data, given, out=tmp_path / "killed", quiet=True, resume=True)
    whole, resumed = record(tmp_path / "whole"), record(tmp_path / "killed")
    assert resumed["arrays"] == whole["arrays"]
    assert resumed["rows"] == whole["rows"]


def start(out: Path, resume: bool) -> "subprocess.Popen[str]":
    given = f"module.recipe(), out={str(out)!r}, quiet=True, resume={resume}"
    return started(__file__, f"module.danlu.fit(module.network(), module.points(700), {given})")


def wait_for(out: Path, step: int, process: "subprocess.Popen[str]") -> None:
    while process.poll() is None and (save.steps(out) or [-1])[-1] < step:
        pass


@pytest.mark.parametrize(("how", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143), (signal.SIGINT, -2)])
def test_a_real_signal(how: signal.Signals, code: int, long: Path, tmp_path: Path):
    out = tmp_path / "killed"
    process = start(out, resume=False)
    wait_for(out, 40, process)
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code or (how is signal.SIGINT and process.returncode == 1), err  # Python's own choice
    assert (how is signal.SIGINT) == ("KeyboardInterrupt" in err), err
    again = start(out, resume=True)
    _, err = again.communicate(timeout=60)
    assert again.returncode == 0, err
    whole, resumed = record(long), record(out)
    assert resumed == whole
    board = {path.parent.name for path in (out / "tensorboard").rglob("events*")}
    assert {"train", "valid"} <= board


def test_a_second_process_is_refused(tmp_path: Path):
    out = tmp_path / "run"
    process = start(out, resume=False)
    try:
        wait_for(out, 1, process)
        with pytest.raises(RunError, match=rf"got a run that process {process.pid} on .* trains in"):
            danlu.fit(network(), points(700), recipe(), out=out, quiet=True, resume=True)
    finally:
        process.kill()
        process.communicate()


def killed(tmp_path: Path, **given: Any) -> Path:
    out = tmp_path / "killed"
    with pytest.raises(Killed):
        danlu.fit(network(), points(), recipe(**given), out=out, quiet=True, hooks=[Kill(7)])
    return out


def test_a_damaged_newest_checkpoint_is_passed_over_aloud(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    danlu.fit(network(), points(), recipe(), out=tmp_path / "whole", quiet=True)
    out = killed(tmp_path)
    newest = save.folder(out, save.steps(out)[-1])
    (newest / "model.safetensors").write_bytes(b"")
    with pytest.raises(RunError, match=r"the checkpoint of update \d cannot be used"):
        danlu.fit(network(), points(), recipe(), out=out, quiet=True, resume="strict")
    capsys.readouterr()
    danlu.fit(network(), points(), recipe(), out=out, quiet=True, resume=True)
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("danlu: the checkpoint of update")
    assert told.err.count("cannot be used") == told.err.count("\n") == 1
    assert record(out)["arrays"] == record(tmp_path / "whole")["arrays"]
    assert record(out)["rows"] == record(tmp_path / "whole")["rows"]
    notices = [text for _, kind, text in danlu.Run(out).events if kind == "notice"]
    assert any("cannot be used" in text for text in notices)
    assert [path.name for path in (out / "checkpoints").glob(".damaged-*")] == [f".damaged-{newest.name}"]


def test_nothing_sound_is_left(tmp_path: Path):
    out = killed(tmp_path)
    for step in save.steps(out):
        (save.folder(out, step) / "manifest.json").unlink()
    with pytest.raises(RunError, match="no sound checkpoint"):
        danlu.fit(network(), points(), recipe(), out=out, quiet=True, resume=True)


def test_a_run_that_is_over_has_nothing_left_but_may_go_on_for_longer(tmp_path: Path):
    out = tmp_path / "run"
    danlu.fit(network(), points(), recipe(epochs=2), out=out, quiet=True)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    assert danlu.fit(network(), points(), recipe(epochs=2), out=out, quiet=True, resume=True).summary["epochs"] == 2
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()} == before
    danlu.fit(network(), points(), recipe(epochs=4), out=out, quiet=True, resume=True)
    danlu.fit(network(), points(), recipe(epochs=4), out=tmp_path / "whole", quiet=True)
    assert record(out)["arrays"] == record(tmp_path / "whole")["arrays"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"optim": danlu.Optim("sgd", lr=0.2)}, "optim.lr: 0.1 -> 0.2"),
        ({"batch_size": 8}, "batch_size: 16 -> 8"),
        ({"seed": 6}, "seed: 5 -> 6"),
    ],
)
def test_another_recipe_is_refused_unless_accepted(given: dict[str, Any], words: str, tmp_path: Path):
    out = killed(tmp_path)
    with pytest.raises(RecipeError) as caught:
        danlu.fit(network(), points(), recipe(**given), out=out, quiet=True, resume=True)
    assert words in str(caught.value)
    run = danlu.fit(network(), points(), recipe(**given), out=out, quiet=True, resume="accept changes")
    assert any(words in text for _, _, text in run.events)


@pytest.mark.parametrize(
    ("part", "divided"),
    [
        (danlu.Data("iris"), True),
        (danlu.Data("mine.py:load", valid=0.2), True),
        (danlu.Data("iris", valid=0), False),
        (danlu.Data("mine.py:load"), False),
        (None, False),
    ],
)
def test_another_seed_says_where_it_divides_the_data_anew(part: Any, divided: bool):
    one, other = (settle(recipe(data=part, seed=seed))[0] for seed in (5, 6))
    sentence = changes(one, other)["seed"]
    assert sentence.startswith("seed: 5 -> 6")
    assert ("samples that validated may train now" in sentence) == divided
    assert changes(one, settle(recipe(data=part, batch_size=8))[0]) == {"batch_size": "batch_size: 16 -> 8"}


def test_a_longer_cosine_is_another_recipe(tmp_path: Path):
    out = killed(tmp_path, schedule=danlu.Schedule("cosine"))
    longer = recipe(schedule=danlu.Schedule("cosine"), epochs=9)
    with pytest.raises(RecipeError, match="epochs: 4 -> 9"):
        danlu.fit(network(), points(), longer, out=out, quiet=True, resume=True)


def test_what_cannot_be_resumed(tmp_path: Path):
    with pytest.raises(RunError, match="no folder"):
        danlu.fit(network(), points(), recipe(), quiet=True, resume=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="holds no run"):
        danlu.fit(network(), points(), recipe(), out=tmp_path / "other", quiet=True, resume=True)
    with pytest.raises(RunError, match="got 60 training samples; want the 70"):
        danlu.fit(network(), points(60), recipe(), out=killed(tmp_path), quiet=True, resume=True)


@pytest.mark.parametrize("engine", ["torch", "zero"])
@pytest.mark.parametrize("per", ["off", "update", "epoch"])
@pytest.mark.parametrize(("lr", "name"), [(0.01, "sgd"), (0.001, "adam")])
def test_an_accepted_learning_rate_is_the_one_that_counts(lr: float, name: str, per: str, engine: str, tmp_path: Path):
    def fit(lr: float, name: str, run: str, **more: Any) -> None:
        schedule = "off" if per == "off" else danlu.Schedule("cosine", per=per)
        given = recipe(optim=danlu.Optim(name, lr=lr), schedule=schedule, log_every=1, tensorboard=False)
        danlu.fit(network(engine), points(), given, out=tmp_path / run, quiet=True, **more)

    with pytest.raises(Killed):
        fit(0.1, "sgd", "run", hooks=[Kill(9)])
    fit(lr, name, "run", resume="accept changes")
    fit(1.0, "sgd", "whole")
    now, course = (
        dict(danlu.Run(tmp_path / run).metrics("lr").select("step", "value").iter_rows()) for run in ("run", "whole")
    )
    assert [now[step] for step in (12, 19)] == pytest.approx([lr * course[step] for step in (12, 19)])


def test_a_schedule_may_be_added_on_the_way(tmp_path: Path):
    with pytest.raises(Killed):
        danlu.fit(network(), points(), recipe(), out=tmp_path / "run", quiet=True, hooks=[Kill(9)])
    other = recipe(schedule=danlu.Schedule("cosine", per="update"))
    run = danlu.fit(network(), points(), other, out=tmp_path / "run", quiet=True, resume="accept changes")
    assert run.metrics("lr")["value"][-1] < 0.01


@pytest.mark.parametrize("engine", ["torch", "zero"])
def test_a_schedule_may_be_added_where_the_best_weights_are_to_be_put_back(engine: str, tmp_path: Path):
    stop = danlu.EarlyStop(patience=9)
    first: dict[str, Any] = {"early_stop": stop, "monitor": "train/loss", "monitor_mode": "max", "tensorboard": False}
    with pytest.raises(Killed):
        danlu.fit(network(engine), points(), recipe(**first), out=tmp_path / "run", quiet=True, hooks=[Kill(17)])
    other = recipe(**first, optim=danlu.Optim("adam", lr=0.01), schedule=danlu.Schedule("cosine", per="update"))
    model = network(engine)
    run = danlu.fit(model, points(), other, out=tmp_path / "run", quiet=True, resume="accept changes")
    assert run.summary["best"]["step"] == 5
    best, _ = save.read(save.folder(tmp_path / "run", 5))
    now = {name: np.asarray(value.detach()) for name, value in model.named_parameters()}
    assert all(np.array_equal(best["model"][name], value) for name, value in now.items())


@pytest.mark.parametrize("forged", [{"updates_done": "many"}, {"epoch": -1}, {"learner": None}, {"learner": {}}])
def test_a_forged_state_is_refused_before_learning_rates_are_taken_to_it(forged: dict[str, Any], tmp_path: Path):
    out, longest = killed(tmp_path), {"updates_done": 2**62, "epoch": 2**62}
    tensors, state = save.read(save.folder(out, save.steps(out)[-1]))
    other = recipe(schedule=danlu.Schedule("cosine", per="update"), tensorboard=False)
    save.write(save.folder(out, save.steps(out)[-1]), tensors, {**state, **forged}, overwrite=True)
    with pytest.raises(RunError, match=r"state\.json"):
        danlu.fit(network(), points(), other, out=out, quiet=True, resume="accept changes")
    save.write(save.folder(out, save.steps(out)[-1]), tensors, {**state, **longest}, overwrite=True)
    run = danlu.fit(network(), points(), other, out=out, quiet=True, resume="accept changes")
    assert "where 4 are asked for" in run.summary["reason"]


def test_a_run_that_could_not_be_taken_up_keeps_its_record(tmp_path: Path):
    run = danlu.fit(network(), points(), recipe(), out=tmp_path / "run", quiet=True)
    before = run.summary
    with pytest.raises(danlu.DanluError):
        danlu.fit(nn.Linear(6, 4), points(), recipe(epochs=5), out=tmp_path / "run", quiet=True, resume=True)
    assert danlu.Run(tmp_path / "run").summary == before
    assert all(kind != "failed" for _, kind, _ in danlu.Run(tmp_path / "run").events)


def test_the_same_script_begins_and_goes_on(tmp_path: Path):
    for _ in range(2):
        run = danlu.fit(network(), points(), recipe(), out=tmp_path / "run", quiet=True, resume=True)
        assert run.summary["status"] == "finished"
    with pytest.raises(RunError, match="resume: got stict; want one of"):
        danlu.fit(network(), points(), recipe(), out=tmp_path / "run", quiet=True, resume="stict")  # type: ignore[arg-type]
