"""Layers that only call a function with their settings: activations, pooling, losses, dropout, changes of shape.

Each is made from its function: `ELU = layer("ELU", F.elu)` has the function's options as arguments and attributes.
"""

from collections.abc import Callable
from inspect import Parameter as Argument
from inspect import Signature, signature
from typing import Any

import numpy as np

from danlu.zero.arguments import bound, require
from danlu.zero.nn import functional as F
from danlu.zero.nn.module import Module
from danlu.zero.nn.parameter import Parameter
from danlu.zero.ops.shape import flatten, unflatten
from danlu.zero.tensor import Tensor, wrap

Given = dict[str, Any]
BUFFERS = ("weight", "pos_weight")  # settings that are tensors or None


class Layer(Module):
    """A layer made from a function; its settings are attributes, tensors among them buffers.

    Fields:
        function: what `forward` calls with the inputs and the settings.
        settle: is given {setting: value} before they become attributes, and may change them.
    """

    __signature__: Signature
    function: Callable[..., Any]
    settle: Callable[[Given], None]
    _settings: tuple[str, ...]  # and perhaps "training", in the order of the function

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        given = bound(type(self).__name__, self.__signature__, *args, **kwargs)
        type(self).settle(given)
        for name, value in given.items():
            if name in BUFFERS:
                self.register_buffer(name, value)
            else:
                self.__dict__[name] = value

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Return the function's result."""
        known = self.__dict__
        if named:
            return type(self).function(*inputs, **named, **{name: known[name] for name in self._settings})
        return type(self).function(*inputs, *[known[name] for name in self._settings])


def layer(
    name: str,
    function: Callable[..., Any],
    settings: str | None = None,
    shown: str | None = None,
    settle: Callable[[Given], None] = lambda given: None,
    **defaults: Any,
) -> Any:
    """Return a class of layers made from a function.

    Args:
        name: the class's.
        function: takes the inputs, then the settings.
        settings: the settings' names in the order of the layer's arguments; None: all options that have a default.
        shown: those that `repr` shows; None: all, `inplace` where it is on.
        settle: see `Layer`.
        defaults: where they are not the function's.
    """
    options = signature(function).parameters
    known = {option.name: option.default for option in options.values()} | defaults
    names = settings.split() if settings is not None else [n for n in known if known[n] is not Argument.empty]
    arguments = [Argument(n, Argument.POSITIONAL_OR_KEYWORD, default=known.get(n)) for n in names]
    fields = {
        "__doc__": function.__doc__,
        "__module__": __name__,
        "__signature__": Signature(arguments),
        "function": staticmethod(function),
        "settle": staticmethod(settle),
        "_shown": [n + "=?"[n == "inplace"] for n in names] if shown is None else [f"{n}=" for n in shown.split()],
        "_settings": tuple(n for n in options if n in names or n == "training"),
    }
    return type(name, (Layer,), fields)


# Activations

ReLU, ReLU6, LeakyReLU = layer("ReLU", F.relu), layer("ReLU6", F.relu6), layer("LeakyReLU", F.leaky_relu)
ELU, SELU, GELU = layer("ELU", F.elu), layer("SELU", F.selu), layer("GELU", F.gelu)
SiLU, Mish = layer("SiLU", F.silu), layer("Mish", F.mish)
Softplus, Softsign = layer("Softplus", F.softplus), layer("Softsign", F.softsign)
Sigmoid, LogSigmoid, Tanh = layer("Sigmoid", F.sigmoid), layer("LogSigmoid", F.logsigmoid), layer("Tanh", F.tanh)
Hardtanh, Hardsigmoid = layer("Hardtanh", F.hardtanh), layer("Hardsigmoid", F.hardsigmoid, shown="")
Hardswish = layer("Hardswish", F.hardswish, shown="")
Softmax, LogSoftmax = layer("Softmax", F.softmax, "dim"), layer("LogSoftmax", F.log_softmax, "dim")


class PReLU(Module):
    """y = x for x > 0, else a x; `weight` holds one a, or one for every channel, and is trained."""

    _shown = ("num_parameters=",)

    def __init__(self, num_parameters: int = 1, init: float = 0.25, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        self.num_parameters, self.init = num_parameters, init
        self.weight = Parameter(wrap(np.full(num_parameters, init, np.float32)))
        self.to(device=device, dtype=dtype)

    def forward(self, input: Tensor) -> Any:
        """Return the activation of every element."""
        return F.prelu(input, self.weight)


# Pooling of lines (N, C, L) or (C, L), and of pictures (N, C, H, W) or (C, H, W)


def _stride(given: Given) -> None:
    if given["stride"] is None:
        given["stride"] = given["kernel_size"]


def _one_by_one(given: Given) -> None:
    _stride(given)
    for name in ("kernel_size", "stride", "padding"):
        given[name] = given[name] if isinstance(given[name], tuple) else (given[name],)


WINDOWS = "kernel_size stride padding"
MAX, SHOWN = f"{WINDOWS} dilation return_indices ceil_mode", f"{WINDOWS} dilation ceil_mode"
AVG = f"{WINDOWS} ceil_mode count_include_pad"
MaxPool1d = layer("MaxPool1d", F.max_pool1d, MAX, SHOWN, _stride)
MaxPool2d = layer("MaxPool2d", F.max_pool2d, MAX, SHOWN, _stride)
AvgPool1d = layer("AvgPool1d", F.avg_pool1d, AVG, WINDOWS, _one_by_one)
AvgPool2d = layer("AvgPool2d", F.avg_pool2d, f"{AVG} divisor_override", WINDOWS, _stride)
AdaptiveAvgPool1d = layer("AdaptiveAvgPool1d", F.adaptive_avg_pool1d, "output_size")
AdaptiveAvgPool2d = layer("AdaptiveAvgPool2d", F.adaptive_avg_pool2d, "output_size")
AdaptiveMaxPool1d = layer("AdaptiveMaxPool1d", F.adaptive_max_pool1d, "output_size return_indices", "output_size")
AdaptiveMaxPool2d = layer("AdaptiveMaxPool2d", F.adaptive_max_pool2d, "output_size return_indices", "output_size")

# Losses


def _reduction(given: Given) -> None:
    old = {name: value for name in ("size_average", "reduce") if (value := given.pop(name, None)) is not None}
    require(not old, "please use reduction, 'mean', 'sum' or 'none', instead", NotImplementedError, **old)


def _loss(name: str, function: Callable[..., Any], settings: str = "size_average reduce reduction") -> Any:
    return layer(name, function, settings, "", _reduction)


OLD = "size_average reduce reduction"
OF_CLASSES = "weight size_average ignore_index reduce reduction"
L1Loss, MSELoss = _loss("L1Loss", F.l1_loss), _loss("MSELoss", F.mse_loss)
SmoothL1Loss = _loss("SmoothL1Loss", F.smooth_l1_loss, f"{OLD} beta")
HuberLoss = _loss("HuberLoss", F.huber_loss, "reduction delta")
CrossEntropyLoss = _loss("CrossEntropyLoss", F.cross_entropy, f"{OF_CLASSES} label_smoothing")
NLLLoss = _loss("NLLLoss", F.nll_loss, OF_CLASSES)
KLDivLoss = _loss("KLDivLoss", F.kl_div, f"{OLD} log_target")
BCELoss = _loss("BCELoss", F.binary_cross_entropy, f"weight {OLD}")
BCEWithLogitsLoss = _loss("BCEWithLogitsLoss", F.binary_cross_entropy_with_logits, f"weight {OLD} pos_weight")
MarginRankingLoss = _loss("MarginRankingLoss", F.margin_ranking_loss, f"margin {OLD}")
MultiLabelMarginLoss = _loss("MultiLabelMarginLoss", F.multilabel_margin_loss)
MultiLabelSoftMarginLoss = _loss("MultiLabelSoftMarginLoss", F.multilabel_soft_margin_loss, f"weight {OLD}")
SoftMarginLoss = _loss("SoftMarginLoss", F.soft_margin_loss)

# Dropout and changes of shape


def _probability(given: Given) -> None:
    require(0 <= given["p"] <= 1, "a dropout probability lies between 0 and 1", ValueError, p=given["p"])


Dropout = layer("Dropout", F.dropout, "p inplace", "p inplace", _probability)
Dropout2d = layer("Dropout2d", F.dropout2d, "p inplace", "p inplace", _probability)


class Identity(Module):
    """Returns its input; takes any arguments."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Any) -> Any:
        """Return the input."""
        return input


Flatten = layer("Flatten", flatten, "start_dim end_dim", start_dim=1, end_dim=-1)


class Unflatten(Module):
    """The dimension dim becomes several, of the given sizes; -1 for one size that follows from the others."""

    _shown = ("dim=", "unflattened_size=")

    def __init__(self, dim: int, unflattened_size: Any) -> None:
        super().__init__()
        sizes = unflattened_size if isinstance(unflattened_size, tuple | list) else [None]
        fits = all(isinstance(number, int) for number in (dim, *sizes))
        require(fits, "an int and a tuple of ints are wanted", TypeError, dim=dim, unflattened_size=unflattened_size)
        self.dim, self.unflattened_size = dim, unflattened_size

    def forward(self, input: Tensor) -> Any:
        """Return the unflattened input."""
        return unflatten(input, self.dim, self.unflattened_size)
