"""A run that is killed with SIGKILL wherever it stands, and resumed, ends as the run that never was: bit for bit."""

import itertools
from random import Random

import pytest
from kills.axes import Axes, from_text, pairs, pairwise, possible, product, to_text
from kills.chain import Bench, drawn_kills

SEED, KILLS = 0, 3
RUNS = pairwise(SEED)

# What is passed on both sides; then what has other sides, or a side alone.
AROUND = ("update", "backward", "advance", "step_schedule", "evaluate", "train_figures", "state", "tensors", "open")
AROUND += ("fsync", "replace", "rename", "unlink", "mkdir", "rmdir", "rmtree", "rows", "commit", "log", "journal")
AROUND += ("statement", "record")
OTHERS = ("tensors.torn", "fsync.torn", "rmtree.half", "record.torn", "draw", "call")
RESUMING = ("load.before", "load.after", "cut.before", "cut.after", "rewrite.before", "rewrite.after")

TORCH = "engine=torch,door=fit,data=workers,samples=augmented,model=mlp,plan=eager,accumulate=1,ema=0.9,optim=custom"
ZERO = "engine=zero,door=command,data=dataset,samples=augmented,model=lstm,plan=eager,accumulate=4,ema=0.9,optim=adam"
SETTINGS = {  # where named points are tried: everything is saved after every update
    "torch": from_text(f"{TORCH},schedule=plateau,validate=update,save=update,stop=best"),
    "zero": from_text(f"{ZERO},schedule=cosine,validate=update,save=update,stop=off"),
}


@pytest.mark.parametrize("axes", RUNS, ids=to_text)
def test_killed_at_random(axes: Axes, bench: Bench):
    twin = bench.twin(axes)
    outcome = bench.case(axes, drawn_kills(twin, Random(f"{SEED} {to_text(axes)}"), KILLS))
    assert not outcome.wrong, str(outcome)


@pytest.mark.parametrize(("point", "engine"), list(zip(AROUND, itertools.cycle(SETTINGS), strict=False)))
def test_killed_before_and_after(point: str, engine: str, bench: Bench):
    times = bench.twin(SETTINGS[engine]).counts
    before, after = f"{point}.before", f"{point}.after"
    assert times[before] >= times[after] > 0
    chance = Random(f"{SEED} {point} {engine}")
    kills = [f"{before}:1", f"{after}:1", f"{after}:{chance.randint(1, times[after])}"]
    outcome = bench.case(SETTINGS[engine], kills)
    assert not outcome.wrong, str(outcome)
    assert outcome.kills[:2] == kills[:2], str(outcome)


@pytest.mark.parametrize("engine", SETTINGS)
@pytest.mark.parametrize("point", OTHERS)
def test_killed_within(point: str, engine: str, bench: Bench):
    times = bench.twin(SETTINGS[engine]).counts[point]
    chance = Random(f"{SEED} {point} {engine}")
    kills = [f"{point}:{chance.randint(1, times // 2 or 1)}", f"{point}:1", f"{point}:{chance.randint(1, times)}"]
    outcome = bench.case(SETTINGS[engine], kills)
    assert not outcome.wrong, str(outcome)
    assert outcome.kills[:1] == kills[:1], str(outcome)


@pytest.mark.parametrize("engine", SETTINGS)
@pytest.mark.parametrize("point", RESUMING)
def test_killed_while_resuming(point: str, engine: str, bench: Bench):
    kills = ["update.after:5", f"{point}:1", f"{point}:1", "update.after:3", f"{point}:1"]
    outcome = bench.case(SETTINGS[engine], kills)
    assert not outcome.wrong, str(outcome)
    assert outcome.kills == kills, str(outcome)


def test_the_runs_hold_every_pair_of_settings():
    every = set().union(*map(pairs, product()))
    assert set().union(*map(pairs, RUNS)) == every
    assert all(map(possible, RUNS))
    assert len(RUNS) < 25
