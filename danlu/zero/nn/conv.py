"""Convolution layers."""

from inspect import Parameter as Argument
from inspect import Signature
from typing import Any

from danlu.zero.arguments import bound, require
from danlu.zero.nn.linear import Affine
from danlu.zero.ops import conv as ops
from danlu.zero.ops.padding import pad
from danlu.zero.ops.windows import borders, pair
from danlu.zero.tensor import Tensor

MODES = ("zeros", "reflect", "replicate", "circular")


def _arguments(**defaults: Any) -> Signature:
    sizes = dict.fromkeys(("in_channels", "out_channels", "kernel_size"), Argument.empty)
    known = {**sizes, **defaults, "padding_mode": "zeros", "device": None, "dtype": None}
    return Signature([Argument(name, Argument.POSITIONAL_OR_KEYWORD, default=x) for name, x in known.items()])


class _Convolution(Affine):
    """What all convolutions have: the settings that their signature names, a weight and a bias."""

    __signature__ = _arguments(stride=1, padding=0, dilation=1, groups=1, bias=True)
    function: Any
    dims = 2

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        given = bound(type(self).__name__, self.__signature__, *args, **kwargs)
        inputs, outputs, groups, padding = (given[n] for n in ("in_channels", "out_channels", "groups", "padding"))
        fits = groups > 0 and inputs % groups == 0 and outputs % groups == 0
        require(fits, f"groups divides {inputs} and {outputs} channels", ValueError, groups=groups)
        transposed, mode = "output_padding" in given, given["padding_mode"]
        modes = MODES[:1] if transposed else MODES
        require(mode in modes, f"padding_mode is one of {modes}", ValueError, padding_mode=mode)
        fits = not isinstance(padding, str) or (padding in ("same", "valid") and not transposed)
        require(fits, "padding is numbers, 'valid' or 'same'", ValueError, padding=padding)
        fits = padding != "same" or given["stride"] in (1, (1,) * self.dims)
        require(fits, "padding='same' goes with stride 1", ValueError, stride=given["stride"])
        factory, bias = {name: given.pop(name) for name in ("device", "dtype")}, given.pop("bias")
        for name in ("kernel_size", "stride", "padding", "dilation", "output_padding"):
            if name in given and not isinstance(given[name], str):
                given[name] = (given[name],) * self.dims if isinstance(given[name], int) else tuple(given[name])
        self.__dict__.update(given)
        ends = (inputs, outputs // groups) if transposed else (outputs, inputs // groups)
        self._make((*ends, *given["kernel_size"]), outputs, bias, factory)

    def extra_repr(self) -> str:
        """Return the sizes, as PyTorch writes them."""
        known = self.__dict__
        parts = [f"{known['in_channels']}, {known['out_channels']}"]
        parts += [f"{name}={known[name]}" for name in ("kernel_size", "stride")]
        usual = {"padding": 0, "dilation": 1, "output_padding": 0}
        parts += [
            f"{name}={known[name]}" for name, x in usual.items() if known.get(name, x) not in (x, (x,) * self.dims)
        ]
        parts += [f"groups={known['groups']}"] * (known["groups"] != 1)
        parts += ["bias=False"] * (self.bias is None)
        return ", ".join(parts + [f"padding_mode={known['padding_mode']}"] * (known["padding_mode"] != "zeros"))

    def forward(self, input: Tensor) -> Any:
        """Return the convolution."""
        known = self.__dict__
        stride, padding, dilation, groups = (known[name] for name in ("stride", "padding", "dilation", "groups"))
        if known["padding_mode"] != "zeros":
            input, padding = self._bordered(input), 0
        return self.function(input, self.weight, self.bias, stride, padding, dilation, groups)

    def _bordered(self, input: Tensor) -> Any:
        """Return the input with the border that `padding_mode` names."""
        known = self.__dict__
        kernel, dilation = (pair(known[name], self.dims, name) for name in ("kernel_size", "dilation"))
        before, after = borders(self.dims, known["padding"], kernel, (1, 1), dilation)
        widths = [border[way] for way in (1, 0) for border in (before, after)]
        return pad(input, widths[: 2 * self.dims], known["padding_mode"])


class Conv1d(_Convolution):
    """Convolves lines (N, C, L) or (C, L) into (N, O, L') or (O, L')."""

    dims, function = 1, staticmethod(ops.conv1d)


class Conv2d(_Convolution):
    """Convolves pictures (N, C, H, W) or (C, H, W) into (N, O, H', W') or (O, H', W')."""

    function = staticmethod(ops.conv2d)


class ConvTranspose2d(_Convolution):
    """Transposed convolution of pictures (N, C, H, W) or (C, H, W); its weight has shape (C, O/groups, KH, KW)."""

    __signature__ = _arguments(stride=1, padding=0, output_padding=0, groups=1, bias=True, dilation=1)

    def forward(self, input: Tensor) -> Any:
        """Return the transposed convolution."""
        known = self.__dict__
        settings = [known[name] for name in ("stride", "padding", "output_padding", "groups", "dilation")]
        return ops.conv_transpose2d(input, self.weight, self.bias, *settings)
