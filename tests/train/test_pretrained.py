"""Weights from anywhere, into a model of either engine: bit for bit, all or nothing, and said."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file, save_model
from torch import nn

import danlu
from danlu import save, zero
from danlu.cli import run
from danlu.hooks import record
from danlu.models.twin import twin
from danlu.recipe_text import settle, write
from danlu.train import build_model, names


@pytest.fixture(autouse=True, scope="module")
def without_curves():
    """Drawing takes seconds in a process of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record, "draw", lambda *_: "")
        yield


class Net(nn.Module):
    def __init__(self, outputs=3):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4 * 16, outputs)

    def forward(self, x):
        return self.head(self.norm(self.conv(x)).relu().flatten(1))


class Tied(nn.Module):
    def __init__(self, tied=True):
        super().__init__()
        self.table, self.out = nn.Embedding(5, 4), nn.Linear(4, 5, bias=False)
        if tied:
            self.out.weight = self.table.weight


def net(seed, outputs=3):
    torch.manual_seed(seed)
    made = Net(outputs)
    made(torch.rand(8, 1, 4, 4))  # BatchNorm's running statistics are no longer the first ones
    return made


def bits(model):
    return {name: tensor.detach().numpy().tobytes() for name, tensor in model.state_dict().items()}


@pytest.fixture
def source(tmp_path):
    """A file of somebody's, and the model it is of."""
    model = net(1)
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors", model


def test_weights_and_buffers_come_bit_for_bit_and_nothing_is_replaced(source):
    path, theirs = source
    ours = net(2)
    places = {name: tensor.data_ptr() for name, tensor in ours.state_dict().items()}
    report = danlu.load_weights(ours, path)
    assert bits(ours) == bits(theirs)
    assert {name: tensor.data_ptr() for name, tensor in ours.state_dict().items()} == places
    assert report.complete
    assert report.share == 1
    assert set(report.loaded) == set(theirs.state_dict())
    assert report.sha256 == save.sha256_of(path)
    assert "loaded" in str(report)
    assert f"{sum(p.numel() for p in ours.parameters()):,}" in str(report)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # PyTorch's own, while it imports its compiler
@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.compile, lambda m: torch.compile(nn.DataParallel(m))])
def test_what_wrappers_add_to_names_is_seen_through_on_both_sides(source, wrap, tmp_path):
    path, theirs = source
    wrapped = wrap(net(2))
    assert danlu.load_weights(wrapped, path).complete
    assert list(bits(wrapped).values()) == list(bits(theirs).values())
    save_file(wrapped.state_dict(), tmp_path / "wrapped.safetensors")
    ours = net(3)
    danlu.load_weights(ours, tmp_path / "wrapped.safetensors")
    assert bits(ours) == bits(theirs)


def test_a_module_compiled_inside_and_a_child_called_module():
    assert names.paired(["a._orig_mod.w", "module.b"], ["a.w", "b"]) == {"a._orig_mod.w": "a.w", "module.b": "b"}
    assert names.paired(["module.w", "w"], ["w", "module.w"]) == {"module.w": "module.w", "w": "w"}
    assert names.paired(["module.w", "w"], ["w"]) == {"w": "w"}


def test_from_pytorch_to_zero_and_back(source, tmp_path):
    path, theirs = source
    sequence = nn.Sequential(theirs.conv, theirs.norm, nn.Flatten(), theirs.head)
    save_file(sequence.state_dict(), path)
    fresh = net(4)
    ours = twin(nn.Sequential(fresh.conv, fresh.norm, nn.Flatten(), fresh.head))
    report = danlu.load_weights(ours, path)
    assert report.complete
    arrays = {name: tensor.detach().numpy() for name, tensor in ours.state_dict().items()}
    assert {name: array.tobytes() for name, array in arrays.items()} == bits(sequence)
    zero.save(ours.state_dict(), tmp_path / "zero.safetensors")
    back = nn.Sequential(net(5).conv, net(5).norm, nn.Flatten(), net(5).head)
    danlu.load_weights(back, tmp_path / "zero.safetensors")
    assert bits(back) == bits(sequence)
    with pytest.raises(danlu.ModelError, match="wrong shape"):
        danlu.load_weights(zero.nn.Linear(2, 2), path, rename={"3.*": "*", "0.*": "", "1.*": ""})


def test_another_head_is_left_out_and_said(source):
    path, theirs = source
    ours = net(2, outputs=7)
    head = bits(ours.head)
    with pytest.raises(danlu.ModelError, match=r"wrong shape head\.weight \(float32 \(3, 64\) for float32 \(7, 64\)\)"):
        danlu.load_weights(ours, path)
    report = danlu.load_weights(ours, path, partial=True, least=0.05)
    assert bits(ours.conv) == bits(theirs.conv)
    assert bits(ours.norm) == bits(theirs.norm)
    assert bits(ours.head) == head
    assert sorted(report.misfits) == ["head.bias", "head.weight"]
    assert report.share == pytest.approx((36 + 4 + 8) / (36 + 4 + 8 + 7 * 65))


def test_too_little_leaves_the_model_untouched(source):
    path, _ = source
    ours = net(2, outputs=7)
    before = bits(ours)
    for options in ({}, {"partial": True}, {"partial": True, "least": 0.2}, {"rename": {"conv.*": "cnv.*"}}):
        with pytest.raises(danlu.ModelError):
            danlu.load_weights(ours, path, **options)
    with pytest.raises(danlu.ModelError, match=r"0 % of the model's parameters"):
        danlu.load_weights(nn.Linear(2, 2), path, partial=True, least=0.0)
    with pytest.raises(danlu.RecipeError, match="a share from 0 to 1"):
        danlu.load_weights(ours, path, least=50)
    assert bits(ours) == before


def test_names_are_renamed_by_patterns(source, tmp_path):
    path, theirs = source
    save_file({f"encoder.{name}": one for name, one in theirs.state_dict().items()}, path)
    ours = net(2)
    assert danlu.load_weights(ours, path, rename={"encoder.*": "*"}).complete
    assert bits(ours) == bits(theirs)
    report = danlu.load_weights(ours, path, rename={"encoder.head.*": "", "encoder.*": "*"}, partial=True, least=0)
    assert report.missing == ("head.weight", "head.bias")
    assert report.unexpected == ()
    for rename, said in [
        ({"encodr.*": "*"}, "a pattern that matches a name"),
        ({"encoder.conv.*": "a*b*"}, r"a \* for each"),
        ({"encoder.conv.*": "x", "encoder.*": "*"}, "encoder.conv.bias and encoder.conv.weight as x"),
    ]:
        with pytest.raises(danlu.RecipeError, match=said):
            danlu.load_weights(ours, path, rename=rename)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_another_precision_is_converted_and_said(dtype, tmp_path):
    theirs = net(1).to(dtype)
    save_file(theirs.state_dict(), tmp_path / "half.safetensors")
    ours = net(2)
    report = danlu.load_weights(ours, tmp_path / "half.safetensors")
    assert bits(ours) == bits(theirs.float())
    kind = str(dtype).removeprefix("torch.")
    assert report.cast["conv.weight"] == f"{kind} to float32"
    assert f"{kind} to float32: 8" in str(report)
    narrow = net(3).to(dtype)
    danlu.load_weights(narrow, tmp_path / "half.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(narrow.parameters(), net(1).to(dtype).parameters(), strict=True))


def test_whole_numbers_are_not_taken_for_weights(tmp_path):
    save_file({"weight": torch.ones(2, 2, dtype=torch.int8), "bias": torch.zeros(2)}, tmp_path / "q.safetensors")
    with pytest.raises(danlu.ModelError, match=r"weight \(int8 \(2, 2\) for float32 \(2, 2\)\)"):
        danlu.load_weights(nn.Linear(2, 2), tmp_path / "q.safetensors")


def test_layouts_stay(source):
    path, theirs = source
    ours = net(2).to(memory_format=torch.channels_last)
    ours.head.weight = nn.Parameter(torch.zeros(64, 3).t())
    strides = {name: tensor.stride() for name, tensor in ours.state_dict().items()}
    danlu.load_weights(ours, path)
    assert {name: tensor.stride() for name, tensor in ours.state_dict().items()} == strides
    assert all(torch.equal(tensor, theirs.state_dict()[name]) for name, tensor in ours.state_dict().items())


def test_tied_weights(tmp_path):
    theirs, path = Tied(), tmp_path / "tied.safetensors"
    save_model(theirs, str(path))  # stores one, and says in the metadata which name is missing
    for tied in (True, False):
        ours = Tied(tied)
        assert danlu.load_weights(ours, path).complete
        assert torch.equal(ours.out.weight, theirs.table.weight)
        assert torch.equal(ours.table.weight, theirs.table.weight)
        assert (ours.out.weight is ours.table.weight) == tied
    save_file(Tied(tied=False).state_dict(), path)
    with pytest.raises(danlu.ModelError, match="one tensor: the model ties them"):
        danlu.load_weights(Tied(), path)
    assert danlu.load_weights(Tied(), path, rename={"out.weight": ""}).complete


def test_wrong_arguments_are_said(tmp_path):
    with pytest.raises(danlu.RecipeError, match=r"source: got .*OrderedDict; .*call model.load_state_dict"):
        danlu.load_weights(net(0), net(1).state_dict())
    with pytest.raises(danlu.RecipeError, match='allow_pickle: got True; want "weights-only" or "off"'):
        danlu.load_weights(net(0), tmp_path, allow_pickle=True)


def test_a_lazy_model_is_told_to_be_run_first(source):
    with pytest.raises(danlu.ModelError, match="run one batch"):
        danlu.load_weights(nn.LazyLinear(3), source[0])


# runs, and the way out of danlu

RECIPE = danlu.Recipe(
    epochs=2, batch_size=32, limit_batches=4, model=danlu.Model("mlp", inputs=64, outputs=10, hidden=[8]),
    data="digits", ema=0.5, tensorboard=False, optim=danlu.Optim("sgd", lr=0.1, momentum=0.9),
)  # fmt: skip


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A run with an average of its weights."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    fitted(RECIPE, folder)
    return folder


def built(recipe, seed=0):
    return build_model(settle(recipe)[0].model, seed)


def fitted(recipe, folder, **options):
    model = built(recipe)
    danlu.fit(model, danlu.data.load("digits"), recipe, out=folder, quiet=True, **options)
    return model


def test_a_run_a_checkpoint_and_an_export_give_the_same_weights(first, tmp_path, capsys):
    assert run(["export", str(first), "--out", str(tmp_path / "w.safetensors"), "--at", "last"]) == 0
    expected = bits(danlu.load_model(first, at="last"))
    for source in (first, save.folder(first, 8), tmp_path / "w.safetensors"):
        ours = built(RECIPE, seed=5)
        assert danlu.load_weights(ours, source, at="last").complete
        assert bits(ours) == expected
    with pytest.raises(danlu.RunError, match="no checkpoint 3"):
        danlu.load_weights(built(RECIPE), first, at=3)


PLAIN = """
import sys, torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn
model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10))
print(model.load_state_dict(load_file(sys.argv[1])))
with safe_open(sys.argv[1], "pt") as file:
    print(file.metadata()["update"], file.metadata()["model"], "valid/loss" in file.metadata())
assert not any(name.startswith("danlu") for name in sys.modules)
"""


def test_an_export_is_loaded_without_danlu(first, tmp_path):
    path = tmp_path / "w.safetensors"
    assert run(["export", str(first), "--out", str(path), "--at", "last", "--no-average"]) == 0
    done = subprocess.run([sys.executable, "-c", PLAIN, path], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["<All keys matched successfully>", "8 mlp True"]
    tensors, _ = save.read(save.folder(first, 8))
    assert all(np.array_equal(load_file(path)[name].numpy(), array) for name, array in tensors["model"].items())
    assert run(["export", str(first), "--out", str(path), "--at", "last", "--force"]) == 0
    assert all(np.array_equal(load_file(path)[name].numpy(), array) for name, array in tensors["ema"].items())


def test_an_export_replaces_nothing_and_is_whole_or_not_at_all(first, tmp_path, capsys):
    mine = tmp_path / "mine.safetensors"
    mine.write_text("precious")
    wrong = [("mine", "there already"), ("no/folder/w", "no such file")]
    wrong = [(f"{name}.safetensors", said) for name, said in wrong] + [("x.pt", "Fix: call it x.safetensors.")]
    for out, said in [*wrong, (".", "want a file that ends in .safetensors")]:
        assert run(["export", str(first), "--out", str(tmp_path / out)]) == 2
        assert said in capsys.readouterr().err
    assert run(["export", str(first), "--out", str(tmp_path), "--force"]) == 2
    assert mine.read_text() == "precious"
    assert os.listdir(tmp_path) == [mine.name]


def test_tied_weights_are_exported_under_every_name(tmp_path):
    theirs = Tied()
    tensors = {"model": {"table.weight": theirs.table.weight.detach().numpy()}}
    folder = save.write(tmp_path / "step", tensors, {"learner": {"ties": {"out.weight": "table.weight"}}})
    save.write_weights(tmp_path / "w.safetensors", save.read_weights(folder).every(), {})
    ours = Tied()
    ours.load_state_dict(load_file(tmp_path / "w.safetensors"))
    assert bits(ours) == bits(theirs)


def test_weights_are_listed(first, capsys):
    assert run(["weights", str(first)]) == 0
    out = capsys.readouterr().out
    assert "1.weight  (8, 64)  float32" in out
    assert "4 tensors, 610 numbers" in out


# a recipe that starts from weights


def started(source, **options):
    return danlu.Recipe(**{**plain(RECIPE), "weights": danlu.Weights(str(source), **options)})


def plain(recipe):
    return {name: getattr(recipe, name) for name in danlu.Recipe.__struct_fields__}


@pytest.mark.parametrize("engine", ["torch", "zero"])
def test_training_starts_from_them_and_the_run_says_so(first, engine, tmp_path):
    recipe = started(first, at="last")
    recipe.engine = engine
    model = built(recipe, seed=3)
    model = twin(model) if engine == "zero" else model
    danlu.fit(model, danlu.data.load("digits"), recipe, out=tmp_path / "run", quiet=True)
    began, _ = save.read(save.folder(tmp_path / "run", 8))
    record = json.loads((tmp_path / "run" / "environment.json").read_text())["weights"]
    assert record["source"] == f"{first}, update 8, average"
    assert record["sha256"] == save.sha256_of(save.folder(first, 8) / "ema.safetensors")
    assert record["parameters"] == record["parameters_total"] == 610
    assert danlu.load_recipe(tmp_path / "run").weights.source == str(first)
    assert any("starts from" in text for _, _, text in danlu.Run(tmp_path / "run").events)
    other = twin(built(RECIPE)) if engine == "zero" else built(RECIPE)
    danlu.load_weights(other, first, at="last")
    danlu.fit(other, danlu.data.load("digits"), RECIPE, out=tmp_path / "by hand", quiet=True)
    by_hand, _ = save.read(save.folder(tmp_path / "by hand", 8))
    for group in ("model", "ema", "optimizer"):
        assert all(began[group][name].tobytes() == array.tobytes() for name, array in by_hand[group].items())


def test_a_resumed_run_never_asks_for_them_again(first, tmp_path):
    lasting = tmp_path / "lasting.safetensors"
    assert run(["export", str(first), "--out", str(lasting)]) == 0
    whole = fitted(started(lasting), tmp_path / "whole")

    class Leave(danlu.Hook):
        def on_step_end(self, training, result):
            return danlu.Stop("enough", "interrupted") if training.state.updates_done == 3 else None

    with pytest.raises(KeyboardInterrupt):
        fitted(started(lasting), tmp_path / "parts", hooks=[Leave()])
    lasting.unlink()
    assert bits(fitted(started(lasting), tmp_path / "parts", resume=True)) == bits(whole)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("weights=nowhere", "nowhere: got no such file; want a run, a checkpoint or a safetensors file"),
        ("weights=.", "got a folder with neither in it"),
        ("weights.source=FIRST model.hidden=[9]", "set partial to load what fits"),
        ("weights.source=FIRST weights.partial=true model.hidden=[9]", "at least 50.0 %"),
        ("weights.source=FIRST weights.at=99", "got no checkpoint 99"),
        ("weights.source=FIRST weights.last=0.3", "did you mean least"),
        ("weights.source=FIRST weights.least=3", "weights.least: got 3; want a number >= 0 and <= 1"),
        ("weights.at=last", "weights.source: got nothing"),
        ("weights.source=FIRST weights.allow_pickle=yes", 'want "weights-only" or "off"'),
    ],
)
def test_what_is_missing_or_does_not_fit_is_one_line(first, words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.toml").write_text(write(settle(RECIPE)[0]))
    overrides = [part for word in words.replace("FIRST", str(first)).split() for part in ("--set", word)]
    assert run(["train", "r.toml", "--out", "new", "-q", *overrides]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert not Path("new").exists()
