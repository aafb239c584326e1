import io
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer

from danlu.track.tensorboard import TensorBoard


def accumulate(folder):
    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def points(folder, tag):
    return [(event.step, event.value) for event in accumulate(folder).Scalars(tag)]


def test_a_prefix_is_a_sub_run_so_that_sets_share_a_plot(tmp_path):
    with TensorBoard(tmp_path) as board:
        board.scalars(1, {"train/loss": 2.0, "valid/loss": 3.0, "valid/top/5": 0.5, "lr": 0.25})
        board.scalars(2, {"train/loss": 1.0})
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["run", "train", "valid"]
    assert points(tmp_path / "train", "loss") == [(1, 2.0), (2, 1.0)]
    assert points(tmp_path / "valid", "loss") == [(1, 3.0)]
    assert points(tmp_path / "valid", "top/5") == [(1, 0.5)]
    assert points(tmp_path / "run", "lr") == [(1, 0.25)]


def test_what_is_not_finite_is_kept(tmp_path):
    with TensorBoard(tmp_path) as board:
        board.scalars(1, {"train/loss": math.nan})
        board.scalars(2, {"train/loss": math.inf})
        board.scalars(3, {"train/loss": -math.inf})
    values = [value for _, value in points(tmp_path / "train", "loss")]
    np.testing.assert_array_equal(values, [math.nan, math.inf, -math.inf])


def test_several_runs_lie_over_each_other(tmp_path):
    for name, value in (("a", 1.0), ("b", 2.0)):
        with TensorBoard(tmp_path / name / "tensorboard") as board:
            board.scalars(5, {"valid/loss": value})
    runs = EventMultiplexer().AddRunsFromDirectory(str(tmp_path))
    runs.Reload()
    found = {name: [event.tensor_proto.float_val[0] for event in runs.Tensors(name, "loss")] for name in runs.Runs()}
    assert found == {"a/tensorboard/valid": [1.0], "b/tensorboard/valid": [2.0]}


def test_flushed_points_can_be_read_while_the_run_goes_on(tmp_path):
    board = TensorBoard(tmp_path)
    board.scalars(1, {"train/loss": 2.0})
    board.flush()
    assert points(tmp_path / "train", "loss") == [(1, 2.0)]
    board.close()


def test_pictures_are_one_grid(tmp_path):
    pictures = np.zeros((3, 8, 8), np.uint8)
    pictures[1] = 200
    with TensorBoard(tmp_path) as board:
        board.images(7, "worst", pictures, captions=["a", "b", "c"])
    (event,) = accumulate(tmp_path / "media").Images("worst")
    shown = Image.open(io.BytesIO(event.encoded_image_string))
    assert event.step == 7
    assert shown.size == (event.width, event.height)
    assert (200, 200, 200) in [colour for _, colour in shown.getcolors(100_000)]


def test_a_text_is_shown_as_text(tmp_path):
    with TensorBoard(tmp_path) as board:
        board.text("recipe", "# 丹炉\n\n    seed = 1")
    events = accumulate(tmp_path / "media")
    (event,) = events.Tensors("recipe/text_summary")
    assert event.tensor_proto.string_val[0].decode() == "# 丹炉\n\n    seed = 1"
    assert events.SummaryMetadata("recipe/text_summary").plugin_data.plugin_name == "text"


def test_rewrite_replaces_the_points_and_keeps_the_rest(tmp_path):
    board = TensorBoard(tmp_path)
    for step in range(10):
        board.scalars(step, {"train/loss": 1.0, "lr": 0.5})
    board.text("recipe", "seed = 1")
    board.close()
    resumed = TensorBoard(tmp_path)
    resumed.rewrite((step, "train/loss", 2.0) for step in range(5))
    resumed.scalars(5, {"train/loss": 3.0})
    resumed.close()
    assert points(tmp_path / "train", "loss") == [*((step, 2.0) for step in range(5)), (5, 3.0)]
    assert "lr" not in accumulate(tmp_path).Tags()["scalars"]
    assert accumulate(tmp_path / "media").Tags()["tensors"] == ["recipe/text_summary"]


@pytest.mark.parametrize("name", ["torch", "tensorflow"])
def test_no_engine_is_imported(tmp_path, name):
    (tmp_path / f"{name}.py").write_text("raise RuntimeError('imported')")
    code = f"""
import sys
from pathlib import Path
import numpy as np
from danlu.track import TensorBoard
with TensorBoard(Path({str(tmp_path / "board")!r})) as board:
    board.scalars(1, {{"train/loss": 1.0}})
    board.images(1, "a", np.zeros((1, 4, 4), np.uint8))
    board.text("a", "b")
print({name!r} in sys.modules)
"""
    search = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": search}, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("False\n", "")
    assert points(tmp_path / "board" / "train", "loss") == [(1, 1.0)]
