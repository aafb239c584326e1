"""Builders of ordinary `nn.Module`s, and `summary`, which says what a model is made of and what it costs.

This room must never know data sets, losses, optimizers or training: a model here is only layers and their sizes.
"""

from danlu.models.activations import ACTIVATIONS
from danlu.models.builders import BUILDERS
from danlu.models.convolutional import cnn, lenet, vgg
from danlu.models.dense import linear_regression, mlp, softmax_regression
from danlu.models.recurrent import bilstm, lstm
from danlu.models.resnet import resnet18, resnet34, resnet50
from danlu.models.summarize import Row, Summary, summary

__all__ = [
    "ACTIVATIONS",
    "BUILDERS",
    "Row",
    "Summary",
    "bilstm",
    "cnn",
    "lenet",
    "linear_regression",
    "lstm",
    "mlp",
    "resnet18",
    "resnet34",
    "resnet50",
    "softmax_regression",
    "summary",
    "vgg",
]
