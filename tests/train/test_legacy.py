"""Files by `torch.save`: their tensors where the caller asks for them, and nothing that needs unpickling."""

from collections import OrderedDict

import pytest
import torch
from torch import nn

import danlu


class Net(nn.Module):
    def __init__(self, outputs=3):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4 * 16, outputs)

    def forward(self, x):
        return self.head(self.norm(self.conv(x)).relu().flatten(1))


def net(seed, outputs=3):
    torch.manual_seed(seed)
    made = Net(outputs)
    made(torch.rand(8, 1, 4, 4))  # BatchNorm's running statistics are no longer the first ones
    return made


def bits(model):
    return {name: tensor.detach().numpy().tobytes() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("name", ["w.pt", "w.pth.tar", "w.safetensors"])
@pytest.mark.parametrize("keys", [[], ["state_dict"], ["model"], ["model_state_dict"], ["checkpoint", "net"]])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_is_read_where_it_is_asked_for(name, keys, zipped, tmp_path):
    theirs = net(1)
    content = OrderedDict((f"module.{key}", one) for key, one in theirs.state_dict().items())
    for key in reversed(keys):
        content = {"epoch": 3, key: content, "optimizer": {"state": {0: {"step": torch.ones(1)}}, "param_groups": []}}
    torch.save(content, tmp_path / name, _use_new_zipfile_serialization=zipped)
    ours = net(2)
    with pytest.raises(danlu.RunError, match='allow_pickle="weights-only"'):
        danlu.load_weights(ours, tmp_path / name)
    report = danlu.load_weights(ours, tmp_path / name, allow_pickle="weights-only")
    assert bits(ours) == bits(theirs)
    assert report.source == str(tmp_path / name) + (f", {'.'.join(keys)}" if keys else "")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (net(1), "test_legacy.Net inside, which only unpickling could make"),
        ({"model": net(1)}, "test_legacy.Net inside"),
        ({"epoch": 3}, "no tensors by name, but a dict with epoch"),
        ([torch.ones(2)], "no tensors by name, but a list"),
        ({"w": torch.ones(2, 2).to_sparse()}, "a sparse or quantised tensor"),
    ],
    ids=["a whole model", "a model inside", "no tensors", "a list", "sparse"],
)
def test_a_pickle_of_anything_else_is_refused_with_the_reason(content, said, tmp_path):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(danlu.RunError, match=said):
        danlu.load_weights(net(2), tmp_path / "w.pt", allow_pickle="weights-only")


def test_a_damaged_pickle_and_a_program_are_refused(tmp_path):
    torch.save(net(1).state_dict(), tmp_path / "w.pt")
    content = (tmp_path / "w.pt").read_bytes()
    with pytest.warns(DeprecationWarning, match="deprecated"):
        torch.jit.script(nn.Linear(2, 2)).save(str(tmp_path / "s.pt"))
    for cut in (content[:100], content[: len(content) // 2], content[:-1], b"PK" + bytes(99)):
        (tmp_path / "w.pt").write_bytes(cut)
        with pytest.raises(danlu.RunError, match=r"w\.pt"):
            danlu.load_weights(net(2), tmp_path / "w.pt", allow_pickle="weights-only")
    with pytest.raises(danlu.RunError, match="a TorchScript archive, which is a program"):
        danlu.load_weights(nn.Linear(2, 2), tmp_path / "s.pt", allow_pickle="weights-only")
