import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from danlu.data import batches, fashion, info, load
from danlu.errors import DataError

HERE = fashion.find(fashion.places())
needs_files = pytest.mark.skipif(HERE is None, reason="Fashion-MNIST is not on this machine")


@needs_files
def test_sets_and_classes() -> None:
    told = info("fashion-mnist")
    assert told["samples"] == {"train": 55_000, "valid": 5_000, "test": 10_000}
    assert set(told["class_counts"]["valid"].values()) == {500}
    assert set(told["class_counts"]["test"].values()) == {1000}
    assert told["bytes"] == 70_000 * 785
    assert told["columns"]["inputs"] == {"shape": [1, 28, 28], "dtype": "uint8"}
    data = load("fashion-mnist", valid=0)
    assert data.valid == {}
    assert len(data.train) == 60_000
    inputs, target = batches(data.train, 4).batch(0, 0)
    assert [data.classes[label] for label in target.tolist()] == ["ankle boot", "t-shirt/top", "t-shirt/top", "dress"]
    assert inputs.max() == 1
    test = batches(data.test, 4).batch(0, 0)[1]
    assert [data.classes[label] for label in test.tolist()] == ["ankle boot", "pullover", "trouser", "trouser"]


@needs_files
def test_peak_memory_is_that_of_the_arrays() -> None:
    code = (
        "import resource, danlu.data as d\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024\n"
        "d.load('digits'); before = peak(); data = d.load('fashion-mnist')\n"
        "b = d.batches(data.train, 256, sampler='shuffle'); b.batch(0, 0); print(peak() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 66  # MiB; the arrays are 52.4, and labels of int64 0.5


def test_the_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DANLU_CACHE", str(tmp_path))
    assert fashion.places() == (tmp_path / "fashion-mnist", Path("/usr/share/datasets/fashion-mnist"))
    monkeypatch.delenv("DANLU_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert fashion.cache() == tmp_path / "danlu" / "fashion-mnist"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert fashion.cache() == Path.home() / ".cache" / "danlu" / "fashion-mnist"


@needs_files
def test_a_damaged_cache_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DANLU_CACHE", str(tmp_path))
    folder = tmp_path / "fashion-mnist"
    folder.mkdir()
    for file in fashion.FILES.values():
        os.symlink(HERE / file.name, folder / file.name)
    swapped = folder / fashion.FILES["train labels"].name
    swapped.unlink()
    os.symlink(HERE / fashion.FILES["test labels"].name, swapped)
    with pytest.raises(DataError, match="train-labels"):
        load("fashion-mnist")


@needs_files
def test_pixels_stay_bytes() -> None:
    stored = load("fashion-mnist", valid=0).test.stored()
    assert stored["inputs"].numpy().dtype == np.uint8
    assert stored["target"].numpy().dtype == np.uint8
