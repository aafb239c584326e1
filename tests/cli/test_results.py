"""`danlu eval` and `danlu predict`: what they print is what Python gives."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import danlu
from danlu.cli import run


def said(words: str, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert run(words.split()) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "\x1b" not in out
    return out


@pytest.mark.parametrize(("options", "on", "at"), [("", "valid", "best"), ("--on train --at last", "train", "last")])
def test_eval(options: str, on: str, at: str, here: Path, capsys: pytest.CaptureFixture[str]):
    out = said(f"eval runs/iris {options}", capsys)
    figures = danlu.evaluate(
        danlu.load_model("runs/iris", at=at), danlu.data.load("iris"), danlu.load_recipe("runs/iris"), on=on
    )
    step = danlu.Run("runs/iris").best["step"] if at == "best" else 16
    samples = {"valid": 30, "train": 120}[on]
    assert out.splitlines() == [
        f"runs/iris, {at} weights (update {step}), on {on}: {samples} samples",
        "",
        f"loss      {figures['loss']:.4f}",
        f"accuracy  {figures['accuracy']:.4f}",
    ]


def test_eval_at_an_update(here: Path, capsys: pytest.CaptureFixture[str]):
    assert "runs/iris, weights of update 16, on valid" in said("eval runs/iris --at 16", capsys)


def test_eval_prints_a_confusion_matrix_with_its_classes(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    said(f'train base.toml -q --out {tmp_path}/run --set metrics=["confusion_matrix"]', capsys)
    lines = [line.split() for line in said(f"eval {tmp_path}/run", capsys).splitlines()]
    assert ["setosa", "versicolor", "virginica"] in lines
    counts = [[int(cell) for cell in line[1:]] for line in lines[-3:]]
    assert [sum(row) for row in counts] == [10, 10, 10]


def test_predict_classes(here: Path, capsys: pytest.CaptureFixture[str]):
    out = said("predict runs/iris --count 30", capsys)
    data = danlu.data.load("iris")
    probabilities = danlu.predict(danlu.load_model("runs/iris"), data.valid["valid"], danlu.load_recipe("runs/iris"))
    truth = data.valid["valid"].targets()
    lines = out.splitlines()
    assert lines[0].endswith("on the first 30 of 30 samples of valid")
    assert lines[2].split() == ["truth", "predicted", "next", "then"]
    right = 0
    for index, line in enumerate(lines[3:33]):
        order = np.argsort(-probabilities[index], kind="stable")
        expected = [str(index), data.classes[truth[index]]]
        for one in order:
            expected += [data.classes[one], f"{probabilities[index, one]:.1%}"]
        expected += [] if order[0] == truth[index] else ["wrong"]
        right += int(order[0] == truth[index])
        assert line.split() == expected
    assert lines[-1] == f"{right} of 30 right"


def test_ten_classes_fit_80_columns(here: Path, capsys: pytest.CaptureFixture[str]):
    assert max(map(len, said("predict runs/digits", capsys).splitlines())) <= 80


def test_predict_one_value(here: Path, capsys: pytest.CaptureFixture[str]):
    lines = said("predict runs/linear --count 3 --on train", capsys).splitlines()
    train = danlu.data.load("linear").train.take([0, 1, 2])
    values = danlu.predict(danlu.load_model("runs/linear"), train, danlu.load_recipe("runs/linear")).reshape(-1)
    assert lines[2].split() == ["truth", "predicted", "difference"]
    for line, was, value in zip(lines[3:], train.targets().reshape(-1), values, strict=True):
        assert line.split()[1:3] == [f"{was:.4f}", f"{value:.4f}"]
        assert float(line.split()[3]) == pytest.approx(value - was, abs=6e-5)


@pytest.mark.parametrize(
    ("data", "model", "loss", "head"),
    [
        ("yes_or_no", 1, "bce_with_logits", ["truth", "predicted", "probability", "of", "1"]),
        ("two_values", 2, "mse", ["truth", "predicted"]),
    ],
)
def test_predict_other_kinds(
    data: str, model: int, loss: str, head: list[str], here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    words = f"--set data=net.py:{data} --set loss={loss} --set metrics=[] --set model.build=linear_regression"
    said(f"train base.toml -q --out {tmp_path}/run {words} --set model.outputs={model}", capsys)
    lines = said(f"predict {tmp_path}/run --count 4", capsys).splitlines()
    assert lines[2].split() == head
    assert len(lines[3].split()) in (4, 5)
    if data == "yes_or_no":
        for line in lines[3:7]:
            truth, predicted, share, *mark = line.split()[1:]
            assert predicted == str(int(float(share.rstrip("%")) > 50))
            assert mark == ([] if truth == predicted else ["wrong"])


def test_predict_a_picture(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    pixels = danlu.data.load("digits").valid["valid"].stored()["inputs"].numpy()[0, 0]
    grey = np.round(pixels * (255 / 16)).astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "one.png")
    first = said("predict runs/digits --count 1", capsys).splitlines()[3].split()
    shown = said(f"predict runs/digits {tmp_path}/one.png --picture {tmp_path}/out.png", capsys).splitlines()
    assert shown[3].split()[:2] == [first[0], first[2]]  # the same class, of a picture that has no truth
    assert shown[-1] == f"picture: {tmp_path}/out.png"
    assert np.asarray(Image.open(tmp_path / "out.png")).shape[2] == 3


def test_predict_an_array(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    inputs = danlu.data.load("digits").valid["valid"].stored()["inputs"].numpy()[:3]
    np.save(tmp_path / "same.npy", inputs)
    np.save(tmp_path / "shares.npy", inputs / 16)
    classes = [line.split()[2] for line in said("predict runs/digits --count 3", capsys).splitlines()[3:6]]
    lines = said(f"predict runs/digits {tmp_path}/same.npy", capsys).splitlines()
    assert [line.split()[1] for line in lines[3:6]] == classes
    assert len(lines) == 6
    note = said(f"predict runs/digits {tmp_path}/shares.npy", capsys).splitlines()[-1]
    assert "holds float64 from 0 to 1; the training inputs are uint8 from 0 to 16" in note


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.ones((3, 5), np.float32), "want shape [(4,)]"),
        (np.full((2, 4), np.nan), "NaN or infinity in 2 of 2 rows"),
        (np.ones((0, 4)), "0 rows"),
        (np.array([{}], dtype=object), "no plain array; want an .npy file of numbers"),
        (np.array(["a"]), "inputs"),
    ],
)
def test_arrays_that_do_not_fit(
    array: np.ndarray, expected: str, here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    np.save(tmp_path / "x.npy", array, allow_pickle=True)
    assert run(["predict", "runs/iris", str(tmp_path / "x.npy")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert expected in err
    assert err.count("\n") == 1


def test_files_that_are_no_arrays(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for content in (b"", b"not an array"):
        (tmp_path / "x.npy").write_bytes(content)
        assert run(["predict", "runs/iris", str(tmp_path / "x.npy")]) == 2
        assert "x.npy: got " in capsys.readouterr().err


def test_a_picture_that_cannot_be_written(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for path in (tmp_path / "no" / "out.png", tmp_path / "out.nosuchformat"):
        assert run(["predict", "runs/digits", "--picture", str(path)]) == 2
        assert "want a .png path" in capsys.readouterr().err
        assert not path.exists()
