import pytest
import torch
from torch import nn

from danlu.models import lstm, summary

B, T = 3, 7


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize(
    ("layer", "shapes", "macs"),
    [
        (nn.Linear(784, 256), [(B, 784)], 200_704),
        (nn.Linear(8, 4), [(B, 5, 8)], 5 * 8 * 4),
        (nn.Conv1d(4, 6, 3, padding=1, groups=2), [(B, 4, 9)], 9 * 6 * 2 * 3),
        (nn.Conv2d(1, 6, 5, padding=2), [(B, 1, 28, 28)], 28 * 28 * 6 * 25),
        (nn.Conv2d(8, 8, 3, stride=2, groups=8), [(B, 8, 9, 11)], 4 * 5 * 8 * 9),
        (nn.Conv3d(2, 3, (1, 2, 3)), [(B, 2, 4, 5, 6)], (4 * 4 * 4) * 3 * 2 * 6),
        (nn.ConvTranspose2d(6, 4, 3, stride=2, groups=2), [(B, 6, 5, 5)], 6 * 25 * 2 * 9),
        (nn.Bilinear(3, 4, 5), [(B, 3), (B, 4)], 3 * 4 * 5),
        (nn.RNN(5, 6, batch_first=True), [(B, T, 5)], T * 6 * (5 + 6)),
        (nn.LSTM(5, 6, batch_first=True), [(B, T, 5)], T * 4 * 6 * (5 + 6)),
        (nn.LSTM(5, 6, proj_size=2, batch_first=True), [(B, T, 5)], T * (4 * 6 * (5 + 2) + 6 * 2)),
        (
            nn.GRU(5, 6, num_layers=2, bidirectional=True, batch_first=True),
            [(B, T, 5)],
            T * 2 * 3 * 6 * ((5 + 6) + (12 + 6)),
        ),
        (nn.LSTMCell(5, 6), [(B, 5)], 4 * 6 * (5 + 6)),
        (nn.BatchNorm1d(5), [(B, 5)], 0),
        (nn.ReLU(), [(B, 5)], 0),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_the_formula_of_each_layer(layer, shapes, macs):
    table = summary(layer, *(torch.zeros(shape) for shape in shapes))
    assert table.macs_per_sample == table.rows[0].macs_per_sample == macs
    assert table.batch_size == B


def test_a_transposed_convolution_costs_what_its_gradient_twin_costs():
    wide, narrow = torch.zeros(1, 4, 10, 10), torch.zeros(1, 6, 5, 5)
    forward = summary(nn.Conv2d(4, 6, 2, stride=2), wide)
    assert summary(nn.ConvTranspose2d(6, 4, 2, stride=2), narrow).macs_per_sample == forward.macs_per_sample


def test_attention_counts_projections_and_both_products():
    layer = nn.MultiheadAttention(8, 2, batch_first=True, kdim=5, vdim=6)
    query, key, value = torch.zeros(B, 4, 8), torch.zeros(B, 9, 5), torch.zeros(B, 9, 6)
    expected = 4 * 8 * 8 + 9 * 5 * 8 + 9 * 6 * 8 + 2 * 4 * 9 * 8 + 4 * 8 * 8
    assert summary(layer, query, key, value).macs_per_sample == expected
    assert summary(layer, query, key=key, value=value).macs_per_sample == expected
    extra = nn.MultiheadAttention(8, 2, batch_first=True, kdim=5, vdim=6, add_zero_attn=True, add_bias_kv=True)
    assert summary(extra, query, key, value).macs_per_sample == expected + 2 * 4 * 2 * 8


def test_attention_with_the_sequence_first():
    layer = nn.MultiheadAttention(8, 2)
    x = torch.zeros(4, B, 8)
    total = summary(layer, x, x, x)
    assert total.macs_per_sample * total.batch_size == B * (4 * 4 * 64 + 2 * 4 * 4 * 8)


def test_a_packed_sequence_costs_its_real_tokens():
    tokens = torch.tensor([[1, 2, 3, 0], [4, 0, 0, 0]])
    row = next(row for row in summary(lstm(9, 2, embedding=5, hidden=6), tokens).rows if row.layer == "LSTM")
    assert row.macs_per_sample == (3 + 1) / 2 * 4 * 6 * (5 + 6)


def test_a_layer_called_twice_costs_twice():
    layer = nn.Linear(4, 4)
    assert summary(nn.Sequential(layer, nn.ReLU(), layer), torch.zeros(1, 4)).macs_per_sample == 32
