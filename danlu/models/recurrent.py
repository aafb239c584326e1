"""LSTM classifiers of padded token sequences: B sequences, T tokens with the padding, E features of a token."""

from typing import final

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from danlu.errors import ModelError, RecipeError
from danlu.models.arguments import share, whole


def lstm(
    vocabulary: int,
    outputs: int,
    *,
    embedding: int = 100,
    hidden: int = 100,
    layers: int = 1,
    dropout: float = 0.0,
    padding_index: int = 0,
) -> nn.Module:
    """Build a classifier of token sequences: Embedding, LSTM, and a Linear on the last hidden state.

    The model takes int64 or int32 tokens (B, T), padded at the end, and returns logits (B, outputs) that do not
    depend on how far a sequence was padded. A sequence ends at its last token that is not padding; one of nothing but
    padding is read as a single padding token, whose embedding is 0.

    Args:
        vocabulary: tokens are in [0, vocabulary).
        outputs: classes.
        embedding: features of a token.
        hidden: features of the hidden state, in each direction.
        layers: LSTM layers, one above another.
        dropout: share of features dropped between layers and before the Linear, in [0, 1).
        padding_index: the token that is padding.

    Raises:
        RecipeError: a size or share that cannot be.

    Cost: on a GPU each forward waits once, for the lengths, which packing wants on the CPU.
    """
    sizes = _sizes("lstm", vocabulary, outputs, embedding, hidden, layers)
    padding = _padding("lstm", padding_index, vocabulary)
    return LSTMClassifier(sizes, share("lstm.dropout", dropout), padding, bidirectional=False)


def bilstm(
    vocabulary: int,
    outputs: int,
    *,
    embedding: int = 100,
    hidden: int = 100,
    layers: int = 1,
    dropout: float = 0.0,
    padding_index: int = 0,
) -> nn.Module:
    """Build the classifier of `lstm`, reading in both directions; the Linear sees the last hidden state of each."""
    sizes = _sizes("bilstm", vocabulary, outputs, embedding, hidden, layers)
    padding = _padding("bilstm", padding_index, vocabulary)
    return LSTMClassifier(sizes, share("bilstm.dropout", dropout), padding, bidirectional=True)


@final
class LSTMClassifier(nn.Module):
    """Embedding, LSTM over packed sequences, dropout, Linear.

    `sizes`: vocabulary, outputs, embedding, hidden, layers.
    """

    def __init__(
        self, sizes: tuple[int, int, int, int, int], dropout: float, padding_index: int, *, bidirectional: bool
    ) -> None:
        super().__init__()
        vocabulary, outputs, embedding, hidden, layers = sizes
        between = dropout if layers > 1 else 0.0  # PyTorch warns of dropout where there is nothing between
        self.embedding = nn.Embedding(vocabulary, embedding, padding_idx=padding_index)
        self.lstm = nn.LSTM(embedding, hidden, layers, batch_first=True, dropout=between, bidirectional=bidirectional)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(hidden * (2 if bidirectional else 1), outputs)
        self.padding_index = padding_index

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """Map tokens (B, T) to logits (B, outputs)."""
        if tokens_BT.dim() != 2 or tokens_BT.shape[1] == 0 or tokens_BT.dtype not in (torch.int64, torch.int32):
            got = f"{str(tokens_BT.dtype).removeprefix('torch.')} {tuple(tokens_BT.shape)}"
            want = "int64 tokens of shape (B, T), T >= 1"
            raise ModelError(where="LSTM input", got=got, want=want, fix="give token numbers, one row per sequence")
        places_T = torch.arange(1, tokens_BT.shape[1] + 1, device=tokens_BT.device)
        lengths_B = ((tokens_BT != self.padding_index) * places_T).amax(dim=1).clamp_min(1).cpu()
        packed = pack_padded_sequence(self.embedding(tokens_BT), lengths_B, batch_first=True, enforce_sorted=False)
        _, (hidden_LBH, _) = self.lstm(packed)  # the last layer's directions stand at the end
        last_BH = torch.cat([hidden_LBH[-2], hidden_LBH[-1]], dim=1) if self.lstm.bidirectional else hidden_LBH[-1]
        return self.fc(self.dropout(last_BH))  # type: ignore[no-any-return]


def _sizes(name: str, *sizes: int) -> tuple[int, int, int, int, int]:
    names = ("vocabulary", "outputs", "embedding", "hidden", "layers")
    checked = [whole(f"{name}.{field}", size) for field, size in zip(names, sizes, strict=True)]
    return checked[0], checked[1], checked[2], checked[3], checked[4]


def _padding(name: str, padding_index: object, vocabulary: int) -> int:
    index = whole(f"{name}.padding_index", padding_index, least=0)
    if index >= vocabulary:
        want = f"a token below the vocabulary of {vocabulary}"
        fix = f"set {name}.padding_index to a token that exists, or count padding in {name}.vocabulary"
        raise RecipeError(where=f"{name}.padding_index", got=index, want=want, fix=fix)
    return index
