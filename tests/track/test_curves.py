import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from danlu.save import write_json
from danlu.track.curves import draw
from danlu.track.figure import COLOURS
from danlu.track.store import MetricStore


def record(path, epochs=6, *, nan_at=-1, lr=0.1):
    with MetricStore(path) as store:
        for epoch in range(1, epochs + 1):
            loss = 2.0 / epoch
            values = {"train/loss": loss, "valid/loss": math.nan if epoch == nan_at else loss + 0.1, "epoch": epoch}
            store.log(
                100 * epoch, values | {"valid/accuracy": 1 - loss / 4, "lr": lr / epoch, "running/loss": 1.5 * loss}
            )
    return path


def pixels(picture, colour):
    """Count the pixels of one colour, of type "#rrggbb"."""
    wanted = tuple(bytes.fromhex(colour[1:]))
    return int((np.asarray(picture.convert("RGB")) == wanted).all(-1).sum())


def test_the_curves_are_drawn(tmp_path):
    store, out = record(tmp_path / "metrics.sqlite"), tmp_path / "curves.png"
    assert draw(store, out, "digits · 丹炉") == f"drew 3 panels to {out}"
    picture = Image.open(out)
    assert picture.format == "PNG"
    assert picture.width > picture.height > 300
    for name in ("train", "valid", "running", ""):
        assert pixels(picture, COLOURS[name]) > 100, name
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["curves.png", "metrics.sqlite"]


def test_what_is_not_finite_is_marked_in_red(tmp_path):
    plain, marked = tmp_path / "a.png", tmp_path / "b.png"
    draw(record(tmp_path / "a.sqlite"), plain)
    draw(record(tmp_path / "b.sqlite", nan_at=3), marked)
    assert pixels(Image.open(plain), "#cf222e") == 0
    assert pixels(Image.open(marked), "#cf222e") > 10


def test_a_run_that_is_all_nan_is_drawn(tmp_path):
    with MetricStore(tmp_path / "m.sqlite") as store:
        store.log(1, {"train/loss": math.nan, "valid/loss": math.nan})
        store.log(2, {"train/loss": math.nan, "valid/loss": math.inf})
    assert draw(tmp_path / "m.sqlite", tmp_path / "a.png").startswith("drew 1 panel")


def test_the_runs_own_choice_of_the_best_is_ringed(tmp_path):
    store = record(tmp_path / "metrics.sqlite")
    draw(store, tmp_path / "a.png")
    write_json(tmp_path / "summary.json", {"best": {"step": 200, "metric": "valid/accuracy", "value": 0.75}})
    draw(store, tmp_path / "b.png")
    (tmp_path / "summary.json").write_text("damaged")
    draw(store, tmp_path / "c.png")
    a, b, c = ((tmp_path / f"{name}.png").read_bytes() for name in "abc")
    assert a != b
    assert a == c


def test_a_run_that_is_going_on_is_drawn(tmp_path):
    store = MetricStore(tmp_path / "m.sqlite")
    store.log(1, {"train/loss": 1.0})
    store.flush()
    assert draw(tmp_path / "m.sqlite", tmp_path / "a.png") == f"drew 1 panel to {tmp_path / 'a.png'}"
    store.close()


@pytest.mark.parametrize("case", ["missing", "damaged", "empty", "no folder", "bad name"])
def test_a_figure_that_fails_is_one_line_and_no_error(tmp_path, case):
    store, out = tmp_path / "m.sqlite", tmp_path / "a.png"
    if case == "damaged":
        store.write_text("hello" * 1000)
    elif case == "empty":
        MetricStore(store).close()
    elif case == "no folder":
        store, out = record(store), tmp_path / "none" / "a.png"
    said = draw(store, out, "a\0b" if case == "bad name" else "")
    assert said.startswith("no figure: ")
    assert "\n" not in said
    assert not out.exists()


def test_the_child_imports_no_torch(tmp_path):
    (tmp_path / "torch.py").write_text("raise RuntimeError('imported')")
    search = os.pathsep.join([str(Path(__file__).parents[2]), str(tmp_path)])
    code = """
import sys
from danlu.track import figure
print("torch" in sys.modules, figure.main(sys.argv[1:]), "torch" in sys.modules)
"""
    command = [sys.executable, "-c", code, record(tmp_path / "m.sqlite"), tmp_path / "a.png", ""]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": search}, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "False 0 False", done.stderr


def test_the_caller_does_not_import_matplotlib(tmp_path):
    code = """
import sys
from pathlib import Path
from danlu.track import draw
draw(*map(Path, sys.argv[1:]))
print("matplotlib" in sys.modules)
"""
    command = [sys.executable, "-c", code, record(tmp_path / "m.sqlite"), tmp_path / "a.png"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.stdout, (tmp_path / "a.png").exists()) == ("False\n", True), done.stderr
