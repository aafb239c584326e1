import json
import os
import platform
import subprocess
import sys

import pytest
import torch

from danlu.device import describe, environment
from danlu.device.environment import PACKAGES

GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")


def git(folder, *words):
    identity = [
        "-c",
        "user.name=A",
        "-c",
        "user.email=a@b.c",
        "-c",
        "commit.gpgsign=false",
        "-c",
        "init.defaultBranch=m",
    ]
    done = subprocess.run(["git", "-C", folder, *identity, *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture(autouse=True)
def _no_checkout_around_the_tests(monkeypatch):
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):  # set where a git hook runs the tests
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    git(tmp_path, "init")
    (tmp_path / "a.txt").write_text("one")
    git(tmp_path, "add", "a.txt")
    git(tmp_path, "commit", "--message", "one")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def no_checkout(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_says_what_a_figure_was_measured_on(no_checkout):
    found = environment()
    assert found["python"] == platform.python_version()
    assert list(found["packages"]) == list(PACKAGES)
    assert found["packages"]["torch"] == torch.__version__
    assert found["cores"] == os.cpu_count()
    assert found["processor"]
    assert len(found["cuda"]) == torch.cuda.device_count()
    assert found["command"] == sys.argv
    assert json.loads(json.dumps(found)) == found


def test_outside_a_checkout_there_is_no_commit(no_checkout):
    assert environment()["git"] is None


def test_without_git_there_is_no_commit(checkout, monkeypatch):
    monkeypatch.setenv("PATH", str(checkout))
    assert environment()["git"] is None


def test_a_clean_checkout_gives_its_commit(checkout):
    assert environment()["git"] == {"commit": git(checkout, "rev-parse", "HEAD"), "clean": True}


def test_a_folder_inside_a_checkout_gives_its_commit(checkout, monkeypatch):
    (checkout / "sub").mkdir()
    monkeypatch.chdir(checkout / "sub")
    assert environment()["git"] == {"commit": git(checkout, "rev-parse", "HEAD"), "clean": True}


def test_a_change_makes_a_checkout_unclean_and_a_new_file_does_not(checkout):
    (checkout / "runs.txt").write_text("new")
    assert environment()["git"]["clean"]
    (checkout / "a.txt").write_text("two")
    assert not environment()["git"]["clean"]


def test_a_checkout_without_a_commit_gives_none(no_checkout):
    git(no_checkout, "init")
    assert environment()["git"] is None


def test_a_package_that_is_not_there_is_said(monkeypatch, no_checkout):
    monkeypatch.setattr(sys.modules["danlu.device.environment"], "PACKAGES", ("torch", "no-such-package-9"))
    assert environment()["packages"] == {"torch": torch.__version__, "no-such-package-9": "not installed"}


def test_describe_names_processor_threads_and_torch():
    processor = environment()["processor"]
    assert describe("cpu", threads=2) == f"{processor}, 2 threads, torch {torch.__version__}"


@pytest.mark.gpu
@GPU
def test_describe_names_the_cuda_device():
    assert describe("cuda:0") == f"{torch.cuda.get_device_name(0)}, torch {torch.__version__}"
