"""The way from the caller to the model's `forward` is short, and an update calls few Python functions."""

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from torch import nn

import danlu

HOME = str(Path(danlu.__file__).parent)
FRAMES, FILES, CALLS = 4, 3, 60
RANDOM = np.random.default_rng(0)
DATA = RANDOM.normal(size=(64, 4)).astype(np.float32), RANDOM.integers(0, 3, size=64)
RECIPE = danlu.Recipe(
    metrics=["accuracy"],
    schedule=danlu.Schedule("cosine", per="update"),
    ema=0.9,
    epochs=2,
    batch_size=2,
    log_every=10,
    device="cpu",
    rehearse=False,  # its own updates come from elsewhere
)


class Net(nn.Module):
    """A layer that notes which frames of danlu stand between `caller` and its `forward` in training."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.paths = set()

    def forward(self, inputs):
        if self.training:
            self.paths.add(tuple(self._frames()))
        return self.layer(inputs)

    def _frames(self):
        frame = sys._getframe(2)
        while frame is not None and frame.f_code.co_name != "caller":
            if frame.f_code.co_filename.startswith(HOME):
                yield frame.f_code.co_filename.removeprefix(HOME), frame.f_code.co_name
            frame = frame.f_back
        assert frame is not None, "the walk passed the caller"


def by_fit(model, out):
    def caller():
        danlu.fit(model, DATA, RECIPE, out=out, quiet=True)

    caller()


def by_steps(model, out):
    def caller():
        for _ in danlu.steps(model, DATA, RECIPE, out=out):
            pass

    caller()


@pytest.mark.parametrize("call", [by_fit, by_steps])
@pytest.mark.parametrize("recorded", [False, True])
def test_few_frames_and_files_lie_between_the_caller_and_forward(call, recorded, tmp_path):
    model = Net()
    call(model, tmp_path / "run" if recorded else None)
    (path,) = model.paths  # every update takes the same way
    frames, files = len(path), len({file for file, _ in path})
    said = f"{frames} frames in {files} files: {' < '.join(f'{file}:{name}' for file, name in path)}"
    assert path[0] == ("/train/step.py", "forward"), said
    assert frames <= FRAMES, said
    assert files <= FILES, said


class Marks(danlu.Hook):
    """Notes after every update which functions of danlu have been called until then, and whether that update logs."""

    def __init__(self, counts):
        self.counts, self.after, self.evaluated = counts, [], set()

    def on_step_end(self, training, result):
        self.after.append(self.counts.copy())

    def on_eval_end(self, training, figures):
        self.evaluated.add(training.state.updates_done)


def calls_per_update(out):
    """Return a count of function calls for every update that neither evaluates nor logs, by its number."""
    counts = Counter()

    def note(frame, event, argument):
        if event == "call" and frame.f_code.co_filename.startswith(HOME):
            counts[frame.f_code.co_filename.removeprefix(HOME), frame.f_code.co_name] += 1

    marks = Marks(counts)
    before = sys.getprofile()
    sys.setprofile(note)
    try:
        danlu.fit(nn.Linear(4, 3), DATA, RECIPE, hooks=[marks], out=out, quiet=True)
    finally:
        sys.setprofile(before)
    pairs = zip(marks.after, marks.after[1:], strict=False)
    per_update = {update: after - earlier for update, (earlier, after) in enumerate(pairs, start=2)}
    busy = {n for n in per_update if n % RECIPE.log_every == 0 or {n - 1, n} & marks.evaluated}
    return {n: count for n, count in per_update.items() if n not in busy}


@pytest.mark.parametrize("recorded", [False, True])
def test_an_update_calls_few_functions_of_danlu(recorded, tmp_path):
    found = calls_per_update(tmp_path / "run" if recorded else None)
    assert len(found) > 40
    _, most = max(found.items(), key=lambda item: item[1].total())
    names = ", ".join(f"{count} {file}:{name}" for (file, name), count in most.most_common())
    assert most.total() >= 10, f"the profile saw only {names}"
    assert most.total() <= CALLS, f"{most.total()} calls in one update: {names}"


def test_updates_far_apart_call_the_same_functions():
    totals = {count.total() for count in calls_per_update(None).values()}
    assert max(totals) - min(totals) <= 5, totals
