"""What one update is: the same bits as the loop that one writes by hand."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import danlu
from danlu import keyed
from danlu.data import Arrays, Batches, Data

SEED = 3


@pytest.fixture
def double() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def classes(n: int = 70, features: int = 6, kinds: int = 4, seed: int = 0) -> Data:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n + 23, features))
    y = rng.integers(0, kinds, n + 23)
    return Data(Arrays(x[:n], y[:n]), {"valid": Arrays(x[n:], y[n:])})


def network(seed: int = 0, features: int = 6, kinds: int = 4, dropout: float = 0.3) -> nn.Sequential:
    torch.manual_seed(seed)
    layers = nn.Linear(features, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, kinds)
    return nn.Sequential(*layers)


def in_batches(data: Data, size: int, seed: int = SEED) -> Batches:
    return danlu.data.batches(data.train, size, seed=seed, sampler="shuffle")


def assert_same(one: nn.Module, other: nn.Module) -> None:
    left, right = one.state_dict(), other.state_dict()
    assert left.keys() == right.keys()
    for name in left:
        assert torch.equal(left[name], right[name]), name


def by_hand(
    model: nn.Module,
    data: Data,
    optimizer: torch.optim.Optimizer,
    *,
    size: int,
    epochs: int,
    schedule: torch.optim.lr_scheduler.LRScheduler | None = None,
    per_update: bool = False,
    clip: Callable[[list[Tensor]], object] = lambda parameters: None,
) -> list[float]:
    """The loop that everybody writes; returns the learning rate of every update."""
    batches, updates, rates = in_batches(data, size), 0, []
    model.train()
    for epoch in range(epochs):
        for inputs, target in batches.iterate(epoch):
            torch.manual_seed(keyed.number("update", SEED, updates, 0))
            optimizer.zero_grad()
            F.cross_entropy(model(inputs), target).backward()
            clip([p for p in model.parameters() if p.requires_grad])
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            updates += 1
            if schedule is not None and per_update:
                schedule.step()
        if schedule is not None and not per_update:
            schedule.step()
    return rates


class Rates(danlu.Hook):
    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_grads_ready(self, training: object) -> None:
        self.seen.append(training.learner.lr())  # type: ignore[attr-defined]


def train(model: nn.Module, data: object, recipe: danlu.Recipe, **given: object) -> list[float]:
    rates = Rates()
    for _ in danlu.steps(model, data, recipe, hooks=[rates], **given):
        pass
    return rates.seen


# One writes it by hand ---------------------------------------------------------------------------------------------


def test_plain_sgd_is_the_loop_one_writes_by_hand():
    ours, theirs, data = network(), network(), classes()
    train(ours, data, danlu.Recipe(optim=danlu.Optim("sgd", lr=0.1), epochs=4, batch_size=16, seed=SEED))
    by_hand(theirs, data, torch.optim.SGD(theirs.parameters(), lr=0.1), size=16, epochs=4)
    assert_same(ours, theirs)


def test_sgd_with_momentum_clipped_norm_and_cosine_per_update():
    ours, theirs, data = network(), network(), classes()
    optim = danlu.Optim("sgd", lr=0.2, momentum=0.9, nesterov=True, weight_decay=1e-2, clip_norm=0.5)
    schedule = danlu.Schedule("cosine", per="update")
    recipe = danlu.Recipe(optim=optim, schedule=schedule, epochs=4, batch_size=16, seed=SEED)
    rates = train(ours, data, recipe)
    own = torch.optim.SGD(theirs.parameters(), lr=0.2, momentum=0.9, nesterov=True, weight_decay=1e-2)
    expected = by_hand(
        theirs,
        data,
        own,
        size=16,
        epochs=4,
        schedule=torch.optim.lr_scheduler.CosineAnnealingLR(own, T_max=20),
        per_update=True,
        clip=lambda parameters: nn.utils.clip_grad_norm_(parameters, 0.5),
    )
    assert rates == expected
    assert_same(ours, theirs)


def test_adamw_with_decay_groups_clipped_values_and_steps_per_epoch():
    ours, theirs, data = network(), network(), classes()
    optim = danlu.Optim("adamw", lr=0.01, weight_decay=0.1, no_decay=["bias", "norm"], clip_value=0.01)
    schedule = danlu.Schedule("step", step_size=2, gamma=0.1)
    rates = train(
        ours, data, danlu.Recipe(optim=optim, schedule=schedule, epochs=5, batch_size=16, seed=SEED, accumulate=1)
    )
    decayed = [theirs[0].weight, theirs[4].weight]
    rest = [p for p in theirs.parameters() if all(p is not q for q in decayed)]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
    own = torch.optim.AdamW(groups, lr=0.01)
    expected = by_hand(
        theirs,
        data,
        own,
        size=16,
        epochs=5,
        schedule=torch.optim.lr_scheduler.StepLR(own, 2, 0.1),
        clip=lambda parameters: nn.utils.clip_grad_value_(parameters, 0.01),
    )
    assert rates == expected
    assert rates[0] == 0.01
    assert rates[-1] == pytest.approx(0.0001)
    assert_same(ours, theirs)


def test_frozen_parameters_and_a_frozen_batchnorm_stay():
    ours, theirs, data = network(), network(), classes()
    ours[1].eval()
    theirs[1].eval()
    recipe = danlu.Recipe(optim=danlu.Optim("adam", lr=0.01), freeze=["0"], epochs=2, batch_size=16, seed=SEED)
    train(ours, data, recipe)
    first = network()
    assert torch.equal(ours[0].weight, first[0].weight)
    assert torch.equal(ours[0].bias, first[0].bias)
    assert torch.equal(ours[1].running_mean, torch.zeros(16))
    assert int(ours[1].num_batches_tracked) == 0
    assert not ours[1].training
    assert ours[3].training
    theirs[0].requires_grad_(False)
    own = torch.optim.Adam([p for p in theirs.parameters() if p.requires_grad], lr=0.01)
    theirs.train = lambda mode=True: theirs  # type: ignore[method-assign]
    by_hand(theirs, data, own, size=16, epochs=2)
    del theirs.train
    assert_same(ours, theirs)


def test_init_rules_apply_before_training():
    model, data = network(), classes()
    rules = [danlu.Init("constant", val=0.25), danlu.Init("zeros", names=["*bias"])]
    for _ in danlu.steps(model, data, danlu.Recipe(init=rules, optim=danlu.Optim(lr=1e-30), updates=1, batch_size=16)):
        pass
    assert torch.all(model[0].weight == 0.25)
    assert torch.all(model[4].bias.abs() < 1e-20)


@pytest.mark.parametrize("per", ["epoch", "update"])
def test_warm_up_then_the_schedule_as_pytorch_has_it(per: str):
    data = classes(n=32)  # 2 updates an epoch
    schedule = danlu.Schedule("exponential", gamma=0.5, per=per, warmup=3)
    recipe = danlu.Recipe(schedule=schedule, optim=danlu.Optim(lr=0.8), epochs=6, batch_size=16, seed=SEED)
    units = train(network(), data, recipe)[:: 2 if per == "epoch" else 1]
    own = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.8)
    theirs, expected = torch.optim.lr_scheduler.ExponentialLR(own, 0.5), [0.2, 0.4, 0.6000000000000001]
    for _ in range(len(units) - 3):
        expected.append(own.param_groups[0]["lr"])
        own.step()
        theirs.step()
    assert units == expected


def test_plateau_follows_the_metric_that_it_names():
    x = np.random.default_rng(0).standard_normal((40, 3)).astype(np.float32)
    y = x.sum(1, keepdims=True)
    data = Data(Arrays(x, y), {"valid": Arrays(x, y), "noisy": Arrays(x, -100 * y)})
    for monitor in ("valid/loss", "noisy/loss", "train/loss"):
        model = nn.Linear(3, 1)
        schedule = danlu.Schedule("plateau", monitor=monitor, patience=1, factor=0.5)
        recipe = danlu.Recipe(
            loss="mse", optim=danlu.Optim(lr=0.01), schedule=schedule, epochs=12, batch_size=8, metrics=["mae"]
        )
        run = danlu.fit(model, data, recipe, quiet=True)
        own = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.01)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(own, patience=1, factor=0.5)
        expected = []
        for value in run.history[monitor]:
            expected.append(own.param_groups[0]["lr"])
            plateau.step(value)
        assert run.history["lr"].to_list() == expected
        assert (expected[-1] < 0.01) == (monitor == "noisy/loss")  # the other two get better every time


# Figures -----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("double")
def test_figures_weigh_every_sample_the_same():
    data, model = classes(n=70), network(dropout=0.0)
    recipe = danlu.Recipe(metrics=["accuracy"], epochs=1, batch_size=16, eval_batch_size=9, seed=SEED)
    losses, correct, seen = 0.0, 0, 0

    class Sums(danlu.Hook):
        def on_step_end(self, training: object, result: danlu.train.Result) -> None:  # type: ignore[name-defined]
            nonlocal losses, correct, seen
            target = in_batches(data, 16).batch(0, seen // 16)[1]
            assert target is not None
            losses += float(F.cross_entropy(result.outputs.detach(), target, reduction="sum"))
            correct += int((result.outputs.argmax(1) == target).sum())
            seen += result.samples

    final = danlu.fit(model, data, recipe, hooks=[Sums()], quiet=True).summary["final"]
    assert seen == 70
    assert final["train/loss"] == pytest.approx(losses / 70, rel=1e-12)
    assert final["train/accuracy"] == correct / 70
    inputs, target = danlu.data.batches(data.valid["valid"], 23).batch(0, 0)
    with torch.no_grad():
        output = model.eval()(inputs)
    assert final["valid/loss"] == pytest.approx(float(F.cross_entropy(output, target)), rel=1e-12)
    assert final["valid/accuracy"] == int((output.argmax(1) == target).sum()) / 23


def test_class_weights_make_the_true_mean():
    data, model = classes(n=70), network()
    weight = [0.1, 1.0, 3.0, 9.0]
    recipe = danlu.Recipe(loss=danlu.Loss("cross_entropy", weight=weight), batch_size=16)
    got = danlu.evaluate(model, data, recipe, on="valid")["loss"]
    inputs, target = danlu.data.batches(data.valid["valid"], 23).batch(0, 0)
    with torch.no_grad():
        expected = F.cross_entropy(model.eval()(inputs), target, torch.tensor(weight))
    assert got == pytest.approx(float(expected), rel=1e-6)


# Inputs, outputs and own steps -------------------------------------------------------------------------------------


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(3, 4), nn.Linear(2, 4)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return self.left(left) + self.right(right)


def test_inputs_as_a_tuple_and_as_a_dict_are_the_same():
    rng = np.random.default_rng(0)
    left, right, y = rng.standard_normal((30, 3)), rng.standard_normal((30, 2)), rng.integers(0, 4, 30)
    models = []
    for inputs in ((left, right), {"right": right, "left": left}):
        torch.manual_seed(0)
        models.append(TwoInputs())
        recipe = danlu.Recipe(epochs=2, batch_size=8, metrics=["accuracy"])
        danlu.fit(models[-1], danlu.data.arrays(inputs, y), recipe, quiet=True)
    assert_same(*models)
    predicted = danlu.predict(models[0], (left.astype(np.float32), right.astype(np.float32)))
    assert predicted.shape == (30, 4)
    assert np.allclose(predicted.sum(1), 1)


def test_a_model_with_two_outputs_learns_an_order():
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.score = nn.Linear(3, 1)

        def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
            return self.score(a).squeeze(1), self.score(b).squeeze(1)

    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((64, 3)), rng.standard_normal((64, 3))
    sign = np.sign(a.sum(1) - b.sum(1))
    recipe = danlu.Recipe(loss=danlu.Loss("margin_ranking", margin=0.1), metrics=["accuracy"], epochs=20, batch_size=16)
    run = danlu.fit(Pair(), danlu.data.arrays((a, b), sign), recipe, quiet=True)
    assert run.summary["final"]["train/accuracy"] > 0.9


def test_an_own_step_and_its_named_losses():
    data, model, twin = classes(n=32), network(dropout=0.0), network(dropout=0.0)
    seen: list[float] = []

    def step(net: nn.Module, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        output = net(batch[0])
        fit, size = F.cross_entropy(output, batch[1]), 0.01 * output.square().mean()
        if net.training:
            seen.append(float(size.detach()))
        return {"fit": fit, "size": size}

    recipe = danlu.Recipe(epochs=2, batch_size=16, seed=SEED, optim=danlu.Optim("sgd", lr=0.1))
    run = danlu.fit(model, data, recipe, step=step, quiet=True)
    final = run.summary["final"]
    assert {"train/loss", "train/fit", "train/size", "valid/loss", "valid/fit", "valid/size"} <= final.keys()
    assert final["train/loss"] == pytest.approx(final["train/fit"] + final["train/size"], rel=1e-6)
    assert final["train/size"] == pytest.approx(sum(seen[-2:]) / 2, rel=1e-6)
    own = torch.optim.SGD(twin.parameters(), lr=0.1)
    for epoch in range(2):
        for inputs, target in in_batches(data, 16).iterate(epoch):
            own.zero_grad()
            output = twin(inputs)
            torch.stack([F.cross_entropy(output, target), 0.01 * output.square().mean()]).sum().backward()
            own.step()
    assert_same(model, twin)


def test_an_own_step_that_returns_one_loss_equals_the_loss_itself():
    ours, theirs, data = network(), network(), classes()

    def step(net: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return F.cross_entropy(net(batch[0]), batch[1])

    recipe = danlu.Recipe(epochs=2, batch_size=16, seed=SEED)
    mine = danlu.fit(ours, data, recipe, step=step, quiet=True).summary["final"]
    named = danlu.fit(theirs, data, recipe, quiet=True).summary["final"]
    assert_same(ours, theirs)
    assert mine["train/loss"] == pytest.approx(named["train/loss"], rel=1e-12)
    assert mine["valid/loss"] == pytest.approx(named["valid/loss"], rel=1e-12)


def test_ema_is_the_closed_form_and_only_evaluation_uses_it():
    data, model, plain = classes(n=48), network(dropout=0.0), network(dropout=0.0)
    trail: list[dict[str, Tensor]] = []

    class Trail(danlu.Hook):
        def on_step_end(self, training: object, result: object) -> None:
            trail.append({name: p.detach().clone() for name, p in model.named_parameters()})

    recipe = danlu.Recipe(epochs=3, batch_size=16, seed=SEED, ema=0.75)
    training = danlu.train.prepare(model, data, recipe)  # type: ignore[attr-defined]
    for _ in danlu.train.run(training, [Trail()]):  # type: ignore[attr-defined]
        pass
    average = training.learner.parameters()
    n = len(trail)
    for name in trail[0]:
        shares = [0.75 ** (n - 1)] + [0.25 * 0.75 ** (n - 1 - u) for u in range(1, n)]
        expected = sum(share * at[name].double() for share, at in zip(shares, trail, strict=True))
        assert np.allclose(average[name], expected.numpy(), rtol=1e-5, atol=1e-7)  # type: ignore[union-attr]
    for _ in danlu.steps(plain, data, danlu.Recipe(epochs=3, batch_size=16, seed=SEED)):
        pass
    assert_same(model, plain)
    averaged = network(dropout=0.0)
    averaged.load_state_dict(model.state_dict())
    with torch.no_grad():
        for name, parameter in averaged.named_parameters():
            parameter.copy_(torch.from_numpy(average[name]))
    expected_figures = danlu.evaluate(averaged, data, recipe, on="valid")
    assert training.figures["valid/loss"] == expected_figures["loss"]
    assert training.figures["valid/loss"] != danlu.evaluate(model, data, recipe, on="valid")["loss"]
