import tomllib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu import Augment, Data, EarlyStop, Init, Loss, Metric, Model, Optim, Recipe, RecipeError, Schedule, recipes
from danlu.recipe import Normalise
from danlu.recipe_text import from_tree, override, read, settle, to_tree, write

SET = "set {0} in the recipe, or pass --set {0}=VALUE."


def message(call):
    with pytest.raises(RecipeError) as caught:
        call()
    return str(caught.value)


# round trips


@pytest.mark.parametrize("name", recipes.names())
def test_a_built_in_recipe_comes_back_from_its_own_text(name, tmp_path):
    first = read(recipes.find(name))
    (tmp_path / "recipe.toml").write_text(write(first), encoding="utf-8")
    again = read(tmp_path / "recipe.toml")
    assert again == first
    assert write(again) == write(first)
    assert first.about == recipes.about(name)
    assert first.model.build
    assert first.data.name


def test_every_default_is_written_out_and_what_is_none_is_not():
    tree = tomllib.loads(write(settle(Recipe())[0]))
    assert set(tree) == set(Recipe.__struct_fields__) - {"model", "data"}
    assert tree["optim"] == {
        "name": "sgd",
        "lr": 0.1,
        "no_decay": [],
        "groups": [],
        "clip_norm": "off",
        "clip_value": "off",
    }
    assert tree["schedule"] == tree["early_stop"] == "off"


def test_a_table_that_says_little_is_written_out_whole_too():
    tree = tomllib.loads(write(read(recipes.find("digits"))))
    assert tree["optim"]["clip_norm"] == "off"
    assert (tree["schedule"]["warmup"], tree["schedule"]["monitor"]) == (0, "valid/loss")
    assert (tree["data"]["valid"], tree["data"]["workers"]) == ("default", 0)


NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8).filter(lambda s: s != "off")
PLAIN = st.one_of(st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False), st.text(max_size=5))
VALUES = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=5
)
OWN = {"options", "name", "build", "lr", "no_decay", "groups", "clip_norm", "clip_value", "layers", "names"}
OWN |= {"valid", "stratify", "workers", "sampler", "per", "warmup", "warmup_start", "monitor", "self", "head"}
OWN |= {"bad_samples", "bad_quota", "normalise"}
OPTIONS = st.dictionaries(NAMES.filter(lambda name: name not in OWN), VALUES, max_size=3)
POSITIVE = st.floats(min_value=1e-12, max_value=1e12)
STRINGS = st.lists(NAMES, max_size=3)


def part(kind, **fields):
    return st.builds(lambda own, options: kind(**own, options=options), st.fixed_dictionaries(fields), OPTIONS)


FLOATS = st.floats(-1e9, 1e9)
OFF = st.just("off")
METRICS = part(Metric, name=NAMES)
OPTIMS = part(
    Optim,
    name=NAMES,
    lr=POSITIVE,
    no_decay=STRINGS,
    groups=st.lists(st.dictionaries(NAMES, VALUES, max_size=2), max_size=2),
    clip_norm=POSITIVE | OFF,
    clip_value=POSITIVE | OFF,
)
SCHEDULES = part(
    Schedule,
    name=NAMES,
    per=st.sampled_from(["epoch", "update"]),
    warmup=st.integers(0, 100),
    warmup_start=st.floats(0, 2),
    monitor=NAMES,
)
DATA = part(
    Data,
    name=NAMES,
    valid=st.floats(0, 0.99) | st.just("default"),
    stratify=st.booleans() | st.just("default"),
    sampler=st.sampled_from(["shuffle", "in_order", "balanced", "block_shuffle"]),
    bad_samples=st.sampled_from(["raise", "skip", "replace"]),
    bad_quota=st.integers(1, 9) | st.floats(0.01, 1.0),
    normalise=st.booleans() | st.builds(Normalise, mean=FLOATS | st.lists(FLOATS, max_size=3), std=POSITIVE),
)
RECIPES = st.builds(
    Recipe,
    about=st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    seed=st.integers(0, 2**63 - 1),
    model=st.none() | NAMES | part(Model, build=NAMES),
    data=st.none() | NAMES | DATA,
    augment=st.lists(NAMES | part(Augment, name=NAMES), max_size=3),
    init=st.lists(part(Init, name=NAMES, layers=STRINGS, names=STRINGS), max_size=2),
    freeze=STRINGS,
    loss=NAMES | part(Loss, name=NAMES),
    metrics=st.lists(NAMES | METRICS, max_size=3) | st.lists(METRICS, max_size=2).map(tuple),
    optim=NAMES | OPTIMS,
    schedule=OFF | NAMES | SCHEDULES,
    early_stop=OFF | st.builds(EarlyStop, patience=st.integers(1, 99), min_delta=st.floats(0, 1)),
    epochs=OFF | st.integers(1, 10**6),
    minutes=OFF | POSITIVE,
    ema=OFF | st.floats(0, 0.9999),
    eval_batch_size=st.just("auto") | st.integers(1, 1000),
    deterministic=st.booleans(),
)


@settings(max_examples=150, deadline=None)
@given(RECIPES)
def test_any_recipe_comes_back_from_its_own_text(recipe):
    settled, objects = settle(recipe)
    assert objects == {}
    text = write(settled)
    assert from_tree(tomllib.loads(text)) == settled
    assert settle(settled)[0] == settled


def test_tuples_and_paths_are_stored_as_toml_gives_them_back():
    settled, _ = settle(Recipe(data=Data("mine", root=Path("a/b"), size=(3, 4)), optim=Optim(betas=(0.9, (1, 2)))))
    assert settled.data.options == {"root": "a/b", "size": [3, 4]}
    assert settled.optim.options == {"betas": [0.9, [1, 2]]}


# overrides


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("epochs=3", "epochs", 3),
        ("  epochs =  3 ", "epochs", 3),
        ("epochs=off", "epochs", "off"),
        ("seed=0x10", "seed", 16),
        ("minutes=1_000.5", "minutes", 1000.5),
        ("deterministic=false", "deterministic", False),
        ("about=two words", "about", "two words"),
        ('about="3"', "about", "3"),
        ("about=a = b", "about", "a = b"),
        ("about=", "about", ""),
        ("metrics=['accuracy', {name = 'f1', average = 'macro'}]", "metrics.1.options", {"average": "macro"}),
        ("optim.lr=1", "optim.lr", 1.0),
        ("optim.lr=5e-2", "optim.lr", 0.05),
        ("optim.momentum=0.9", "optim.options.momentum", 0.9),
        ("optim.betas=[0.9, 0.99]", "optim.options.betas", [0.9, 0.99]),
        ("optim.groups=[{names = ['0.*'], lr = 0.5}]", "optim.groups.0.lr", 0.5),
        ("model=mlp", "model.build", "mlp"),
        ("model.inner.width=3", "model.options.inner", {"width": 3}),
        ("early_stop.patience=3", "early_stop.patience", 3),
        ("schedule.name=step", "schedule.name", "step"),
        ("schedule=off", "schedule", "off"),
        ("data.valid=0.25", "data.valid", 0.25),
        ("freeze=['0.*']", "freeze", ["0.*"]),
    ],
)
def test_an_override_is_toml_or_else_a_bare_string(text, path, value):
    found = from_tree({}, [text])
    for step in path.split("."):
        if isinstance(found, list | dict):
            found = found[int(step) if isinstance(found, list) else step]
        else:
            found = getattr(found, step)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("tree", "overrides", "want"),
    [
        ({"optim": "sgd"}, ["optim.lr=0.5"], {"optim": Optim("sgd", lr=0.5)}),
        ({}, ["optim=adam", "optim.lr=0.5"], {"optim": Optim("adam", lr=0.5)}),
        ({"optim": {"name": "sgd", "momentum": 0.9}}, ["optim.momentum=0.5"], {"optim": Optim("sgd", momentum=0.5)}),
        ({"optim": {"name": "sgd", "momentum": 0.9}}, ["optim.name=adam"], {"optim": Optim("adam", momentum=0.9)}),
        ({"optim": {"name": "sgd", "momentum": 0.9}}, ["optim=adam"], {"optim": Optim("adam")}),
        (
            {"schedule": "off"},
            ["schedule.name=step", "schedule.step_size=3"],
            {"schedule": Schedule("step", step_size=3)},
        ),
        ({"schedule": "cosine"}, ["schedule.warmup=3"], {"schedule": Schedule("cosine", warmup=3)}),
        ({"schedule": "cosine"}, ["schedule=off"], {"schedule": "off"}),
        ({"early_stop": {"patience": 3}}, ["early_stop.min_delta=0.5"], {"early_stop": EarlyStop(3, 0.5)}),
        ({"early_stop": "off"}, ["early_stop.patience=3"], {"early_stop": EarlyStop(3)}),
        ({"model": {"build": "mlp", "hidden": [1]}}, ["model.hidden=[2, 3]"], {"model": Model("mlp", hidden=[2, 3])}),
        ({"epochs": 3}, ["epochs=4", "epochs=5"], {"epochs": 5}),
        ({"metrics": ["accuracy"]}, ["metrics=[]"], {"metrics": []}),
    ],
)
def test_overrides_change_what_they_name_in_order(tree, overrides, want):
    found = from_tree(tree, overrides)
    expected, _ = settle(Recipe(**want))
    assert found == expected


@pytest.mark.parametrize("text", ["epochs", "=3", "optim..lr=3", ".lr=3", "optim.=3", "", " =3"])
def test_what_is_no_override_is_said(text):
    with pytest.raises(RecipeError) as caught:
        override({}, text)
    want = "want dotted.key=value. Fix: write it as --set optim.lr=0.05."
    assert str(caught.value) == f"--set: got {text!r}; {want}"


# mistakes, one line each


@pytest.mark.parametrize(
    ("text", "where", "got", "want"),
    [
        ("optim.lr=-0.1", "optim.lr", "-0.1", "a number > 0"),
        ("optim.lr=0", "optim.lr", "0", "a number > 0"),
        ("optim.lr=nan", "optim.lr", "nan", "a number > 0"),
        ("optim.lr=fast", "optim.lr", "fast", "a number > 0"),
        ("optim.clip_norm=0", "optim.clip_norm", "0", 'a number > 0 or "off"'),
        ("epochs=1.5", "epochs", "1.5", 'a whole number >= 1 or "off"'),
        ("epochs=true", "epochs", "True", 'a whole number >= 1 or "off"'),
        ("epochs=", "epochs", "''", 'a whole number >= 1 or "off"'),
        ("epochs.x=1", "epochs", "{'x': 1}", 'a whole number >= 1 or "off"'),
        ("seed=-1", "seed", "-1", "a whole number >= 0"),
        ("ema=1.0", "ema", "1.0", 'a number >= 0 and < 1 or "off"'),
        ("data.valid=1.0", "data.valid", "1.0", 'a number >= 0 and < 1 or "default"'),
        ("data.stratify=maybe", "data.stratify", "maybe", 'true or false or "default"'),
        ("data.sampler=shufle", "data.sampler", "shufle", '"shuffle" or "in_order" or "balanced" or "block_shuffle"'),
        ("deterministic=1", "deterministic", "1", "true or false"),
        ("precision=fp64", "precision", "fp64", '"float32" or "tf32" or "bf16" or "fp16" or "auto"'),
        ("about=3", "about", "3", "a string"),
        ("freeze=0.weight", "freeze", "0.weight", "a list, each a string"),
        ("freeze=[1]", "freeze[0]", "1", "a string"),
        ("optim.groups=[3]", "optim.groups[0]", "3", "a table"),
        ("optim.options=3", "optim.options", "3", "a table"),
        ("optim.name=3", "optim.name", "3", "a string"),
        ("metrics=accuracy", "metrics", "accuracy", "a list, each a name or a table"),
        ("metrics.0.name=f1", "metrics", "{'0': {'name': 'f1'}}", "a list, each a name or a table"),
        ("metrics=[3]", "metrics[0]", "3", "a name or a table"),
        ("init={name = 'zeros'}", "init", "{'name': 'zeros'}", "a list, each a name or a table"),
        ("loss=3", "loss", "3", "a name or a table"),
        ("schedule=3", "schedule", "3", 'a name or a table or "off"'),
        ("schedule.per=step", "schedule.per", "step", '"epoch" or "update"'),
        ("early_stop=on", "early_stop", "on", 'a table or "off"'),
        ("early_stop.patience=0", "early_stop.patience", "0", "a whole number >= 1"),
        ("threads=all", "threads", "all", 'a whole number >= 1 or "auto"'),
    ],
)
def test_a_wrong_value_is_one_line(text, where, got, want):
    fix = "set it in the recipe." if "[" in where else SET.format(where)  # --set reaches into no list
    assert message(lambda: from_tree({}, [text])) == f"{where}: got {got}; want {want}. Fix: {fix}"


@pytest.mark.parametrize(
    ("text", "where", "fix"),
    [
        ("epoch=3", "epoch", "did you mean epochs?"),
        ("batchsize=3", "batchsize", "did you mean batch_size or eval_batch_size or limit_batches?"),
        ("early_stop.patiense=3", "early_stop.patiense", "did you mean patience?"),
        ("early_stop.x=3", "early_stop.x", "choose from: min_delta, patience, restore_best."),
    ],
)
def test_an_unknown_key_is_told_its_neighbours(text, where, fix):
    found = message(lambda: from_tree({}, [text]))
    assert found == f"{where}: got a key that no recipe has; want a known key. Fix: {fix}"


def test_a_key_like_no_other_is_told_all_keys():
    known = ", ".join(sorted(Recipe.__struct_fields__))
    assert message(lambda: from_tree({"zzzzzz": 3})).endswith(f"Fix: choose from: {known}.")


@pytest.mark.parametrize(
    ("content", "got", "want", "fix"),
    [
        (b"epochs = \n", "Invalid value (at line 1, column 10)", "valid TOML", "mend that line"),
        (
            b"epochs = 1\nepochs = 2\n",
            "Cannot overwrite a value (at line 2, column 11)",
            "valid TOML",
            "mend that line",
        ),
        (b'about = "\xe9"\n', "text that is not UTF-8", "a recipe file", "check the path"),
    ],
)
def test_a_file_that_is_no_recipe_is_one_line(content, got, want, fix, tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_bytes(content)
    assert message(lambda: read(path)) == f"{path}: got {got}; want {want}. Fix: {fix}."


def test_a_missing_file_and_a_folder_are_one_line(tmp_path):
    missing = tmp_path / "none.toml"
    end = "want a recipe file. Fix: check the path."
    assert message(lambda: read(missing)) == f"{missing}: got No such file or directory; {end}"
    assert message(lambda: read(tmp_path)) == f"{tmp_path}: got Is a directory; {end}"


def test_a_file_from_an_editor_that_marks_its_byte_order_is_read(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_bytes(b"\xef\xbb\xbfepochs = 3\r\n")
    assert read(path).epochs == 3


def test_overrides_apply_to_a_file(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text('optim = "adam"\nepochs = 3\n', encoding="utf-8")
    found = read(path, ["optim.lr=0.5", "epochs=4"])
    assert (found.optim, found.epochs) == (Optim("adam", lr=0.5), 4)


def test_the_tree_of_a_recipe_holds_plain_values_only():
    tree = to_tree(settle(Recipe(model="mlp", optim=Optim("sgd", momentum=0.9), schedule="step"))[0])
    assert tree["optim"]["momentum"] == 0.9
    assert "options" not in tree["optim"]
    assert tree["model"] == {"build": "mlp"}
    assert msgspec.json.decode(msgspec.json.encode(tree)) == tree
