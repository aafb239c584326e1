"""Every schedule against PyTorch's: rates, momenta, state, warnings, misuse."""

import warnings

import numpy as np
import pytest
import torch

from danlu.zero import optim
from danlu.zero.nn.parameter import Parameter
from danlu.zero.tensor import wrap


class Decay:
    """A factor with a field, which is saved with the schedule."""

    def __init__(self, rate):
        self.rate = rate

    def __call__(self, step):
        return self.rate**step


def chained(s, o):
    return s.ChainedScheduler([s.ConstantLR(o, 0.1, 4), s.ExponentialLR(o, 0.9)])


def sequential(s, o):
    return s.SequentialLR(o, [s.LinearLR(o, 0.1, 1, 5), s.CosineAnnealingLR(o, 10), s.StepLR(o, 3)], [5, 20])


def nested(s, o):
    warnings.filterwarnings("ignore", message="Detected call")  # PyTorch's own warns, too
    together = s.ChainedScheduler([s.ConstantLR(o, 0.1, 4), s.LinearLR(o, 0.9, 0.3, 9)])
    return s.SequentialLR(o, [together, s.ExponentialLR(o, 0.8)], [7])


SCHEDULES = {
    "lambda": lambda s, o: s.LambdaLR(o, lambda step: 0.9**step),
    "lambda, one per group": lambda s, o: s.LambdaLR(o, [lambda step: 0.9**step, Decay(0.5)]),
    "multiplicative": lambda s, o: s.MultiplicativeLR(o, lambda step: 1 - 0.1 * (step % 3)),
    "multiplicative, one per group": lambda s, o: s.MultiplicativeLR(o, [lambda step: 0.9, Decay(0.99)]),
    "step": lambda s, o: s.StepLR(o, 7, 0.5),
    "multistep": lambda s, o: s.MultiStepLR(o, [3, 10, 10, 30], 0.3),
    "constant": lambda s, o: s.ConstantLR(o, 0.25, 10),
    "linear": lambda s, o: s.LinearLR(o, 0.1, 0.8, 13),
    "exponential": lambda s, o: s.ExponentialLR(o, 0.95),
    "polynomial": lambda s, o: s.PolynomialLR(o, 30, 2.0),
    "cosine": lambda s, o: s.CosineAnnealingLR(o, 12, 0.01),
    "restarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, 5, 2, 0.001),
    "restarts, equal": lambda s, o: s.CosineAnnealingWarmRestarts(o, 6),
    "triangular": lambda s, o: s.CyclicLR(o, 0.01, 0.3, 5, 9),
    "triangular2": lambda s, o: s.CyclicLR(o, [0.01, 0.02], [0.3, 0.1], 4, mode="triangular2"),
    "exp_range": lambda s, o: s.CyclicLR(o, 0.01, 0.3, 5, mode="exp_range", gamma=0.9, cycle_momentum=False),
    "own scale": lambda s, o: s.CyclicLR(o, 0.01, 0.3, 5, scale_fn=Decay(0.7), scale_mode="iterations"),
    "one cycle": lambda s, o: s.OneCycleLR(o, 0.5, total_steps=51),
    "one cycle, linear": lambda s, o: s.OneCycleLR(
        o, [0.5, 0.2], epochs=5, steps_per_epoch=12, anneal_strategy="linear", three_phase=True, pct_start=0.2
    ),
    "one cycle, no momentum": lambda s, o: s.OneCycleLR(
        o, 0.5, total_steps=60, cycle_momentum=False, div_factor=10.0, final_div_factor=100.0
    ),
    "chained": chained,
    "sequential": sequential,
    "nested": nested,
}
KINDS = {"SGD": {"momentum": 0.9}, "Adam": {"betas": (0.85, 0.99)}}


def optimizers(kind="SGD"):
    """The same two groups twice: ours and PyTorch's."""
    arrays = [np.ones(2), np.ones(3)]
    ours = [Parameter(wrap(a.copy())) for a in arrays]
    theirs = [torch.nn.Parameter(torch.from_numpy(a)) for a in arrays]
    return [
        getattr(module, kind)([{"params": p[:1], "lr": 0.2}, {"params": p[1:]}], lr=0.1, **KINDS[kind])
        for module, p in ((optim, ours), (torch.optim, theirs))
    ]


def both(build, kind="SGD"):
    mine, other = optimizers(kind)
    return mine, other, build(optim.lr_scheduler, mine), build(torch.optim.lr_scheduler, other)


def same_groups(mine, other):
    for ours, theirs in zip(mine.param_groups, other.param_groups, strict=True):
        assert set(ours) == set(theirs)
        for name in ("lr", "initial_lr", "momentum", "betas", "max_lr", "min_lr", "base_momentum", "max_momentum"):
            if name in ours:
                np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-12, atol=1e-15, err_msg=name)


def advance(optimizer, scheduler, steps):
    for _ in range(steps):
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SCHEDULES)
def test_fifty_steps_are_pytorchs(name, kind):
    mine, other, ours, theirs = both(SCHEDULES[name], kind)
    same_groups(mine, other)
    for _ in range(50):
        advance(mine, ours, 1)
        advance(other, theirs, 1)
        same_groups(mine, other)
        np.testing.assert_allclose(ours.get_last_lr(), theirs.get_last_lr(), rtol=1e-12, atol=1e-15)
        assert getattr(ours, "last_epoch", None) == getattr(theirs, "last_epoch", None)


@pytest.mark.parametrize("name", SCHEDULES)
def test_state_resumes_in_mid_run(name):
    mine, _, ours, theirs = both(SCHEDULES[name])
    advance(mine, ours, 9)
    advance(_, theirs, 9)
    kept, groups = ours.state_dict(), mine.state_dict()
    apart = {"lr_lambdas", "_scale_fn_custom", "base_momentums", "max_momentums"}  # options, not progress
    assert set(kept) ^ set(theirs.state_dict()) <= apart, "the fields that PyTorch saves"
    fresh, _, again, _ = both(SCHEDULES[name])
    again.load_state_dict(kept)
    fresh.load_state_dict(groups)
    advance(mine, ours, 15)
    advance(fresh, again, 15)
    assert fresh.state_dict()["param_groups"] == mine.state_dict()["param_groups"]
    assert again.last_epoch == ours.last_epoch if hasattr(ours, "last_epoch") else True


@pytest.mark.parametrize(
    "name", ["step", "multistep", "constant", "linear", "exponential", "polynomial", "cosine", "restarts", "lambda"]
)
def test_last_epoch_and_a_given_epoch(name):
    built = []
    for module, optimizer in zip((optim, torch.optim), optimizers(), strict=True):
        for group in optimizer.param_groups:
            group["initial_lr"] = 0.3
        scheduler = SCHEDULES[name](Resumed(module.lr_scheduler, 6), optimizer)
        rates = [scheduler.get_last_lr()]
        advance(optimizer, scheduler, 3)
        rates.append(scheduler.get_last_lr())
        with warnings.catch_warnings(record=True):
            warnings.simplefilter("always")
            scheduler.step(17)
        built.append([*rates, scheduler.get_last_lr()])
    np.testing.assert_allclose(built[0], built[1], rtol=1e-12)


class Resumed:
    """A module of schedules, each made with `last_epoch`."""

    def __init__(self, module, last_epoch):
        self.module, self.last_epoch = module, last_epoch

    def __getattr__(self, name):
        return lambda *args, **options: getattr(self.module, name)(*args, **options, last_epoch=self.last_epoch)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mode": "max", "patience": 0},
        {"patience": 1, "threshold": 0.3, "cooldown": 2},
        {"patience": 1, "threshold": 0.1, "threshold_mode": "abs", "min_lr": [0.05, 0.01]},
        {"patience": 0, "factor": 0.5, "mode": "max", "threshold_mode": "abs", "threshold": 0.5, "min_lr": 0.03},
        {"patience": 0, "factor": 0.5, "eps": 0.02},
    ],
)
def test_plateau_is_pytorchs(options):
    mine, other, ours, theirs = both(lambda s, o: s.ReduceLROnPlateau(o, **options))
    values = np.random.default_rng(0).normal(size=60) + np.linspace(3, 0, 60)
    for i, value in enumerate(values):
        ours.step(wrap(np.array(value)) if i % 2 else value)
        theirs.step(value)
        same_groups(mine, other)
        assert (ours.best, ours.num_bad_epochs, ours.cooldown_counter) == (
            theirs.best,
            theirs.num_bad_epochs,
            theirs.cooldown_counter,
        )
        if i == 20:
            state = ours.state_dict()
            assert set(state) == set(theirs.state_dict())
            ours = optim.lr_scheduler.ReduceLROnPlateau(mine)
            ours.load_state_dict(state)


MISUSE = {
    "no optimizer": lambda s, o: s.StepLR(3, 1),
    "no optimizer, one cycle": lambda s, o: s.OneCycleLR(3, 1.0, 5),
    "no optimizer, plateau": lambda s, o: s.ReduceLROnPlateau(3),
    "lambdas": lambda s, o: s.LambdaLR(o, [lambda step: 1.0]),
    "no function": lambda s, o: s.MultiplicativeLR(o, 3),
    "resume without initial_lr": lambda s, o: s.StepLR(o, 1, last_epoch=3),
    "constant": lambda s, o: s.ConstantLR(o, 2.0),
    "linear": lambda s, o: s.LinearLR(o, 0.0),
    "linear end": lambda s, o: s.LinearLR(o, 1.0, -1.0),
    "T_0": lambda s, o: s.CosineAnnealingWarmRestarts(o, 0),
    "T_mult": lambda s, o: s.CosineAnnealingWarmRestarts(o, 1, 1.5),
    "eta_min": lambda s, o: s.CosineAnnealingWarmRestarts(o, 1, 1, "0"),
    "negative epoch": lambda s, o: s.CosineAnnealingWarmRestarts(o, 1).step(-1),
    "cyclic mode": lambda s, o: s.CyclicLR(o, 0.1, 1, mode="square"),
    "cyclic groups": lambda s, o: s.CyclicLR(o, [0.1], 1),
    "no steps": lambda s, o: s.OneCycleLR(o, 1.0),
    "steps 0": lambda s, o: s.OneCycleLR(o, 1.0, 0),
    "epochs": lambda s, o: s.OneCycleLR(o, 1.0, epochs=-1, steps_per_epoch=3),
    "pct_start": lambda s, o: s.OneCycleLR(o, 1.0, 10, pct_start=2.0),
    "strategy": lambda s, o: s.OneCycleLR(o, 1.0, 10, anneal_strategy="line"),
    "factor": lambda s, o: s.ReduceLROnPlateau(o, factor=1.0),
    "mode": lambda s, o: s.ReduceLROnPlateau(o, mode="up"),
    "threshold_mode": lambda s, o: s.ReduceLROnPlateau(o, threshold_mode="up"),
    "min_lrs": lambda s, o: s.ReduceLROnPlateau(o, min_lr=[0.1]),
    "nothing chained": lambda s, o: s.ChainedScheduler([]),
    "plateau chained": lambda s, o: s.ChainedScheduler([s.ReduceLROnPlateau(o)]),
    "no schedules": lambda s, o: s.SequentialLR(o, [3], []),
    "milestones": lambda s, o: s.SequentialLR(o, [s.StepLR(o, 1)], [1]),
    "no get_lr": lambda s, o: s.LRScheduler(o),
}


@pytest.mark.parametrize("case", MISUSE)
def test_misuse_raises_what_pytorch_raises(case):
    kinds = []
    for module, optimizer in zip((optim, torch.optim), optimizers(), strict=True):
        with pytest.raises(Exception) as caught:  # noqa: PT011 - the type is what is compared
            MISUSE[case](module.lr_scheduler, optimizer)
        kinds.append(caught.type)
    assert kinds[0] is kinds[1]


def test_momentum_needs_an_optimizer_with_momentum():
    mine = optim.Adagrad([Parameter(wrap(np.ones(1)))])
    for build in (lambda: optim.lr_scheduler.OneCycleLR(mine, 1.0, 5), lambda: optim.lr_scheduler.CyclicLR(mine, 0, 1)):
        with pytest.raises(ValueError, match="momentum"):
            build()


def test_schedules_of_another_optimizer_are_refused():
    s, (mine, _), (another, _) = optim.lr_scheduler, optimizers(), optimizers()
    with pytest.raises(ValueError, match="another"):
        s.SequentialLR(mine, [s.StepLR(another, 1), s.StepLR(mine, 1)], [1])


def test_order_of_steps_is_watched():
    for module, optimizer in zip((optim, torch.optim), optimizers(), strict=True):
        scheduler = module.lr_scheduler.StepLR(optimizer, 1)
        with pytest.warns(UserWarning, match="before `optimizer.step"):
            scheduler.step()
    mine = optimizers()[0]
    scheduler = optim.lr_scheduler.StepLR(mine, 1)
    with pytest.warns(UserWarning, match="get_last_lr"):
        scheduler.get_lr()


class Halves(optim.lr_scheduler.LRScheduler):
    """One of your own."""

    def get_lr(self):
        return [rate / (self.last_epoch + 1) for rate in self.base_lrs]


def test_a_schedule_of_ones_own():
    mine = optimizers()[0]
    scheduler = Halves(mine)
    advance(mine, scheduler, 3)
    assert scheduler.get_last_lr() == [0.05, 0.025]


def test_a_rate_that_is_a_tensor_is_changed_in_place():
    rate = wrap(np.array(0.5))
    mine = optim.SGD([Parameter(wrap(np.ones(2)))], lr=rate)
    advance(mine, optim.lr_scheduler.ExponentialLR(mine, 0.5), 2)
    assert rate._array == 0.125
