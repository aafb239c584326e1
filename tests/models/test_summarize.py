import dataclasses
import warnings

import pytest
import torch
from torch import nn

from danlu.errors import ModelError
from danlu.models import BUILDERS, lenet, mlp, resnet18, summary


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, 4)
        self.head = nn.Linear(4, 11)
        self.head.weight = self.embedding.weight
        self.scale = nn.Parameter(torch.ones(3))
        self.unused = nn.Linear(2, 2)
        self.unused.requires_grad_(False)

    def forward(self, tokens, *, shift=0):
        return self.head(self.embedding(tokens)) + shift


def columns(table):
    rows = table.rows
    return (
        sum(row.parameters for row in rows),
        sum(row.trainable for row in rows),
        sum(row.macs_per_sample for row in rows),
    )


def test_rows_of_lenet():
    table = summary(lenet(), torch.zeros(4, 1, 28, 28))
    assert [row.name for row in table.rows] == [str(index) for index in range(12)]
    assert [row.layer for row in table.rows][:3] == ["Conv2d", "Sigmoid", "AvgPool2d"]
    assert [row.output_shape for row in table.rows][5:8] == [(4, 16, 5, 5), (4, 400), (4, 120)]
    assert (table.parameters, table.trainable, table.parameter_bytes) == (61_706, 61_706, 4 * 61_706)
    assert table.macs_per_sample == 28 * 28 * 6 * 25 + 10 * 10 * 16 * 6 * 25 + 400 * 120 + 120 * 84 + 84 * 10
    with pytest.raises(dataclasses.FrozenInstanceError):
        table.rows[0].parameters = 0


def test_resnet18_has_the_published_cost_and_meta_allocates_nothing():
    with torch.device("meta"):
        model, images = resnet18(), torch.empty(2, 3, 224, 224)
    table = summary(model, images)
    assert table.macs_per_sample == 1_814_073_344  # 1.814 GMACs, as published for 224 pixels
    assert table.parameters == 11_689_512
    assert table.buffer_bytes == 4 * 9_600 + 8 * 20
    assert "layer2.0.downsample.1" in [row.name for row in table.rows]
    assert all(buffer.is_meta for buffer in model.buffers())


def test_tied_own_unused_and_frozen_parameters_add_up():
    model = Tied()
    table = summary(model, torch.zeros(2, 5, dtype=torch.int64), shift=torch.ones(1))
    rows = {row.name: row for row in table.rows}
    assert list(rows) == ["", "embedding", "head", "unused"]
    assert rows[""].parameters == 3
    assert (rows["embedding"].parameters, rows["embedding"].shared) == (44, 0)
    assert (rows["head"].parameters, rows["head"].shared) == (11, 44)
    assert (rows["unused"].calls, rows["unused"].output_shape, rows["unused"].trainable) == (0, None, 0)
    assert columns(table) == (table.parameters, table.trainable, table.macs_per_sample) == (64, 58, 5 * 44)
    assert "not called" in str(table)
    assert "11 (+44 shared)" in str(table)


def test_a_layer_under_two_names_has_two_rows_and_is_counted_once():
    layer = nn.Linear(4, 4)
    table = summary(nn.Sequential(layer, nn.ReLU(), layer), torch.zeros(2, 4))
    first, _, second = table.rows
    assert (first.parameters, first.shared, first.calls) == (20, 0, 2)
    assert (second.parameters, second.shared, second.calls) == (0, 20, 0)
    assert columns(table) == (table.parameters, table.trainable, table.macs_per_sample) == (20, 20, 32)


@pytest.mark.parametrize("name", ["mlp", "cnn", "resnet18", "lstm", "bilstm"])
def test_columns_add_up_for_the_builders(name):
    options = {"mlp": (12, 3), "cnn": (3,), "resnet18": (3,), "lstm": (9, 3), "bilstm": (9, 3)}[name]
    inputs = {"mlp": torch.zeros(2, 12), "cnn": torch.zeros(2, 1, 28, 28), "resnet18": torch.zeros(2, 3, 33, 35)}
    table = summary(BUILDERS[name](*options), inputs.get(name, torch.ones(2, 4, dtype=torch.int64)))
    assert columns(table) == (table.parameters, table.trainable, table.macs_per_sample)
    assert table.macs_per_sample > 0


def test_the_table_is_aligned_and_plain():
    text = str(summary(mlp(784, 10), torch.zeros(2, 1, 28, 28)))
    assert text == "\n".join([
        "Layer  Type     Output    Parameters  Trainable  MACs/sample",
        "------------------------------------------------------------",
        "0      Flatten  (2, 784)           0          0            0",
        "1      Linear   (2, 256)     200,960    200,960      200,704",
        "2      ReLU     (2, 256)           0          0            0",
        "3      Linear   (2, 10)        2,570      2,570        2,560",
        "------------------------------------------------------------",
        "Parameters   203,530 (203,530 trainable, 0 not)",
        "Memory       814,120 bytes of parameters, 0 bytes of buffers",
        "MACs/sample  203,264 (batch of 2)",
    ])  # fmt: skip


def test_a_model_without_layers_inside_has_one_row():
    table = summary(nn.Linear(3, 2), torch.zeros(5, 3))
    assert [(row.name, row.output_shape) for row in table.rows] == [("", (5, 2))]
    assert "(model)" in str(table)


def test_attention_is_one_row_and_encoder_layers_are_not_passed_over():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    mask = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about PyTorch's own nested tensors
        encoder = nn.TransformerEncoder(layer, 2)
        table = summary(encoder, torch.zeros(2, 5, 8), src_key_padding_mask=mask)
    names = [row.name for row in table.rows]
    assert "layers.0.self_attn" in names
    assert not any("out_proj" in name for name in names)
    assert all(row.calls == 1 for row in table.rows)
    assert columns(table) == (table.parameters, table.trainable, table.macs_per_sample)
    assert table.macs_per_sample == 2 * ((4 * 5 * 64 + 2 * 5 * 5 * 8) + 2 * 5 * 8 * 16)
    assert torch.backends.mha.get_fastpath_enabled()


def test_an_empty_batch_divides_by_nothing():
    table = summary(mlp(4, 2), torch.zeros(0, 4))
    assert (table.batch_size, table.macs_per_sample) == (0, 0)


def test_lazy_layers_are_refused_and_stay_lazy():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # lazy modules are announced as new
        model = nn.Sequential(nn.Flatten(), nn.LazyLinear(3))
    with pytest.raises(ModelError, match=r"layer 1: got LazyLinear"):
        summary(model, torch.zeros(2, 4))
    assert isinstance(model[1], nn.LazyLinear)


def test_a_compiled_model_is_looked_into():
    model = torch.compile(nn.Sequential(nn.Linear(4, 3), nn.ReLU()), backend="eager")
    model(torch.zeros(2, 4))
    table = summary(model, torch.zeros(2, 4))
    assert [(row.name, row.calls) for row in table.rows] == [("_orig_mod.0", 1), ("_orig_mod.1", 1)]
    assert table.macs_per_sample == 12
