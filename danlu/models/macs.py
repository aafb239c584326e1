"""Multiply-accumulate operations (MACs) of one call of a layer.

What is counted: the products with weights of Linear, Conv1d/2d/3d and their transposes (groups included), Bilinear,
RNN, LSTM, GRU and their cells; in MultiheadAttention the four projections and the two products of attention, without
regard to masks. Nothing else is: biases, normalisation, activations, pooling, look-ups, the gates' own products, and
functions that a `forward` calls without a layer count 0.
"""

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

Inputs = tuple[tuple[Any, ...], Mapping[str, Any]]  # what a layer is called with, by position and by name
COUNTED = (nn.Linear, _ConvNd, nn.Bilinear, nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention)


def tensors(value: object) -> list[Tensor]:
    """Return the tensors in what a layer takes or gives, in order, out of tuples, lists and dicts."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, Mapping):
        return tensors(list(value.values()))
    if isinstance(value, tuple | list):
        return [tensor for item in value for tensor in tensors(item)]
    return []


def macs_of(layer: nn.Module, inputs: Inputs, output: object) -> int:
    """Return the MACs of one call, 0 for a layer that is not counted."""
    if isinstance(layer, nn.MultiheadAttention):
        return _attention(layer, inputs)
    first_in, first_out = tensors(inputs), tensors(output)
    if not isinstance(layer, COUNTED) or not first_in or not first_out:
        return 0
    given, made = first_in[0].numel(), first_out[0].numel()
    match layer:
        case nn.Linear():
            return made * layer.in_features
        case _ConvTransposeNd():  # each input element meets every kernel element of its group
            return given * (layer.out_channels // layer.groups) * math.prod(layer.kernel_size)
        case _ConvNd():
            return made * (layer.in_channels // layer.groups) * math.prod(layer.kernel_size)
        case nn.Bilinear():
            return made * layer.in1_features * layer.in2_features
        case nn.RNNBase():  # a packed sequence holds its real tokens only
            return given // layer.input_size * _matrix_elements(layer)
        case nn.RNNCellBase():
            return given // layer.input_size * _matrix_elements(layer)
        case _:
            return 0


def _matrix_elements(layer: nn.Module) -> int:
    """Return the elements of the weights that every token meets once: all that are no biases."""
    return sum(parameter.numel() for parameter in layer.parameters() if parameter.dim() > 1)


def _attention(layer: nn.MultiheadAttention, inputs: Inputs) -> int:
    """Count the projections of query, key, value and output, the scores, and the sum they weigh."""
    by_position, by_name = inputs
    given = {**dict(zip(("query", "key", "value"), by_position, strict=False)), **by_name}
    query, key, value = (tensors(given[name])[0] for name in ("query", "key", "value"))
    width: int = layer.embed_dim
    projections = 2 * query.numel() * width + (key.numel() + value.numel()) * width
    keys = key.shape[1] if layer.batch_first and key.dim() == 3 else key.shape[0]
    keys += int(layer.bias_k is not None) + int(layer.add_zero_attn)
    return projections + 2 * query.numel() * keys
