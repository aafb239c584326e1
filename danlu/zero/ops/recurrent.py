"""Recurrent layers: one direction over all its steps as one operation.

Shapes: N rows (every step of every sequence, time by time, longest sequences first), B sequences, F features,
H hidden units, G gates.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, final

import numpy as np
import numpy.typing as npt

from danlu.zero.tape import Mode, quietly, record
from danlu.zero.tensor import Tensor, wrap

Array = npt.NDArray[Any]
Steps = list[tuple[slice, int]]  # (rows, how many)
States = tuple[Tensor | None, Tensor | None]  # h and c, (B, H)


class Cell(ABC):
    """What a kind of cell does in one step, forwards and backwards; it keeps the values of all steps.

    `gates` (N, G H) is first the inputs' share of every gate, after a step the gates' values; `before` (N, H) the state
    from which each row's step started; `c` (B, H) a second state, in an LSTM.
    """

    count = 1
    folds_bias = True  # the state's bias may be added together with the input's

    def __init__(self, gates: Array, weight: Array, bias: Array | None, c: Array) -> None:
        self.gates, self.weight, self.bias, self.c = gates, weight, bias, c
        self.before = np.empty((len(gates), weight.shape[1]), gates.dtype)

    @abstractmethod
    def step(self, rows: slice, h: Array) -> Array:
        """Return the next state of the sequences that these rows belong to."""

    @abstractmethod
    def slopes(self) -> Array:
        """Return (N, slots, H): every gate's derivative but for the factor that `step_back` brings."""

    @abstractmethod
    def step_back(self, slopes: Array, dh: Array, dc: Array) -> Array | None:
        """Make these rows' slopes gradients, in place; return the share of dh that skips the gates."""

    def of_inputs(self, gradients: Array, of_state: Array) -> Array:
        """Return the gradient of the inputs' share of the gates (N, G H); the state's share has `of_state`."""
        return of_state

    def parts(self, rows: slice = slice(None)) -> list[Array]:
        """Return every gate's values, (rows, H) each."""
        hidden = self.weight.shape[1]
        return [self.gates[rows, k * hidden : (k + 1) * hidden] for k in range(self.count)]


class _Elman(Cell):
    """h' = f(a + W h) with f = tanh, f' = 1 - h'^2; the gates' gradient is dh f'.

    Source: Elman, Finding Structure in Time, 1990.
    """

    bend: Any = np.tanh

    def step(self, rows: slice, h: Array) -> Array:
        gates = self.gates[rows]
        gates += h @ self.weight.T
        return self.bend(gates, out=gates)  # type: ignore[no-any-return]

    def slopes(self) -> Array:
        return (1 - self.gates * self.gates)[:, None]

    def step_back(self, slopes: Array, dh: Array, dc: Array) -> None:
        slopes *= dh[:, None]


@final
class _Relu(_Elman):
    """f = max(0, .); f' = 1 where h' > 0, else 0."""

    bend = staticmethod(lambda gates, out: np.maximum(gates, 0, out=out))

    def slopes(self) -> Array:
        return (self.gates > 0).astype(self.gates.dtype)[:, None]


@final
class _Lstm(Cell):
    """c' = f c + i g, h' = o tanh(c'), where i, f, o = sigmoid(a + W h) and g = tanh(a + W h).

    Back: with dc including dh o (1 - tanh(c')^2) the gates' gradients are
    di = dc g i (1 - i), df = dc c f (1 - f), dg = dc i (1 - g^2), do = dh tanh(c') o (1 - o);
    the earlier step gets dc f.
    Source: Hochreiter and Schmidhuber, Long Short-Term Memory, 1997; the forget gate: Gers et al., 2000.
    """

    count = 4

    def __init__(self, gates: Array, weight: Array, bias: Array | None, c: Array) -> None:
        super().__init__(gates, weight, bias, c)
        self.c_before, self.tanh_c = np.empty_like(self.before), np.empty_like(self.before)
        hidden = weight.shape[1]
        self.scale = np.full(4 * hidden, 0.5, gates.dtype)  # sigmoid(x) = tanh(x / 2) / 2 + 1 / 2
        self.scale[2 * hidden : 3 * hidden] = 1
        self.shift = 1 - self.scale

    def step(self, rows: slice, h: Array) -> Array:
        gates, c = self.gates[rows], self.c[: len(h)]
        gates += h @ self.weight.T
        gates *= self.scale
        np.tanh(gates, out=gates)
        gates *= self.scale
        gates += self.shift
        i, f, g, o = self.parts(rows)
        self.c_before[rows] = c
        c *= f
        c += i * g
        return o * np.tanh(c, out=self.tanh_c[rows])

    def slopes(self) -> Array:
        i, f, g, o = self.parts()
        bend = 1 - self.tanh_c * self.tanh_c
        own = (g * i * (1 - i), self.c_before * f * (1 - f), i * (1 - g * g), self.tanh_c * o * (1 - o))
        return np.stack([*own, o * bend, f], 1)  # the last two: of c' by h' and by c

    def step_back(self, slopes: Array, dh: Array, dc: Array) -> None:
        dc += dh * slopes[:, 4]
        slopes[:, :3] *= dc[:, None]
        slopes[:, 3] *= dh
        dc *= slopes[:, 5]


@final
class _Gru(Cell):
    """h' = n + z (h - n), where r, z = sigmoid(a + W h + b) and n = tanh(a + r (W h + b)).

    Back: dn = dh (1 - z) (1 - n^2), dz = dh (h - n) z (1 - z), dr = dn (W h + b)_n r (1 - r);
    the state's share of n gets dn r, and the earlier state dh z besides.
    Source: Cho et al., Learning Phrase Representations using RNN Encoder-Decoder, 2014; r is applied after W, as in
    cuDNN and PyTorch.
    """

    count = 3
    folds_bias = False

    def __init__(self, gates: Array, weight: Array, bias: Array | None, c: Array) -> None:
        super().__init__(gates, weight, bias, c)
        self.state_n = np.empty_like(self.before)

    def step(self, rows: slice, h: Array) -> Array:
        gates, hidden = self.gates[rows], h.shape[1]
        share = h @ self.weight.T if self.bias is None else h @ self.weight.T + self.bias
        both = gates[:, : 2 * hidden]
        both += share[:, : 2 * hidden]
        both *= 0.5
        np.tanh(both, out=both)
        both += 1
        both *= 0.5
        r, z, n = self.parts(rows)
        self.state_n[rows] = share[:, 2 * hidden :]
        n += r * self.state_n[rows]
        np.tanh(n, out=n)
        after: Array = n + z * (h - n)
        return after

    def slopes(self) -> Array:
        r, z, n = self.parts()
        dn = (1 - z) * (1 - n * n)
        return np.stack([dn * self.state_n * r * (1 - r), (self.before - n) * z * (1 - z), dn * r, dn, z], 1)

    def step_back(self, slopes: Array, dh: Array, dc: Array) -> Array:
        slopes *= dh[:, None]
        direct: Array = slopes[:, 4]
        return direct

    def of_inputs(self, gradients: Array, of_state: Array) -> Array:
        inputs = of_state.copy()
        inputs[:, -gradients.shape[2] :] = gradients[:, 3]
        return inputs


KINDS: dict[str, type[Cell]] = {"RNN_TANH": _Elman, "RNN_RELU": _Relu, "LSTM": _Lstm, "GRU": _Gru}


def recurrence(
    states: States, x: Tensor, weights: Sequence[Tensor], kind: str, batch_sizes: Sequence[int], reverse: bool = False
) -> list[Tensor]:
    """Run one direction of a recurrent layer over all its steps.

    The inputs' share of the gates, a = x W_ih^T + b, is one product for all steps; only h W_hh^T is left for the loop.
    Back through time, a step's gate gradients D[t] = slope[t] * dh[t] give dh[t-1] = D[t] W_hh; all other gradients
    are again one product for all steps: dW_ih = D^T x, dW_hh = D^T h_before, dx = D W_ih, db = sum of D over rows.
    A sequence that has ended is not among a step's rows: its state rests. Returns outputs (N, H) and last states.
    """
    inputs = (x, *weights, *states)
    arrays = [tensor._array for tensor in (x, *weights)]
    firsts = [None if tensor is None else tensor._array for tensor in states]
    results, back = quietly(_forward, arrays, firsts, KINDS[kind], _steps(batch_sizes, reverse), x.requires_grad)
    outputs = [wrap(array) for array in results]
    if Mode.record and any(tensor is not None and tensor.requires_grad for tensor in inputs):
        record(kind.split("_")[0].capitalize() + "Backward0", inputs, back, *outputs)
    return outputs


def _forward(arrays: list[Any], firsts: list[Any], kind: type[Cell], steps: Steps, wants_dx: bool) -> tuple[Any, Any]:
    x, w_ih, w_hh, *biases = arrays
    b_ih, b_hh = biases or (None, None)
    batch = max(size for _, size in steps)
    h, c = (np.zeros((batch, w_hh.shape[1]), x.dtype) if first is None else first.copy() for first in firsts)
    gates = x @ w_ih.T
    if b_ih is not None:
        gates += b_ih + b_hh if kind.folds_bias else b_ih
    cell = kind(gates, w_hh, b_hh, c)
    outputs = np.empty_like(cell.before)
    for rows, size in steps:
        cell.before[rows] = h[:size]
        h[:size] = outputs[rows] = cell.step(rows, h[:size])

    def back(g: Any) -> tuple[Any, ...]:
        of_inputs, of_state, dh, dc = _through_time(cell, steps, w_hh, (*g, None)[:3])
        dx = of_inputs @ w_ih if wants_dx else None
        of_biases = (np.add.reduce(of_inputs), np.add.reduce(of_state)) if biases else ()
        return (dx, of_inputs.T @ x, of_state.T @ cell.before, *of_biases, dh, dc)

    return ((outputs, h, c) if kind is _Lstm else (outputs, h)), back


def _through_time(cell: Cell, steps: Steps, w_hh: Array, g: tuple[Any, ...]) -> tuple[Array, Array, Array, Array]:
    """Return the gradients of the inputs' and the state's share of all gates, and of the first h and c."""
    g_output, g_h, g_c = g
    dh, dc = (np.zeros_like(cell.c) if last is None else last.copy() for last in (g_h, g_c))
    slopes = cell.slopes()
    count, slots, hidden = slopes.shape
    of_state = slopes.reshape(count, slots * hidden)[:, : cell.gates.shape[1]]
    for rows, size in reversed(steps):
        alive = dh[:size]
        if g_output is not None:
            alive += g_output[rows]
        direct = cell.step_back(slopes[rows], alive, dc[:size])
        np.matmul(of_state[rows], w_hh, out=alive)
        if direct is not None:
            alive += direct
    return cell.of_inputs(slopes, of_state), of_state, dh, dc


def _steps(batch_sizes: Sequence[int], reverse: bool) -> Steps:
    """Return (rows, how many) of every step, in the order in which they are taken."""
    steps, start = [], 0
    for size in batch_sizes:
        steps.append((slice(start, start + size), size))
        start += size
    return steps[::-1] if reverse else steps
