"""Layers: modules that hold parameters and call operations.

This folder must never know optimizers or training.
"""

# isort: skip_file
# fmt: off

from danlu.zero.nn import functional, init, utils
from danlu.zero.nn.attention import MultiheadAttention
from danlu.zero.nn.containers import ModuleDict, ModuleList, ParameterList, Sequential
from danlu.zero.nn.conv import Conv1d, Conv2d, ConvTranspose2d
from danlu.zero.nn.layers import (
    ELU, GELU, SELU, AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveMaxPool1d, AdaptiveMaxPool2d, AvgPool1d, AvgPool2d,
    BCELoss, BCEWithLogitsLoss, CrossEntropyLoss, Dropout, Dropout2d, Flatten, Hardsigmoid, Hardswish,
    Hardtanh, HuberLoss, Identity, KLDivLoss, L1Loss, LeakyReLU, LogSigmoid, LogSoftmax, MarginRankingLoss, MaxPool1d,
    MaxPool2d, Mish, MSELoss, MultiLabelMarginLoss, MultiLabelSoftMarginLoss, NLLLoss, PReLU, ReLU, ReLU6, Sigmoid,
    SiLU, SmoothL1Loss, SoftMarginLoss, Softmax, Softplus, Softsign, Tanh, Unflatten,
)
from danlu.zero.nn.linear import Bilinear, Embedding, Linear
from danlu.zero.nn.module import Module
from danlu.zero.nn.norm import BatchNorm1d, BatchNorm2d, GroupNorm, LayerNorm
from danlu.zero.nn.parameter import Parameter
from danlu.zero.nn.rnn import GRU, LSTM, RNN

__all__ = [
    "ELU", "GELU", "GRU", "LSTM", "RNN", "SELU", "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d", "AvgPool1d", "AvgPool2d", "BCELoss", "BCEWithLogitsLoss", "BatchNorm1d", "BatchNorm2d",
    "Bilinear", "Conv1d", "Conv2d", "ConvTranspose2d", "CrossEntropyLoss", "Dropout", "Dropout2d",
    "Embedding", "Flatten", "GroupNorm", "Hardsigmoid", "Hardswish", "Hardtanh", "HuberLoss", "Identity",
    "KLDivLoss", "L1Loss", "LayerNorm", "LeakyReLU", "Linear", "LogSigmoid", "LogSoftmax", "MSELoss",
    "MarginRankingLoss", "MaxPool1d", "MaxPool2d", "Mish", "Module", "ModuleDict", "ModuleList",
    "MultiLabelMarginLoss", "MultiLabelSoftMarginLoss", "MultiheadAttention", "NLLLoss", "PReLU", "Parameter",
    "ParameterList", "ReLU", "ReLU6", "Sequential", "SiLU", "Sigmoid",
    "SmoothL1Loss", "SoftMarginLoss", "Softmax", "Softplus", "Softsign", "Tanh", "Unflatten", "functional", "init",
    "utils",
]
