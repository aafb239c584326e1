"""The model's graph, drawn from a copy."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from danlu.train.graph import write_graph


def test_drawing_moves_nothing(tmp_path: Path):
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    write_graph(model, torch.rand(5, 3), tmp_path / "graph")
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(module.training for module in model.modules())
    (file,) = (tmp_path / "graph").iterdir()
    assert b"Linear" in file.read_bytes()


def test_several_inputs_and_inputs_by_name(tmp_path: Path):
    class Sum(nn.Module):
        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return a + b

    write_graph(Sum(), (torch.rand(5, 3), torch.rand(5, 3)), tmp_path / "graph")
    assert list((tmp_path / "graph").iterdir())
    with pytest.raises(TypeError, match="named inputs"):
        write_graph(Sum(), {"a": torch.rand(5, 3), "b": torch.rand(5, 3)}, tmp_path / "other")
