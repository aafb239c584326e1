import functools
import inspect
import tomllib

import msgspec
import numpy
import pytest
import torch
from torch import nn

import danlu
from danlu import Augment, Data, EarlyStop, Init, Loss, Metric, Model, Optim, Recipe, RecipeError, Schedule
from danlu.recipe import PARTS, Part
from danlu.recipe_text import from_tree, origin, settle, write

SET = "set {0} in the recipe, or pass --set {0}=VALUE."


def test_a_bare_string_fills_the_head_and_foreign_keys_are_options():
    part = Optim("adam", lr=0.01, betas=[0.9, 0.99], amsgrad=True)
    assert (part.name, part.lr, part.options) == ("adam", 0.01, {"betas": [0.9, 0.99], "amsgrad": True})
    assert Model("mlp", hidden=[3]).build == "mlp"
    assert Model("mlp", hidden=[3]).options == {"hidden": [3]}


def test_the_head_of_a_model_is_build_so_that_name_is_an_option():
    assert Model("mlp", name="x").options == {"name": "x"}


@pytest.mark.parametrize(
    ("part", "defaults"),
    [
        (Model(), {"build": ""}),
        (
            Data(),
            {
                "name": "",
                "valid": "default",
                "stratify": "default",
                "workers": 0,
                "sampler": "shuffle",
                "bad_samples": "raise",
                "bad_quota": 0.01,
                "normalise": False,
            },
        ),
        (Augment(), {"name": ""}),
        (Init(), {"name": "", "layers": [], "names": []}),
        (Loss(), {"name": "cross_entropy"}),
        (Metric(), {"name": ""}),
        (Optim(), {"name": "sgd", "lr": 0.1, "no_decay": [], "groups": [], "clip_norm": "off", "clip_value": "off"}),
        (
            Schedule(),
            {"name": "cosine", "per": "epoch", "warmup": 0, "warmup_start": 0.0, "monitor": "valid/loss"},
        ),
    ],
)
def test_every_part_has_its_defaults(part, defaults):
    assert vars(part) == {"options": {}, **defaults}


def test_the_table_of_parts_names_every_part():
    assert set(PARTS.values()) == set(Part.__subclasses__())
    assert set(PARTS) <= set(Recipe.__struct_fields__)


def test_options_may_be_given_as_a_table_too():
    assert Loss("cross_entropy", options={"weight": [1.0]}, ignore_index=3).options == {
        "weight": [1.0],
        "ignore_index": 3,
    }


@pytest.mark.parametrize("wrong", [lambda: Optim("sgd", 0.1), lambda: Optim("sgd", name="adam")])
def test_a_second_name_is_refused_and_not_dropped(wrong):
    with pytest.raises(TypeError, match="Optim takes one name, and everything else by keyword"):
        wrong()


def test_equal_parts_are_equal_and_show_their_fields():
    assert Optim("sgd", lr=0.1, momentum=0.9) == Optim(name="sgd", momentum=0.9)
    assert Optim("sgd", momentum=0.9) != Optim("sgd")
    assert repr(Metric("f1", average="macro")) == "Metric(options={'average': 'macro'}, name='f1')"


@pytest.mark.parametrize("make", [Recipe, Optim, Init, Loss, functools.partial(Data, "digits")])
def test_no_default_is_shared(make):
    one, two = make(), make()
    names = one.__struct_fields__ if isinstance(one, msgspec.Struct) else list(vars(one))
    pairs = [(getattr(one, name), getattr(two, name)) for name in names]
    changeable = [(a, b) for a, b in pairs if isinstance(a, list | dict | Part)]
    assert changeable
    assert all(a == b and a is not b for a, b in changeable)


def test_what_is_added_to_one_recipe_is_in_no_other():
    one = Recipe()
    one.metrics.append("accuracy")
    one.freeze.append("0.*")
    one.init.append(Init("zeros"))
    one.optim.no_decay.append("bias")
    one.optim.options["momentum"] = 0.9
    assert Recipe() != one
    two = Recipe()
    assert (two.metrics, two.freeze, two.init) == ([], [], [])
    assert two.optim == Optim()


def test_a_part_does_not_keep_the_options_it_was_given():
    given = {"weight": [1.0]}
    part = Loss("cross_entropy", options=given)
    part.options["ignore_index"] = 0
    assert given == {"weight": [1.0]}


def test_a_settled_recipe_shares_nothing_with_the_one_it_came_from():
    recipe = Recipe(metrics=["accuracy"], optim=Optim("sgd", groups=[{"names": ["0.*"], "lr": 1.0}]))
    settled, _ = settle(recipe)
    settled.optim.groups[0]["lr"] = 9.0
    settled.metrics.append(Metric("f1"))
    assert recipe.optim.groups == [{"names": ["0.*"], "lr": 1.0}]
    assert recipe.metrics == ["accuracy"]


def test_a_recipe_takes_no_unknown_field_and_no_positions():
    with pytest.raises(TypeError, match="epoch"):
        Recipe(epoch=3)
    with pytest.raises(TypeError):
        Recipe("a recipe")


def test_the_docstring_describes_fields_that_exist():
    fields = set(Recipe.__struct_fields__)
    documented = {
        name.strip()
        for line in inspect.getdoc(Recipe).splitlines()
        if line.startswith("    ") and ":" in line
        for name in line.split(":")[0].split(",")
    }
    assert len(documented) > 10
    assert documented <= fields


@pytest.mark.parametrize("name", ["Recipe", "EarlyStop", *(part.__name__ for part in PARTS.values())])
def test_every_schema_class_is_danlus_own_name(name):
    assert getattr(danlu, name).__module__ == "danlu.recipe"


def test_values_from_numpy_and_torch_are_plain_values():
    recipe = Recipe(
        epochs=numpy.int64(3),
        deterministic=numpy.bool_(False),
        optim=Optim("sgd", lr=numpy.float64(0.25)),
        loss=Loss("cross_entropy", weight=torch.tensor([1.0, 2.0])),
        early_stop=EarlyStop(patience=numpy.int32(4)),
    )
    settled, objects = settle(recipe)
    assert (settled.epochs, settled.deterministic, settled.optim.lr) == (3, False, 0.25)
    assert [type(v) for v in (settled.epochs, settled.deterministic, settled.optim.lr)] == [int, bool, float]
    assert settled.loss.options == {"weight": [1.0, 2.0]}
    assert settled.early_stop.patience == 4
    assert objects == {}


class Squared(nn.Module):
    def forward(self, output, target):
        return (output - target).square().mean()


def make_sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.1)


def test_real_objects_stand_beside_the_schema():
    loss, schedule = Squared(), functools.partial(torch.optim.lr_scheduler.StepLR, step_size=3)
    settled, objects = settle(Recipe(loss=loss, optim=make_sgd, schedule=schedule, epochs=3))
    assert objects == {"loss": loss, "optim": make_sgd, "schedule": schedule}
    assert objects["loss"] is loss
    assert settled.loss == Loss(f"{__name__}:Squared(...)")
    assert settled.optim == Optim(f"{__name__}:make_sgd")
    assert settled.schedule == Schedule("functools:partial(...)")
    assert from_tree(tomllib.loads(write(settled))) == settled


def test_a_part_with_callables_among_its_options_is_kept_as_it_is():
    given = Model("mlp", activation=nn.ReLU, hidden=[3])
    settled, objects = settle(Recipe(model=given))
    assert objects["model"] is given
    assert settled.model.options == {"activation": "torch.nn.modules.activation:ReLU", "hidden": [3]}


def test_a_recipe_of_names_leaves_no_objects():
    settled, objects = settle(Recipe(model="mlp", data="digits", loss="mse", metrics=["mae"], optim="adam"))
    assert objects == {}
    assert (settled.model, settled.data, settled.loss) == (Model("mlp"), Data("digits"), Loss("mse"))
    assert (settled.metrics, settled.optim) == ([Metric("mae")], Optim("adam"))


def test_tables_of_plain_values_are_parts_too():
    settled, _ = settle(Recipe(optim={"name": "sgd", "momentum": 0.9}, early_stop={"patience": 3}))
    assert (settled.optim, settled.early_stop) == (Optim("sgd", momentum=0.9), EarlyStop(3))


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        (Recipe(epochs="many"), f'epochs: got many; want a whole number >= 1 or "off". Fix: {SET.format("epochs")}'),
        (Recipe(optim=Optim(lr=-1)), f"optim.lr: got -1; want a number > 0. Fix: {SET.format('optim.lr')}"),
        (
            Recipe(metrics="accuracy"),
            f"metrics: got accuracy; want a list, each a name or a table. Fix: {SET.format('metrics')}",
        ),
        (Recipe(metrics=(3,)), "metrics[0]: got 3; want a name or a table. Fix: set it in the recipe."),
        (Recipe(optim=Loss("sgd")), "optim: got danlu.Loss; want danlu.Optim. Fix: write danlu.Optim(...)."),
        (Recipe(metrics=[Init("x")]), "metrics: got danlu.Init; want danlu.Metric. Fix: write danlu.Metric(...)."),
        (
            Recipe(loss=Loss("cross_entropy", weight=None)),
            "loss.weight: got None; want a value that TOML can hold. Fix: leave it out.",
        ),
        (
            Recipe(metrics=["f1", Metric("f1", labels=[1, None])]),
            "metrics[1].labels[1]: got None; want a value that TOML can hold. Fix: leave it out.",
        ),
        (
            Recipe(optim=Optim(groups=[{1: 2}])),
            'optim.groups[0]: got the key 1; want strings as keys. Fix: write "1".',
        ),
    ],
)
def test_a_mistake_in_python_is_one_line(recipe, said):
    with pytest.raises(RecipeError) as caught:
        settle(recipe)
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("thing", "place"),
    [
        (make_sgd, f"{__name__}:make_sgd"),
        (Squared, f"{__name__}:Squared"),
        (Squared(), f"{__name__}:Squared(...)"),
        (len, "builtins:len"),
        (nn.functional.relu, "torch.nn.functional:relu"),
        (3, "builtins:int(...)"),
    ],
)
def test_origin_says_where_a_thing_came_from(thing, place):
    assert origin(thing) == place
