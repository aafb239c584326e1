"""`danlu runs`: what lies there, how one went, and several side by side."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import danlu
from danlu.cli import run


def said(words: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    capsys.readouterr()
    assert run(words.split()) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "\x1b" not in out
    return out.splitlines()


def test_runs_are_listed_with_their_best(here: Path, capsys: pytest.CaptureFixture[str]):
    lines = said("runs", capsys)
    assert lines == said("runs list", capsys)
    assert lines == said("runs list runs", capsys)
    assert lines[0].split() == ["run", "status", "epochs", "best", "time"]
    assert [line.split()[0] for line in lines[1:]] == ["runs/digits", "runs/iris", "runs/linear"]
    best = danlu.Run("runs/iris").best
    assert lines[2].split()[1:5] == ["finished", "2", "valid/accuracy", f"{best['value']:.4f}"]
    assert max(map(len, lines)) <= 80


def test_no_runs_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)
    assert said("runs", capsys) == ["no runs here yet; `danlu train digits` makes one"]
    (tmp_path / "runs").mkdir()
    assert said("runs", capsys) == ["no runs in runs"]


def test_unfinished_and_damaged_runs_are_listed_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for name in ("unfinished", "damaged"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "recipe.toml").touch()
    (tmp_path / "damaged" / "summary.json").write_text("{")
    lines = said(f"runs list {tmp_path}", capsys)
    assert lines[1].split()[1:] == ["damaged:", f"{tmp_path}/damaged/summary.json"]
    assert lines[2].split()[1:] == ["unfinished"]


def test_show(here: Path, capsys: pytest.CaptureFixture[str]):
    lines = said("runs show runs/iris", capsys)
    summary = json.loads(Path("runs/iris/summary.json").read_text())
    final, best = summary["final"], summary["best"]
    assert lines[0] == "runs/iris: finished, all 2 epochs done"
    assert lines[1] == "2 epochs, 16 updates, 240 samples"
    assert f"best valid/accuracy {best['value']:.4f} at update {best['step']}" in lines
    cells = [line.split() for line in lines]
    assert ["loss", f"{final['train/loss']:.4f}", f"{final['valid/loss']:.4f}"] in cells
    assert ["accuracy", f"{final['train/accuracy']:.4f}", f"{final['valid/accuracy']:.4f}"] in cells
    assert ["update", "16", "finished", "all", "2", "epochs", "done"] in cells
    assert "curves: runs/iris/curves.png" in lines
    assert any(line.startswith("checkpoints: ") and "(best)" in line for line in lines)


def test_show_gives_the_recipe_where_it_is_not_the_default(here: Path, capsys: pytest.CaptureFixture[str]):
    lines = said("runs show runs/iris", capsys)
    start = lines.index("recipe, where it is not the default") + 1
    assert dict(line.split(maxsplit=1) for line in lines[start : lines.index("", start)]) == {
        "model.build": "softmax_regression",
        "model.inputs": "4",
        "model.outputs": "3",
        "data.name": "iris",
        "metrics": "[accuracy]",
        "optim.name": "adam",
        "optim.lr": "0.05",
        "epochs": "2",
        "batch_size": "16",
        "tensorboard": "false",
    }


def test_show_a_run_that_is_not_finished(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "recipe.toml").touch()
    lines = said(f"runs show {tmp_path}", capsys)
    assert lines[0] == f"{tmp_path}: unfinished; it is going on, or it was killed"
    assert lines[-1] == "checkpoints: none"


def test_compare(here: Path, capsys: pytest.CaptureFixture[str]):
    lines = said("runs compare runs/iris runs/linear", capsys)
    assert lines[0].split() == ["iris", "linear"]
    cells = [line.split() for line in lines]
    finals = [danlu.Run(f"runs/{name}").summary["final"] for name in ("iris", "linear")]
    assert ["updates", "16", "300"] in cells
    assert ["valid/loss", f"{finals[0]['valid/loss']:.4f}", f"{finals[1]['valid/loss']:.4g}"] in cells
    assert ["valid/accuracy", f"{finals[0]['valid/accuracy']:.4f}", "-"] in cells
    assert ["optim.lr", "0.05", "0.03"] in cells
    assert ["metrics", "[accuracy]", "[r2]"] in cells
    assert not any(cell[0] in ("about", "seed", "tensorboard") for cell in cells if cell)


def test_compare_a_run_with_itself(here: Path, capsys: pytest.CaptureFixture[str]):
    lines = said("runs compare runs/iris runs/iris", capsys)
    assert lines[-1].split() == ["recipe", "the", "same", "the", "same"]


@pytest.mark.parametrize("words", ["runs", "runs show runs/iris", "runs compare runs/iris runs/linear"])
def test_reading_runs_needs_no_pytorch(words: str, here: Path):
    code = f"import sys; from danlu.cli import run; run({words.split()!r}); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_verify_names_what_is_damaged(tmp_path: Path, here: Path, capsys: pytest.CaptureFixture[str]):
    assert said("runs verify runs/iris", capsys)[-1].endswith("all sound")
    copy = tmp_path / "iris"
    shutil.copytree("runs/iris", copy)
    weights = sorted(copy.glob("checkpoints/*/model.safetensors"))[-1]
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert run(["runs", "verify", str(copy)]) == 2
    out, err = capsys.readouterr()
    assert f"{weights}: got content that was changed" in out
    assert " damaged; want files as they were saved" in err
