"""Recurrent layers: RNN, LSTM, GRU."""

import math
import warnings
from collections.abc import Sequence
from typing import Any

from danlu.zero.arguments import require
from danlu.zero.nn.linear import draw_within, empty
from danlu.zero.nn.module import Module
from danlu.zero.nn.utils.rnn import PackedSequence
from danlu.zero.ops.dropout import dropped
from danlu.zero.ops.recurrent import KINDS, recurrence
from danlu.zero.ops.shape import cat, stack
from danlu.zero.tensor import Tensor

States = tuple[Any, ...]


class RNNBase(Module):
    """What RNN, LSTM and GRU have in common: layers, directions, packed and padded input."""

    mode: str

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        **factory: Any,
    ) -> None:
        super().__init__()
        sizes = {"input_size": input_size, "hidden_size": hidden_size, "num_layers": num_layers}
        require(all(isinstance(size, int) for size in sizes.values()), "sizes are ints", TypeError, **sizes)
        require(min(sizes.values()) > 0, "sizes are greater than zero", ValueError, **sizes)
        flags = isinstance(bias, bool) and isinstance(batch_first, bool)
        require(flags, "bias and batch_first are True or False", TypeError, bias=bias, batch_first=batch_first)
        _check_dropout(dropout, num_layers)
        kind = NotImplementedError if self.mode == "LSTM" else ValueError
        require(proj_size == 0, "not supported; use a Linear after the layer", kind, proj_size=proj_size)
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout = bias, batch_first, float(dropout)
        self.bidirectional, self.proj_size = bidirectional, 0
        directions = ("", "_reverse") if bidirectional else ("",)
        self._names: list[list[str]] = []
        for layer in range(num_layers):
            width = input_size if layer == 0 else len(directions) * hidden_size
            self._names += [self._make_weights(f"_l{layer}{suffix}", width, factory) for suffix in directions]
        self.reset_parameters()

    def _make_weights(self, suffix: str, width: int, factory: dict[str, Any]) -> list[str]:
        """Add one direction's weights, and return their names."""
        rows = KINDS[self.mode].count * self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {"weight_ih": (rows, width), "weight_hh": (rows, self.hidden_size)}
        if self.bias:
            shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
        for name, shape in shapes.items():
            setattr(self, name + suffix, empty(self, *shape, **factory))
        return [name + suffix for name in shapes]

    def reset_parameters(self) -> None:
        """Draw all weights from U(-1 / sqrt(hidden_size), 1 / sqrt(hidden_size))."""
        draw_within(1 / math.sqrt(self.hidden_size), *self.parameters())

    def flatten_parameters(self) -> None:
        """Do nothing; PyTorch arranges the weights for the graphics processor here."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        """Return (output, last states): (T, B, D H) and (layers D, B, H), where D = directions.

        The input is (T, B, F), (B, T, F) with `batch_first`, (T, F) for one sequence, or a PackedSequence; the first
        states `hx` are zeros where None, and (h, c) in an LSTM.
        """
        states = None if hx is None else tuple(hx) if self.mode == "LSTM" else (hx,)
        require(states is None or self.mode != "LSTM" or len(states) == 2, "hx is a pair (h, c)", IndexError, hx=hx)
        run: Any = self._packed if isinstance(input, PackedSequence) else self._padded
        output, last = run(input, states)
        return output, last if self.mode == "LSTM" else last[0]

    def _packed(self, input: PackedSequence, states: States | None) -> tuple[PackedSequence, States]:
        data, batch_sizes, order, back = input
        if states is not None and order is not None:
            states = tuple(state.index_select(1, order) for state in states)
        output, last = self._layers(data, batch_sizes._array.tolist(), states)
        if back is not None:
            last = tuple(state.index_select(1, back) for state in last)
        return PackedSequence(output, batch_sizes, order, back), last

    def _padded(self, input: Tensor, states: States | None) -> tuple[Tensor, States]:
        dims = input._array.ndim
        require(dims in (2, 3), "an input of 2 or 3 dimensions is wanted", ValueError, input=input)
        for state in states or ():
            require(state._array.ndim == dims, "hx has as many dimensions as the input", hx=state, input=input)
        if dims == 2:
            input, states = input.unsqueeze(1), None if states is None else tuple(s.unsqueeze(1) for s in states)
        elif self.batch_first:
            input = input.transpose(0, 1)
        steps, batch, width = input._array.shape
        require(steps, "sequences of at least one step are wanted", input=input)
        output, last = self._layers(input.reshape(steps * batch, width), [batch] * steps, states)
        output = output.reshape(steps, batch, output._array.shape[1])
        if dims == 2:
            return output.squeeze(1), tuple(state.squeeze(1) for state in last)
        return output.transpose(0, 1) if self.batch_first else output, last

    def _layers(self, x: Tensor, sizes: Sequence[int], states: States | None) -> tuple[Tensor, States]:
        """Run all layers on rows (N, F), time by time; return rows (N, D H) and the last states."""
        self._fits(x, states, (len(self._names), sizes[0], self.hidden_size))
        directions = 2 if self.bidirectional else 1
        collected: list[list[Tensor]] = []
        for layer in range(self.num_layers):
            outputs = []
            for direction in range(directions):
                k = layer * directions + direction
                h, c = (None, None) if states is None else (*(state[k] for state in states), None)[:2]
                weights = [getattr(self, name) for name in self._names[k]]
                output, *last = recurrence((h, c), x, weights, self.mode, sizes, direction == 1)
                outputs.append(output)
                collected.append(last)
            x = cat(outputs, 1) if self.bidirectional else outputs[0]
            if self.dropout and self.training and layer + 1 < self.num_layers:
                x = dropped(x, self.dropout)
        return x, tuple(stack(last) for last in zip(*collected, strict=True))

    def _fits(self, x: Tensor, states: States | None, shape: tuple[int, ...]) -> None:
        """Raise an error where the input's features or dtype, or the states' shapes or dtypes, do not fit."""
        dtype = next(self.parameters()).dtype
        require(x.dtype is dtype, f"the input has the dtype of the weights, {dtype}", ValueError, input=x)
        width = x._array.shape[-1]
        require(width == self.input_size, f"input.size(-1) is to be input_size, {self.input_size}, got {width}")
        for state in states or ():
            found = state._array.shape
            require(found == shape, f"hx: want the shape {list(shape)}, got {list(found)}")
            require(state.dtype is dtype, f"hx: want {dtype}, got {state.dtype}")

    def extra_repr(self) -> str:
        """Return the sizes, and what differs from the defaults."""
        defaults = {"num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0, "bidirectional": False}
        changed = [f"{name}={getattr(self, name)}" for name, value in defaults.items() if getattr(self, name) != value]
        return ", ".join([f"{self.input_size}, {self.hidden_size}", *changed])


class RNN(RNNBase):
    """Elman network, h' = tanh(W_ih x + b_ih + W_hh h + b_hh), or relu: (T, B, F) to (T, B, D H)."""

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, nonlinearity: str = "tanh", *args: Any, **kw: Any
    ) -> None:
        fits = nonlinearity in ("tanh", "relu")
        require(fits, "nonlinearity is 'tanh' or 'relu'", ValueError, nonlinearity=nonlinearity)
        self.__dict__.update(mode=f"RNN_{nonlinearity.upper()}", nonlinearity=nonlinearity)
        super().__init__(input_size, hidden_size, num_layers, *args, **kw)


class LSTM(RNNBase):
    """Long short-term memory: (T, B, F) to (T, B, D H); its states are (h, c)."""

    mode = "LSTM"


class GRU(RNNBase):
    """Gated recurrent units: (T, B, F) to (T, B, D H)."""

    mode = "GRU"


def _check_dropout(dropout: Any, num_layers: int) -> None:
    fits = isinstance(dropout, int | float) and not isinstance(dropout, bool) and 0 <= dropout <= 1
    require(fits, "dropout is the probability of a zero, between 0 and 1", ValueError, dropout=dropout)
    if dropout > 0 and num_layers == 1:
        text = f"dropout is added after all but the last layer: dropout={dropout} does nothing with num_layers=1"
        warnings.warn(text, stacklevel=4)
