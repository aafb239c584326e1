"""What a model is made of and what it costs: a table of its layers, from one forward that leaves no trace."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, final

from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from danlu.errors import ModelError
from danlu.models.macs import COUNTED, tensors
from danlu.models.trace import Seen, trace
from danlu.models.unchanged import unchanged

HEADER = ("Layer", "Type", "Output", "Parameters", "Trainable", "MACs/sample")
RULE = "-"


@final
@dataclass(frozen=True)
class Row:
    """One layer under one name. Columns add up to the summary's totals.

    Fields:
        name: qualified name; "" for the model itself.
        layer: class name.
        output_shape: of the first tensor that the last call gave, batch included; None if there was none.
        parameters, trainable: numbers in this layer that no earlier row has counted.
        shared: numbers in this layer that an earlier row has counted.
        calls: in one forward, 0 if it was not called; also 0 in a second row of a module whose first row has them all.
        macs_per_sample: of all calls.
    """

    name: str
    layer: str
    output_shape: tuple[int, ...] | None
    parameters: int
    trainable: int
    shared: int
    calls: int
    macs_per_sample: float


@final
@dataclass(frozen=True)
class Summary:
    """The rows, in the order in which the model holds its layers, and the totals; `str` gives a table.

    Fields:
        parameters, trainable: each tensor counted once.
        parameter_bytes, buffer_bytes: what they occupy in their own dtypes.
        macs_per_sample: MACs of the forward over `batch_size`; `danlu.models.macs` says what is counted.
        batch_size: length of the first input tensor's first axis.
    """

    rows: tuple[Row, ...]
    parameters: int
    trainable: int
    parameter_bytes: int
    buffer_bytes: int
    macs_per_sample: float
    batch_size: int

    def __str__(self) -> str:
        lines = [HEADER, *(_cells(row) for row in self.rows)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(HEADER))]
        table = [_aligned(line, widths) for line in lines]
        table.insert(1, RULE * max(len(line) for line in table))
        table += [table[1], *self._totals()]
        return "\n".join(line.rstrip() for line in table)

    def _totals(self) -> Iterator[str]:
        fixed = self.parameters - self.trainable
        yield f"Parameters   {self.parameters:,} ({self.trainable:,} trainable, {fixed:,} not)"
        yield f"Memory       {self.parameter_bytes:,} bytes of parameters, {self.buffer_bytes:,} bytes of buffers"
        yield f"MACs/sample  {_number(self.macs_per_sample)} (batch of {self.batch_size})"


def summary(model: nn.Module, /, *inputs: Any, **named_inputs: Any) -> Summary:
    """Run one forward in evaluation mode and return the model's layers, their sizes and their MACs.

    A row stands for each layer without layers inside, for each module with parameters of its own, and for each
    MultiheadAttention as a whole. Training modes, buffers and the generators' states are put back bit for bit; each
    argument that is a tensor is copied first, so that layers that work in place do not touch it.

    Args:
        model: any module; on the meta device with meta inputs nothing is computed or allocated.
        inputs: what `forward` takes, such as tensors (B, ...).
        named_inputs: what `forward` takes by name.

    Raises:
        ModelError: the forward failed, with the layer's name and PyTorch's error as `__cause__`; or the model has lazy
            layers whose sizes a first forward has yet to set.

    Cost: one forward, copies of the inputs and of every buffer, and a sync.
    """
    _refuse_lazy(model)
    given = tuple(_copied(value) for value in inputs)
    named = {name: _copied(value) for name, value in named_inputs.items()}
    first = next(iter(tensors((given, named))), None)
    batch_size = first.shape[0] if first is not None and first.dim() else 1
    with unchanged(model, tensors((given, named))):
        seen = trace(model, given, named).seen
    rows = tuple(_rows(model, seen, max(batch_size, 1)))
    parameters, buffers = list(model.parameters()), list(model.buffers())
    return Summary(
        rows=rows,
        parameters=sum(parameter.numel() for parameter in parameters),
        trainable=sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
        parameter_bytes=sum(parameter.nbytes for parameter in parameters),
        buffer_bytes=sum(buffer.nbytes for buffer in buffers),
        macs_per_sample=sum(layer.macs for layer in seen.values()) / max(batch_size, 1),
        batch_size=batch_size,
    )


def _rows(model: nn.Module, seen: dict[nn.Module, Seen], batch_size: int) -> Iterator[Row]:
    """Yield the rows; what stands in the model twice, a module or a parameter, is counted where it stands first."""
    counted_parameters: set[nn.Parameter] = set()
    counted_modules: set[nn.Module] = set()
    for name, module in _row_modules(model):
        whole = isinstance(module, nn.MultiheadAttention)
        parameters = set(module.parameters(recurse=whole))
        new = parameters - counted_parameters
        here = seen.get(module, Seen())
        again = module in counted_modules
        yield Row(
            name=name,
            layer=type(module).__name__,
            output_shape=here.shape,
            parameters=sum(parameter.numel() for parameter in new),
            trainable=sum(parameter.numel() for parameter in new if parameter.requires_grad),
            shared=sum(parameter.numel() for parameter in parameters - new),
            calls=0 if again else here.calls,
            macs_per_sample=0.0 if again else here.macs / batch_size,
        )
        counted_parameters |= new
        counted_modules.add(module)


def _row_modules(module: nn.Module, name: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules that have a row, with every name that they have."""
    children = [(key, child) for key, child in module._modules.items() if child is not None]
    if not children or isinstance(module, COUNTED) or next(module.parameters(recurse=False), None) is not None:
        yield name, module
    if not isinstance(module, nn.MultiheadAttention):
        for key, child in children:
            yield from _row_modules(child, f"{name}.{key}" if name else key)


def _copied(value: object) -> object:
    return value.detach().clone() if isinstance(value, Tensor) else value


def _refuse_lazy(model: nn.Module) -> None:
    for name, module in model.named_modules():
        held = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
        if any(isinstance(tensor, UninitializedParameter | UninitializedBuffer) for tensor in held):
            where, fix = f"layer {name or '(model)'}", "run the model once on a batch, or give the layer its sizes"
            raise ModelError(where=where, got=type(module).__name__, want="a layer whose sizes are set", fix=fix)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"


def _cells(row: Row) -> tuple[str, ...]:
    shape = "-" if row.output_shape is None else f"({', '.join(map(str, row.output_shape))})"
    shared = f" (+{row.shared:,} shared)" if row.shared else ""
    return (
        row.name or "(model)",
        row.layer,
        shape if row.calls or row.output_shape else "not called",
        f"{row.parameters:,}{shared}",
        f"{row.trainable:,}",
        _number(row.macs_per_sample),
    )


def _aligned(line: tuple[str, ...], widths: list[int]) -> str:
    """Align text to the left and numbers to the right, two spaces between columns."""
    texts = [cell.ljust(width) for cell, width in zip(line[:3], widths[:3], strict=True)]
    numbers = [cell.rjust(width) for cell, width in zip(line[3:], widths[3:], strict=True)]
    return "  ".join(texts + numbers)
