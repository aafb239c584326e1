"""The commands' words: help, version, and what each option becomes."""

from importlib.metadata import version

import pytest

from danlu.cli import run

HELP = ["", "train", "check", "eval", "predict", "runs", "runs list", "runs show", "runs compare", "data", "data list"]
HELP += ["bench", "data info", "data fetch", "recipes", "recipes list", "recipes show"]


@pytest.mark.parametrize("command", HELP)
def test_help_fits_80_columns_and_is_whole(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("COLUMNS", "80")
    assert run([*command.split(), "--help"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith(f"Usage: danlu {command}".rstrip())
    assert max(map(len, out.splitlines())) <= 80
    assert "..." not in out.replace("[ARGS]...", "").replace("}...", "")  # no sentence is cut short


def test_no_command_prints_the_help(capsys: pytest.CaptureFixture[str]):
    assert run([]) == 0
    without = capsys.readouterr().out
    assert run(["-h"]) == 0
    assert capsys.readouterr().out == without
    assert "danlu train digits" in without


def test_version(capsys: pytest.CaptureFixture[str]):
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"danlu {version('danlu')}\n"
