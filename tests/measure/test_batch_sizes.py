"""Batch sizes: which fit, which is fastest, and nothing asked for that the machine does not have."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import danlu
from danlu.cli import run
from danlu.measure.batch_sizes import Search, doubled, fastest, largest, verdicts
from danlu.train import Training, prepare


def binding(model: Callable[[], nn.Module]) -> Callable[[int], Training]:
    inputs = np.zeros((200, 6), "f4"), np.arange(200) % 3
    return lambda size: prepare(model(), inputs, danlu.Recipe(batch_size=size))


def linear() -> nn.Module:
    return nn.Linear(6, 3)


class Greedy(nn.Linear):
    """Has no memory for more than 70 samples."""

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > 70:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().forward(x)


def test_sizes_double_up_to_the_data_set():
    assert doubled(100) == [8, 16, 32, 64, 100]
    assert doubled(64) == [8, 16, 32, 64]
    assert doubled(5) == [5]
    assert doubled(1000, 64) == [1, 2, 4, 8, 16, 32, 64]
    assert doubled(40, 96) == [1, 2, 4, 8, 16, 32]
    assert doubled(1000, 7) == [1, 7]


def test_all_of_a_small_data_set_fits():
    tried = Search(binding(linear), "cpu", 0.01).largest(doubled(200), between=True)
    assert [one.batch_size for one in tried] == [8, 16, 32, 64, 128, 200]
    assert all(one.ran and one.memory_bytes for one in tried)
    assert list(verdicts(tried)).count("fastest") == 1


def test_the_largest_that_fits_is_found_between_doublings():
    tried = Search(binding(lambda: Greedy(6, 3)), "cpu", 0.01).largest(doubled(200), between=True)
    found = largest(tried)
    assert found is not None
    assert 62 < found.batch_size <= 70
    assert next(one for one in tried if one.batch_size == 128).verdict == "no memory"
    assert any("largest that fits" in verdict for verdict in verdicts(tried))
    assert fastest(tried) is not None


def test_what_memory_has_no_room_for_is_not_tried(monkeypatch: pytest.MonkeyPatch):
    search = Search(binding(linear), "cpu", 0.01)
    search.each([8])
    monkeypatch.setattr("danlu.device.room_bytes", lambda: 0)
    monkeypatch.setattr(search, "_base_bytes", 1 << 60)
    tried = search.each([16])
    assert not tried[1].ran
    assert tried[1].over
    assert tried[1].verdict.startswith("not tried: about ")


def test_a_size_that_no_batch_may_have_says_why():
    tried = Search(binding(lambda: nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3))), "cpu", 0.01).each([1, 8])
    assert not tried[0].ran
    assert tried[0].verdict.startswith("not possible: ")
    assert tried[1].ran


def test_the_command_keeps_the_update(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    assert run(["bench", "digits", "--batch-sizes", "[16, 64, 9000]", "--keep-update", "--seconds", "0.1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "digits: batch sizes for 1,438 training samples"
    assert [line.split()[:2] for line in lines[4:6]] == [["16", "4"], ["64", "1"]]
    assert lines[-1] in (
        "fastest: --set batch_size=64",
        "fastest: --set batch_size=16 --set accumulate=4",
    )
    assert list(tmp_path.iterdir()) == []


def test_the_command_as_json(capsys: pytest.CaptureFixture[str]):
    assert run(["bench", "digits", "--batch-sizes", "32", "--seconds", "0.1", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["batch_size"], found["accumulate"], found["over"]) == (32, 1, False)
