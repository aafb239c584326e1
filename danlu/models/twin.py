"""The twin of a PyTorch model in danlu.zero: the same layers, names and weights."""

import inspect
from collections import OrderedDict
from typing import Any

from torch import nn

from danlu import zero
from danlu.errors import ModelError
from danlu.models.recurrent import LSTMClassifier

_ELSEWHERE = ("device", "dtype")  # arguments that say where a layer lives
_UNKNOWN = object()


def twin(model: nn.Module) -> Any:
    """Build a model's twin.

    Args:
        model: made of `torch.nn`'s own layers in `Sequential`s, or the LSTM classifier; it is left alone.

    Returns:
        a `danlu.zero.nn.Module` with the same names, a copy of the weights and buffers, and the same modes.

    Raises:
        ModelError: a layer that danlu.zero does not have, by its path.
    """
    generator = zero.get_rng_state()
    built = _built(model, "")
    zero.set_rng_state(generator)  # the weights that layers draw for themselves are not used
    built.load_state_dict({name: zero.tensor(value.cpu().numpy()) for name, value in model.state_dict().items()})
    for ours, theirs in zip(built.parameters(), model.parameters(), strict=True):
        ours.requires_grad_(theirs.requires_grad)
    for layer, original in zip(built.modules(), model.modules(), strict=True):
        layer.training = original.training
    return built


def _built(layer: nn.Module, path: str) -> Any:
    """Return a new layer of the same kind, with weights of its own."""
    if type(layer) is LSTMClassifier:
        return _LSTMClassifier(layer)
    if type(layer) is nn.Sequential:
        inside = ((name, _built(child, f"{path}.{name}" if path else name)) for name, child in layer.named_children())
        return zero.nn.Sequential(OrderedDict(inside))
    kind: Any = getattr(zero.nn, type(layer).__name__, None)
    if kind is None or type(layer) is not getattr(nn, type(layer).__name__, None):
        got = f"{type(layer).__name__} at {path or 'the top'}"
        fix = 'use engine = "torch", or build the model from danlu.zero.nn yourself and give it to danlu.fit'
        raise ModelError(where="model", got=got, want="a layer that danlu.zero has", fix=fix)
    made_by = nn.RNNBase if isinstance(layer, nn.RNNBase) else type(layer)  # an LSTM's own signature says nothing
    given = {name: getattr(layer, name, _UNKNOWN) for name in inspect.signature(made_by).parameters if name != "mode"}
    if not isinstance(given.get("bias"), bool) and "bias" in given:  # the layer keeps the parameter, or None
        given["bias"] = given["bias"] is not None
    return kind(**{name: value for name, value in given.items() if value is not _UNKNOWN and name not in _ELSEWHERE})


class _LSTMClassifier(zero.nn.Module):  # type: ignore[misc, unused-ignore]
    """The twin of `danlu.models.lstm`: Embedding, LSTM over packed sequences, dropout, Linear."""

    def __init__(self, model: LSTMClassifier) -> None:
        super().__init__()
        self.embedding, self.lstm = _built(model.embedding, "embedding"), _built(model.lstm, "lstm")
        self.dropout, self.fc = _built(model.dropout, "dropout"), _built(model.fc, "fc")
        self.padding_index = model.padding_index

    def forward(self, tokens_BT: Any) -> Any:
        """Map tokens (B, T) to logits (B, outputs)."""
        places_T = zero.arange(1, tokens_BT.shape[1] + 1)
        lengths_B = ((tokens_BT != self.padding_index) * places_T).amax(dim=1).clamp_min(1)
        pack = zero.nn.utils.rnn.pack_padded_sequence
        packed = pack(self.embedding(tokens_BT), lengths_B, batch_first=True, enforce_sorted=False)
        _, (hidden_LBH, _) = self.lstm(packed)
        last_BH = zero.cat([hidden_LBH[-2], hidden_LBH[-1]], dim=1) if self.lstm.bidirectional else hidden_LBH[-1]
        return self.fc(self.dropout(last_BH))
