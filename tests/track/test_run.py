import math

import polars as pl
import pytest

from danlu.errors import RunError
from danlu.save import write_json
from danlu.track import MetricStore, Run, compare, list_runs

SUMMARY = {
    "status": "finished",
    "reason": "all epochs done",
    "epochs": 2,
    "updates": 20,
    "samples_seen": 640,
    "seconds": 1.5,
    "samples_per_s": 426.7,
    "best": {"step": 10, "metric": "valid/accuracy", "value": 0.75},
    "final": {"train/loss": 1.0, "valid/loss": math.nan, "valid/accuracy": 0.7},
}


def fill(store):
    store.log(5, {"running/loss": 3.0, "lr": 0.1})
    store.log(
        10, {"running/loss": 2.0, "lr": 0.2, "epoch": 1, "train/loss": 2.5, "valid/loss": 2.0, "valid/accuracy": 0.75}
    )
    store.log(15, {"running/loss": 1.5, "lr": 0.1, "grad_norm": 1.0})
    store.log(20, {"epoch": 2, "train/loss": 1.0, "valid/loss": math.nan, "valid/accuracy": 0.7})
    store.log(20, {"test/loss": 1.25})
    store.event(10, "best", "valid/accuracy 0.75")


def make(folder, summary=SUMMARY, recipe="seed = 1\n"):
    folder.mkdir(parents=True)
    (folder / "recipe.toml").write_text(recipe)
    with MetricStore(folder / "metrics.sqlite") as store:
        fill(store)
    if summary is not None:
        write_json(folder / "summary.json", summary)
    return Run(folder)


def check_history(history):
    expected = pl.DataFrame(
        {
            "step": [10, 20],
            "epoch": [1, 2],
            "running/loss": [2.0, None],
            "lr": [0.2, None],
            "train/loss": [2.5, 1.0],
            "valid/loss": [2.0, math.nan],
            "valid/accuracy": [0.75, 0.7],
            "test/loss": [None, 1.25],
        }
    )
    assert history.schema == expected.schema
    assert history.equals(expected, null_equal=True)
    assert math.isnan(history["valid/loss"][1])


def test_a_finished_run_is_read_back(tmp_path):
    run = make(tmp_path / "mlp")
    assert run.folder == tmp_path / "mlp"
    assert run.summary["updates"] == 20
    assert math.isnan(run.summary["final"]["valid/loss"])
    assert run.best == {"step": 10, "metric": "valid/accuracy", "value": 0.75}
    assert run.recipe == "seed = 1\n"
    assert run.events == [(10, "best", "valid/accuracy 0.75")]
    assert repr(run) == f"Run('{tmp_path / 'mlp'}': finished, 2 epochs, best valid/accuracy 0.75 at update 10)"
    check_history(run.history)


def test_reading_leaves_the_folder_as_it_was(tmp_path):
    run = make(tmp_path / "mlp")
    before = {entry.name: entry.read_bytes() for entry in run.folder.iterdir()}
    assert run.history.height == 2
    assert {entry.name: entry.read_bytes() for entry in run.folder.iterdir()} == before


def test_a_run_without_a_folder_is_the_same():
    with MetricStore(None) as store:
        fill(store)
        run = Run.of(store, SUMMARY, "seed = 1\n")
        check_history(run.history)
        assert run.folder is None
        assert run.best["value"] == 0.75
        assert run.recipe == "seed = 1\n"
        assert run.metrics("lr").rows() == [(5, 0.1), (10, 0.2), (15, 0.1)]
        assert repr(run).startswith("Run('in memory': finished")


def test_a_run_that_is_going_on_can_be_watched(tmp_path):
    (tmp_path / "recipe.toml").write_text("")
    run = Run(tmp_path)
    assert run.history.height == 0
    assert run.history.columns == ["step"]
    assert (run.summary, run.best, run.events) == ({}, None, [])
    assert repr(run) == f"Run('{tmp_path}': unfinished)"
    store = MetricStore(tmp_path / "metrics.sqlite")
    for step in (1, 2):
        store.log(step, {"train/loss": 1.0 / step})
        store.flush()
        assert run.history["train/loss"].to_list() == [1.0, 0.5][:step]
    store.close()


def test_one_metric(tmp_path):
    run = make(tmp_path / "a")
    table = run.metrics("running/loss")
    assert table.schema == {"step": pl.Int64, "value": pl.Float64}
    assert table.rows() == [(5, 3.0), (10, 2.0), (15, 1.5)]
    with pytest.raises(RunError, match=r"'valid/acuracy'.*did you mean valid/accuracy"):
        run.metrics("valid/acuracy")


def test_a_half_epoch_is_a_float_and_the_last_row_of_a_name_counts():
    with MetricStore(None) as store:
        store.log(5, {"valid/loss": 2.0})
        store.log(5, {"valid/loss": 1.0})
        store.timing(5, {"epoch": 0.5})
        assert Run.of(store, {}).history.rows(named=True) == [{"step": 5, "epoch": 0.5, "valid/loss": 1.0}]


@pytest.mark.parametrize("kind", ["missing", "empty", "file"])
def test_a_folder_without_a_run_is_refused(tmp_path, kind):
    path = tmp_path / "a"
    if kind == "empty":
        path.mkdir()
    elif kind == "file":
        path.write_text("")
    with pytest.raises(RunError, match=r"holds no run"):
        Run(path)


def test_a_damaged_summary_is_named(tmp_path):
    run = make(tmp_path / "a")
    (run.folder / "summary.json").write_text("{")
    with pytest.raises(RunError, match=r"summary\.json"):
        _ = run.best


def test_runs_are_listed_by_name_and_number(tmp_path):
    for name in ("digits-10", "digits-2", "digits", "mlp"):
        make(tmp_path / name)
    (tmp_path / "notes").mkdir()
    (tmp_path / "readme.txt").write_text("")
    assert [run.folder.name for run in list_runs(tmp_path)] == ["digits", "digits-2", "digits-10", "mlp"]
    with pytest.raises(RunError, match="no such file"):
        list_runs(tmp_path / "none")


def test_runs_are_compared(tmp_path):
    recipe = 'seed = 1\nepochs = 2\nmetrics = ["accuracy"]\n[optim]\nname = "{name}"\nlr = {lr}\n'
    runs = [
        make(tmp_path / "a", recipe=recipe.format(name="sgd", lr=0.1)),
        make(tmp_path / "b", {**SUMMARY, "best": None}, recipe.format(name="sgd", lr='"off"') + "momentum = 0.9\n"),
        make(tmp_path / "c", None, recipe.format(name="sgd", lr=0.2)),
    ]
    table = compare(runs)
    assert table.columns == [
        *("name", "status", "epochs", "updates", "best_metric", "best_value"),
        *("train/loss", "valid/loss", "seconds", "optim.lr", "optim.momentum"),
    ]
    a, b, c = table.rows(named=True)
    assert math.isnan(a.pop("valid/loss"))
    assert a == {
        "name": "a",
        "status": "finished",
        "epochs": 2,
        "updates": 20,
        "best_metric": "valid/accuracy",
        "best_value": 0.75,
        "train/loss": 1.0,
        "seconds": 1.5,
        "optim.lr": "0.1",
        "optim.momentum": None,
    }
    assert (b["best_metric"], b["best_value"], b["optim.lr"], b["optim.momentum"]) == (None, None, "off", 0.9)
    assert (c["status"], c["epochs"], c["train/loss"], c["optim.lr"]) == ("unfinished", None, None, "0.2")


def test_numbers_stay_numbers_and_equal_names_become_paths(tmp_path):
    runs = [
        make(tmp_path / "x" / "a", recipe="lr = 1\nb = [1, 2]"),
        make(tmp_path / "y" / "a", recipe="lr = 0.5\nb = [1]"),
    ]
    table = compare(runs)
    assert table["name"].to_list() == [str(tmp_path / "x" / "a"), str(tmp_path / "y" / "a")]
    assert table["lr"].to_list() == [1.0, 0.5]
    assert table["b"].to_list() == ["[1, 2]", "[1]"]


def test_no_runs_make_an_empty_table():
    assert compare([]).height == 0
